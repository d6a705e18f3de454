"""Frames of scenes, and the truth about them.

Light adds up while the shutter is open, so a blurred frame is the mean of sub-frames in linear
light, and its sharp truth is the sub-frame in the middle of the exposure. A lens spreads each point
of a layer over a disk; layers are put together from back to front after that, so that what is
behind a blurred edge shines through it.

Pixels: the middle of the frame is the origin of the scene, the centre of pixel (i, j) lies at
(j + 0.5 - W / 2, i + 0.5 - H / 2).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.errors import UsageError
from unblur.optics.focal import TOP, LayeredBlur, layered_blur
from unblur.optics.thin_lens import lens_blur, thin_lens_radius
from unblur.synth.atlas import Atlas, build_atlas
from unblur.synth.compression import compress
from unblur.synth.draw import take
from unblur.synth.lens import focus_distance, layer_distance
from unblur.synth.paths import MAX_FRAMES, apply, inverse, layer_to_frame
from unblur.synth.response import add_noise, encode
from unblur.synth.scenes import Scenes

TRUTHS = frozenset({"flow", "depth", "coc", "extent", "layers"})
SAMPLES = (1, 3, 9, 15, 21, 27, 33, 45, 63)
"""Numbers of sub-frames. Odd, so that one is in the middle; a lens sees them by threes."""
LENS_GROUP = 3
"""Sub-frames of a layer that are averaged before the lens blurs them. They lie close together."""
STILL = 0.02
"""Length of a path in pixels below which nothing is blurred."""
PATH_STEPS = 8
CPU_PIXELS = 2**20
GPU_PIXELS = 2**25
"""Pixels of sub-frames that are worked on at once."""


@dataclass(frozen=True)
class Rendered:
    """Frames and their truth. What was not requested is None."""

    sharp: Tensor
    """(B, T, 3, H, W) encoded, in [0, 1]: the middle of each exposure, all in focus, no noise."""
    blurred: Tensor
    """(B, T, 3, H, W) encoded, in [0, 1]."""
    flow_forward: Tensor | None = None
    """(B, T - 1, 2, H, W) pixels; [t] lives on frame t and points to t + 1. Channel 0 is x."""
    flow_backward: Tensor | None = None
    """(B, T - 1, 2, H, W) pixels; [t] lives on frame t + 1 and points to t."""
    visible_forward: Tensor | None = None
    """(B, T - 1, 1, H, W) 1 where `flow_forward` ends inside the frame and nothing hides it."""
    visible_backward: Tensor | None = None
    """(B, T - 1, 1, H, W) the same of `flow_backward`."""
    depth: Tensor | None = None
    """(B, T, 1, H, W) of the nearest layer that covers half a pixel: 0 = the scene's nearest,
    1 = its farthest, linear in 1 / distance."""
    coc: Tensor | None = None
    """(B, T, 1, H, W) radius of that layer's circle of confusion in pixels."""
    extent: Tensor | None = None
    """(B, T, 1, H, W) length of the way that layer's point goes during the exposure, in pixels."""
    layers: Tensor | None = None
    """(B, T, L, H, W) part of each layer in each pixel of `sharp`; sums to 1."""


@torch.no_grad()
def render(
    scenes: Scenes,
    height: int,
    width: int,
    frames: int,
    *,
    truth: Collection[str] = TRUTHS,
) -> Rendered:
    """Renders the first frames of scenes, blurred and sharp.

    The same scenes on the same device give the same frames.

    Args:
        scenes: from `sample_scenes`.
        height: of the frames, at least 16.
        width: of the frames, at least 16.
        frames: how many, at most 256.
        truth: what to return beside the frames, out of `TRUTHS`; each costs time.

    Returns:
        Frames and truth on the scenes' device, float32.
    """
    if height < 16 or width < 16 or not 1 <= frames <= MAX_FRAMES:
        raise UsageError(
            f"cannot render {frames} frames of {width}x{height}: "
            f"take 1 to {MAX_FRAMES} frames of at least 16x16"
        )
    if unknown := set(truth) - TRUTHS:
        raise UsageError(f"no truth called {sorted(unknown)}; known are {sorted(TRUTHS)}")
    stage = set_stage(scenes, height, width, frames)
    blurs = simulators(stage)
    wanted = {*truth, "depth"} if blurs else set(truth)
    light, alpha = sharp_light(stage, keep_alpha=bool(wanted))
    found = {} if alpha is None else find_truth(stage, alpha, wanted)
    for blur in blurs if "coc" in found else []:
        found["coc"][blur.at] = blur.setting.radii(found["depth"][blur.at] * TOP, blur.focus)
    sharp = encode(light, scenes.response)
    blurred = expose(stage, light, blurs, found["depth"] if blurs else None)
    if "depth" not in truth:
        found.pop("depth", None)
    return Rendered(sharp, blurred, **found)


