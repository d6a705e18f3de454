"""How layers and camera move: smooth random paths, and the homographies they make.

Coordinates of a frame have their origin in its middle, x to the right, y down, in pixels. A layer
has a plane of its own with the origin in its middle; `layer_to_frame` maps the one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unblur.synth.config import SceneConfig
from unblur.synth.draw import Draw

KNOTS = 32
"""Knots of a path. It repeats itself after the last."""
MAX_FRAMES = 256
MOVES = 6
"""What a path moves: x, y, roll, zoom, tilt about y, tilt about x. All in pixels: the last four as
the displacement of a point that lies half a diagonal away from the middle."""
WEIGHTS = (1.0, 1.0, 0.5, 0.35, 0.12, 0.12)
"""Usual size of each move beside the others."""
NOMINAL = 128.0
"""Half diagonal with which the speed of a path is measured."""


@dataclass(frozen=True)
class Motion:
    """Paths of a batch of scenes. B scenes, L layers, P = 6 moves, K knots."""

    centre: Tensor
    """(B, L, 2) place of a layer's middle at time 0, over half the frame's size."""
    angle: Tensor
    """(B, L) radians a layer is turned by at time 0."""
    knots: Tensor
    """(B, L, P, K) knots of the objects' own paths."""
    drift: Tensor
    """(B, L, P) and steady motion on top, per unit of time."""
    rate: Tensor
    """(B, L) knots per unit of time."""
    camera_knots: Tensor
    """(B, P, K) the camera's path, common to all layers."""
    camera_drift: Tensor
    """(B, P)"""
    camera_rate: Tensor
    """(B,)"""
    parallax: Tensor
    """(B, L) how much more or less a layer follows the camera's x and y; 0 for a pure rotation."""
    times: Tensor
    """(B, F) middle of each exposure."""
    repeats: Tensor
    """(B, F) int64: the first frame of which this one is a copy; itself where it is none."""
    exposure: Tensor
    """(B,) how long the shutter is open, in the units of `times`."""
    copies: Tensor
    """(B,) int64: sub-frames of an exposure; 0 where they are as many as its path needs."""


def sample_motion(config: SceneConfig, draw: Draw, count: Tensor, nearness: Tensor) -> Motion:
    """Draws the paths of `len(count)` scenes.

    Args:
        config: the ranges.
        draw: where the numbers come from.
        count: (B,) number of layers.
        nearness: (B, L) of each layer, 0 = far, 1 = near: near layers show more parallax.
    """
    B, L = nearness.shape
    device = nearness.device
    weights = torch.tensor(WEIGHTS, device=device)
    # A camera does not use each of its moves in each scene, nor does an object.
    used = draw.uniform(0, 1, B, L, MOVES) * draw.chance(0.7, B, L, MOVES)
    camera_used = draw.uniform(0.3, 1, B, MOVES) * draw.chance(0.8, B, MOVES)
    rate = draw.log_uniform(*config.knots, B, L)
    camera_rate = draw.log_uniform(*config.knots, B)
    part = draw.uniform(*config.camera, B)
    own = (1 - part)[:, None, None] * draw.uniform(0, 1, B, L)[:, :, None] * used * weights
    shared = part[:, None] * camera_used * weights
    # A path of quick turns covers less ground at the same speed.
    knots = draw.normal(B, L, MOVES, KNOTS) * (own / rate[:, :, None])[..., None]
    camera_knots = draw.normal(B, MOVES, KNOTS) * (shared / camera_rate[:, None])[..., None]
    # Zoom and tilt must not run away on a long clip: only x, y and roll drift.
    steady = torch.tensor([1.0, 1.0, 0.3, 0, 0, 0], device=device)
    drift = draw.normal(B, L, MOVES) * own * steady * draw.uniform(0, 1.5, B, L)[:, :, None]
    camera_drift = draw.normal(B, MOVES) * shared * steady * draw.uniform(0, 1.5, B)[:, None]
    # The background moves with the camera alone.
    knots[:, 0] = 0
    drift[:, 0] = 0

    step = draw.uniform(*config.frame_step, B)
    exposure = draw.uniform(*config.exposure, B) * step
    copies = torch.zeros(B, dtype=torch.int64, device=device)
    if config.averaged > 0:  # or numbers would be drawn that scenes without it never drew
        low, high = config.averaged_frames
        copies = draw.integer(low, high + 1, B) // 2 * 2 + 1
        copies = torch.where(draw.chance(config.averaged, B), copies, 0)
        exposure = torch.where(copies > 0, step, exposure)
    if config.mode == "focus":
        exposure = torch.zeros_like(exposure)
        copies = torch.zeros_like(copies)
    times, repeats = frame_times(config, draw, B)
    background = torch.zeros(B, 1, 2, device=device)
    motion = Motion(
        centre=torch.cat((background, draw.uniform(-0.8, 0.8, B, L - 1, 2)), 1),
        angle=0.3 * draw.normal(B, L),
        knots=knots,
        drift=drift,
        rate=rate,
        camera_knots=camera_knots,
        camera_drift=camera_drift,
        camera_rate=camera_rate,
        parallax=nearness * draw.uniform(0, 1, B)[:, None] * draw.chance(0.6, B)[:, None],
        times=times * step[:, None],
        repeats=repeats,
        exposure=exposure,
        copies=copies,
    )
    return at_speed(motion, speeds(config, draw, B), config.motion[1], count, step)


