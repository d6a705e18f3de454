"""A clip taken apart into sharp layers, to be edited, refocused and measured.

`open` reads a project folder; a `Project` renders, is edited and refocused, and knows the flow
between any two of its frames. Method: Ruan et al., Video Defocus Deblurring with Atlas Learning
(SIGGRAPH 2024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unblur.atlas.project.clip import Layer
    from unblur.atlas.project.project import Project
    from unblur.atlas.project.project import open_project as open

__all__ = ["Layer", "Project", "open"]


def __getattr__(name: str) -> Any:
    """Imported when first used: fitting alone needs neither PyAV nor OpenCV."""
    if name == "Layer":
        from unblur.atlas.project.clip import Layer

        return Layer
    if name in ("Project", "open"):
        from unblur.atlas.project import project

        return project.Project if name == "Project" else project.open_project
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
