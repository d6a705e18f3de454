"""Trains look-s, which tells blur of motion from blur of focus, and measures it on held-out scenes.

Usage: python benchmarks/blur_kind.py TEXTURES OUT.safetensors [--clips 600] [--steps 450]

TEXTURES is a bank as `unblur data textures` makes it. A frame counts as blurred by motion where a
fifth of its pixels move 3 pixels or more while the shutter is open, and as out of focus where a
fifth have a circle of confusion with a radius of 1.5 pixels or more.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unblur import weights
from unblur.commands.analyze import LIKELY
from unblur.data.codec import Encoding, decode, through
from unblur.evaluation.encoded import FOLDER
from unblur.evaluation.rendered import CAMERA, DAYLIGHT, SIDE, moving, unfocused
from unblur.evaluation.suites import Sources, find_suite
from unblur.guidance.blur_kind import CELL, LIMITS, BlurKind, Cells, around, describe, measured
from unblur.guidance.coc import load_coc_s
from unblur.synth import SceneConfig, TextureBank, held_out, render, sample_scenes

SPEEDS = ((2, 6), (6, 12), (12, 26), (26, 40))
RADII = ((1, 2), (2, 5), (5, 9), (9, 14))
KINDS = ("sharp", "motion", "focus", "joint")
SUITES = ("synth-motion", "synth-focus", "synth-joint")
BLURRED = 0.2
"""Share of a frame's pixels."""
FOLDS = 3
SHIFTS = {6: 4.0, 7: 2.0}
"""Features that tell of contrast and noise, and how far they are moved at random in training."""


class Example(NamedTuple):
    """A frame and its truth."""

    cells: Cells
    truth: Tensor
    """(h w, 2) log(1 + pixels) of motion and radius."""
    shares: Tensor
    """(2,) of pixels above the limits."""


def scene(kind: str, draw: random.Random) -> SceneConfig:
    """Scenes of a kind; sharp ones stand still, or move before a quick shutter."""
    speed, radius = draw.choice(SPEEDS), draw.choice(RADII)
    if kind == "motion":
        return replace(moving("motion", speed), exposure=(0.3, 1.0))
    if kind == "focus":
        return unfocused(replace(DAYLIGHT, mode="focus"), radius)
    if kind == "joint":
        return unfocused(moving("joint", speed), radius)
    if draw.random() < 0.5:
        return unfocused(replace(DAYLIGHT, mode="focus"), (0, 0))
    if draw.random() < 0.3:
        return moving("motion", (0, 0))
    quick = replace(DAYLIGHT, mode="motion", static=0.0, light=0.0, camera=CAMERA)
    return replace(quick, motion=(1.0, 16.0), exposure=(0.01, 0.03))


def example(
    coc: nn.Module, frames: Tensor, extent: Tensor, radius: Tensor, t: int, o: int
) -> Example:
    """Frame `t` of a clip (T, 3, H, W), seen with frame `o`."""
    truth = [F.avg_pool2d(x[t, None].log1p(), CELL).flatten() for x in (extent, radius)]
    shares = [
        (x[t] >= limit).float().mean() for x, limit in zip((extent, radius), LIMITS, strict=True)
    ]
    return Example(measured(coc, frames[t], frames[o]), torch.stack(truth, -1), torch.stack(shares))


def training(bank: TextureBank, clips: int) -> list[list[Example]]:
    """Clips by fours of each kind."""
    coc, made = load_coc_s(), []
    for i in range(clips):
        draw = random.Random(i)
        config, loss = scene(KINDS[i % 4], draw), draw.random()
        config = replace(config, compressed=float(loss < 0.25))
        generator = torch.Generator().manual_seed(977_000_000 + i)
        scenes = sample_scenes(config, bank, 1, generator)
        clip = render(scenes, SIDE, SIDE, 4, truth={"extent", "coc"})
        frames = clip.blurred[0]
        if loss > 0.5:
            options = {"crf": str(draw.choice((20, 23, 26, 29, 32))), "preset": "medium"}
            frames = through(frames, Encoding("libx264", options))
        pairs = ((1, 2), (2, 1)) if i % 2 == 0 else ((2, 3),)
        made.append([example(coc, frames, clip.extent[0], clip.coc[0], *pair) for pair in pairs])
    return made