def speeds(config: SceneConfig, draw: Draw, B: int) -> Tensor:
    """(B,) usual motion of the quickest layer of each scene, in pixels from frame to frame."""
    low, high = config.motion
    speed = draw.uniform(low, high, B)
    kind = draw.uniform(0, 1, B)
    speed = torch.where(kind < config.static + config.light, draw.uniform(0.1, 2, B), speed)
    return torch.where(kind < config.static, torch.zeros_like(speed), speed.clamp(max=high))


def frame_times(config: SceneConfig, draw: Draw, B: int) -> tuple[Tensor, Tensor]:
    """(B, F) times in frames and (B, F) which frame each is a copy of."""
    again = draw.chance(0.3, B, MAX_FRAMES) & draw.chance(config.repeated, B)[:, None]
    again[:, 0] = False
    turns = draw.chance(0.15, B, MAX_FRAMES) & draw.chance(config.reversed, B)[:, None]
    direction = 1 - 2 * (turns.cumsum(1) % 2)  # forwards until the first turn, then backwards
    direction = torch.where(draw.chance(0.5, B)[:, None], direction, -direction)
    steps = torch.where(again, torch.zeros_like(direction), direction)
    steps[:, 0] = 0
    index = torch.arange(MAX_FRAMES, device=draw.device).expand(B, -1)
    first = torch.where(again, torch.zeros_like(index), index).cummax(1).values
    return steps.cumsum(1).float() + draw.uniform(0, KNOTS, B)[:, None], first


def at_speed(motion: Motion, speed: Tensor, greatest: float, count: Tensor, step: Tensor) -> Motion:
    """Scales all paths so that the quickest layer usually moves `speed` px from frame to frame.

    Where that would take anything beyond `greatest` at any time, the scene is slower.
    """
    L = motion.angle.shape[1]
    scaled = motion
    here = torch.arange(L, device=count.device) < count[:, None]  # (B, L)
    at = torch.linspace(-1, 1, 3, device=count.device) * NOMINAL * 0.5
    points = torch.cartesian_prod(at, at)  # (9, 2) of the frame
    # Some frames of the first stretch stand for all; half a frame apart so that no swing is missed.
    times = motion.times[:, :1] + torch.arange(17, device=count.device) * 0.5 * step[:, None]
    for _ in range(2):  # rotations are not quite linear: once more
        matrices = layer_to_frame(scaled, times, (NOMINAL / 2**0.5, NOMINAL / 2**0.5))
        later = matrices[:, :, 2:] @ inverse(matrices[:, :, :-2])  # (B, L, 15, 3, 3)
        moved = apply(later[:, :, :, None], points) - points  # (B, L, 15, 9, 2)
        length = moved.norm(dim=-1) * here[..., None, None]  # (B, L, 15, 9)
        usual = length.square().mean((2, 3)).sqrt().amax(1).clamp_min(1e-6)  # (B,)
        factor = torch.minimum(speed / usual, greatest / length.amax((1, 2, 3)).clamp_min(1e-6))
        factor = torch.where(speed > 0, factor, torch.zeros_like(speed))
        # No path that hardly moves is blown up to any length.
        factor = factor.clamp(max=1e3)[:, None, None, None]
        scaled = replace(
            scaled,
            knots=scaled.knots * factor,
            drift=scaled.drift * factor[..., 0],
            camera_knots=scaled.camera_knots * factor[..., 0],
            camera_drift=scaled.camera_drift * factor[..., 0, 0],
        )
    return scaled