@dataclass(frozen=True)
class Simulator:
    """What blurs one frame in place of the lens."""

    at: tuple[int, int]
    """Scene and frame."""
    setting: LayeredBlur
    focus: float
    """Depth in focus, 0 to 255."""


@dataclass(frozen=True)
class Stage:
    """Scenes made ready for frames of one size."""

    scenes: Scenes
    atlas: Atlas
    height: int
    width: int
    frames: int
    times: Tensor
    """(B, T) middle of each exposure."""
    radius: Tensor | None
    """(B, L, T) of the circle of confusion in pixels; None if all is in focus."""
    margin: int
    """Pixels around the frame that the lens draws from."""

    @property
    def half(self) -> tuple[float, float]:
        """Half the width and half the height."""
        return self.width / 2, self.height / 2

    def matrices(self, rows: Tensor | slice, times: Tensor) -> Tensor:
        """Layer to frame, (S, L, M, 3, 3), of some scenes at `times` (S, M)."""
        return layer_to_frame(take(self.scenes.motion, rows), times, self.half)


def set_stage(scenes: Scenes, height: int, width: int, frames: int) -> Stage:
    """Paints the layers and finds the blur of each."""
    times = scenes.motion.times[:, :frames]
    radius, margin = None, 0
    if scenes.config.mode != "motion":
        radius = circles(scenes, times)
        largest = float(radius.max())
        if largest >= 0.5:
            # An even length: the Fourier transform of a prime one is slow.
            margin = math.ceil((largest + 1) / 4) * 4
        else:
            radius = None
    atlas = build_atlas(scenes, height, width)
    return Stage(scenes, atlas, height, width, frames, times, radius, margin)


def circles(scenes: Scenes, times: Tensor) -> Tensor:
    """Radius of each layer's circle of confusion, (B, L, T) pixels; 0 for layers that are none."""
    lens = scenes.lens
    since = times - scenes.motion.times[:, :1]
    per_scene = [x[:, None, None] for x in (lens.focal_length, lens.f_number, lens.pixels_per_mm)]
    focus = focus_distance(lens, since)[:, None]
    radius = thin_lens_radius(layer_distance(lens, since), focus, *per_scene)
    layer = torch.arange(radius.shape[1], device=radius.device)
    return torch.where((layer < scenes.count[:, None])[..., None], radius, 0)


def simulators(stage: Stage) -> list[Simulator]:
    """Of each frame of the scenes that have one."""
    lens = stage.scenes.lens
    some = (lens.simulated[:, 0] > 0).nonzero()[:, 0].tolist()
    if not some:
        return []
    near = 1 / focus_distance(lens, stage.times - stage.scenes.motion.times[:, :1])
    focus = depth_of(stage, near[:, None])[:, 0] * TOP  # (B, T)
    found = []
    for scene in some:
        side, sigma, sharp_range = lens.simulated[scene].tolist()
        setting = LayeredBlur(side, sharp_range, sigma, min_kernel=1, mode="paper")
        path = enumerate(focus[scene].tolist())
        found += [Simulator((scene, frame), setting, depth) for frame, depth in path]
    return found


def sharp_light(stage: Stage, keep_alpha: bool) -> tuple[Tensor, Tensor | None]:
    """Linear light (B, T, 3, H, W) of the middle of each exposure; coverage (B, T, L, H, W)."""
    B, T = stage.times.shape
    L = stage.scenes.config.layers[1]
    device = stage.times.device
    light = torch.empty(B, T, 3, stage.height, stage.width, device=device)
    alpha = light.new_zeros(B, T, L, stage.height, stage.width) if keep_alpha else None
    for rows in by_count(stage, torch.arange(B, device=device), per_scene=T):
        for span in spans(stage, T):
            light[rows, span] = composite(stage, rows, stage.times[rows, span], None, 0)
            if alpha is not None:
                for layer, some, cover in covers(stage, rows, stage.times[rows, span]):
                    alpha[some, span, layer] = cover
    return light, alpha


