"""`unblur depth` and `unblur blur-map`: depth and blur maps of a video, as files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import av
import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.commands.arrays import taken_apart
from unblur.errors import MediaError, UsageError
from unblur.guidance.blur_map import motion_of_frames
from unblur.guidance.defocus import BlurFromDepth, blur_mask
from unblur.guidance.flow import raft_or_flow_s
from unblur.guidance.of_video import DepthOfVideo, FocusOfVideo
from unblur.ops.blur_map import BlurOfFlows, spread
from unblur.ops.device import choose_device
from unblur.ops.shots import FrameLike, marked
from unblur.video import Frame, VideoInfo, VideoReader, create_video, open_video
from unblur.video.info import ColorTags
from unblur.video.sequence_writer import is_sequence_output

Count = Callable[[int, "int | None"], None]
MapKind = Literal["depth", "blur"]
VIDEO = "yuv420p"
P = TypeVar("P", bound=FrameLike)


def depth(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    depth: str | os.PathLike[str] = "builtin",
    invert: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    progress: Count | None = None,
) -> int:
    """Writes the depth of each frame: 0 = near, 1 = far.

    Images hold it as 16-bit gray (65535 = far) or EXR, ready to be given as `depth` again; a
    video shows it in colours, red near and blue far.

    Args:
        source: a video, a folder of images, or a pattern.
        destination: images (`out/%05d.png`, `.exr`, `.tif`) or a video.
        depth: `builtin` (what is sharp is near: a stand-in), `depth-anything` (the extra `priors`),
            or a folder or pattern of gray images, one for each frame.
        invert: near is bright in those images.
        device: where depth and blur are found.
        overwrite: replace an existing output.
        progress: called with (frames done, frames in all or None).

    Returns:
        Number of frames written.

    Raises:
        UsageError: the output exists, or there is no such source of depth.
        MediaError: the video or its depth cannot be read, or they do not fit each other.
    """
    return _write(
        source, destination, depth, invert, device, "depth", lambda _, d: d, overwrite, progress
    )


def blur_map(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    kind: Literal["focus", "motion"] = "focus",
    equation: BlurOfFlows = "sum",
    sharp: bool = False,
    depth: str | os.PathLike[str] = "builtin",
    invert: bool = False,
    mask: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    progress: Count | None = None,
) -> int:
    """Writes the blur map of each frame: 0 = sharp, 1 = most blurred.

    That of `focus` tells how far out of focus a pixel is. That of `motion` is BSSTNet's (CVPR
    2024): what moves far within the exposure is smeared far. The squared lengths of both flows of a
    frame are added (Eq. 1), and scaled from the least to the most of the shot (Eq. 2). Flow is
    RAFT's where its weights were converted, else that of flow-s. The video is then read twice.

    Args:
        source: a video, a folder of images, or a pattern.
        destination: images (`out/%05d.png`, `.exr`, `.tif`) or a video.
        kind: of the blur: `focus` or `motion`.
        equation: of `motion`: `sum` as in the paper, or `mean` of the flows that a frame has, as
            in the released code, so that the ends of a shot weigh as much as other frames.
        sharp: the sharp map, 1 minus the blur map, instead.
        depth: see `depth`. With any but `builtin` all that lies equally far is equally blurred.
            Only of `focus`.
        invert: near is bright in depth maps from files.
        mask: 1 where the map lies above 0.1, else 0.
        device: where depth and blur are found.
        overwrite: replace an existing output.
        progress: called with (frames done, frames in all or None).

    Returns:
        Number of frames written.

    Raises:
        UsageError: the output exists, or there is no such source of depth, kind or equation.
        MediaError: the video or its depth cannot be read, or they do not fit each other.
    """
    for name, value, known in (
        ("kind", kind, ("focus", "motion")),
        ("equation", equation, ("sum", "mean")),
    ):
        if value not in known:
            raise UsageError(f"{name} '{value}': use {' or '.join(known)}")

    def shown(blur: Tensor) -> Tensor:
        blur = blur_mask(blur) if mask else blur
        return 1 - blur if sharp else blur

    if kind == "motion":
        if depth != "builtin" or invert:
            raise UsageError("depth tells nothing of motion: leave depth out, or take kind focus")
        return _write_motion(source, destination, equation, device, shown, overwrite, progress)
    by_depth = BlurFromDepth(choose_device(device)) if depth != "builtin" else None

    def find(rgb: Tensor, far: Tensor) -> Tensor:
        # The stand-in for depth is itself a measure of blur.
        return shown(far if by_depth is None else by_depth(rgb, far))

    return _write(
        source, destination, depth, invert, device, "blur", find, overwrite, progress,
        restart=by_depth.restart if by_depth else None,
    )  # fmt: skip


def maps_of_frames(
    frames: Any,
    look: MapKind = "blur",
    *,
    depth: str = "builtin",
    device: str = "auto",
) -> Tensor:
    """Depth or blur map of frames that a program holds.

    Args:
        frames: of one clip, as `unblur.restore` takes them.
        look: `blur` (0 = sharp, 1 = 12 pixels and more out of focus) or `depth` (0 = near).
        depth: `builtin` (what is sharp is near: a stand-in) or `depth-anything` (the extra
            `priors`).
        device: where they are found.

    Returns:
        (T, 1, H, W), float32, on the CPU.

    Raises:
        UsageError: the frames are of no known kind, or there is no such source of depth.
    """
    if look not in ("blur", "depth"):
        raise UsageError(f"look '{look}': use blur or depth")
    clips = taken_apart(frames).clips
    if len(clips) != 1:
        raise UsageError(f"{len(clips)} clips: take one by one")
    find = FocusOfVideo(depth, None, False, device)
    found = []
    for given, rgb, begins in frames_of(clips[0]):
        if begins:
            find.restart()
        found.append(find(given, rgb)[look == "blur"].float())
    return torch.cat(found)


def frames_of(reader: Iterable[P]) -> Iterator[tuple[P, Tensor, bool]]:
    """Frames, their RGB (1, 3, H, W), and whether a shot begins with them."""
    images = ((frame, frame.rgb().clamp(0, 1)) for frame in reader)
    for frame, rgb, begins in marked(images):
        yield frame, rgb[None], begins


def _write(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    choice: str | os.PathLike[str],
    invert: bool,
    device: str,
    look: MapKind,
    find: Callable[[Tensor, Tensor], Tensor],
    overwrite: bool,
    progress: Count | None,
    restart: Callable[[], None] | None = None,
) -> int:
    """Writes what `find` makes of each frame and its depth."""
    with open_video(source) as reader:
        depths = DepthOfVideo(choice, reader, invert, device)
        kind = _kind(destination)
        info = _described(reader.info, kind)
        done = 0
        read = (source, choice)
        with create_video(destination, info, inputs=read, overwrite=overwrite) as writer:
            for frame, rgb, begins in frames_of(reader):
                if begins:
                    depths.restart()
                    if restart:
                        restart()
                values = find(rgb, depths(frame, rgb))[0]
                writer.write(_drawn(frame, values, info, look))
                done += 1
                if progress:
                    progress(done, reader.frames)
            if not done:
                raise MediaError(f"{source} holds no frames")
        depths.finish()
    return done


def _write_motion(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    equation: BlurOfFlows,
    device: str,
    shown: Callable[[Tensor], Tensor],
    overwrite: bool,
    progress: Count | None,
) -> int:
    """Writes the blur map of motion; a first look finds each shot's least and most motion."""
    where = choose_device(device)
    _, flow = raft_or_flow_s(where)

    def motions(reader: VideoReader, frames: list[Frame]) -> Iterator[tuple[int, Tensor]]:
        """Motion of each frame; `frames` are those that motion has not come out for yet."""

        def images() -> Iterator[tuple[Tensor, bool]]:
            for frame, rgb, begins in frames_of(reader):
                frames.append(frame)
                yield rgb.to(where), begins

        return motion_of_frames(images(), flow, equation)

    limits: dict[int, tuple[float, float]] = {}
    looked = 0
    with open_video(source) as reader:
        waiting: list[Frame] = []
        for looked, (shot, motion) in enumerate(motions(reader, waiting), 1):
            waiting.pop(0)
            low, high = limits.get(shot, (math.inf, 0.0))
            limits[shot] = min(low, float(motion.min())), max(high, float(motion.max()))
            if progress:
                progress(looked // 2, reader.frames)  # the first half of the work
    with open_video(source) as reader:
        info = _described(reader.info, _kind(destination))
        done = 0
        with create_video(destination, info, overwrite=overwrite) as writer:
            waiting = []
            for shot, motion in motions(reader, waiting):
                frame = waiting.pop(0)
                ends = torch.tensor([limits[shot]], device=motion.device)
                blur = spread(motion[None], ends)[0]  # (1, 1, h, w)
                size = frame.height, frame.width
                values = F.interpolate(blur, size, mode="bilinear").cpu()[0]
                writer.write(_drawn(frame, shown(values), info, "blur"))
                done += 1
                if progress:
                    progress((looked + done) // 2, reader.frames)
            if not done:
                raise MediaError(f"{source} holds no frames")
    return done


def _kind(destination: str | os.PathLike[str]) -> str:
    """Pixel format of what is written: values in images, colours in a video."""
    if not is_sequence_output(destination):
        return VIDEO
    return "grayf32le" if Path(destination).suffix.lower() == ".exr" else "gray16le"


def _described(info: VideoInfo, kind: str) -> VideoInfo:
    """The source with another kind of image in it."""
    tags = {
        VIDEO: ColorTags("bt709", "bt709", "bt709", "tv"),
        "grayf32le": ColorTags(transfer="linear"),  # values are not to be bent on their way to EXR
        "gray16le": ColorTags(),
    }
    return replace(
        info,
        pixel_format=kind,
        bit_depth={VIDEO: 8, "grayf32le": 32, "gray16le": 16}[kind],
        has_alpha=False,
        color=tags[kind],
        hdr=None,
        mastering_display=None,
        content_light=None,
        dynamic_metadata=(),
    )


def _drawn(frame: Frame, values: Tensor, info: VideoInfo, look: MapKind) -> Frame:
    """A frame at the same time that holds values (1, H, W) in [0, 1]."""
    in_colors = info.pixel_format == VIDEO
    # Nothing is drawn yet: colour at full resolution does not ask what was there before.
    name = "yuv444p" if in_colors else info.pixel_format
    image = av.VideoFrame(frame.width, frame.height, name)
    if in_colors:
        image.colorspace, image.color_range = 1, 1  # BT.709, limited
    blank = replace(frame, image=image, siting="left")
    return blank.with_rgb(colored(values, look) if in_colors else values.expand(3, -1, -1))


def colored(values: Tensor, look: MapKind) -> Tensor:
    """Values (1, H, W) in [0, 1] as colours (3, H, W): depth red to blue, blur black to yellow."""
    import cv2

    codes = values[0].clamp(0, 1).mul(255).round().byte()
    codes = 255 - codes if look == "depth" else codes
    name = cv2.COLORMAP_TURBO if look == "depth" else cv2.COLORMAP_INFERNO
    bgr = torch.from_numpy(cv2.applyColorMap(codes.cpu().numpy(), name))
    return bgr.flip(-1).permute(2, 0, 1).float() / 255
