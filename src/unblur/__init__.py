"""unblur makes blurred video sharp: video file in, video file out.

Everything here is imported when first used, so that `import unblur` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# How often threads of torch look for each other before they sleep; its OpenMP reads this as it is
# loaded. By default they spin for longer, which is no faster on an idle machine, and on one with
# other work takes five times as long.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from unblur import atlas
    from unblur.commands import simulate
    from unblur.commands.analyze import Analysis, analyze
    from unblur.commands.depth import blur_map, depth, maps_of_frames
    from unblur.commands.reporting import Report
    from unblur.commands.restore import restore
    from unblur.commands.streaming import Lazy, lazy, stream
    from unblur.evaluation import evaluate
    from unblur.evaluation.maps import MapEvaluation, evaluate_maps
    from unblur.progress import Plan, Progress
    from unblur.restorers.registry import list_models, load_model
    from unblur.training import train
    from unblur.video import probe

_HOMES = {
    "Analysis": "unblur.commands.analyze",
    "Lazy": "unblur.commands.streaming",
    "MapEvaluation": "unblur.evaluation.maps",
    "Plan": "unblur.progress",
    "Progress": "unblur.progress",
    "Report": "unblur.commands.reporting",
    "analyze": "unblur.commands.analyze",
    "blur_map": "unblur.commands.depth",
    "depth": "unblur.commands.depth",
    "evaluate": "unblur.evaluation",
    "evaluate_maps": "unblur.evaluation.maps",
    "lazy": "unblur.commands.streaming",
    "list_models": "unblur.restorers.registry",
    "load_model": "unblur.restorers.registry",
    "maps_of_frames": "unblur.commands.depth",
    "probe": "unblur.video",
    "restore": "unblur.commands.restore",
    "stream": "unblur.commands.streaming",
    "train": "unblur.training",
}

_ROOMS = {"atlas": "unblur.atlas", "simulate": "unblur.commands.simulate"}
"""Modules of functions: `atlas.open`, `simulate.motion`."""

__all__ = [
    "Analysis",
    "Lazy",
    "MapEvaluation",
    "Plan",
    "Progress",
    "Report",
    "__version__",
    "analyze",
    "atlas",
    "blur_map",
    "depth",
    "evaluate",
    "evaluate_maps",
    "lazy",
    "list_models",
    "load_model",
    "maps_of_frames",
    "probe",
    "restore",
    "simulate",
    "stream",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(_ROOMS[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'unblur' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
