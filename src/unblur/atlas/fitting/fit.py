"""The fit: layers are changed until they, blurred, look like the clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.losses import bootstrap, flow_disagreement, reconstruction, sparsity
from unblur.atlas.fitting.mapping import raster_points
from unblur.atlas.fitting.model import FLOOR, LayeredModel, composite, from_working
from unblur.atlas.fitting.motion import Motion
from unblur.atlas.fitting.paper import PaperModel
from unblur.atlas.fitting.presets import FitConfig, Phase
from unblur.atlas.fitting.texture import variation
from unblur.errors import NumericsError
from unblur.ops.color import to_linear

MARGIN = 6
"""Pixels of the margin beyond the largest radius: the soft rim of the disks."""
LAST_RATE = 0.05
"""Rate of learning at the end of the fit, over that at its start."""
WARM = 0.05
BETAS = (0.9, 0.95)
PAIRS = 2
"""Flows looked at in each step that looks at images too."""
BAND = 3
"""Pixels on both sides of a mask's rim where it says nothing."""
REPORT = 20
UPRIGHT = 2**40
"""Number of the first step of the stage before all phases, for what it draws by chance."""
UPRIGHT_RATE = 1e-3
UPRIGHT_SHARE = 0.1
"""Of a limit of time, what networks may take at most to learn where frames lie."""


@dataclass(frozen=True)
class Status:
    """How far a fit is."""

    step: int
    steps: int
    """In all, as far as is known."""
    psnr: float
    """Of the blurred layers beside the clip, in dB, over the last steps; NaN before the first."""
    seconds: float
    model: LayeredModel


Report = Callable[[Status], None]


class Targets:
    """The clip as the fit sees it, at each scale."""

    def __init__(self, frames: Tensor, motion: Motion, masks: Tensor, config: FitConfig) -> None:
        self.frames, self.motion, self.masks, self.config = frames, motion, masks, config
        self.rims = torch.stack([rim(mask) for mask in masks])  # (layers, T, H, W)
        self._images: dict[int, Tensor] = {}

    def images(self, scale: int) -> Tensor:
        """(T, 3, H, W) working values."""
        if scale not in self._images:
            light = to_linear(self.frames) if self.config.linear else self.frames
            small = F.avg_pool2d(light, scale) if scale > 1 else light
            out = (small.clamp_min(0) + FLOOR).sqrt() if self.config.linear else small
            self._images = {scale: out}
        return self._images[scale]

    def flows(self, pairs: Sequence[tuple[int, int]], scale: int) -> tuple[Tensor, Tensor]:
        """(B, 2, h, w) in pixels of the scale, and (B, 1, h, w) where they can be trusted."""
        flow = torch.stack([self.motion.flows[pair].float() for pair in pairs])
        valid = torch.stack([self.motion.valid[pair].float() for pair in pairs])
        if scale > 1:
            flow, valid = F.avg_pool2d(flow, scale) / scale, F.avg_pool2d(valid, scale)
        device = self.frames.device
        return flow.to(device), (valid > 0.99).float().to(device)

    def mask(self, layer: int, frames: Sequence[int], scale: int) -> tuple[Tensor, Tensor]:
        """(B, 1, h, w) share of the layer that is seen, and 1 where its mask can be trusted."""
        chosen = list(frames)
        share = self.masks[layer, chosen, None].float()
        hidden = self.masks[layer + 1 :, chosen].any(0)  # says nothing of what lies behind
        sure = (~(self.rims[layer, chosen] | hidden))[:, None].float()
        if scale > 1:
            share, sure = F.avg_pool2d(share, scale), F.avg_pool2d(sure, scale)
        device = self.frames.device
        return share.to(device), (sure > 0.99).float().to(device)


def rim(mask: Tensor) -> Tensor:
    """Where a mask (T, H, W) changes within `BAND` pixels."""
    side = 2 * BAND + 1
    x = mask[:, None].float()
    grown, inner = F.max_pool2d(x, side, 1, BAND), -F.max_pool2d(-x, side, 1, BAND)
    return (grown != inner)[:, 0]


