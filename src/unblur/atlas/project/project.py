"""A clip taken apart, with all that can be done to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from unblur.atlas.project import edit as edit_
from unblur.atlas.project import flow as flow_
from unblur.atlas.project import refocus as refocus_
from unblur.atlas.project import render as render_
from unblur.atlas.project.clip import LayeredClip
from unblur.atlas.project.edit import EditMode
from unblur.atlas.project.flow import AtlasFlow
from unblur.atlas.project.render import RenderMode
from unblur.atlas.project.store import read_clip, save_project
from unblur.video.timecode import Time


class Project(LayeredClip):
    """A clip taken apart. In memory, or a folder whose maps are read as they are needed."""

    def save(
        self, folder: str | os.PathLike[str], *, overwrite: bool = False, bits: int = 8
    ) -> Project:
        """Writes the project into a folder: see `unblur.atlas.project.store.save_project`."""
        return open_project(save_project(self, folder, overwrite=overwrite, bits=bits))

    def render(
        self,
        mode: RenderMode = "sharp",
        frames: Iterable[int] | None = None,
        *,
        layer: str | None = None,
    ) -> Tensor:
        """Frames (n, 3, H, W), encoded RGB in [0, 1]: see `unblur.atlas.project.render.render`."""
        return render_.render(self, mode, frames, layer=layer)

    def edit(
        self,
        paint: Mapping[str, str | os.PathLike[str] | Tensor],
        mode: EditMode = "reblurred",
        frames: Iterable[int] | None = None,
    ) -> Tensor:
        """Frames (n, 3, H, W) with paint on the atlases: see `unblur.atlas.project.edit.edit`."""
        return edit_.edit(self, paint, mode, frames)

    def edited(self, paint: Mapping[str, str | os.PathLike[str] | Tensor]) -> Project:
        """This project with edited atlases: see `unblur.atlas.project.edit.edited`."""
        return edit_.edited(self, paint)

    def refocus(
        self, focus: Sequence[str] = (), frames: Iterable[int] | None = None, **lens: Any
    ) -> Tensor:
        """Frames (n, 3, H, W) through another lens: see `unblur.atlas.project.refocus.refocus`."""
        return refocus_.refocus(self, focus, frames, **lens)

    def flow(self, start: Time | str | int, end: Time | str | int) -> AtlasFlow:
        """Optical flow from one frame to another: see `unblur.atlas.project.flow.flow`."""
        return flow_.flow(self, self.frame_at(start), self.frame_at(end))


def open_project(path: str | os.PathLike[str], *, cache: int = 2**30) -> Project:
    """Opens a project folder. Atlases are read now, maps and frames as they are needed.

    Args:
        path: the folder.
        cache: bytes of decoded maps to keep in memory.

    Raises:
        UsageError: there is no such folder.
        MediaError: it is no project, or damaged.
    """
    return read_clip(path, Project, cache=cache)
