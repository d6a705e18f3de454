"""What runs on a device: operations, networks, restorers, the renderer and steps of training.

Each case takes a device and a precision, makes its inputs on the CPU, always the same ones, and
returns what it found, on that device.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from unblur import weights
from unblur.engine.plan import MemoryPlan
from unblur.engine.tiled import run_tiled
from unblur.guidance.coc import coc_radius, load_coc_m, load_coc_s
from unblur.guidance.defocus import defocus_of_depths
from unblur.guidance.steady import steady
from unblur.metrics import psnr, ssim
from unblur.models import aligned, bsstnet, dabit, load_state
from unblur.models.flow_refocus import SMALL as SMALL_REFOCUS
from unblur.models.flow_refocus import FlowRefocus
from unblur.models.flow_s import FlowS
from unblur.models.look import Look
from unblur.models.maxim import Maxim, MaximConfig
from unblur.models.raft import Raft
from unblur.ops.blur_map import spread, squared_motion
from unblur.ops.color import SRGB, from_linear, to_linear
from unblur.ops.consistency import consistency
from unblur.ops.deform_conv import deform_conv2d
from unblur.ops.finest import finest_patterns
from unblur.ops.fusion import (
    CHANGE,
    agreement,
    change_map,
    enlarged,
    returns,
    smoothed,
    spectral_mean,
)
from unblur.ops.gaussian import gaussian_blur
from unblur.ops.pad import pad_flow, pad_to
from unblur.ops.propagation import propagate_pixels
from unblur.ops.resize import bicubic, enlarge_flow
from unblur.ops.turn import turned_flow
from unblur.ops.warp import compose, warp
from unblur.ops.wavelet import blur_of_depths
from unblur.optics.disk_blur import disk_blur, layered_blur
from unblur.restorers import registry
from unblur.restorers.base import LoadOptions, Precision, Priors, Tiling
from unblur.synth import SceneConfig, Source, TextureBank, render, sample_scenes
from unblur.training import losses
from unblur.training.batches import Rendered
from unblur.training.loop import step_seed
from unblur.training.recipe import Recipe
from unblur.training.tasks import open_task
from unblur.weights.difference import load_whole

Case = Callable[[torch.device, Precision], Tensor]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
HAS_OPENCV = find_spec("cv2") is not None


def draw(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    """Numbers in [0, 1], the same on every device."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def smooth(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    """Images (..., C, H, W) in [0, 1] that change slowly, as real ones do."""
    height, width = shape[-2:]
    size = (1, -1, height // 8 + 1, width // 8 + 1)
    coarse = draw(torch.device("cpu"), *shape[:-2], *size[2:], seed=seed).reshape(size)
    return bicubic(coarse, (height, width)).clamp(0, 1).reshape(shape).to(device)


def flow(device: torch.device, *shape: int) -> Tensor:
    """Motion of up to two elements each way."""
    return 4 * draw(device, *shape, seed=5) - 2


def operation(run: Callable[[torch.device], Tensor]) -> Case:
    """A case of what is computed in float32 whatever the precision."""
    return lambda device, _: run(device)


def half(run: Callable[[Tensor], Tensor], *shape: int) -> Case:
    """A case of an operation that takes images of any precision."""
    return lambda device, precision: run(smooth(device, *shape).to(DTYPES[precision]))


def deformed(device: torch.device) -> Tensor:
    x, offset = draw(device, 1, 4, 9, 11), flow(device, 1, 18, 9, 11)
    weight, mask = draw(device, 3, 4, 3, 3, seed=1), draw(device, 1, 9, 9, 11, seed=2)
    return deform_conv2d(x, offset, mask, weight, draw(device, 3, seed=3))


def propagated(device: torch.device) -> Tensor:
    frames, mask = draw(device, 1, 3, 3, 12, 16), (draw(device, 1, 3, 1, 12, 16) > 0.5).float()
    ahead = flow(device, 1, 2, 2, 12, 16)
    return propagate_pixels(frames, mask, ahead, -ahead)[0]


def layers(device: torch.device) -> Tensor:
    back, front = smooth(device, 1, 3, 40, 48), smooth(device, 1, 3, 40, 48, seed=1)
    alpha, radius = smooth(device, 1, 1, 40, 48, seed=2), torch.ones(1, 1, 40, 48, device=device)
    return layered_blur([(back, torch.ones_like(alpha), 4 * radius), (front, alpha, radius)])


def disks(device: torch.device) -> Tensor:
    return disk_blur(smooth(device, 2, 3, 40, 48), 6 * smooth(device, 2, 1, 40, 48, seed=1))


OPERATIONS: dict[str, Case] = {
    "blur map": operation(lambda d: spread(squared_motion(*[flow(d, 3, 2, 9, 11)] * 2, "maximum"))),
    "colour": half(lambda x: from_linear(to_linear(x, SRGB), SRGB), 2, 3, 20, 24),
    "consistency": operation(
        lambda d: consistency(flow(d, 2, 2, 9, 11), -flow(d, 2, 2, 9, 11)).float()
    ),
    "deformable convolution": operation(deformed),
    "finest patterns": operation(
        lambda d: (
            finest_patterns((draw(d, 2, 3, 64, 64) > 0.5).float())
            if finest_patterns((draw(d, 2, 3, 64, 64) > 0.5).float()) is not None
            else torch.zeros(1, device=d)
        )
    ),
    "gaussian": half(lambda x: gaussian_blur(x, 1.5), 2, 3, 20, 24),
    "padding": half(lambda x: pad_to(x, 32, 32), 2, 3, 20, 24),
    "padding of flow": operation(lambda d: pad_flow(flow(d, 1, 2, 9, 11), 16, 16)),
    "propagation": operation(propagated),
    "bicubic": half(lambda x: bicubic(x, (40, 48)), 2, 3, 20, 24),
    "enlarged flow": operation(lambda d: enlarge_flow(flow(d, 1, 2, 9, 11), 4)),
    "turned flow": operation(lambda d: turned_flow(flow(d, 1, 2, 9, 11), 5)),
    "warp": operation(lambda d: warp(draw(d, 2, 3, 9, 11), flow(d, 2, 2, 9, 11))),
    "composed flow": operation(lambda d: compose(*[flow(d, 2, 2, 9, 11)] * 2)),
    "blur of depths": operation(
        lambda d: blur_of_depths(draw(d, 2, 3, 32, 32), draw(d, 2, 1, 32, 32, seed=1))
    ),
    "defocus of depths": operation(
        lambda d: defocus_of_depths(draw(d, 2, 3, 32, 32), draw(d, 2, 1, 32, 32, seed=1))
    ),
    "steady": operation(lambda d: steady(draw(d, 4, 1, 9, 11))),
    "fusion": operation(lambda d: spectral_mean(smooth(d, 3, 3, 70, 90))),
    "fusion, gate": operation(
        lambda d: smoothed(
            agreement(
                0.1 * draw(d, 3, 40, 48),
                enlarged(
                    change_map(smooth(d, 3, 40, 48), smooth(d, 3, 40, 48, seed=1)),
                    (20, 24),
                    CHANGE // 2,
                ),
                0.01,
                0.5,
            )
        )
    ),
    "fusion, returns": operation(lambda d: returns(flow(d, 1, 2, 9, 11), -flow(d, 1, 2, 9, 11))),
    "disk blur": operation(disks),
    "disk blur of layers": operation(layers),
    "psnr": operation(lambda d: psnr(smooth(d, 2, 3, 40, 48), smooth(d, 2, 3, 40, 48, seed=1))),
    "ssim": operation(lambda d: ssim(smooth(d, 2, 3, 40, 48), smooth(d, 2, 3, 40, 48, seed=1))),
    **{
        f"loss {name}": operation(
            lambda d, loss=loss: loss(smooth(d, 2, 3, 40, 48), smooth(d, 2, 3, 40, 48, seed=1))
        )
        for name, loss in losses.LOSSES.items()
    },
}


def in_precision(
    net: nn.Module, device: torch.device, precision: Precision, run: Callable[[nn.Module], Tensor]
) -> Tensor:
    """A network as its restorer runs it: flow and positions stay float32 under autocast."""
    dtype = DTYPES[precision]
    with torch.inference_mode(), torch.autocast(device.type, dtype, dtype != torch.float32):
        return run(net.to(device).eval()).float()


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with the same random weights each time, none of them zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = make()
        with torch.no_grad():
            for parameter in net.parameters():
                if not parameter.any():
                    parameter.normal_(0, 0.02)
    return net


@cache
def state_of(name: str) -> dict[str, Tensor]:
    """The weights of a network that ships."""
    path = weights.require(name, "they come with unblur")
    if name in ALIGNED:
        return load_whole(path, partial(aligned.begin_from, config=ALIGNED[name]))
    return weights.load(path)


ALIGNED = {
    "motion-m": aligned.MOTION_M,
    "motion-s": aligned.MOTION_S,
    "focus-m": aligned.FOCUS_M,
    "focus-s": aligned.FOCUS_S,
}


def shipped(name: str, device: torch.device, precision: Precision) -> Tensor:
    """A network that sees neighbours, in the precision throughout as its restorer runs it."""
    config = ALIGNED[name]
    net = aligned.Aligned(config)
    load_state(net, state_of(name), name).to(device, DTYPES[precision]).eval()
    frames = 2 if config.neighbours else 1
    clip = smooth(device, 1, frames, 3, 56, 72)
    ahead = flow(device, 1, frames - 1, 2, 14, 18) if config.neighbours else None
    radius = 5 * smooth(device, 1, frames, 1, 56, 72) if config.guided else None
    back = None if ahead is None else -ahead
    with torch.inference_mode():
        return net(clip, ahead, back, [0], radius).float()


def maxim(device: torch.device, precision: Precision) -> Tensor:
    net = load_state(Maxim(MaximConfig()), state_of("maxim-stage1"), "maxim-stage1")
    net.to(device, DTYPES[precision]).eval()
    with torch.inference_mode():
        return net(smooth(device, 1, 3, 64, 64)).float()


def bsst(device: torch.device, precision: Precision, **changes: object) -> Tensor:
    net = seeded(lambda: bsstnet.BSSTNet(dataclasses.replace(bsstnet.TINY, **changes)))
    clip, ahead = smooth(device, 1, 4, 3, 60, 72), flow(device, 1, 3, 2, 15, 18)
    return in_precision(net, device, precision, lambda n: n(clip, ahead, -ahead))


def dabits(device: torch.device, precision: Precision) -> Tensor:
    net = seeded(lambda: dabit.Dabit(dabit.TINY))
    clip, blur = smooth(device, 1, 4, 3, 48, 64), smooth(device, 1, 4, 1, 48, 64, seed=1)
    ahead, scale = flow(device, 1, 3, 2, 48, 64), dabit.TINY.scales[-1]
    mask = (blur > 0.5).float()
    return in_precision(
        net,
        device,
        precision,
        lambda n: n(clip, blur, blur, mask, ahead, -ahead, outputs=3, scale=scale),
    )


def raft(device: torch.device, precision: Precision) -> Tensor:
    net = seeded(Raft)
    first, second = smooth(device, 2, 1, 3, 128, 128)
    return in_precision(net, device, precision, lambda n: n(first, second))


def flow_net(device: torch.device, precision: Precision) -> Tensor:
    net = load_state(FlowS(), state_of("flow-s"), "flow-s")
    ahead = flow(device, 1, 2, 2, 14, 18)
    clip = smooth(device, 1, 3, 3, 56, 72)
    return in_precision(net, device, precision, lambda n: n(clip, ahead, -ahead)[0])


def look(device: torch.device, precision: Precision) -> Tensor:
    net = load_state(Look(), state_of("look-s"), "look-s")
    frames, ahead = smooth(device, 2, 1, 64, 64), flow(device, 2, 2, 16, 16)
    return in_precision(net, device, precision, lambda n: n(frames, frames.flip(0), ahead)[0])


def circles(name: str, device: torch.device, _: Precision) -> Tensor:
    net = load_coc_m(device) if name == "coc-m" else load_coc_s(device)
    return coc_radius(net, smooth(device, 2, 3, 72, 88))


def refocus(device: torch.device, precision: Precision) -> Tensor:
    net = seeded(lambda: FlowRefocus(SMALL_REFOCUS))
    ahead, clip = flow(device, 1, 2, 2, 32, 40), smooth(device, 1, 3, 3, 32, 40)
    mask = (smooth(device, 1, 3, 1, 32, 40, seed=1) > 0.5).float()
    return in_precision(net, device, precision, lambda n: n(ahead, -ahead, clip, mask)[0])


NETWORKS: dict[str, Case] = {
    **{name: partial(shipped, name) for name in ALIGNED},
    "maxim-stage1": maxim,
    "bsstnet, official": partial(bsst, selection="official"),
    "bsstnet, paper": partial(bsst, selection="paper"),
    "bsstnet, dense": partial(bsst, selection="dense"),
    "dabit": dabits,
    "flow-s": flow_net,
    "look-s": look,
    "coc-s": partial(circles, "coc-s"),
    "coc-m": partial(circles, "coc-m"),
    "flow-refocus": refocus,
    "raft": raft,
}


def restored(name: str, device: torch.device, precision: Precision) -> Tensor:
    """Two frames by a restorer in tiles, from main memory and back."""
    restorer = registry.PRESETS[name].load(LoadOptions(device, precision, None))
    cpu = torch.device("cpu")
    clip = smooth(cpu, 2, 3, 72, 88)
    priors = None
    if restorer.info.needs_depth:
        maps = smooth(cpu, 2, 1, 72, 88, seed=1)
        priors = Priors((0, 1), maps, maps)
    fit = MemoryPlan(Tiling(size=64, overlap=16), None)
    return run_tiled(restorer, clip, [0, 1], fit, priors)


RESTORERS: dict[str, Case] = {
    name: partial(restored, name)
    for name in ("motion-m", "motion-s", "focus-m", "focus-s", "maxim-stage1", "bsstnet-tiny")
    # their flow is OpenCV's
    if HAS_OPENCV or name in ("focus-m", "maxim-stage1")
}


def bank() -> TextureBank:
    images = (draw(torch.device("cpu"), 4, 3, 160, 160) * 255).to(torch.uint8)
    return TextureBank(images, tuple(Source(f"{i}.png") for i in range(4)))


def rendered(mode: str, device: torch.device, _: Precision) -> Tensor:
    config = SceneConfig(mode=mode, noise=0.0)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    scenes = sample_scenes(config, bank().to(device), 2, generator)
    clip = render(scenes, 32, 48, 3, truth={"flow", "coc", "depth"})
    return torch.cat([x.flatten() for x in (clip.blurred, clip.sharp, clip.flow_forward)])


def fitted(preset: str, device: torch.device, _: Precision) -> Tensor:
    """Sharp frames of two layers after a few steps; motion is found on the CPU."""
    from tests.atlas import focus_pull
    from unblur.atlas.fitting.fit import sharp_frames
    from unblur.atlas.fitting.presets import PRESETS, Phase
    from unblur.atlas.fitting.take import fit_frames

    config = dataclasses.replace(
        PRESETS[preset],
        phases=(Phase(2, 2, 2), Phase(2, 1, 2)),
        largest_radius=5.0,
        widths=(8, 8, 8, 8),
        samples=32,
        upright=2,
    )
    pull = focus_pull.clip(frames=4)
    of_pixels = pull.radii[pull.labels, torch.arange(4)[:, None, None]][:, None]  # (T, 1, H, W)
    radii = of_pixels if config.mapping == "mlp" else pull.radii
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few steps come nowhere near the clip
        fitter = fit_frames(
            pull.blurred, config, labels=pull.labels, radii=radii, minutes=60, device=device
        )
    return sharp_frames(fitter.model).to(next(fitter.model.parameters()).device)


FITS: dict[str, Case] = {name: partial(fitted, name) for name in ("fast", "paper") if HAS_OPENCV}
SCENES: dict[str, Case] = {mode: partial(rendered, mode) for mode in ("motion", "focus", "joint")}


def learned(
    network: str, changes: dict[str, object], device: torch.device, precision: Precision
) -> Tensor:
    """Loss of a step, and the sums of gradients of a few of the parameters."""
    recipe = Recipe(network, frames=5, crop=32, precision="fp32", **changes)  # type: ignore[arg-type]
    task = open_task(recipe, device)
    config = SceneConfig(noise=0.0, mode="joint")
    depth = getattr(task, "needs_depth", False)
    source = Rendered(config, bank(), 5, 32, device, task.needs_flow, depth)
    net = seeded(task.network).to(device).train()
    batch = source.batch(1, 3)
    with torch.autocast(device.type, torch.bfloat16, precision == "bf16"):  # as in the loop
        loss = task.loss(net, batch, step_seed(0, 0, 1))
    loss.backward()
    sums = [p.grad.abs().sum() for p in net.parameters() if p.grad is not None][:8]
    return torch.stack([loss.detach(), *sums])


NARROW = {"width": 8, "tiles": (4, 4, 2)}
TRAINED: dict[str, Case] = {
    name: partial(learned, network, changes)
    for name, (network, changes) in {
        "motion-s": ("motion-s", {"options": NARROW}),
        "motion-m": ("motion-m", {"options": NARROW}),
        "focus-m": ("focus-m", {"options": NARROW}),
        "maxim-stage1": ("maxim-stage1", {"options": NARROW}),
        "bsstnet-tiny": ("bsstnet-tiny", {}),
    }.items()
}
"""Networks by the true flow: what a machine without OpenCV can train."""