class Fitter:
    """A fit that can be stopped after any step and go on from its state.

    Args:
        model: where it starts.
        targets: the clip.
        config: what is fitted.
        clock: what time is counted by, in seconds; by default `time.monotonic`.
    """

    def __init__(
        self,
        model: LayeredModel,
        targets: Targets,
        config: FitConfig,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.model, self.targets, self.config = model, targets, config
        self.clock = clock or time.monotonic
        self.step = 0
        """Of the schedule: where time is up, the rest of a phase is passed over."""
        self.done = 0
        """Steps that were taken."""
        self.upright = 0
        """Steps of the stage before all phases, in which networks learn where frames lie."""
        self.seconds = 0.0
        """Since the fit began, what came before the steps included."""
        self.prepared = 0.0
        """Of these, the seconds before the first step of a phase."""
        self.psnr = float("nan")
        self.optimizer = torch.optim.Adam(
            [{"params": p, "rate": rate, "name": name} for name, p, rate in model.groups()],
            betas=BETAS,
        )
        self.upright_optimizer = torch.optim.Adam(model.mappings.parameters(), UPRIGHT_RATE)

    def prepare(self, seconds: float) -> None:
        """Counts time that was spent before the steps."""
        self.seconds += seconds
        self.prepared += seconds

    def run(
        self,
        report: Report | None = None,
        minutes: float | None = None,
        save: Callable[[], None] | None = None,
        save_every: float = 60.0,
        closing: float = 0.0,
    ) -> None:
        """Goes on to the end, or until the time is up.

        Args:
            report: called every few steps.
            minutes: the steps are cut short so that all of the fit takes no more, with what was
                counted before; the phases in proportion. At least a step of each is done.
            save: called from time to time, to keep the state.
            save_every: seconds.
            closing: seconds of the minutes that are kept for what comes after the last step.
        """
        limit = None if minutes is None else max(0.0, 60 * minutes - closing)
        saved = time.monotonic()
        total = self.config.iterations
        allowed = self.seconds + UPRIGHT_SHARE * max(0.0, (limit or 0.0) - self.seconds)
        while self.step == 0 and self.upright < self.upright_steps:
            before = self.clock()
            self.upright_step()
            self.upright += 1
            self.prepare(self.clock() - before)
            if limit is not None and self.seconds >= allowed:
                self.upright = self.upright_steps
            if report and self.upright % (10 * REPORT) == 0:
                report(Status(0, total, self.psnr, self.seconds, self.model))
            if save and time.monotonic() - saved > save_every:
                save()
                saved = time.monotonic()
        while self.step < total:
            before = self.clock()
            self.one_step(self.progress(limit))
            self.step += 1
            self.done += 1
            self.seconds += self.clock() - before
            if limit is not None:
                self.step = self.after_time(limit)
            if report and (self.step % REPORT == 0 or self.step >= total):
                report(Status(self.step, total, self.psnr, self.seconds, self.model))
            if save and time.monotonic() - saved > save_every:
                save()
                saved = time.monotonic()

    def progress(self, limit: float | None) -> float:
        """How much of the fit is done, 0 to 1."""
        done = self.step / max(1, self.config.iterations)
        if limit is None:
            return done
        left, used = limit - self.prepared, self.seconds - self.prepared
        return min(1.0, max(done, used / left)) if left > 0 else 1.0

    def after_time(self, limit: float) -> int:
        """The next step: that of the next phase where this one has used its share of the time."""
        costs = [phase.iterations * cost(phase) for phase in self.config.phases]
        left, used = max(0.0, limit - self.prepared), self.seconds - self.prepared
        end, spent = 0, 0.0
        for phase, part in zip(self.config.phases, costs, strict=True):
            start, end = end, end + phase.iterations
            spent += part
            if start <= self.step < end and used >= left * spent / sum(costs):
                return end
        return self.step

    @property
    def upright_steps(self) -> int:
        """How many steps the stage before all phases has."""
        return self.config.upright if isinstance(self.model, PaperModel) else 0

    def upright_step(self) -> None:
        """Networks learn a little of where frames lie in the atlas."""
        assert isinstance(self.model, PaperModel)  # noqa: S101 others know from the start
        generator = torch.Generator().manual_seed(seed_of(self.config.seed, UPRIGHT + self.upright))
        for group in self.upright_optimizer.param_groups:
            group["lr"] = UPRIGHT_RATE * (1 - self.upright / self.upright_steps)
        self.upright_optimizer.zero_grad(set_to_none=True)
        self.model.off_upright(generator).backward()
        self.upright_optimizer.step()

    def phase(self) -> Phase:
        """The one that the next step belongs to."""
        end = 0
        for phase in self.config.phases:
            end += phase.iterations
            if self.step < end:
                return phase
        return self.config.phases[-1]

    def one_step(self, progress: float) -> None:
        """Changes the layers a little."""
        phase = self.phase()
        # Chosen by the number of the step alone, so that a resumed fit takes the same steps.
        generator = torch.Generator().manual_seed(seed_of(self.config.seed, self.step))
        for group in self.optimizer.param_groups:
            learned = phase.geometry or group["name"] == "mappings"
            if group["name"] == "radii" and self.config.coc != "learned":
                learned = learned and phase.scale == 1  # small frames make them come out small
            group["lr"] = group["rate"] * schedule(progress) * learned
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.flow_loss(phase, generator, phase.frames if not phase.geometry else PAIRS)
        if phase.geometry:
            loss = loss + self.image_loss(phase, generator, progress)
        else:
            frames = range(self.model.frames)
            loss = loss + self.config.rigidity * self.bending(frames, generator)
        if not bool(torch.isfinite(loss)):
            raise NumericsError(
                f"the fit gave values that are not finite in step {self.step}: report this clip"
            )
        loss.backward()
        self.optimizer.step()

    def image_loss(self, phase: Phase, generator: torch.Generator, progress: float) -> Tensor:
        """Frames through the lens beside those of the clip, and what keeps the layers in order."""
        model, c = self.model, self.config
        # Networks need the steps that a schedule begins with, however few are left by the clock.
        slow = isinstance(model, PaperModel)
        begun = self.done / c.iterations if slow else progress
        frames = torch.randperm(model.frames, generator=generator)[: phase.frames].tolist()
        canvas = self.canvas(phase.scale)
        atlases = model.atlases(phase.scale)
        look = model.look(canvas, frames, atlases)
        shown = canvas.crop(model.blurred(look, phase.scale))
        truth = self.targets.images(phase.scale)[frames]
        error = float((shown.detach() - truth).square().mean())
        now = -10 * torch.tensor(max(error, 1e-10)).log10().item()
        self.psnr = now if self.psnr != self.psnr else 0.9 * self.psnr + 0.1 * now
        loss = c.reconstruction * reconstruction(shown, truth, c.ms_ssim)
        loss = loss + c.rigidity * self.bending(frames, generator)
        if c.sparsity:
            ramp = min(1.0, 10 * begun)  # or all atlases would turn black at the start
            for colour, alpha in zip(look.colours, look.alphas, strict=True):
                if alpha is not None:
                    loss = loss + ramp * c.sparsity * sparsity(colour, alpha)
        if c.smooth_texture:
            loss = loss + c.smooth_texture * sum(variation(a[:3]) for a in atlases)
        if c.refine_coc and c.coc != "none" and c.smooth_radius:
            radii: Any = model.radii
            for field in radii:
                loss = loss + c.smooth_radius * field.knots.diff(n=2, dim=0).square().mean()
        strength = c.bootstrap * max(0.0, 1 - begun / c.bootstrap_until)
        if strength:
            for i, alpha in enumerate(look.alphas):
                if alpha is not None:
                    mask, sure = self.targets.mask(i, frames, phase.scale)
                    loss = loss + strength * bootstrap(canvas.crop(alpha), mask, sure)
        return loss

    def flow_loss(self, phase: Phase, generator: torch.Generator, count: int) -> Tensor:
        """Points that the flow joins are to be one point of the atlas."""
        model, motion = self.model, self.targets.motion
        pairs = motion.pairs
        if not pairs or not self.config.flow:
            return torch.zeros(())
        chosen = [pairs[int(i)] for i in torch.randint(len(pairs), (count,), generator=generator)]
        H, W = model.size
        canvas = Canvas(H, W, 0, max(2, phase.scale))
        flow, valid = self.targets.flows(chosen, canvas.scale)
        starts, ends = [a for a, _ in chosen], [b for _, b in chosen]
        total = torch.zeros(())
        mappings: Any = model.mappings
        for layer, mapping in enumerate(mappings):
            if isinstance(model, PaperModel):
                weight = valid * self.shown(model, layer, canvas, starts)
            else:
                share, _ = self.targets.mask(layer, starts, canvas.scale)
                weight = valid * (share > 0.99)
            here, there = mapping(canvas, starts), mapping(canvas, ends)
            # In pixels of the frame.
            total = total + canvas.scale * flow_disagreement(
                here / canvas.scale, there / canvas.scale, flow, weight
            )
        return self.config.flow * total

    def shown(self, model: PaperModel, layer: int, canvas: Canvas, frames: Sequence[int]) -> Tensor:
        """Part of each pixel (B, 1, h, w) that shows a layer of two or more."""
        H, W = model.size
        points = raster_points(model.frames, H, W, canvas, frames, model.maps.device)
        left = torch.ones_like(points[..., :1]).permute(0, 3, 1, 2)
        for i in range(len(model.names) - 1, layer, -1):
            left = left * (1 - model.alpha(i, points))
        return left * model.alpha(layer, points) if layer else left

    def bending(self, frames: Sequence[int], generator: torch.Generator) -> Tensor:
        """How much the maps of all layers bend."""
        if isinstance(self.model, PaperModel):
            return self.model.rigidity(generator)
        chosen = list(frames)
        mappings: Any = self.model.mappings
        total: Tensor = sum(mapping.bending(chosen) for mapping in mappings)
        return total

    def canvas(self, scale: int) -> Canvas:
        """Frames at a scale, with room for the lens."""
        H, W = self.model.size
        # The paper's networks cost most by the pixel, and say nothing of what lies beyond a frame.
        if self.config.coc == "none" or isinstance(self.model, PaperModel):
            return Canvas(H, W, 0, scale)
        radii: Any = self.model.radii
        with torch.no_grad():
            widest = max(float(field.knots.abs().max()) for field in radii)
        return Canvas(H, W, 4 * -(-int(widest + MARGIN) // 4), scale)


def seed_of(seed: int, step: int) -> int:
    """What a step draws by chance depends on, beside the clip."""
    return seed * 1_000_003 + step


def cost(phase: Phase) -> float:
    """Time of a step, beside those of other phases."""
    pixels = phase.frames / phase.scale**2
    return pixels if phase.geometry else 0.15 * pixels


def schedule(progress: float) -> float:
    """Rate of learning, 1 at its greatest: up quickly, then down along a cosine."""
    up = min(1.0, (progress + 0.005) / WARM)
    down = 0.5 + 0.5 * float(torch.cos(torch.tensor(progress * torch.pi)))
    return up * (LAST_RATE + (1 - LAST_RATE) * down)


@torch.no_grad()
def sharp_frames(model: LayeredModel, frames: Sequence[int] | None = None) -> Tensor:
    """(n, 3, H, W) encoded RGB in [0, 1], all in focus."""
    H, W = model.size
    atlases = model.atlases()
    out = []
    for t in range(model.frames) if frames is None else frames:
        look = model.look(Canvas(H, W), [t], atlases)
        sharp = composite(look.colours, look.alphas)
        out.append(from_working(sharp, model.config.linear)[0].cpu())
    return torch.stack(out)
