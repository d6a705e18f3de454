"""Test data with known truth: rendered scenes as files, and real video blurred on purpose."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from unblur.commands.arrays import Frames, Given, taken_apart
from unblur.commands.depth import frames_of
from unblur.disk import Staged, entries, recover
from unblur.errors import UsageError
from unblur.guidance.flow import dis_flow
from unblur.guidance.flow_image import FLOW_STEP, FLOW_ZERO, kitti
from unblur.guidance.of_video import DepthOfVideo
from unblur.ops.color import from_linear, to_linear
from unblur.ops.shots import FrameLike
from unblur.ops.warp import warp
from unblur.optics.focal import FocusPull, LayeredBlur, defocus, layered_blur
from unblur.synth import Mode, Rendered, SceneConfig, TextureBank, held_out, render, sample_scenes
from unblur.synth.paths import KNOTS, spline
from unblur.video import create_video, open_video
from unblur.video.output import full
from unblur.video.timecode import parse_keyframe

__all__ = ["focus", "focus_of_frames", "motion", "motion_of_frames", "scenes"]

COC_STEP = 256.0
EXTENT_STEP = 256.0
DEPTH_STEP = 65535.0
SAMPLE_STEP = 1.0
MOST_SAMPLES = 65
P = TypeVar("P", bound=FrameLike)


def scenes(
    destination: str | os.PathLike[str],
    *,
    count: int = 4,
    mode: Mode = "motion",
    frames: int = 8,
    width: int = 320,
    height: int = 240,
    textures: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Renders clips and writes them with their truth.

    Each clip is a folder `000`, `001`, ... with 8-bit PNG frames in `blurred` and `sharp`, and
    truth as PNG: `flow_forward` and `flow_backward` (KITTI's format: R = x, G = y, B = 1 where the
    point stays visible), `depth`, `coc` and `extent` (16 bit) and `layers` (8 bit, number of the
    layer in front). `clip.json` says how values become units, and how the clip was drawn.

    Args:
        destination: folder to make; it must not exist or be empty.
        count: number of clips.
        mode: what blurs them: `motion`, `focus` or `joint`.
        frames: of each clip.
        width: of the frames in pixels.
        height: of the frames in pixels.
        textures: a texture bank; by default the held-out textures that ship.
        seed: the same seed gives the same clips on the same machine.
        progress: called with (clips done, clips in all).

    Returns:
        The folder.

    Raises:
        UsageError: the folder exists, or a number makes no sense.
    """
    target = Path(destination)
    recover(target)
    if target.exists() and (not target.is_dir() or entries(target)):
        raise UsageError(f"{target} exists already: choose a new folder")
    if count < 1:
        raise UsageError(f"cannot render {count} clips: take at least 1")
    bank = held_out() if textures is None else TextureBank.load(Path(textures), training=False)
    config = SceneConfig(mode=mode, interpolation="bicubic")
    staged = Staged(target)
    part = staged.path
    try:
        for i in range(count):
            if progress:
                progress(i, count)
            generator = torch.Generator().manual_seed(seed + i)
            drawn = sample_scenes(config, bank, 1, generator)
            rendered = render(drawn, height, width, frames)
            about: dict[str, object] = {
                "mode": mode,
                "seed": seed + i,
                "frames": frames,
                "layers": int(drawn.count[0]),
                "exposure_of_frame_time": exposure_ratio(drawn.motion.times, drawn.motion.exposure),
                "textures": [
                    asdict(bank.sources[t])
                    for t in drawn.paint.texture[0, : int(drawn.count[0])].tolist()
                ],
                "units": {
                    "flow": f"(value - {FLOW_ZERO}) / {FLOW_STEP:g} pixels",
                    "depth": f"value / {DEPTH_STEP:g}: 0 = near, 1 = far, linear in 1 / distance",
                    "coc": f"value / {COC_STEP:g} pixels, radius of the circle of confusion",
                    "extent": f"value / {EXTENT_STEP:g} pixels, length of the motion blur",
                    "layers": "number of the layer in front, 0 = background",
                },
            }
            write_clip(part / f"{i:03}", rendered, about)
        if progress:
            progress(count, count)
        staged.put(overwrite=False)
    except OSError as error:
        raise full(target, error) from error
    finally:
        staged.discard()
    return target


