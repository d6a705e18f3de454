"""How fast edits are rendered again, and how exact flow from layers is.

    python benchmarks/atlas_edit.py speed
    python benchmarks/atlas_edit.py fit CLIP=PROJECT ... [--preset NAME]
    python benchmarks/atlas_edit.py flow CLIP=PROJECT ... [--fit]
    python benchmarks/atlas_edit.py strip CLIP=PROJECT

CLIP is `stream`, `garden` or `confetti`, the rendered clips of `atlas.py`. `fit` fits them as the
row `full` there.

`speed` renders a project of 512x288 whose maps are in memory, on one thread, and counts the
CPU's time, so that other work beside disturbs little: two cores do no worse than one.

`flow` compares the flow of fitted projects with the truth, between frames up to 9 apart, beside
OpenCV's DIS and flow-s on the clip as it was given, out of focus. `--fit` fits those that are not
there before, in a minute or two of the CPU each. CLIP alone takes the clip's own layers:
what is left is the error of turning the maps round. Writes results/atlas_speed.csv and
results/atlas_flow.csv.

`strip` draws docs/images/atlas_refocus.jpg: the clip; paint carried along; focus on the foreground,
by a disk and by a hexagon with highlights; focus on the background.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from atlas import fit
from atlas_clips import RATE, Clip, rendered, times_of, true_flow, true_project
from torch import Tensor

import unblur
from unblur.atlas import Project
from unblur.atlas.fitting.presets import preset
from unblur.atlas.fitting.take import layers_of
from unblur.atlas.project.clip import Light
from unblur.atlas.project.edit import edit_frames
from unblur.atlas.project.refocus import refocus_frames
from unblur.atlas.project.render import render_frames
from unblur.atlas.project.store import HEAD
from unblur.guidance.flow import flow_s, load_flow_s
from unblur.metrics import psnr

RESULTS = Path(__file__).parent / "results"
STRIP = Path(__file__).parents[1] / "docs" / "images" / "atlas_refocus.jpg"
GAPS = (1, 3, 5, 7, 9)
EVERY = 8
"""Frames from one start to the next."""
SPEED_FRAMES = 24
TIMED = "stream"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("speed")
    for name in ("fit", "flow", "strip"):
        verb = verbs.add_parser(name)
        count = 1 if name == "strip" else "+"
        verb.add_argument("projects", nargs=count, metavar="CLIP=PROJECT")
        verb.add_argument("--frames", type=int, default=48)
        verb.add_argument("--height", type=int, default=144)
        verb.add_argument("--width", type=int, default=256)
        if name != "strip":
            verb.add_argument("--preset", default="cpu")
        if name == "flow":
            verb.add_argument("--fit", action="store_true", help="those that are not there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.verb == "fit":
        for word in options.projects:
            fit_project(word, options)
        return
    if options.verb == "flow" and options.fit:
        for word in options.projects:
            folder = word.partition("=")[2]
            if folder and not (Path(folder) / HEAD).is_file():
                fit_project(word, options)
    with torch.inference_mode():
        if options.verb == "speed":
            write("atlas_speed", speed())
        elif options.verb == "strip":
            draw_strip(options)
        else:
            write("atlas_flow", accuracy(options))


def speed() -> list[dict[str, str]]:
    """A row for each way to render."""
    project = true_project(rendered(TIMED, SPEED_FRAMES, 288, 512))
    front, back = (torch.zeros(4, *layer.texture.shape[-2:]) for layer in project.layers)
    for sheet in (front, back):
        height, width = sheet.shape[-2:]
        sheet[0] = 1
        sheet[3, height // 4 : -height // 4, width // 4 : -width // 4] = 1
    one, both = {"foreground": front}, {"foreground": front, "background": back}
    ways: dict[str, Callable[[list[int]], Iterator[Tensor]]] = {
        "sharp": partial(render_frames, project, "sharp"),
        "edit, sharp": partial(edit_frames, project, both, "sharp"),
        "edit, over the original, one layer": partial(edit_frames, project, one, "over-original"),
        "edit, over the original, both": partial(edit_frames, project, both, "over-original"),
        "edit, re-blurred, one layer": partial(edit_frames, project, one, "reblurred"),
        "edit, re-blurred, both": partial(edit_frames, project, both, "reblurred"),
        "re-blurred": partial(render_frames, project, "reblurred"),
        "refocus, disk": partial(refocus_frames, project, ["foreground"]),
        "refocus, hexagon": lambda frames: refocus_frames(
            project, ["foreground"], frames, bokeh="hexagon"
        ),
    }
    rows = []
    for name, way in ways.items():
        list(way([0]))
        started = time.process_time()
        count = sum(1 for _ in way(list(range(SPEED_FRAMES))))
        spent = (time.process_time() - started) / count
        rows.append(
            {"mode": name, "ms a frame": f"{1000 * spent:.1f}", "frames/s": f"{1 / spent:.0f}"}
        )
    return rows


def accuracy(options: argparse.Namespace) -> list[dict[str, str]]:
    """A row for each method and gap; means over clips and starts."""
    network = load_flow_s()
    errors: dict[tuple[str, int, str], list[tuple[Tensor, Tensor]]] = {}
    for word in options.projects:
        clip, project = opened(word, options)
        own = "atlas, true layers" if project.folder is None else "atlas"
        frames = clip.made.blurred[0]
        methods: dict[str, Callable[[int, int], Tensor]] = {
            own: lambda a, b, p=project: p.flow(a, b).flow,
            "flow-s": lambda a, b, f=frames: flow_s(network, f[[a, b]], stride=1)[0][0],
            "DIS": lambda a, b, f=frames: full_dis(f[a], f[b]),
            "nothing moves": lambda a, b, f=frames: torch.zeros_like(f[a, :2]),
        }
        for gap in GAPS:
            for start in range(0, options.frames - gap, EVERY):
                truth, seen = true_flow(clip.stage, start, start + gap)
                everywhere = torch.ones_like(seen[0], dtype=torch.bool)
                for name, method in methods.items():
                    found = method(start, start + gap)[:, : truth.shape[1], : truth.shape[2]]
                    for region, where in (("all", everywhere), ("seen in both", seen[0] > 0)):
                        pair = found[:, where], truth[:, where]
                        errors.setdefault((region, gap, name), []).append(pair)
    rows = []
    for (region, gap, name), pairs in errors.items():
        scores = torch.stack([score(*pair) for pair in pairs]).mean(0).tolist()
        named = dict(zip(("RMSE", "EPE", "angular", "angular 2D", "length"), scores, strict=True))
        rows.append(
            {"pixels": region, "gap": str(gap), "method": name}
            | {key: f"{value:.3f}" for key, value in named.items()}
        )
    return sorted(rows, key=lambda row: (row["pixels"], int(row["gap"])))


def opened(word: str, options: argparse.Namespace) -> tuple[Clip, Project]:
    """A clip and the project of it that `CLIP=PROJECT` names."""
    name, _, folder = word.partition("=")
    clip = rendered(name, options.frames, options.height, options.width)
    return clip, unblur.atlas.open(folder) if folder else true_project(clip)


def fit_project(word: str, options: argparse.Namespace) -> None:
    """Fits a clip, and writes the project that `CLIP=PROJECT` names."""
    name, _, folder = word.partition("=")
    made = rendered(name, options.frames, options.height, options.width).made
    started = time.process_time()
    fitter = fit("full", made, preset(options.preset))
    layers, config = layers_of(fitter.model), fitter.config
    light: Light = "linear" if config.linear else "encoded"
    times = times_of(options.frames)
    about = {"clip": name, "preset": config.name, "psnr": fitter.psnr}
    project = Project(layers, made.blurred[0], times, RATE, config.beta, light, None, about)
    project.save(folder, overwrite=True)
    gained = [float(psnr(x, made.sharp[0]).mean()) for x in (made.blurred[0], project.render())]
    spent = time.process_time() - started
    print(f"{name}: {gained[0]:.2f} to {gained[1]:.2f} dB, {spent:.0f} s", flush=True)


def draw_strip(options: argparse.Namespace) -> None:
    """Writes docs/images/atlas_refocus.jpg."""
    _, project = opened(options.projects[0], options)
    chosen = [round(share * (len(project) - 1)) for share in (0, 0.33, 0.67, 1)]
    front = project.layers[0]
    sheet = np.zeros((*front.texture.shape[-2:], 4), np.uint8)
    row, column = (int(at.float().mean()) for at in (front.seen[0] > 0.9).nonzero(as_tuple=True))
    words = ("unblur", (column - 52, row), cv2.FONT_HERSHEY_DUPLEX, 1.0, (0, 220, 255, 255), 2)
    cv2.putText(sheet, *words, cv2.LINE_AA)
    paint = torch.from_numpy(sheet[:, :, [2, 1, 0, 3]].astype(np.float32) / 255).permute(2, 0, 1)
    rows = [
        project.frames[chosen],
        project.edit({front.name: paint}, "reblurred", chosen),
        project.refocus([front.name], chosen, aperture=8),
        project.refocus([front.name], chosen, aperture=8, bokeh="hexagon", highlights=12),
        project.refocus([project.layers[-1].name], chosen, aperture=8),
    ]
    image = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    codes = image.permute(1, 2, 0).mul(255).round().byte().numpy()[:, :, ::-1]
    cv2.imwrite(str(STRIP), codes, [cv2.IMWRITE_JPEG_QUALITY, 82])


def score(found: Tensor, truth: Tensor) -> Tensor:
    """Errors of flow (2, N): root mean square per component and mean length of the difference in
    pixels; mean angle between (x, y, 1), and between (x, y) where both move, in degrees; mean
    difference of lengths in pixels."""
    difference = found - truth
    rmse = difference.square().mean().sqrt()
    space = [torch.cat((flow, torch.ones_like(flow[:1]))) for flow in (found, truth)]
    plane = [flow[:, truth.norm(dim=0) > 0.1] for flow in (found, truth)]
    return torch.stack(
        (
            rmse,
            difference.norm(dim=0).mean(),
            angle(*space).mean(),
            angle(*plane).mean(),
            (found.norm(dim=0) - truth.norm(dim=0)).abs().mean(),
        )
    )


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between vectors (C, N); 90 where one has no length."""
    cosine = torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0)
    return cosine.clamp(-1, 1).acos().rad2deg().float()


def full_dis(start: Tensor, end: Tensor) -> Tensor:
    """DIS at full size, medium preset: (2, H, W)."""
    gray = [
        cv2.cvtColor(x.permute(1, 2, 0).mul(255).round().byte().numpy(), cv2.COLOR_RGB2GRAY)
        for x in (start, end)
    ]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return torch.from_numpy(dis.calc(*gray, None)).permute(2, 0, 1)


def write(name: str, rows: list[dict[str, str]]) -> None:
    """A table as a file, and on the screen."""
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(row.values()) + " |")


if __name__ == "__main__":
    main()
