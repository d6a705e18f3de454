"""Figures like those of the three papers, from rendered clips and what ships.

    python benchmarks/figures.py bsstnet|dabit|atlas N [--out DIR]

| figure | what it shows |
|---|---|
| bsstnet 1 | PSNR over cost: as published (GoPro), and our models on `synth-motion` as stored |
| bsstnet 6 | neighbours laid over a frame by flow alone, and weighted by blur maps |
| dabit 7 | optical flow of a clip out of focus, refocused, and true |
| atlas 5 | frames and x-t slices: input, a network, fitted layers, truth |
| atlas 6 | layers without a lens, with one, and with the circle of confusion |
| atlas 7 | circle of confusion: of a network, of fitted layers, true |
| atlas 8 | a limit: focus that stays gives layers nothing to learn from; x-t slices |
| atlas 9 | paint that is carried along, and focus that was moved |

Clips are those that suites render, of held-out textures. Writes PAPER_figure_N.png to
docs/images; what stands above the images, figures among it, goes to results/figures.csv and
results/figures.md, in place of what an earlier run of the same figure left, but not with `--out`.
One thread; the atlas is fitted in a minute or two of the CPU each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import table
import torch
from results_page import all_stored, commit
from torch import Tensor

from unblur.atlas import Project
from unblur.atlas.fitting.fit import sharp_frames
from unblur.atlas.fitting.presets import CPU
from unblur.atlas.fitting.take import fit_frames, layers_of
from unblur.evaluation import models
from unblur.evaluation.clip import Clip
from unblur.evaluation.focus_pulls import CLIPS, FocusPull, focus_pull, rough_labels, scene_of
from unblur.evaluation.layered import RATE, found_by
from unblur.evaluation.plots import COLOURS, Axis, axis
from unblur.evaluation.published import GOPRO
from unblur.evaluation.rendered import FOCUS_SEED, MOTION_SEED, Making, focus_clips, motion_clips
from unblur.guidance.blur_map import blur_map
from unblur.guidance.coc import coc_radius, load_coc_m
from unblur.guidance.flow import dis_flow
from unblur.guidance.flow_image import flow_to_rgb
from unblur.guidance.flow_refocus import load_flow_refocus_s, refocused_flow
from unblur.metrics import end_point_error, psnr
from unblur.ops.consistency import consistency
from unblur.ops.warp import warp
from unblur.reproduce.origin import cpu
from unblur.synth import held_out, render

IMAGES = Path(__file__).parents[1] / "docs" / "images"
HEAD, GAP, LARGER = 22, 4, 2
"""Pixels above an image for its name, pixels between images, and by how much they are enlarged."""
SIZE = (24, 108, 192)
"""Frames, height and width of a clip that layers are fitted to."""
SHOWN = (4, 12, 20)
"""Frames of it."""
APERTURE = 8
"""Radius of blur in pixels of what is furthest from the focus, in figure 9 of the atlas."""
LONGEST = 12.0
"""Radius of blur that is drawn white in DaBiT's figure 7, pixels."""
GFLOPS = {"RVRT": 88.8, "Shift-Net+": 146.0, "BSSTNet": 133.0}
"""Of a frame of 256x256, as the paper of BSSTNet prints them in its table 3."""

Named = tuple[str, Tensor]
"""An image (3, H, W) or (1, H, W) in [0, 1], and what stands above it."""