def covers(stage: Stage, rows: Tensor, times: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Coverage of each layer: (layer, scenes that have it, (S, K, H, W))."""
    matrices = stage.matrices(rows, times)
    for layer in range(int(stage.scenes.count[rows[0]])):
        some = rows[stage.scenes.count[rows] > layer]
        back = inverse(matrices[: len(some), layer])
        yield layer, some, sample(stage, some, layer, back, 0, slice(3, 4))[:, :, 0]


def expose(
    stage: Stage, sharp: Tensor, blurs: Collection[Simulator], depth: Tensor | None
) -> Tensor:
    """What the camera records.

    Args:
        stage: the scenes.
        sharp: (B, T, 3, H, W) light of `sharp_light`.
        blurs: of the frames that the lens does not blur.
        depth: (B, T, 1, H, W), 0 to 1; only `blurs` need it.

    Returns:
        (B, T, 3, H, W) encoded.
    """
    scenes = stage.scenes
    response = scenes.response
    generator = torch.Generator(sharp.device).manual_seed(scenes.seed)
    light = torch.empty_like(sharp)
    number = sub_frames(stage)
    kind = number * 2 + response.encoded_average.long()
    averaged = torch.zeros(len(scenes), dtype=torch.bool, device=sharp.device)
    for value in kind.unique().tolist():
        samples, encoded = value // 2, bool(value % 2)
        rows = (kind == value).nonzero()[:, 0]
        if samples == 1 and stage.radius is None:
            light[rows] = sharp[rows]
        else:
            average(stage, rows, samples, encoded, light)
            if encoded:
                averaged[rows] = True
    if depth is not None:
        signal = torch.where(averaged.view(-1, 1, 1, 1, 1), light, encode(light, response))
        for blur in blurs:
            at = blur.at
            image, _ = layered_blur(signal[at] * TOP, depth[at] * TOP, blur.focus, blur.setting)
            light[at] = image / TOP
            averaged[at[0]] = True
    signal = record(light, averaged, stage, generator)
    source = scenes.motion.repeats[:, : stage.frames, None, None, None].expand_as(signal)
    return compress(signal.gather(1, source), response.quality)


def record(light: Tensor, averaged: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
    """Noise and response curve; scenes of `averaged` (B,) are encoded already: noise alone."""
    response = stage.scenes.response
    signal = encode(add_noise(light, response, generator), response)
    if bool(averaged.any()):
        # The noise of the average of encoded values, taken where those values are.
        noisy = add_noise(light, response, generator).clamp(0, 1)
        signal = torch.where(averaged[:, None, None, None, None], noisy, signal)
    return signal


def average(stage: Stage, rows: Tensor, samples: int, encoded: bool, out: Tensor) -> None:
    """Writes the mean of `samples` sub-frames of the scenes `rows` into `out` (B, T, 3, H, W)."""
    scenes = stage.scenes
    offsets = (torch.arange(samples, device=rows.device) + 0.5) / samples - 0.5
    grouped = stage.radius is not None and samples > 1 and samples % LENS_GROUP == 0
    group = LENS_GROUP if grouped else 1
    for some in by_count(stage, rows, per_scene=stage.frames * samples):
        response = take(scenes.response, some)
        for span in spans(stage, stage.frames, samples):
            middle = stage.times[some, span]  # (S, F)
            times = middle[..., None] + scenes.motion.exposure[some, None, None] * offsets
            S, frames = middle.shape
            total = out.new_zeros(S, frames, 3, stage.height, stage.width)
            part = max(group, pixels(stage) // (S * frames * area(stage)) // group * group)
            for first in range(0, samples, part):
                now = times[..., first : first + part].flatten(1)  # (S, F n)
                blur = None
                if stage.radius is not None:
                    blur = stage.radius[some][:, :, span].repeat_interleave(
                        now.shape[1] // frames // group, 2
                    )
                light = composite(stage, some, now, blur, group)
                light = encode(light, response) if encoded else light
                total += light.unflatten(1, (frames, -1)).sum(2) * group
            out[some, span] = total / samples


def composite(stage: Stage, rows: Tensor, times: Tensor, blur: Tensor | None, group: int) -> Tensor:
    """Puts the layers of some scenes together, from back to front.

    Args:
        stage: all of them.
        rows: (S,) which scenes, those with the most layers first.
        times: (S, K) moments.
        blur: (S, L, K / group) radius of each layer's disk in pixels; None for a pinhole.
        group: that many moments in a row are averaged, layer by layer, before the lens.

    Returns:
        (S, K, 3, H, W) linear light; with a lens (S, K / group, 3, H, W).
    """
    margin = 0 if blur is None else stage.margin
    matrices = stage.matrices(rows, times)
    count = stage.scenes.count[rows]
    many = int(count[0])
    # One look at the device for all layers.
    with_layer = (count[:, None] > torch.arange(many, device=count.device)).sum(0).tolist()
    out = torch.empty(0)
    for layer, S in enumerate(with_layer):
        back = inverse(matrices[:S, layer])
        rgba = sample(stage, rows[:S], layer, back, margin, slice(None))  # (S, K, 4, H', W')
        if blur is not None:
            if group > 1:
                rgba = rgba.unflatten(1, (-1, group)).mean(2)
            flat = lens_blur(rgba.flatten(0, 1), blur[:S, layer].flatten(), margin)
            edge = slice(margin, -margin)
            rgba = flat[..., edge, edge].unflatten(0, rgba.shape[:2])
        if layer == 0:
            out = rgba[:, :, :3].contiguous()
        else:
            under = out[:S]
            under.mul_(1 - rgba[:, :, 3:].clamp(0, 1)).add_(rgba[:, :, :3])
    return out


def sample(
    stage: Stage, rows: Tensor, layer: int, back: Tensor, margin: int, channels: slice
) -> Tensor:
    """Looks one layer of some scenes up at all pixels.

    Args:
        stage: all of them.
        rows: (S,) which scenes.
        layer: which layer.
        back: (S, K, 3, 3) from the frame to the layer's plane.
        margin: pixels around the frame.
        channels: of the atlas.

    Returns:
        (S, K, C, H + 2 margin, W + 2 margin).
    """
    S, K = back.shape[:2]
    H, W = stage.height + 2 * margin, stage.width + 2 * margin
    x = torch.arange(W, device=back.device) + 0.5 - W / 2
    y = (torch.arange(H, device=back.device) + 0.5 - H / 2)[:, None]
    m = back[..., None, None]  # (S, K, 3, 3, 1, 1)
    index = stage.atlas.row[rows, layer]
    image = stage.atlas.rgba[index, channels]  # (S, C, A, A)
    # Pixels of the plane to the -1..1 of grid_sample.
    unit = (stage.atlas.scale[index] * 2 / image.shape[-1]).view(S, 1, 1, 1)
    grid = torch.empty(S, K, H, W, 2, device=back.device)
    w = (m[:, :, 2, 0] * x + m[:, :, 2, 1] * y + m[:, :, 2, 2]).reciprocal_().mul_(unit)
    for i in (0, 1):
        place = (m[:, :, i, 0] * x + (m[:, :, i, 1] * y + m[:, :, i, 2])).mul_(w)
        grid[..., i] = place
    return (
        look_up(stage, image, grid.view(S, K * H, W, 2), layer).view(S, -1, K, H, W).transpose(1, 2)
    )


def look_up(stage: Stage, image: Tensor, grid: Tensor, layer: int) -> Tensor:
    """Samples atlases: the background goes on without end, mirrored; a cut-out is alone."""
    mode = stage.scenes.config.interpolation
    rim = "zeros" if layer else "reflection"
    out = F.grid_sample(image, grid, mode=mode, padding_mode=rim, align_corners=False)
    return out.clamp_min_(0) if mode == "bicubic" else out


def sub_frames(stage: Stage) -> Tensor:
    """(B,) how many sub-frames each scene has: the longest path tells, or the scene itself."""
    scenes = stage.scenes
    T = stage.times.shape[1]
    steps = torch.linspace(-0.5, 0.5, PATH_STEPS + 1, device=stage.times.device)
    times = stage.times[..., None] + scenes.motion.exposure[:, None, None] * steps
    matrices = stage.matrices(slice(None), times.flatten(1)).unflatten(2, (T, -1))
    middle = inverse(matrices[:, :, :, PATH_STEPS // 2])[:, :, :, None]  # (B, L, T, 1, 3, 3)
    w, h = stage.half
    points = torch.tensor(
        [(0, 0), (-w, -h), (w, -h), (-w, h), (w, h)], dtype=torch.float32, device=times.device
    )
    places = apply((matrices @ middle)[..., None, :, :], points)  # (B, L, T, P + 1, 5, 2)
    length = places.diff(dim=3).norm(dim=-1).sum(3).amax((2, 3))  # (B, L)
    layer = torch.arange(length.shape[1], device=times.device)
    length = torch.where(layer < scenes.count[:, None], length, 0).amax(1)  # (B,)
    wanted = (length / scenes.config.sample_step).clamp(max=float(max(SAMPLES)))
    allowed = [n for n in SAMPLES if n <= scenes.config.max_samples]
    ladder = torch.tensor(allowed, device=times.device)
    number = ladder[torch.bucketize(wanted, ladder.float()).clamp(max=len(allowed) - 1)]
    # Even a short path needs more than its middle.
    number = number.clamp_min(allowed[min(1, len(allowed) - 1)])
    number = torch.where(length < STILL, torch.ones_like(number), number)
    return torch.where(scenes.motion.copies > 0, scenes.motion.copies, number)


def find_truth(stage: Stage, alpha: Tensor, truth: Collection[str]) -> dict[str, Tensor]:
    """The fields of `Rendered` that were requested; alpha is (B, T, L, H, W)."""
    scenes = stage.scenes
    found: dict[str, Tensor] = {}
    # Light of a layer that reaches the camera: what the nearer ones let through.
    through = F.pad((1 - alpha).flip(2).cumprod(2).flip(2)[:, :, 1:], (0, 0, 0, 0, 0, 1), value=1.0)
    if "layers" in truth:
        found["layers"] = alpha * through
    order = torch.arange(alpha.shape[2], device=alpha.device)[:, None, None]
    front = torch.where(alpha >= 0.5, order, torch.zeros_like(order)).amax(2)  # (B, T, H, W)
    if "depth" in truth:
        since = stage.times - scenes.motion.times[:, :1]
        near = 1 / layer_distance(scenes.lens, since)  # (B, L, T) dioptres
        found["depth"] = of_layer(depth_of(stage, near), front)[:, :, None]
    if "coc" in truth:
        radius = stage.radius
        if radius is None:
            radius = circles(scenes, stage.times)
        found["coc"] = of_layer(radius, front)[:, :, None]
    if "extent" in truth or "flow" in truth:
        matrices = stage.matrices(slice(None), stage.times)  # (B, L, T, 3, 3)
        if "extent" in truth:
            found["extent"] = path_length(stage, matrices, front)
        if "flow" in truth:
            for name, here, there in (
                ("forward", slice(None, -1), slice(1, None)),
                ("backward", slice(1, None), slice(None, -1)),
            ):
                step = matrices[:, :, there] @ inverse(matrices[:, :, here])
                ends, flow = follow(stage, step, front[:, here])
                found[f"flow_{name}"] = flow
                hidden = occluded(stage, ends, front[:, here], matrices[:, :, there])
                found[f"visible_{name}"] = (inside(stage, ends) & ~hidden)[:, :, None].float()
    return found


def depth_of(stage: Stage, near: Tensor) -> Tensor:
    """Dioptres (B, ..., T) as a share of the scene's depth: 0 = its nearest, 1 = its farthest."""
    slot = stage.scenes.lens.slot
    last = stage.scenes.count[:, None] - 1
    low = slot[:, :1, :1]
    high = slot[..., 1].gather(1, last)[..., None]
    return 1 - (near - low) / (high - low)


def of_layer(values: Tensor, front: Tensor) -> Tensor:
    """Values (B, L, T) of the layer that is in front, (B, T, H, W)."""
    B, T, H, W = front.shape
    per_frame = values.transpose(1, 2)  # (B, T, L)
    return per_frame.gather(2, front.view(B, T, H * W)).view(B, T, H, W)


def points_of(stage: Stage) -> Tensor:
    """(H, W, 2) centres of the pixels."""
    device = stage.times.device
    x = torch.arange(stage.width, device=device) + 0.5 - stage.width / 2
    y = torch.arange(stage.height, device=device) + 0.5 - stage.height / 2
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def follow(stage: Stage, step: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
    """Where the visible points go.

    Args:
        stage: the scenes.
        step: (B, L, T, 3, 3) from frame to frame, for each layer.
        front: (B, T, H, W) the layer in front.

    Returns:
        (B, T, H, W, 2) where they end, and (B, T, 2, H, W) how far they went.
    """
    B, T, H, W = front.shape
    each = step.transpose(1, 2).flatten(3)  # (B, T, L, 9)
    index = front.view(B, T, H * W, 1).expand(-1, -1, -1, 9)
    matrix = each.gather(2, index).view(B, T, H, W, 3, 3)
    start = points_of(stage)
    ends = apply(matrix, start)
    return ends, (ends - start).permute(0, 1, 4, 2, 3)


def path_length(stage: Stage, matrices: Tensor, front: Tensor) -> Tensor:
    """(B, T, 1, H, W) pixels that the visible points go during the exposure."""
    B, T, H, W = front.shape
    exposure = stage.scenes.motion.exposure[:, None]
    back = inverse(matrices)
    length = torch.zeros(B, T, H, W, device=front.device)
    before: Tensor | None = None
    for i in range(PATH_STEPS + 1):
        times = stage.times + exposure * (i / PATH_STEPS - 0.5)
        place, _ = follow(stage, stage.matrices(slice(None), times) @ back, front)
        if before is not None:
            length += (place - before).norm(dim=-1)
        before = place
    return length[:, :, None]


def occluded(stage: Stage, ends: Tensor, front: Tensor, matrices: Tensor) -> Tensor:
    """(B, T, H, W) True where a nearer layer covers the place `ends` (B, T, H, W, 2)."""
    hidden = torch.zeros_like(front, dtype=torch.bool)
    count = stage.scenes.count
    for layer in range(1, int(count.max())):
        rows = (count > layer).nonzero()[:, 0]
        index = stage.atlas.row[rows, layer]
        image = stage.atlas.rgba[index, 3:]
        back = inverse(matrices[rows, layer])  # (S, T, 3, 3)
        place = apply(back[:, :, None, None], ends[rows])  # (S, T, H, W, 2)
        unit = (stage.atlas.scale[index] * 2 / image.shape[-1]).view(-1, 1, 1, 1, 1)
        cover = look_up(stage, image, (place * unit).flatten(1, 2), layer)[:, 0]
        nearer = front[rows] < layer
        hidden[rows] |= (cover.view(nearer.shape) >= 0.5) & nearer
    return hidden


def inside(stage: Stage, places: Tensor) -> Tensor:
    """True where places (..., 2) lie between the centres of the outermost pixels."""
    w, h = stage.half
    limit = torch.tensor([w - 0.5, h - 0.5], device=places.device)
    return (places.abs() <= limit).all(-1)


def by_count(stage: Stage, rows: Tensor, per_scene: int) -> Iterator[Tensor]:
    """Scenes in chunks that fit, each with the most layers first."""
    rows = rows[stage.scenes.count[rows].argsort(descending=True, stable=True)]
    yield from rows.split(max(1, pixels(stage) // (per_scene * area(stage))))


def spans(stage: Stage, frames: int, samples: int = 1) -> Iterator[slice]:
    """Frames in chunks that fit."""
    many = max(1, pixels(stage) // (samples * area(stage)))
    for first in range(0, frames, many):
        yield slice(first, min(frames, first + many))


def area(stage: Stage) -> int:
    """Pixels of a frame with its margin."""
    return (stage.height + 2 * stage.margin) * (stage.width + 2 * stage.margin)


def pixels(stage: Stage) -> int:
    """Pixels that are worked on at once."""
    return CPU_PIXELS if stage.times.device.type == "cpu" else GPU_PIXELS
