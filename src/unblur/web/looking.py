"""Single frames, of clips and of projects, as images: what the page shows while one drags."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import unblur
from unblur.errors import MediaError, ResourceError, UsageError
from unblur.guidance.flow_image import flow_to_rgb
from unblur.video import VideoInfo, open_video, probe
from unblur.video.probe import only_demuxers
from unblur.web.places import CONTAINERS
from unblur.web.views import codes
from unblur.weights import find

if TYPE_CHECKING:
    from unblur.atlas import Project

JPEG_QUALITY = 92
OPEN = 2
"""Projects that are kept open."""
Reply = tuple[dict[str, Any], bytes]


def shut_other_containers() -> None:
    """From now on this process opens files of the containers in `CONTAINERS` alone."""
    only_demuxers(CONTAINERS)


def clip_info(path: Path, max_pixels: int, max_frames: int) -> VideoInfo:
    """What a clip is, if it is within the limits.

    Raises:
        MediaError: it cannot be read.
        ResourceError: it is larger than allowed.
    """
    info = probe(path, max_pixels=max_pixels)
    if info.frames is not None and info.frames > max_frames:
        raise ResourceError(
            f"{path} has {info.frames} frames, more than the {max_frames} allowed: take a part"
        )
    return info


class Looker:
    """Answers requests for images; keeps the last projects open."""

    def __init__(self) -> None:
        self._projects: dict[str, Project] = {}
        shut_other_containers()

    def answer(self, request: dict[str, Any]) -> Reply:
        """What is known of a clip or project, or an image of it.

        Args:
            request: `what`, the absolute `path`, and what that kind takes besides.
        """
        kinds = {
            "models": self.models,
            "clip": self.clip,
            "frame": self.frame,
            "project": self.project,
            "image": self.image,
            "point": self.point,
            "flow": self.flow,
        }
        return kinds[request["what"]](request)

    def models(self, request: dict[str, Any]) -> Reply:
        """Models whose weights are there."""
        ready = [
            info
            for info in unblur.list_models()
            if info.ships or not info.parameters or find(info.name) is not None
        ]
        kept = ("name", "summary", "blur", "parameters", "scales")
        facts = [{k: getattr(x, k) for k in kept} for x in ready if not x.for_tests]
        return {"models": facts}, b""

    def clip(self, request: dict[str, Any]) -> Reply:
        """Facts of a clip."""
        info = clip_info(Path(request["path"]), request["max_pixels"], request["max_frames"])
        rate = info.frame_rate
        turned = info.rotation % 180 == 90
        size = (info.height, info.width) if turned else (info.width, info.height)
        guess = round(info.duration * rate) if info.duration and rate else None
        return {
            "width": size[0],
            "height": size[1],
            "rate": None if rate is None else float(rate),
            "frames": info.frames or guess,
            "seconds": info.duration,
            "codec": info.codec,
            "container": info.container,
            "pixel_format": info.pixel_format,
            "interlaced": info.interlaced,
            "hdr": info.hdr,
            "sound": any(stream.kind == "audio" for stream in info.streams),
        }, b""

    def frame(self, request: dict[str, Any]) -> Reply:
        """A frame of a clip."""
        path, index = Path(request["path"]), request["frame"]
        interlaced = probe(path, max_pixels=request["max_pixels"]).interlaced
        with open_video(path, start=f"f{index}", deinterlace=interlaced) as reader:
            found = next(iter(reader), None)
            turns, color = reader.info.rotation // 90, reader.info.color
        if found is None:
            raise MediaError(f"{path} has no frame {index}")
        upright = np.ascontiguousarray(np.rot90(codes(found, color), -turns))
        return image_of(upright, request)

    def project(self, request: dict[str, Any]) -> Reply:
        """Facts of a project."""
        project = self._open(request)
        height, width = project.size
        layers = [
            {
                "name": layer.name,
                "width": layer.texture.shape[-1],
                "height": layer.texture.shape[-2],
                "radius": layer.radius is not None,
            }
            for layer in project.layers
        ]
        return {
            "width": width,
            "height": height,
            "frames": len(project),
            "times": [float(time) for time in project.times],
            "rate": None if project.rate is None else float(project.rate),
            "layers": layers,
        }, b""

    def image(self, request: dict[str, Any]) -> Reply:
        """A frame of a project."""
        project = self._open(request)
        t = project.frame_at(request["frame"])
        drawn = next(frames_of(project, request["look"], request["paint"], [t]))
        return image_of(as_codes(drawn), request)

    def point(self, request: dict[str, Any]) -> Reply:
        """The layer that a point shows most of."""
        from unblur.atlas.project.render import opacities, shares

        project = self._open(request)
        t = project.frame_at(request["frame"])
        height, width = project.size
        col, row = (round(at) for at in request["point"])
        if not (0 <= col < width and 0 <= row < height):
            raise UsageError(f"the point is outside the frames of {width}x{height}")
        parts = [float(share[0, row, col]) for share in shares(opacities(project, t))]
        return {"layer": project.layers[parts.index(max(parts))].name}, b""

    def flow(self, request: dict[str, Any]) -> Reply:
        """Optical flow between two frames, as colours; dark where it is not valid."""
        found = self._open(request).flow(request["first"], request["last"])
        rgb = flow_to_rgb(found.flow[None])[0] * (0.4 + 0.6 * found.valid)
        longest = float(found.flow.norm(dim=0).max())
        facts, data = image_of(as_codes(rgb), request)
        return {**facts, "longest": longest, "valid": float(found.valid.mean())}, data

    def _open(self, request: dict[str, Any]) -> Project:
        path = request["path"]
        if path not in self._projects:
            while len(self._projects) >= OPEN:
                self._projects.pop(next(iter(self._projects)))
            project = unblur.atlas.open(path, cache=request["cache"])
            height, width = project.size
            if height * width > request["max_pixels"]:
                raise ResourceError(f"{path} has larger frames than are allowed")
            self._projects[path] = project
        return self._projects[path]


def frames_of(
    project: Project, look: Mapping[str, Any], paint: Mapping[str, str], chosen: Iterable[int]
) -> Iterator[Tensor]:
    """Frames (3, H, W) of a project, as the request `look` has them.

    Args:
        project: the layers.
        look: see `unblur.web.requests.Rendering`.
        paint: files of overlays by the name of their layer.
        chosen: numbers of frames.
    """
    from unblur.atlas.project.edit import edit_frames
    from unblur.atlas.project.refocus import refocus_frames
    from unblur.atlas.project.render import render_frames

    mode = look["mode"]
    if mode == "clip":
        return (project.frames[t] for t in chosen)
    if mode == "refocus":
        source = project.edited(dict(paint)) if paint else project
        return refocus_frames(
            source,
            look["focus"],
            chosen,
            aperture=look["aperture"],
            bokeh=look["bokeh"],
            beta=look["beta"],
            highlights=look["highlights"],
            track=look["track"],
            blur=look["blur"],
        )
    if mode.startswith("edit-"):
        if not paint:
            raise UsageError("nothing is painted yet: paint on an atlas first")
        return edit_frames(project, dict(paint), mode.removeprefix("edit-"), chosen)
    return render_frames(project, mode, chosen, layer=look["layer"])


def as_codes(image: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] as (H, W, 3) of 8 bits."""
    values = (image.detach() * 255).round().clamp(0, 255)
    return values.permute(1, 2, 0).numpy().astype(np.uint8)


def image_of(rgb: NDArray[np.uint8], request: Mapping[str, Any]) -> Reply:
    """An image (H, W, 3) as a file, no wider than `width`; PNG where `exact`."""
    width = request.get("width")
    if width is not None and width < rgb.shape[1]:
        height = max(1, math.floor(rgb.shape[0] * width / rgb.shape[1] + 0.5))
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    kind = ".png" if request.get("exact") else ".jpg"
    options = [] if kind == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, data = cv2.imencode(kind, np.ascontiguousarray(rgb[:, :, ::-1]), options)
    if not done:
        raise ResourceError("the image could not be encoded: it is too large")
    return {"type": "image/png" if kind == ".png" else "image/jpeg"}, data.tobytes()
