"""What the focal networks do to wanted blur, and to focus that is missed by the same everywhere.

    python benchmarks/focus_cases.py [--clips N] [--model NAME] [--model ...]

Rendered clips of held-out textures, 5 frames of 256x256 each, noise, compression and lights as in
the suites; all frames are restored and count:

- `radius R`: all out of focus, by a circle of confusion of R pixels radius that stays;
- `motion, in focus`: camera and objects move, all is in focus;
- `motion, partly in focus`: the same, and some layers are out of focus.

Of scenes that move those pixels are judged that are blurred by motion alone: moved by more than 4
pixels within the exposure, with a circle of confusion below half a pixel. `kept` is the PSNR of the
output against the blurred input there, above 60 dB counts as 60: motion blur that stays as it was
filmed. `gain` is that against the sharp truth; there it tells whether the blur was made less. A
name with `@coc` behind is given the true circle of confusion. Writes results/focus_cases.csv and
results/focus_cases.md beside this file; rows of other models stay.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import cv2
import table
import torch
from torch import Tensor

from unblur.evaluation.clip import Clip
from unblur.evaluation.models import Rows, methods
from unblur.evaluation.rendered import CAMERA, DAYLIGHT, EXPOSURE
from unblur.optics.thin_lens import thin_lens_radius
from unblur.synth import SceneConfig, held_out, render, sample_scenes
from unblur.synth.scenes import Scenes

SEED = 490_000
SIDE, FRAMES = 256, 5
MOVED, IN_FOCUS = 4.0, 0.5
"""Pixels: a way within the exposure from which on blur is one of motion, and a radius below which
there is no other."""
FEWEST = 0.02
"""Part of a clip that such pixels must make."""
CAP = 60.0
MODELS = ("focus-m", "focus-m@coc", "focus-s", "focus-s@coc", "motion-s")
DISTANCE, FOCUS = 3.0, 1.0
"""Metres: where all layers of a scene are whose blur is the same everywhere, and what is sharp."""


@dataclass(frozen=True)
class Case:
    """A kind of clip."""

    config: SceneConfig
    radius: float | None = None
    """Of the circle of confusion of everything; None where the scene's lens decides."""


MOVING = replace(DAYLIGHT, mode="joint", static=0.0, light=0.0, camera=CAMERA, exposure=EXPOSURE)
FILMED = replace(MOVING, motion=(12.0, 30.0))
CASES: Mapping[str, Case] = {
    **{f"radius {r}": Case(replace(DAYLIGHT, mode="focus", in_focus=0.0), r) for r in (2, 4, 6)},
    "motion, in focus": Case(replace(FILMED, in_focus=1.0)),
    "motion, partly in focus": Case(replace(FILMED, in_focus=0.0, coc=(4.0, 8.0), layers=(2, 5))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=5, help="of each case (default: 5)")
    parser.add_argument("--model", action="append", help=f"default: {', '.join(MODELS)}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = [methods(name, Rows(), "cpu", "fp32")[0] for name in options.model or MODELS]
    rows = table.earlier("focus_cases", "method", [method.name for method in found])
    for name, case in CASES.items():
        figures: dict[str, list[tuple[float, ...]]] = {}
        for clip, judged in clips(case, options.clips):
            for method in found:
                restored = method.restore(clip).clamp(0, 1)
                figures.setdefault(method.name, []).append(measure(clip, judged, restored))
        for method_name, clips_of in figures.items():
            input_, gain, kept = torch.tensor(clips_of).mean(0).tolist()
            rows.append(
                {
                    "case": name,
                    "clips": str(len(clips_of)),
                    "method": method_name,
                    "input, dB": f"{input_:.2f}",
                    "gain, dB": f"{gain:.2f}",
                    "kept, dB": "" if case.radius is not None else f"{kept:.1f}",
                }
            )
            print(rows[-1], flush=True)
    about = (
        f"Means over clips of {FRAMES} frames of {SIDE}x{SIDE}, held-out textures. `kept`: PSNR of "
        f"output against input. torch {torch.__version__}."
    )
    rows.sort(key=lambda row: list(CASES).index(row["case"]))
    table.write("focus_cases", about, rows)


def clips(case: Case, count: int) -> Iterator[tuple[Clip, Tensor]]:
    """Clips of a case, and the pixels (T, 1, H, W) that are judged; those with too few are left
    out.
    """
    bank = held_out()
    for i in range(count):
        config = replace(case.config, compressed=float(i % 2))
        scenes = sample_scenes(config, bank, 1, torch.Generator().manual_seed(SEED + i))
        if case.radius is not None:
            scenes = out_of_focus(scenes, case.radius)
        made = render(scenes, SIDE, SIDE, FRAMES, truth={"coc", "depth", "extent"})
        if made.coc is None or made.depth is None or made.extent is None:
            raise ValueError("the renderer left out a truth it was requested")
        judged = torch.ones_like(made.coc[0], dtype=torch.bool)
        if case.radius is None:
            judged = (made.extent[0] > MOVED) & (made.coc[0] < IN_FOCUS)
        if judged.float().mean() < FEWEST:
            continue
        clip = Clip(
            name=f"{i:02}",
            blurred=(made.blurred[0] * 255).round() / 255,
            sharp=made.sharp[0],
            scored=tuple(range(FRAMES)),
            depth=made.depth[0],
            radius=made.coc[0],
        )
        yield clip, judged


def out_of_focus(scenes: Scenes, radius: float) -> Scenes:
    """The scenes with all layers at one distance, and a lens that gives them this radius."""
    lens = scenes.lens
    at, focus = (torch.tensor([x]) for x in (DISTANCE, FOCUS))
    number = torch.full_like(lens.f_number, 2.0)
    unit = thin_lens_radius(at, focus, lens.focal_length, number, torch.ones(1))
    return replace(
        scenes,
        lens=replace(
            lens,
            slot=torch.full_like(lens.slot, 1 / DISTANCE),
            focus=torch.full_like(lens.focus, 1 / FOCUS),
            f_number=number,
            pixels_per_mm=radius / unit,
        ),
    )


def measure(clip: Clip, judged: Tensor, restored: Tensor) -> tuple[float, float, float]:
    """PSNR of the input, the gain on it, and PSNR of the output against the input, in dB."""
    before = decibel(clip.blurred, clip.sharp, judged)
    gain = decibel(restored, clip.sharp, judged) - before
    return before, gain, decibel(restored, clip.blurred, judged)


def decibel(x: Tensor, truth: Tensor, judged: Tensor) -> float:
    """PSNR over some pixels of a clip."""
    error = (x - truth).square().mean(1, keepdim=True)[judged].mean()
    return min(CAP, float(-10 * error.log10()))


if __name__ == "__main__":
    main()