def layer_to_frame(motion: Motion, times: Tensor, half: tuple[float, float]) -> Tensor:
    """Homographies from the planes of the layers to the frame.

    Args:
        motion: the paths.
        times: (B, M) moments.
        half: half the width and half the height of the frame in pixels.

    Returns:
        (B, L, M, 3, 3).
    """
    radius = (half[0] ** 2 + half[1] ** 2) ** 0.5
    # Times count from the first frame, or a drift would have carried all out of sight.
    since = times - motion.times[:, :1]
    own = spline(motion.knots, (times[:, None] * motion.rate[..., None]))  # (B, L, P, M)
    own = own + motion.drift[..., None] * since[:, None, None]
    camera = spline(motion.camera_knots, times * motion.camera_rate[:, None])  # (B, P, M)
    camera = camera + motion.camera_drift[..., None] * since[:, None]
    size = torch.tensor(half, device=times.device)
    shift = motion.parallax[:, :, None, None] * camera[:, None, :2]  # (B, L, 2, M)
    place = (motion.centre * size)[..., None] + own[:, :, :2] + shift  # (B, L, 2, M)
    turned = motion.angle[..., None] + own[:, :, 2] / radius
    layer = homography(place, turned, own[:, :, 3:], radius)
    seen = homography(camera[:, :2], camera[:, 2] / radius, camera[:, 3:], radius)
    return seen[:, None] @ layer


def homography(place: Tensor, turned: Tensor, moves: Tensor, radius: float) -> Tensor:
    """Tilt, then zoom and roll, then shift.

    Args:
        place: (..., 2, M) pixels.
        turned: (..., M) radians.
        moves: (..., 3, M) zoom and the two tilts, pixels at `radius` from the middle.
        radius: pixels.

    Returns:
        (..., M, 3, 3).
    """
    zoom, tilt_x, tilt_y = moves.unbind(-2)
    scale = (zoom / radius).clamp(-0.7, 0.7).exp()
    cos, sin = scale * turned.cos(), scale * turned.sin()
    x, y = place.unbind(-2)
    gx, gy = (tilt.clamp(-0.2 * radius, 0.2 * radius) / radius**2 for tilt in (tilt_x, tilt_y))
    one = torch.ones_like(x)
    rows = (
        (cos + x * gx, -sin + x * gy, x),
        (sin + y * gx, cos + y * gy, y),
        (gx, gy, one),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def spline(knots: Tensor, at: Tensor) -> Tensor:
    """Uniform cubic B-spline, without end: the knots repeat.

    Args:
        knots: (..., P, K).
        at: (..., M) in knots.

    Returns:
        (..., P, M), twice continuously differentiable.
    """
    whole = at.floor()
    t = (at - whole)[..., None, :]  # (..., 1, M)
    index = whole.long()
    value = torch.zeros((*knots.shape[:-1], at.shape[-1]), dtype=at.dtype, device=at.device)
    basis = (
        (1 - t) ** 3,
        3 * t**3 - 6 * t**2 + 4,
        -3 * t**3 + 3 * t**2 + 3 * t + 1,
        t**3,
    )
    for i, weight in enumerate(basis):
        wrapped = ((index + i - 1) % knots.shape[-1])[..., None, :].expand(value.shape)
        value = value + weight / 6 * knots.gather(-1, wrapped)
    return value


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of homographies up to scale: the adjugate, (..., 3, 3)."""
    a, b, c = matrix.unbind(-1)
    rows = (torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b))
    adjugate = torch.stack(rows, -2)
    return adjugate / adjugate[..., 2:, 2:]


def apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Maps points by homographies: (..., 3, 3) and (..., 2) broadcast to (..., 2)."""
    x, y = points.unbind(-1)
    m = matrix
    w = m[..., 2, 0] * x + m[..., 2, 1] * y + m[..., 2, 2]
    return torch.stack(
        (
            (m[..., 0, 0] * x + m[..., 0, 1] * y + m[..., 0, 2]) / w,
            (m[..., 1, 0] * x + m[..., 1, 1] * y + m[..., 1, 2]) / w,
        ),
        -1,
    )
