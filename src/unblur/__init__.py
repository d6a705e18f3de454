"""unblur makes blurred video sharp: video file in, video file out.

Everything here is imported when first used, so that `import unblur` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unblur import atlas, guide, simulate
    from unblur.analysis import Analysis, analyze
    from unblur.api import Report, restore
    from unblur.evaluate import evaluate
    from unblur.progress import Plan, Progress
    from unblur.restorers.registry import list_models, load_model
    from unblur.streaming import Lazy, lazy, stream
    from unblur.train import train
    from unblur.video import probe

_HOMES = {
    "Analysis": "unblur.analysis",
    "Lazy": "unblur.streaming",
    "Plan": "unblur.progress",
    "Progress": "unblur.progress",
    "Report": "unblur.api",
    "analyze": "unblur.analysis",
    "evaluate": "unblur.evaluate",
    "lazy": "unblur.streaming",
    "list_models": "unblur.restorers.registry",
    "load_model": "unblur.restorers.registry",
    "probe": "unblur.video",
    "restore": "unblur.api",
    "stream": "unblur.streaming",
    "train": "unblur.train",
}

__all__ = [
    "Analysis",
    "Lazy",
    "Plan",
    "Progress",
    "Report",
    "__version__",
    "analyze",
    "atlas",
    "evaluate",
    "guide",
    "lazy",
    "list_models",
    "load_model",
    "probe",
    "restore",
    "simulate",
    "stream",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("atlas", "guide", "simulate"):  # modules: `guide.depth`, `simulate.motion`
        return import_module(f"unblur.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'unblur' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