@dataclass(frozen=True)
class Figure:
    """What is drawn, and what is written in it."""

    image: np.ndarray
    """(H, W, 3) uint8 BGR."""
    words: Sequence[Sequence[str]]
    """Row by row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper", choices=sorted({paper for paper, _ in FIGURES}))
    parser.add_argument("number", type=int)
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    key = (options.paper, options.number)
    if key not in FIGURES:
        there = ", ".join(str(number) for paper, number in FIGURES if paper == options.paper)
        parser.error(f"{options.paper} has no figure {options.number} here: there are {there}")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    path = options.out / f"{options.paper}_figure_{options.number}.png"
    options.out.mkdir(parents=True, exist_ok=True)
    figure = FIGURES[key]()
    cv2.imwrite(str(path), figure.image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if options.out == IMAGES:  # elsewhere it is somebody's own
        keep(f"{options.paper} {options.number}", figure)
    print(path)


def keep(name: str, figure: Figure) -> None:
    """Puts what is written in a figure into the table of all of them."""
    origin = {"commit": commit(), "CPU": cpu()}
    rows: list[dict[str, object]] = [*table.earlier("figures", "figure", [name])]
    rows += [
        {"figure": name, "row": number, "shown": "; ".join(words), **origin}
        for number, words in enumerate(figure.words, 1)
    ]
    rows.sort(key=lambda row: (str(row["figure"]), int(str(row["row"]))))
    about = "What stands in the figures, row by row. By `python benchmarks/figures.py PAPER N`."
    table.write("figures", about, rows, show=False)


def cost() -> Figure:
    """PSNR over cost of what is published, beside what was stored of our models."""
    theirs = [(GFLOPS[row.method], row.psnr, row.method) for row in GOPRO if row.method in GFLOPS]
    stored = [item for item in all_stored() if item["name"] in ("motion", "motion-s")]
    rows = {row["method"]: row for item in stored for row in item["result"]["means"]}
    ours = [
        (1000 * rows[name]["seconds"], rows[name]["psnr"], name)
        for name in ("wiener", "motion-s", "motion-m")
    ]
    left = scatter("GoPro, as published", "GFLOPs for 256x256", theirs)
    right = scatter("synth-motion, measured", "ms for 256x256, one CPU thread", ours, log=True)
    words = [f"{name}: {value:.2f} dB" for points in (theirs, ours) for _, value, name in points]
    return Figure(np.concatenate((left, right), 1), [words])


def scatter(
    heading: str, across: str, points: Sequence[tuple[float, float, str]], log: bool = False
) -> np.ndarray:
    """PSNR in dB over something, each point with its name; BGR uint8."""
    height, width, left, bottom = 380, 460, 60, 330
    page = np.full((height, width, 3), 255, np.uint8)
    x = axis([point[0] for point in points], left, width - 90, log)
    y = axis([point[1] for point in points], bottom, 40)
    grid(page, x, y, bottom, width - 20)
    write(page, heading, (left, 20), 0.55)
    write(page, across, (left + 60, height - 8))
    write(page, "PSNR, dB", (4, 34))
    for i, (cost, value, name) in enumerate(points):
        at = (round(x(cost)), round(y(value)))
        red, green, blue = bytes.fromhex(COLOURS[i % len(COLOURS)][1:])
        cv2.circle(page, at, 5, (blue, green, red), -1, cv2.LINE_AA)
        write(page, name, (at[0] + 8, at[1] + 4))
    return page


def grid(page: np.ndarray, x: Axis, y: Axis, bottom: int, right: int) -> None:
    """Pale lines at round values, with these values."""
    left = round(x.start)
    for value in x.ticks():
        at = round(x(value))
        cv2.line(page, (at, 40), (at, bottom), (225, 225, 225))
        write(page, f"{value:g}", (at - 10, bottom + 18))
    for value in y.ticks():
        at = round(y(value))
        cv2.line(page, (left, at), (right, at), (225, 225, 225))
        write(page, f"{round(value, 6):g}", (4, at + 4))


def alignment() -> Figure:
    """Neighbours laid over a frame: by flow alone, and those that are sharper weighing more.

    The clip and frame are those of `synth-motion` whose neighbours differ most in sharpness.
    """
    clips = [make() for make in motion_clips(Making(held_out()), seed=MOTION_SEED)[:8]]
    return sheet([aligned(clip) for clip in sorted(clips, key=sharpness_range)[-3:]])


def sharpness_range(clip: Clip) -> float:
    """How far the frames of a clip differ in PSNR, dB."""
    found = psnr(clip.blurred, clip.sharp)[1:-1]
    return float(found.max() - found.min())


def aligned(clip: Clip) -> list[Named]:
    """The most blurred frame but the outer ones, its blur map, both fusions and the truth."""
    t = 1 + int(psnr(clip.blurred, clip.sharp)[1:-1].argmin())
    forward, backward = full_flow(clip.blurred)
    blur = blur_map(forward, backward)  # (T, 1, H, W)
    images, weights = [clip.blurred[t]], [torch.ones_like(blur[t])]
    for other, to, back in (
        (t - 1, backward[t - 1], forward[t - 1]),
        (t + 1, forward[t], backward[t]),
    ):
        images.append(warp(clip.blurred[other][None], to[None])[0])
        weights.append(consistency(to[None], back[None])[0])
    moved = [blur[t]]
    moved += [warp(blur[t - 1][None], backward[t - 1][None])[0]]
    moved += [warp(blur[t + 1][None], forward[t][None])[0]]
    by_flow = mean_of(images, weights)
    sharper = [w * (0.02 + 1 - b) ** 4 for w, b in zip(weights, moved, strict=True)]
    by_blur = mean_of(images, sharper)
    truth = clip.sharp[t]
    return [
        (said("input", clip.blurred[t], truth), clip.blurred[t]),
        ("blur map", blur[t]),
        (said("flow alone", by_flow, truth), by_flow),
        (said("blur maps too", by_blur, truth), by_blur),
        ("truth", truth),
    ]


def mean_of(images: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Weighted mean of images (3, H, W) by weights (1, H, W)."""
    summed = sum(w * x for w, x in zip(weights, images, strict=True))
    return torch.as_tensor(summed / sum(weights))