def fit_cells(examples: list[Example], steps: int) -> BlurKind:
    """The first network: of a cell and those around it."""
    network = BlurKind()
    x = torch.cat([around(e.cells).flatten(1).T for e in examples])
    y = torch.cat([e.truth for e in examples])
    counts = [e.cells.detail.flatten() / e.cells.detail.mean() for e in examples]
    weight = torch.cat(counts).clamp(0.1, 2)
    network.mean.copy_(x.mean(0))
    network.deviation.copy_(x.std(0) + 1e-3)
    optimizer = torch.optim.AdamW(network.cells.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    limits, half = torch.tensor(LIMITS).log1p(), x.shape[1] // 2
    for _ in range(steps):
        i = torch.randint(len(x), (1024,))
        seen = torch.where(torch.rand_like(x[i]) < 0.1, network.mean.expand_as(x[i]), x[i])
        seen = seen + 0.05 * torch.randn_like(seen) * network.deviation
        for place, range_ in SHIFTS.items():
            seen[:, [place, half + place]] += range_ * (torch.rand(len(i), 1) - 0.5)
        found = network.extents(seen.T[:, :, None])[:, 0]
        error = found[:, :2] - y[i]
        above = ((y[i] - limits) / 0.3).sigmoid()
        told = F.binary_cross_entropy_with_logits(found[:, 2:], above, reduction="none")
        loss = ((error.abs() / 2 + error.square() + told).sum(-1) * weight[i]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def described(network: BlurKind, examples: list[Example]) -> Tensor:
    """What frames are judged by, (n, FRAME_FEATURES)."""
    return torch.stack([describe(network.extents(around(e.cells)), e.cells) for e in examples])


def fit_frames(network: BlurKind, x: Tensor, examples: list[Example]) -> None:
    """The second network: of what the first one said of frames it had not seen."""
    shares = torch.stack([e.shares for e in examples])
    truth = (shares >= BLURRED).float() * 0.98 + 0.01
    weight = (0.15 + 4 * (shares - BLURRED).abs()).clamp(max=1)  # the limit is a matter of taste
    network.frame_mean.copy_(x.mean(0))
    network.frame_deviation.copy_(x.std(0) + 1e-3)
    optimizer = torch.optim.AdamW(network.frame.parameters(), 3e-3, weight_decay=0.3)
    for _ in range(400):
        seen = x + 0.1 * torch.randn_like(x) * network.frame_deviation
        found = network.kinds(seen)
        told = F.binary_cross_entropy_with_logits(found, truth, reduction="none")
        optimizer.zero_grad()
        (told * weight).mean().backward()
        optimizer.step()


def train(clips: list[list[Example]], steps: int) -> BlurKind:
    """Both networks."""
    examples = [e for clip in clips for e in clip]
    fold = torch.tensor([n // 4 % FOLDS for n, clip in enumerate(clips) for _ in clip])
    seen: list[Tensor] = [torch.empty(0)] * len(examples)
    for k in range(FOLDS):
        others = fit_cells([e for e, f in zip(examples, fold, strict=True) if f != k], steps)
        for i in (fold == k).nonzero()[:, 0].tolist():
            seen[i] = described(others, [examples[i]])[0]
    network = fit_cells(examples, steps)
    fit_frames(network, torch.stack(seen), examples)
    return network


def held_out_frames(suite: str, encoded: int | None) -> list[Example]:
    """Two frames of each scene of a suite."""
    import zipfile

    coc, found = load_coc_s(), []
    for i, maker in enumerate(find_suite(suite, Sources()).clips(Sources())):
        _, config, _, seed = maker.args  # type: ignore[attr-defined]
        generator = torch.Generator().manual_seed(seed)
        clip = render(
            sample_scenes(config, held_out(), 1, generator), SIDE, SIDE, 5, truth={"extent", "coc"}
        )
        frames = clip.blurred[0]
        if encoded is not None:
            with zipfile.ZipFile(FOLDER / f"{suite}-{encoded}.zip") as archive:
                frames = decode(archive.read(f"{i:02}.mkv"))
        frames = (frames * 255).round() / 255
        found += [example(coc, frames, clip.extent[0], clip.coc[0], t, t - 1) for t in (2, 4)]
    return found


def main() -> None:
    """Trains, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("textures")
    parser.add_argument("out")
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--steps", type=int, default=450)
    options = parser.parse_args()
    torch.manual_seed(0)
    network = train(training(TextureBank.load(options.textures), options.clips), options.steps)
    for encoded in (None, 23, 29):
        for suite in SUITES:
            examples = held_out_frames(suite, encoded)
            with torch.no_grad():
                said = network.kinds(described(network, examples)).sigmoid() > LIKELY
            right = said == (torch.stack([e.shares for e in examples]) >= BLURRED)
            motion, focus = right.float().mean(0).tolist()
            print(f"{suite} {encoded}: {motion:.3f} {focus:.3f} {right.all(1).float().mean():.3f}")
    facts = {"name": "look-s", "network": "look-s", "licence": "Apache-2.0"}
    weights.save(options.out, network.half().state_dict(), facts)


if __name__ == "__main__":
    main()
