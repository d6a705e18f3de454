"""What it costs that a model is chosen for each shot, against the best of those to choose from.

Usage: python benchmarks/blur_choice.py scenes [--every 3]
       python benchmarks/blur_choice.py mixed [--clips 4] [--side 256] [--frames 5]

`scenes` takes every third scene of the suites for motion, focus and both, as rendered and out of
H.264: the mean loss in dB of PSNR of a frame, restored by itself, against the best of the input,
`motion-s` and `focus-s`; and how many of the frames that are surely sharp are altered. `mixed` says
what the shots of the clips of `mixed_clip.py` are taken for; nothing is restored.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from blur_kind import SUITES, Truth
from mixed_clip import SHOTS, clip, psnr
from torch import Tensor

import unblur
from unblur.commands import analyze
from unblur.data.codec import Encoding, decode, through
from unblur.evaluation.encoded import FOLDER
from unblur.evaluation.rendered import SIDE
from unblur.evaluation.suites import Sources, find_suite
from unblur.restorers.registry import FOR, RESTORED_BY, load_model
from unblur.synth import held_out, render, sample_scenes

RATES = (None, 23, 29)
"""As rendered, and rate factors of H.264."""
FIRST, AT, STOP = 1, 2, 4
"""Frames of a scene that are looked at, and the one that is measured."""
NAMES = ("none", FOR["motion"][0], FOR["focus"][0])


class Case(NamedTuple):
    """A scene."""

    name: str
    rate: int | None
    frames: Tensor
    """(T, 3, H, W)."""
    sharp: Tensor
    """The truth of frame `AT`, (1, 3, H, W)."""
    unblurred: bool
    """Whether that frame surely is."""


def cases(every: int) -> Iterator[Case]:
    """Scenes of the suites, one after the other."""
    for suite in SUITES:
        for i, maker in enumerate(find_suite(suite, Sources()).clips(Sources())):
            if i % every != 1 % every:
                continue
            _, config, _, seed = maker.args  # type: ignore[attr-defined]
            generator = torch.Generator().manual_seed(seed)
            scenes = sample_scenes(config, held_out(), 1, generator)
            made = render(scenes, SIDE, SIDE, 5, truth={"extent", "coc"})
            assert made.extent is not None
            assert made.coc is not None
            truth = Truth.of(made.extent[0, AT], made.coc[0, AT])
            for rate in RATES:
                frames = made.blurred[0]
                if rate is not None:
                    with zipfile.ZipFile(FOLDER / f"{suite}-{rate}.zip") as archive:
                        frames = decode(archive.read(f"{i:02}.mkv"))
                frames = (frames * 255).round() / 255
                sharp = made.sharp[0, AT : AT + 1]
                yield Case(f"{suite} {i:02}", rate, frames, sharp, truth.kinds == (0, 0))


@torch.inference_mode()
def by_itself(name: str, frame: Tensor) -> Tensor:
    """A frame (1, 3, H, W) restored."""
    restorer = analyze.load_model(name, device="cpu")
    return restorer.run(frame, restorer.guide(frame), [0]).float().clamp(0, 1)[:1]


def scenes(every: int) -> None:
    """Prints each case, and the table."""
    losses: dict[int | None, list[list[float]]] = {rate: [] for rate in RATES}
    altered = dict.fromkeys(RATES, 0)
    for case in cases(every):
        seen = case.frames[FIRST:STOP]
        shots = unblur.analyze(seen, estimate=False, device="cpu").shots
        kind = next(s.kind for s in shots if s.start <= AT - FIRST < s.stop)
        frame = case.frames[AT : AT + 1]
        made = [frame, *(by_itself(name, frame) for name in NAMES[1:])]
        reached = [psnr(image, case.sharp) for image in made]
        chosen = NAMES.index(RESTORED_BY[kind][0])
        losses[case.rate].append([max(reached) - x for x in (*reached, reached[chosen])])
        altered[case.rate] += case.unblurred and chosen > 0
        figures = " ".join(f"{x:.2f}" for x in reached)
        print(f"{case.name} {case.rate}: {kind}, {figures}", flush=True)
    print("| frames | " + " | ".join(f"always {n}" for n in NAMES) + " | as chosen | altered |")
    for rate, rows in losses.items():
        means = torch.tensor(rows).mean(0).tolist()
        print(f"| {rate} | " + " | ".join(f"{x:.3f}" for x in means) + f" | {altered[rate]} |")


def mixed(clips: int, side: int, frames: int) -> None:
    """Prints what shots are taken for."""
    for number in range(clips):
        blurred, _ = clip(number, side, frames)
        for rate in RATES:
            seen = blurred
            if rate is not None:
                seen = through(blurred, Encoding("libx264", {"crf": str(rate)}))
            found = unblur.analyze(((seen * 255).round() / 255), estimate=False, device="cpu")
            for n, name in enumerate(SHOTS):
                at = n * frames + frames // 2
                shot = next(s for s in found.shots if s.start <= at < s.stop)
                looks = [f.kind for f in found.frames if n * frames <= f.index < (n + 1) * frames]
                print(f"{number} {rate} {name}: looks {looks}, taken for {shot.kind}", flush=True)


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("scenes", "mixed"))
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--frames", type=int, default=5)
    options = parser.parse_args()
    analyze.load_model = cache(load_model)  # once for all scenes
    if options.what == "scenes":
        scenes(options.every)
    else:
        mixed(options.clips, options.side, options.frames)


if __name__ == "__main__":
    main()