def full_flow(frames: Tensor) -> tuple[Tensor, Tensor]:
    """DIS of each pixel, both ways, (T-1, 2, H, W) pixels."""
    height, width = frames.shape[-2:]
    forward, backward = dis_flow(frames, stride=1)
    return forward[..., :height, :width], backward[..., :height, :width]


def flow() -> Figure:
    """Optical flow between frames 3 and 4 of the clips most out of focus, the mean motion off."""
    network, coc, t = load_flow_refocus_s(), load_coc_m(), 3
    clips = [make() for make in focus_clips(Making(held_out(), flow=True), seed=FOCUS_SEED)]
    rows: list[list[Named]] = []
    for clip in sorted(clips, key=lambda clip: -clip.facts["coc_px"])[:3]:
        assert clip.flow is not None
        found = full_flow(clip.blurred)
        radius = coc_radius(coc, clip.blurred)
        refocused = refocused_flow(network, clip.blurred, *found, radius, stride=1)[0]
        truth = clip.flow[0][t]
        mean = truth.mean((1, 2), keepdim=True)
        longest = float((truth - mean).norm(dim=0).max())
        rows.append([("input", clip.blurred[t]), ("radius of blur", radius[t] / LONGEST)])
        for name, one in (("flow", found[0][t]), ("refocused", refocused[t]), ("truth", truth)):
            error = float(end_point_error(one, truth))
            title = name if one is truth else f"{name}, {error:.2f} px off"
            rows[-1].append((title, flow_to_rgb((one - mean)[None], longest)[0]))
    return sheet(rows)


def slices() -> Figure:
    """A frame and, below, one row of it over time: input, focus-m, fitted layers, truth."""
    clip = focus_pull("stream", *SIZE)
    (network,) = models.methods("focus-m", models.Rows(), "cpu")
    columns = [
        ("input", clip.blurred),
        ("focus-m", network.restore(clip)),
        ("layers", fitted(clip)),
        ("truth", clip.sharp),
    ]
    t, row = SHOWN[-1], SIZE[1] // 2
    frames = [(said(name, x[t], clip.sharp[t]), x[t]) for name, x in columns]
    return sheet([frames, [over_time(x, row) for _, x in columns]])


def over_time(frames: Tensor, row: int) -> Named:
    """One row of frames (T, 3, H, W), the first frame on top: an x-t slice."""
    return f"row {row} over time", frames[:, :, row].transpose(0, 1).repeat_interleave(3, 1)


def arms() -> Figure:
    """What each part of the fit gives, in three frames."""
    clip = focus_pull("stream", *SIZE)
    columns = [
        ("input", clip.blurred),
        ("no lens", fitted(clip, "none")),
        ("+ lens", fitted(clip, "learned")),
        ("+ circle of confusion", fitted(clip)),
        ("truth", clip.sharp),
    ]
    return sheet(
        [[(f"frame {t}: {said(n, x[t], clip.sharp[t])}", x[t]) for n, x in columns] for t in SHOWN]
    )


def radii() -> Figure:
    """The circle of confusion as a network and fitted layers find it, black = in focus.

    White is the largest true radius of the clip.
    """
    clip = focus_pull("stream", *SIZE)
    assert clip.radius is not None
    fitter = fit_frames(clip.blurred, CPU, 2, labels=clip.labels)
    layers = found_by(fitter.model, clip).radius
    assert layers is not None
    columns = [("coc-m", coc_radius(load_coc_m(), clip.blurred)), ("layers", layers)]
    rows = []
    longest = float(clip.radius.max())
    for t in SHOWN:
        row = [(f"frame {t}: input", clip.blurred[t])]
        for name, found in columns:
            error = float((found[t] - clip.radius[t]).square().mean().sqrt())
            row.append((f"{name}, {error:.2f} px off", found[t] / longest))
        rows.append([*row, (f"truth, white = {longest:.1f} px", clip.radius[t] / longest)])
    return sheet(rows)


