"""How exact layers are that are fitted to a clip: sharp frames, radii, flow from their maps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from unblur.atlas.fitting.fit import sharp_frames
from unblur.atlas.fitting.model import LayeredModel
from unblur.atlas.fitting.presets import CPU
from unblur.atlas.fitting.take import fit_frames, layers_of
from unblur.atlas.project.project import Project
from unblur.errors import UsageError
from unblur.evaluation import models
from unblur.evaluation.focus_pulls import FocusPull
from unblur.guidance.coc import coc_radius, load_coc_s
from unblur.guidance.flow import dis_flow
from unblur.metrics import psnr, ssim

SOFT = 1.0
"""Radius in pixels from which on a pixel is out of focus."""
RATE = Fraction(24)


@dataclass(frozen=True)
class Found:
    """What a method says of a clip; maps that it does not find are None."""

    sharp: Tensor
    """(T, 3, H, W) encoded."""
    radius: Tensor | None = None
    """(T, 1, H, W) of the circle of confusion, in pixels."""
    flow: Tensor | None = None
    """(T-1, 2, H, W) from each frame to the next, in pixels."""


Finder = Callable[[FocusPull], Found]


def layered_methods(device: torch.device) -> dict[str, Finder]:
    """The clip as it is, with what is found in it without layers; fitted layers; a network."""
    coc = load_coc_s(device)

    def as_it_is(clip: FocusPull) -> Found:
        frames = clip.blurred
        height, width = frames.shape[-2:]
        flow = dis_flow(frames, stride=1)[0][..., :height, :width]
        return Found(frames, coc_radius(coc, frames.to(device)).cpu(), flow)

    def network(clip: FocusPull) -> Found:
        (method,) = models.methods("focus-m", models.Rows(), str(device))
        return Found(method.restore(clip))

    def fitted(painted: bool, lens: bool, clip: FocusPull) -> Found:
        config = CPU if lens else replace(CPU, coc="none")
        labels = clip.labels if painted else None
        count = 2 if clip.labels is None else int(clip.labels.max()) + 1
        fitter = fit_frames(clip.blurred, config, count, labels=labels, device=device)
        return found_by(fitter.model, clip)

    return {
        "input": as_it_is,
        "focus-m": network,
        "atlas": lambda clip: fitted(False, True, clip),
        "atlas@masks": lambda clip: fitted(True, True, clip),
        "plain@masks": lambda clip: fitted(True, False, clip),
    }


def found_by(model: LayeredModel, clip: FocusPull) -> Found:
    """What fitted layers say."""
    layers = layers_of(model)
    T = len(clip.blurred)
    times = tuple(t / RATE for t in range(T))
    project = Project(layers, clip.blurred, times, RATE, model.config.beta)
    flow = torch.stack([project.flow(t, t + 1).flow for t in range(T - 1)])
    radius = None
    for layer in reversed(layers):  # from the background to the front
        if layer.radius is None:
            return Found(sharp_frames(model), None, flow)
        own, alpha = layer.radius[:], layer.alpha[:]
        radius = own if radius is None else alpha * own + (1 - alpha) * radius
    return Found(sharp_frames(model), radius, flow)


def layered_errors(clip: FocusPull, method: Finder) -> dict[str, Tensor]:
    """Figures of each frame, and errors of each pixel of what maps there are."""
    assert clip.radius is not None  # noqa: S101 the suite renders all three
    assert clip.flow is not None  # noqa: S101
    assert clip.visible is not None  # noqa: S101
    began = time.process_time()
    found = method(clip)
    seconds = (time.process_time() - began) / len(clip.blurred)
    sharp, none = found.sharp.cpu(), torch.zeros(0)
    if sharp.shape != clip.sharp.shape:
        raise UsageError(f"{clip.name}: the method gave {tuple(sharp.shape)}, not all frames")
    before, after = psnr(clip.blurred, clip.sharp), psnr(sharp, clip.sharp)
    soft = (clip.radius > SOFT).expand_as(sharp)
    there = clip.visible[0][:, 0] == 1
    flow = none if found.flow is None else (found.flow.cpu() - clip.flow[0]).norm(dim=1)
    return {
        "psnr": after,
        "gain": after - before,
        "soft": -10 * (sharp - clip.sharp).square()[soft].mean().log10()[None],
        "ssim": ssim(sharp, clip.sharp),
        "rmse": none if found.radius is None else 2 * (found.radius.cpu() - clip.radius),
        "flow": flow,
        "visible": none if found.flow is None else flow[there],
        "seconds": torch.tensor([seconds]),
    }
