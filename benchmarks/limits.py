"""What holds the trained networks back: new clips, new textures, optical flow, or none of these.

    python benchmarks/limits.py --textures BANK [--clips N] [--model NAME ...] [--weights FILE]

Each network restores the middle frame of rendered clips, drawn as those of its own recipe are:

- `trained on`: the first clips of the pool that it was trained on;
- `new clips`: other scenes of the same textures;
- `new textures`: scenes of the textures that no training sees.

A network that has learned its clips by heart gains less on new clips, one that knows its textures
less on new textures. On the last the optical flow is then replaced: by the true one, and by none,
so that the network sees no neighbour; what they change is what better flow could gain at most
without training, and what neighbours gain now. `maxim-stage1`, which has seen none of the clips and
textures, tells which clips are hard by themselves. Gains are means over all clips, in dB, over the
blurred input. `weak` and `strong` are the halves of the clips with less and more blur, by the PSNR
of their input. Writes results/limits.csv and results/limits.md beside this file.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import table
import torch
from torch import Tensor

import unblur
from unblur.metrics import detail, psnr
from unblur.models.aligned import Aligned
from unblur.restorers.aligned import AlignedRestorer
from unblur.synth import TextureBank, held_out
from unblur.training import recipe as recipes
from unblur.training.batches import Batch, Rendered, scene_config
from unblur.training.deblur_task import TrainAligned
from unblur.training.focal_task import radius_of
from unblur.training.source import POOL_SEED, VALIDATION_SEED
from unblur.training.tasks import open_task

SIDE = 256
NEW_SEED = 5_000_000
START = "maxim-stage1"
"""What the networks began as."""
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--textures", type=Path, required=True, help="the bank trained on")
    parser.add_argument("--clips", type=int, default=24, help="of each kind (default: 24)")
    parser.add_argument("--model", nargs="+", default=["motion-s", "motion-m", "focus-s"])
    parser.add_argument("--weights", type=Path, help="of the model, instead of those that ship")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    bank = TextureBank.load(options.textures)
    about = (
        f"Middle frames of clips of 256x256, {options.clips} of each kind; dB; torch "
        f"{torch.__version__}."
    )
    rows: list[dict[str, Any]] = [*table.earlier("limits", "network", options.model)]
    for name in options.model:
        rows += rows_of(name, bank, options.clips, options.weights)
        table.write("limits", about, rows)


@torch.inference_mode()
def rows_of(name: str, bank: TextureBank, clips: int, weights: Path | None) -> list[dict[str, Any]]:
    """The lines of a network."""
    recipe = recipes.load(name)
    restorer = unblur.load_model(name, weights=weights, device="cpu", precision="fp32")
    task = open_task(recipe, CPU)
    if not isinstance(restorer, AlignedRestorer) or not isinstance(task, TrainAligned):
        raise SystemExit(f"{name}: only networks of models/aligned.py are looked at")
    config = scene_config(recipe.scenes)
    known, unseen = (Rendered(config, x, recipe.frames, SIDE, CPU) for x in (bank, held_out()))
    rows = []
    for kind, source, seed in (
        ("trained on", known, POOL_SEED + recipe.seed),
        ("new clips", known, NEW_SEED),
        ("new textures", unseen, VALIDATION_SEED),
    ):
        batches = [source.batch(1, seed + i) for i in range(clips)]
        for flow in ("DIS", "true", "no neighbours") if source is unseen else ("DIS",):
            figures = measured(task, restorer.network, batches, flow)
            rows.append({"network": name, "clips": kind, "flow": flow, **figures})
    return rows


def measured(
    task: TrainAligned, network: Aligned, batches: list[Batch], flow: str
) -> dict[str, float | str]:
    """Mean gain over the middle frames of some clips, and the rest of a line."""
    before, after, found, start_after = [], [], [], []
    for batch in batches:
        middle = batch.blurred.shape[1] // 2
        blurred, sharp = batch.blurred[:, middle], batch.sharp[:, middle]
        if flow == "DIS":
            restored = task.restore(network, batch, [middle], None)[:, 0].clamp(0, 1)
        else:
            shown, at = (batch, middle) if flow == "true" else (alone(batch, middle), 0)
            if task.config.guided:
                shown = replace(shown, radius=radius_of(shown, "coc-s", None))
            restored = task.apply(network, shown, [at])[:, 0].clamp(0, 1)
        before.append(psnr(blurred, sharp, cap=50.0))
        after.append(psnr(restored, sharp, cap=50.0))
        found.append(detail(restored, sharp))
        if flow == "DIS":
            start_after.append(psnr(unblur.restore(blurred, model=START), sharp, cap=50.0))
    start = torch.cat(before)
    gain = torch.cat(after) - start
    weak = start >= start.median()
    return {
        "input": mean(start),
        "gain": mean(gain),
        "weak blur": mean(gain[weak]),
        "strong blur": mean(gain[~weak]),
        "detail": mean(torch.cat(found)),
        f"{START} gains": mean(torch.cat(start_after) - start) if start_after else "",
    }


def alone(batch: Batch, t: int) -> Batch:
    """One frame of a clip, as if there were no other."""
    none = batch.blurred.new_zeros(len(batch.blurred), 0, 2, SIDE // 4, SIDE // 4)
    return Batch(batch.blurred[:, t : t + 1], batch.sharp[:, t : t + 1], none, none)


def mean(values: Tensor) -> float:
    return round(float(values.mean()), 3)


if __name__ == "__main__":
    main()