def exposure_ratio(times: Tensor, exposure: Tensor) -> float:
    """Time the shutter is open over the time between frames, of the first scene."""
    steps = times[0].diff().abs()
    step = float(steps[steps > 0].min()) if bool((steps > 0).any()) else 1.0
    return round(float(exposure[0]) / step, 4)


def write_clip(folder: Path, r: Rendered, about: dict[str, object]) -> None:
    """Writes the first scene of `r` into a folder."""
    write_images(folder / "sharp", r.sharp[0] * 255, np.uint8)
    write_images(folder / "blurred", r.blurred[0] * 255, np.uint8)
    for name in ("forward", "backward"):
        flow, seen = getattr(r, f"flow_{name}")[0], getattr(r, f"visible_{name}")[0]
        write_images(folder / f"flow_{name}", kitti(flow, seen), np.uint16)
    for name, step in (("depth", DEPTH_STEP), ("coc", COC_STEP), ("extent", EXTENT_STEP)):
        write_images(folder / name, getattr(r, name)[0] * step, np.uint16)
    if r.layers is not None:
        write_images(folder / "layers", r.layers[0].argmax(1, keepdim=True).float(), np.uint8)
    (folder / "clip.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def write_images(folder: Path, values: Tensor, kind: type[np.unsignedinteger]) -> None:
    """Writes (T, 1 or 3, H, W) values, rounded, as `00000.png` and so on."""
    import cv2

    folder.mkdir(parents=True)
    top = float(np.iinfo(kind).max)
    for t, image in enumerate(values):
        array = image.round().clamp(0, top).permute(1, 2, 0).numpy().astype(kind)
        if not cv2.imwrite(str(folder / f"{t:05}.png"), array[:, :, ::-1]):
            raise UsageError(f"{folder} cannot be written to")


def motion(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    exposure: float = 0.5,
    every: int = 1,
    shake: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Blurs a sharp video as a longer exposure would have.

    Light is added up: frames are averaged in linear light over the exposure, with frames between
    them made by optical flow (OpenCV's DIS), so that the blur has no steps. The sharp frame in the
    middle of each exposure is the frame of the source: the source itself is the truth.

    Args:
        source: a video, a folder of images, or a pattern.
        destination: a video or images.
        exposure: time the shutter is open, in times between two output frames, (0, 1].
        every: keeps every n-th frame, and adds up those between.
        shake: hand shake to add, in pixels (sigma of the camera's path).
        seed: of the shake.
        overwrite: replace an existing output.
        progress: called with (frames done, frames in all or None).

    Returns:
        Number of frames written.

    Raises:
        UsageError: a number makes no sense, or the output exists.
        MediaError: the source cannot be read.
    """
    check_motion(exposure, every, shake)
    reach = exposure * every / 2
    wobble = Shake(shake, seed)
    written = 0
    with open_video(source) as reader:
        info = reader.info
        transfer = info.color.transfer
        with create_video(destination, info, source=None, overwrite=overwrite) as writer:
            total = None if info.frames is None else -(-info.frames // every)
            for index, frame, strip in strips(iter(reader), every, math.ceil(reach)):
                light = average(strip, index, reach, wobble, transfer)
                writer.write(frame.with_rgb(from_linear(light, transfer)))
                written += 1
                if progress:
                    progress(written, total)
    return written


def check_motion(exposure: float, every: int, shake: float) -> None:
    """Raises `UsageError` where a number makes no sense."""
    if not 0 < exposure <= 1:
        raise UsageError(f"exposure {exposure:g} must be above 0 and at most 1")
    if every < 1 or shake < 0 or not math.isfinite(shake):
        raise UsageError("take every 1 or more and a shake of 0 or more pixels")


def motion_of_frames(
    frames: Frames,
    *,
    exposure: float = 0.5,
    shake: float = 0.0,
    seed: int = 0,
    transfer: str | None = None,
) -> Frames:
    """As `motion`, of frames that a program holds, as `unblur.restore` takes them.

    Args:
        frames: sharp.
        exposure: time the shutter is open, in times between two frames, (0, 1].
        shake: hand shake to add, in pixels.
        seed: of the shake.
        transfer: how light became numbers; None: sRGB's curve.

    Returns:
        As many frames, of the same kind.

    Raises:
        UsageError: a number makes no sense, or the frames are of no known kind.
    """
    check_motion(exposure, 1, shake)
    reach, wobble = exposure / 2, Shake(shake, seed)

    def blurred(clip: list[Given]) -> list[Any]:
        made = []
        for index, given, strip in strips(iter(clip), 1, math.ceil(reach)):
            light = average(strip, index, reach, wobble, transfer)
            made.append(given.like(from_linear(light, transfer)))
        return made

    apart = taken_apart(frames, unbounded=transfer == "linear")
    found: Frames = apart.whole([blurred(clip) for clip in apart.clips])
    return found


def focus_of_frames(
    frames: Frames,
    keys: Sequence[str],
    *,
    radius: float = 8.0,
    rate: float | None = None,
    transfer: str | None = None,
) -> Frames:
    """As `focus` with the depth `ramp`, of frames that a program holds.

    Args:
        frames: sharp, as `unblur.restore` takes them.
        keys: what is in focus when, as `DEPTH@TIME`: see `focus`.
        radius: of the blur in pixels, of what is the whole range of depth away from the focus.
        rate: frames a second, where times are in seconds; by default the times are frames.
        transfer: how light became numbers; None: sRGB's curve.

    Returns:
        As many frames, of the same kind.

    Raises:
        UsageError: a key or a number makes no sense, or the frames are of no known kind.
    """
    check_radius(radius)
    pull = read_keys(keys, Fraction(rate or 1).limit_denominator(1001))

    def blurred(clip: list[Given]) -> list[Any]:
        made = []
        for n, given in enumerate(clip):
            rgb = given.rgb().clamp(0, 1)
            far = ramp(*rgb.shape[-2:])
            light, _ = defocus(to_linear(rgb, transfer), far, pull(n / (rate or 1)), radius)
            made.append(given.like(from_linear(light, transfer)))
        return made

    apart = taken_apart(frames)
    found: Frames = apart.whole([blurred(clip) for clip in apart.clips])
    return found


def ramp(height: int, width: int) -> Tensor:
    """A plain stand-in for depth (1, H, W): near at the bottom, far at the top."""
    return torch.linspace(1, 0, height)[:, None].expand(1, -1, width)


def check_radius(radius: float) -> None:
    """Raises `UsageError` for a radius that makes no sense."""
    if not 0 < radius <= 100:
        raise UsageError(f"radius {radius:g}: take more than 0 and at most 100 pixels")


def focus(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    keys: Sequence[str],
    *,
    radius: float = 8.0,
    mode: Literal["lens", "paper", "official"] = "lens",
    depth: str | os.PathLike[str] = "ramp",
    invert: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Blurs a sharp video as a lens would whose focus is pulled; the video itself is the truth.

    Args:
        source: a video, a folder of images, or a pattern.
        destination: a video or images.
        keys: what is in focus when, as `DEPTH@TIME`: DEPTH is `near`, `far` or a number from 0
            (near) to 1; TIME `2s`, `f10` or `mm:ss`, and 0 where it is left out. Focus moves
            evenly from key to key.
        radius: of the blur in pixels, of what is the whole range of depth away from the focus.
        mode: `lens` is disks in linear light, with occlusion; `paper` and `official` are DaBiT's
            simulator, Gaussians cut off at `2 * radius + 1` pixels (see `unblur.optics.focal`).
        depth: a folder or pattern of depth maps, `depth-anything`, or `ramp`: a plain stand-in,
            from near at the bottom of the image to far at its top.
        invert: near is bright in depth maps from files.
        device: where `depth-anything` runs.
        overwrite: replace an existing output.
        progress: called with (frames done, frames in all or None).

    Returns:
        Number of frames written.

    Raises:
        UsageError: a key or a number makes no sense, or the output exists.
        MediaError: the source or its depth cannot be read, or they do not fit each other.
    """
    check_radius(radius)
    layered = None if mode == "lens" else LayeredBlur(2 * radius + 1, 100, 5, mode=mode)
    with open_video(source) as reader:
        info = reader.info
        pull = read_keys(keys, info.frame_rate)
        depths = None if depth == "ramp" else DepthOfVideo(depth, reader, invert, device)
        transfer = info.color.transfer
        began: Fraction | None = None
        written = 0
        with create_video(destination, info, inputs=(depth,), overwrite=overwrite) as writer:
            for frame, rgb, begins in frames_of(reader):
                if depths is None:
                    far = ramp(frame.height, frame.width)
                else:
                    if begins:
                        depths.restart()
                    far = depths(frame, rgb)[0]
                began = frame.time if began is None else began
                place = pull(float(frame.time - began))
                if layered is None:
                    light, _ = defocus(to_linear(rgb[0], transfer), far, place, radius)
                    blurred = from_linear(light, transfer)
                else:
                    blurred = layered_blur(rgb[0] * 255, far * 255, place * 255, layered)[0] / 255
                writer.write(frame.with_rgb(blurred))
                written += 1
                if progress:
                    progress(written, reader.frames)
        if depths is not None:
            depths.finish()
    return written


def read_keys(keys: Sequence[str], rate: Fraction | None) -> FocusPull:
    """Keyframes of the focus from words such as `near@0s`, `0.4@f10`, `far`."""
    found = []
    for key in keys:
        word, time = parse_keyframe(key)
        if time.frame is not None and rate is None:
            raise UsageError(f"focus {key}: the video has no frame rate, give the time in seconds")
        seconds = time.seconds if time.frame is None else time.frame / (rate or 1)
        try:
            place = {"near": 0.0, "far": 1.0}.get(word) if word in ("near", "far") else float(word)
        except ValueError:
            place = None
        if place is None or not 0 <= place <= 1:
            raise UsageError(
                f"focus {key}: write DEPTH@TIME, DEPTH being near, far or a number from 0 to 1"
            )
        found.append((float(seconds or 0), place))
    return FocusPull.through(found)


class Shake:
    """A camera's path: a smooth random curve, in pixels."""

    def __init__(self, sigma: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.knots = sigma * torch.randn(2, KNOTS, generator=generator)
        self.still = sigma == 0

    def __call__(self, times: Tensor) -> Tensor:
        """Places (M, 2) at `times` (M,), in frames; knots are a frame apart."""
        return spline(self.knots, times.float()).T


class Strip:
    """Frames around a moment, in linear light, and the flow between neighbours."""

    def __init__(
        self, first: int, lights: list[Tensor], flows: list[tuple[Tensor, Tensor]]
    ) -> None:
        self.first = first
        self.lights = lights
        self.flows = flows

    def at(self, time: float) -> Tensor:
        """Light (3, H, W) at a time in frames; before the first and after the last it stands."""
        place = min(max(time - self.first, 0.0), len(self.lights) - 1.0)
        before = min(int(place), len(self.lights) - 2) if len(self.lights) > 1 else 0
        share = place - before
        if share == 0 or len(self.lights) == 1:
            return self.lights[before]
        if share == 1:
            return self.lights[before + 1]
        forward, backward = self.flows[before]
        # The motion of a point between the frames is about that of the pixel it passes.
        one = warp(self.lights[before][None], share * backward)
        two = warp(self.lights[before + 1][None], (1 - share) * forward)
        inside = torch.ones_like(one[:, :1])
        w_one = (1 - share) * warp(inside, share * backward)
        w_two = share * warp(inside, (1 - share) * forward)
        both = (w_one + w_two).clamp_min(1e-3)
        return (((1 - share) * one + share * two) / both)[0]

    def longest(self) -> float:
        """Greatest motion from one frame to the next, but for outliers, in pixels."""
        lengths = [f.norm(dim=1).flatten()[::17].quantile(0.99) for f, _ in self.flows]
        return float(max(lengths)) if lengths else 0.0


def strips(frames: Iterator[P], every: int, reach: int) -> Iterator[tuple[int, P, Strip]]:
    """For every n-th frame: its index, itself, and the frames up to `reach` away."""
    held: deque[tuple[int, P, Tensor]] = deque()
    flows: dict[int, tuple[Tensor, Tensor]] = {}
    wanted = 0
    ended = False
    while True:
        while not ended and (not held or held[-1][0] < wanted + reach):
            frame = next(frames, None)
            if frame is None:
                ended = True
                break
            index = held[-1][0] + 1 if held else 0
            held.append((index, frame, frame.rgb().clamp(0, 1)))
            if len(held) > 1:
                pair = torch.stack((held[-2][2], held[-1][2]))
                H, W = pair.shape[-2:]
                there, back = dis_flow(pair, stride=1)
                flows[index - 1] = (there[..., :H, :W], back[..., :H, :W])
        if not held or held[-1][0] < wanted:
            return
        while held[0][0] < wanted - reach:
            flows.pop(held.popleft()[0], None)
        near = [entry for entry in held if abs(entry[0] - wanted) <= reach]
        own = next(entry for entry in near if entry[0] == wanted)
        between = [flows[entry[0]] for entry in near[:-1]]
        yield wanted, own[1], Strip(near[0][0], [entry[2] for entry in near], between)
        wanted += every


def average(strip: Strip, index: int, reach: float, wobble: Shake, transfer: str | None) -> Tensor:
    """Mean light (3, H, W) of the exposure around frame `index`, `reach` frames to either side."""
    strip = Strip(strip.first, [to_linear(x, transfer) for x in strip.lights], strip.flows)
    path = strip.longest() * 2 * reach
    if not wobble.still:
        fine = index + torch.linspace(-reach, reach, 65)
        path += float(wobble(fine).diff(dim=0).norm(dim=1).sum())
    count = min(MOST_SAMPLES, max(3, 2 * math.ceil(path / SAMPLE_STEP / 2) + 1))
    offsets = ((torch.arange(count) + 0.5) / count - 0.5) * 2 * reach
    away = wobble(index + offsets) - wobble(torch.tensor([float(index)]))
    total = torch.zeros_like(strip.lights[0])
    for offset, (x, y) in zip(offsets.tolist(), away.tolist(), strict=True):
        light = strip.at(index + offset)
        total += light if wobble.still else moved(light, x, y)
    return total / count


def moved(light: Tensor, x: float, y: float) -> Tensor:
    """The image (3, H, W) moved by (x, y) pixels, its edge pixels drawn out."""
    _, H, W = light.shape
    cols = ((torch.arange(W) - x).clamp(0, W - 1) * 2 / max(1, W - 1)) - 1
    rows = ((torch.arange(H) - y).clamp(0, H - 1) * 2 / max(1, H - 1)) - 1
    grid = torch.stack(torch.meshgrid(cols, rows, indexing="xy"), -1)
    return torch.nn.functional.grid_sample(light[None], grid[None], align_corners=True)[0]
