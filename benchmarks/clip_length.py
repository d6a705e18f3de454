"""What more frames are worth to the narrow BSSTNet of Table 5: PSNR over T, as in Table 4.

    unblur reproduce bsstnet --table 5 --textures BANK --arm-minutes 5 --minutes M --out DIR
    python benchmarks/clip_length.py DIR [--scenes N]

Each arm that was trained there restores scenes of 48 frames of 256x256 in pieces of T frames that
follow each other; flow is that of DIS. All learned from clips of 5 frames, so a gain over T is what
longer clips give a network that never saw one. In every arm the decoder swaps features with the
frame before, and the first frame of a piece with its last, so .01 dB say nothing. Writes
results/clip_length.csv and .md beside this file. Half an hour of one core for four arms.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import table
import torch

from unblur import weights
from unblur.metrics import psnr
from unblur.reproduce.papers import PAPERS
from unblur.reproduce.parts import Train
from unblur.reproduce.run import recipe_of
from unblur.synth import held_out, render, sample_scenes
from unblur.training.batches import Batch, scene_config
from unblur.training.deblur_task import TrainBSSTNet
from unblur.training.tasks import open_task

LENGTHS = (2, 3, 6, 12, 24, 48)
FRAMES, SIDE, SEED = 48, 256, 41
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what `unblur reproduce` was given as --out")
    parser.add_argument("--scenes", type=int, default=4, help="to restore (default: 4)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    arms = [
        step
        for part in PAPERS["bsstnet"]
        if part.name == "table 5"
        for step in part.steps
        if isinstance(step, Train) and step.changes["seed"] == 0
    ]
    found = {arm.arm: options.folder / arm.name / "run" / "best.safetensors" for arm in arms}
    if not any(path.is_file() for path in found.values()):
        parser.error(f"{options.folder} has no trained arm of Table 5, such as {found['both']}")
    if options.scenes < 1:
        parser.error(f"--scenes {options.scenes}: take at least 1")
    config = scene_config(recipe_of(arms[0]).scenes)
    generator = torch.Generator().manual_seed(SEED)
    scenes = sample_scenes(config, held_out(), options.scenes, generator)
    clip = render(scenes, SIDE, SIDE, FRAMES)
    rows = []
    for arm in arms:
        if not found[arm.arm].is_file():
            continue
        task = open_task(recipe_of(arm), CPU)
        assert isinstance(task, TrainBSSTNet)
        network = task.network().eval()
        network.load_state_dict(weights.load(found[arm.arm]))
        gains = {
            f"T = {length}": f"{gain(task, network, clip.blurred, clip.sharp, length):.3f}"
            for length in LENGTHS
        }
        rows.append({"arm": arm.arm, **gains})
        print(rows[-1], flush=True)
    before = float(psnr(clip.blurred.flatten(0, 1), clip.sharp.flatten(0, 1)).mean())
    table.write(
        "clip_length",
        f"Gain in dB of narrow BSSTNets over an input of {before:.2f} dB, {options.scenes} "
        f"held-out scenes of {FRAMES} frames of {SIDE}x{SIDE}, restored in pieces of T frames. "
        f"torch {torch.__version__}.",
        rows,
    )


@torch.no_grad()
def gain(
    task: TrainBSSTNet,
    network: torch.nn.Module,
    blurred: torch.Tensor,  # (B, T, 3, H, W)
    sharp: torch.Tensor,  # (B, T, 3, H, W)
    length: int,
) -> float:
    """Mean over all frames, each restored once."""
    gains = []
    for scene in range(len(blurred)):
        for start in range(0, blurred.shape[1], length):
            piece = slice(start, start + length)
            before, truth = (x[scene : scene + 1, piece] for x in (blurred, sharp))
            after = task.restore(network, Batch(before, truth), list(range(length)), None)
            gains.append(psnr(after[0].clamp(0, 1), truth[0]) - psnr(before[0], truth[0]))
    return float(torch.cat(gains).mean())


if __name__ == "__main__":
    main()