def limit() -> Figure:
    """The same scene with a pull of focus, and with a focus that stays on the foreground.

    A frame and, below, one row of it over time: the pull is seen there.
    """
    rows = []
    for name, clip in (("pull", focus_pull("stream", *SIZE)), ("focus stays", without_pull())):
        t, truth = SHOWN[0], clip.sharp
        columns = [
            (f"{name}, frame {t}: input", clip.blurred),
            ("layers", fitted(clip)),
            ("truth", truth),
        ]
        rows.append([(said(title, x[t], truth[t]), x[t]) for title, x in columns])
        rows.append([over_time(x, SIZE[1] // 2) for _, x in columns])
    return sheet(rows)


def without_pull() -> FocusPull:
    """The clip `stream` with its focus on the foreground all the time."""
    frames, height, width = SIZE
    scenes = scene_of(*CLIPS["stream"], frames, width)
    nearest = scenes.lens.focus[:, :1].expand_as(scenes.lens.focus)
    scenes = replace(scenes, lens=replace(scenes.lens, focus=nearest))
    made = render(scenes, height, width, frames, truth={"coc", "layers"})
    assert made.layers is not None
    return FocusPull(
        name="still",
        blurred=(made.blurred[0] * 255).round() / 255,
        sharp=made.sharp[0],
        scored=tuple(range(frames)),
        labels=rough_labels(made.layers[0]),
    )


def edits() -> Figure:
    """Paint on the atlas of the foreground, carried along; focus on one layer, on the other."""
    clip = focus_pull("stream", *SIZE)
    layers = layers_of(fit_frames(clip.blurred, CPU, 2, labels=clip.labels).model)
    times = tuple(t / RATE for t in range(len(clip.blurred)))
    project = Project(layers, clip.blurred, times, RATE, CPU.beta)
    front, back = project.layers[0], project.layers[-1]
    paint = torch.zeros(4, *front.texture.shape[-2:])
    row, column = (int(at.float().mean()) for at in (front.seen[0] > 0.9).nonzero(as_tuple=True))
    paint[:, row - 12 : row + 12, column - 24 : column + 24] = torch.tensor([0.0, 0.9, 1.0, 1.0])[
        :, None, None
    ]
    columns = [
        ("input", clip.blurred[list(SHOWN)]),
        ("paint on the atlas", project.edit({front.name: paint}, "reblurred", SHOWN)),
        ("focus in front", project.refocus([front.name], SHOWN, aperture=APERTURE)),
        ("focus behind", project.refocus([back.name], SHOWN, aperture=APERTURE)),
    ]
    return sheet([[(f"frame {t}: {n}", x[i]) for n, x in columns] for i, t in enumerate(SHOWN)])


def fitted(clip: FocusPull, coc: str = "estimated") -> Tensor:
    """Sharp frames of layers that are fitted to a clip, with masks as a user would paint them."""
    config = replace(CPU, coc=coc)  # type: ignore[arg-type]
    return sharp_frames(fit_frames(clip.blurred, config, 2, labels=clip.labels).model)


def said(name: str, image: Tensor, truth: Tensor) -> str:
    """A name with the PSNR of its image; the truth has none."""
    return name if torch.equal(image, truth) else f"{name}, {float(psnr(image, truth)):.2f} dB"


def sheet(rows: Sequence[Sequence[Named]]) -> Figure:
    """Rows of images below each other, names on top of each."""
    image = np.concatenate([np.concatenate([*map(cell, row)], 1) for row in rows])
    return Figure(image, [[name for name, _ in row] for row in rows])


def cell(named: Named) -> np.ndarray:
    """One image, enlarged, with its name above."""
    name, image = named
    codes = image.expand(3, -1, -1).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    large = cv2.resize(codes, None, fx=LARGER, fy=LARGER, interpolation=cv2.INTER_CUBIC)
    page = np.full((large.shape[0] + HEAD, large.shape[1] + GAP, 3), 255, np.uint8)
    page[HEAD:, :-GAP] = large[:, :, ::-1]
    write(page, name, (2, HEAD - 6), 0.55)
    return page


def write(page: np.ndarray, words: str, at: tuple[int, int], size: float = 0.42) -> None:
    """Black words."""
    cv2.putText(page, words, at, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)


FIGURES: dict[tuple[str, int], Callable[[], Figure]] = {
    ("bsstnet", 1): cost,
    ("bsstnet", 6): alignment,
    ("dabit", 7): flow,
    ("atlas", 5): slices,
    ("atlas", 6): arms,
    ("atlas", 7): radii,
    ("atlas", 8): limit,
    ("atlas", 9): edits,
}


if __name__ == "__main__":
    main()
