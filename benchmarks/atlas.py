"""How sharp fitted layers are: three rendered focus pulls with their truth, and what each part of
the method is worth.

    python benchmarks/atlas.py [--frames N] [--width N] [--preset NAME] [--only ROW] [--threads N]
        [--clip NAME] [--minutes M] [--again]
    python benchmarks/atlas.py --filmed FRAMES MASKS

Scenes of held-out textures: two or three layers at their own depths, the focus goes from the
nearest to the farthest while camera and objects move. Masks are the true layers, made rough (grown
by 2 pixels); `automatic masks` has none. Rows are added to results/atlas.csv as they are done, and
those that are there are not computed again; results/atlas.md is the table. `seconds` is the
CPU's time on one thread, flow and masks included.

| row | what |
|---|---|
| input | the blurred clip |
| layered atlas | no lens: the plain atlas (Fig. 6, left) |
| + reblur, no COC | radii learned from nothing |
| full | radii from coc-s and the clip itself, then learned |
| full, true COC | radii of the renderer, then learned |
| full, CNN atlas | atlases made by the paper's kind of network |
| full, automatic masks | what moves |
| kernel: ... | soft disk of another beta (2: the paper's; 16: all but a plain disk), Gaussian |
| one layer | no foreground |
| CNN atlas, same time | as above, in as many seconds of the CPU as `full` took |
| MLP maps, same time | networks and losses of the paper for maps and opacity, in the same time |
| preset paper | networks, losses and masks of the paper, in `--minutes` |

Rows of the same time need `full` to be there. `MLP maps` has atlases of pixels; its composite is
blurred at once, by radii of coc-m; nothing is made black where it is hidden.

`--filmed` takes a real clip instead, its FRAMES sharp and MASKS of its foreground, one folder of
images each: the frames are made small and blurred by the lens of `unblur simulate focus`,
foreground and background at a depth each, while the focus goes from one to the other.

`out of focus` is the PSNR over pixels whose circle of confusion has a radius above 1 pixel; PSNR
and SSIM are means over frames, FLIP over every fourth.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from torch import Tensor

from unblur.atlas.fitting import initial
from unblur.atlas.fitting import model as atlas_model
from unblur.atlas.fitting.canvas import Canvas
from unblur.atlas.fitting.fit import Fitter, Status, sharp_frames
from unblur.atlas.fitting.model import from_working
from unblur.atlas.fitting.presets import FitConfig, preset
from unblur.atlas.fitting.take import fit_frames
from unblur.evaluation.focus_pulls import CLIPS, rendered_pull, rough_labels
from unblur.metrics import flip, psnr, ssim, tpsnr_diff, tpsnr_pq
from unblur.ops.color import from_linear, to_linear
from unblur.optics.focal import defocus
from unblur.synth import Rendered

RESULTS = Path(__file__).parent / "results"
ROWS = (
    "input",
    "full",
    "layered atlas",
    "+ reblur, no COC",
    "full, automatic masks",
    "full, true COC",
    "full, CNN atlas",
    "kernel: beta 2 (paper)",
    "kernel: beta 16 (plain disk)",
    "kernel: Gaussian",
    "one layer",
    "CNN atlas, same time",
    "MLP maps, same time",
    "preset paper",
)
PAPER = ROWS[-1]
GAUSSIAN = "kernel: Gaussian"
SAME = ", same time"
"""Rows of this name may take the seconds of `full`."""
ONE, ALONE = "stream", ROWS[5:]
"""The clip that these rows are made of, if no other is named; all others are made of every clip."""
FIELDS = (
    "clip", "row", "psnr", "out of focus", "ssim", "flip", "tpsnr pq", "tpsnr diff", "reblurred",
    "reblurred ssim", "steps", "seconds",
)  # fmt: skip
LENS = 6.0
"""Largest radius of the blur of a filmed clip, in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--width", type=int, default=256, help="of the frames; height is 9/16")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--only", help="this row alone")
    parser.add_argument(
        "--again", action="store_true", help="with --only: in place of what is there"
    )
    parser.add_argument("--clip", choices=CLIPS, help="this clip alone")
    parser.add_argument("--minutes", type=float, help="of the row preset paper, by the clock")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--filmed", type=Path, nargs=2, metavar=("FRAMES", "MASKS"))
    parser.add_argument("--images", type=Path, help="folder for images of what is made")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    RESULTS.mkdir(exist_ok=True)
    suffix = "" if options.width == 256 else f"_{options.width}"
    path = RESULTS / f"atlas{suffix}.csv"
    done = read(path)
    names = [options.filmed[0].name] if options.filmed else list(CLIPS)
    asked = options.only and options.clip
    wanted = [
        (name, row) for row in ROWS for name in names if asked or name == ONE or row not in ALONE
    ]
    for name, row in wanted:
        if options.only and row != options.only:
            continue
        known = next((r for r in done if r["clip"] == name and r["row"] == row), None)
        if known and not (options.again and options.only):
            continue
        if (options.clip and name != options.clip) or (row == PAPER and not options.minutes):
            continue
        size = (options.frames, options.width * 9 // 16, options.width)
        if options.filmed:
            made = filmed(options.filmed[0], options.filmed[1], *size)
        else:
            made = rendered_pull(name, *size)
        minutes = options.minutes
        if row.endswith(SAME):
            full = next((r for r in done if r["clip"] == name and r["row"] == "full"), None)
            if full is None:
                raise SystemExit(f"{row}: run full first")
            minutes = float(full["seconds"]) / 60
        result = run(row, made, preset(options.preset), options.images, name, minutes)
        at = done.index(known) if known else len(done)
        done[at : at + 1] = [{"clip": name, "row": row} | result]
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, FIELDS)
            table.writeheader()
            table.writerows(done)
        text = markdown(done, options)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        print(done[at], flush=True)


def read(path: Path) -> list[dict[str, str]]:
    """Rows that are there already."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def filmed(folder: Path, masks: Path, frames: int, height: int, width: int) -> Rendered:
    """A real clip, blurred on purpose: focus goes from the foreground to the background."""
    files = [sorted(x.iterdir())[:frames] for x in (folder, masks)]
    images, shapes = (torch.stack([small(path, height, width) for path in some]) for some in files)
    front = (shapes.mean(1, keepdim=True) > 0.5).float()  # (T, 1, H, W)
    blurred, radii = [], []
    for t, (image, shape) in enumerate(zip(images, front, strict=True)):
        light, radius = defocus(to_linear(image), 1 - shape, t / (len(front) - 1), LENS)
        blurred.append(from_linear(light).clamp(0, 1).mul(255).round() / 255)
        radii.append(radius)
    layers = torch.cat((1 - front, front), 1)[None]
    return Rendered(
        images[None], torch.stack(blurred)[None], coc=torch.stack(radii)[None], layers=layers
    )


def small(path: Path, height: int, width: int) -> Tensor:
    """An image (3, H, W) in [0, 1], made small."""
    codes = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if codes is None:
        raise SystemExit(f"{path} is no image")
    codes = cv2.cvtColor(codes, cv2.COLOR_BGR2RGB)
    shrunk = cv2.resize(
        codes.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_AREA
    )
    return torch.from_numpy(shrunk).permute(2, 0, 1)


def run(
    row: str,
    made: Rendered,
    config: FitConfig,
    images: Path | None,
    name: str,
    minutes: float | None = None,
) -> dict[str, str]:
    """Figures of one row."""
    assert made.coc is not None
    frames, truth, radius = made.blurred[0], made.sharp[0], made.coc[0]
    began = time.process_time()
    fitter: Fitter | None = None
    shown = frames
    again: dict[str, str] = {}
    seconds = 0.0
    if row != "input":
        with lens(row):
            fitter = fit(row, made, config, minutes)
            shown = sharp_frames(fitter.model)
            seconds = time.process_time() - began
            again = reblurred(fitter, frames)
    soft = (radius > 1).expand_as(truth)
    error = (shown - truth).square()[soft].mean()
    if images is not None and fitter is not None:
        draw(images, f"{name}_{row}".replace(" ", "_"), fitter, made, shown)
    return {
        "psnr": f"{psnr(shown, truth).mean():.2f}",
        "out of focus": f"{-10 * error.log10():.2f}",
        "ssim": f"{ssim(shown, truth).mean():.4f}",
        "flip": f"{flip(shown[::4], truth[::4]).mean():.4f}",
        "tpsnr pq": f"{tpsnr_pq(shown, truth).mean():.2f}",
        "tpsnr diff": f"{tpsnr_diff(shown, truth).mean():.2f}",
        **again,
        "seconds": "" if fitter is None else f"{seconds:.0f}",
    }


def fit(row: str, made: Rendered, config: FitConfig, minutes: float | None = None) -> Fitter:
    """The fit of one row."""
    assert made.layers is not None
    assert made.coc is not None
    rough = rough_labels(made.layers[0])
    labels: Tensor | None = rough
    radii = None
    if row == "layered atlas":
        config = replace(config, coc="none")
    elif row == "+ reblur, no COC":
        config = replace(config, coc="learned")
    elif row == "full, automatic masks":
        labels = None
    elif row == "full, true COC":
        radii = made.coc[0]
    elif row in ("full, CNN atlas", "CNN atlas, same time"):
        config = replace(config, atlas="cnn")
    elif row.startswith("MLP maps"):
        config = mlp_maps(config)
    elif row.startswith("kernel: beta"):
        config = replace(config, beta=float(row.split()[2]))
    elif row == "one layer":
        labels = torch.zeros_like(rough)
    layers = made.layers.shape[2]
    if row == PAPER:
        return fit_frames(
            made.blurred[0], preset("paper"), layers, labels=labels, minutes=minutes, progress=tell
        )
    return fit_frames(
        made.blurred[0],
        config,
        layers,
        labels=labels,
        radii=radii,
        minutes=minutes if row.endswith(SAME) else None,
        clock=time.process_time,
    )


def mlp_maps(config: FitConfig) -> FitConfig:
    """Maps and opacity by the paper's networks, with its weights of the losses.

    But for two: its rate of 1e-4 is for 50,000 steps, and its loss that turns black what is hidden
    outweighs all else in so few.
    """
    return replace(
        preset("paper"),
        phases=config.phases,
        atlas="explicit",
        beta=config.beta,
        linear=config.linear,
        network_rate=1e-3,
        sparsity=0.0,
    )


def tell(status: Status) -> None:
    """Where a long fit stands."""
    print(f"step {status.step}, {status.seconds:.0f} s, {status.psnr:.2f} dB", flush=True)


@contextmanager
def lens(row: str) -> Iterator[None]:
    """Gaussians in place of disks, where a row wants them."""
    if row != GAUSSIAN:
        yield
        return
    with (
        mock.patch.object(atlas_model, "through_lens", through_gaussians),
        mock.patch.object(initial, "evenly", gaussians),
        mock.patch.object(initial, "lens_radius", lambda ideal, _: ideal),
    ):
        yield


def gaussians(x: Tensor, radius: Tensor, _: float | None) -> Tensor:
    """Blurs images (B, C, H, W) by Gaussians as wide as disks of a radius (B, 1, 1, 1)."""
    H, W = x.shape[-2:]
    frequency = torch.fft.fftfreq(H)[:, None] ** 2 + torch.fft.rfftfreq(W) ** 2  # squared
    spectrum = torch.exp(-2 * math.pi**2 * (radius / 2) ** 2 * frequency)
    blurred: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * spectrum, s=(H, W))
    return blurred


def through_gaussians(
    colour: Tensor, alpha: Tensor | None, radius: Tensor, even: bool, beta: float | None
) -> tuple[Tensor, Tensor | None]:
    """As `unblur.optics.lens.through_lens`, of layers that are as blurred all over."""
    assert even
    light = colour if alpha is None else torch.cat((colour * alpha, alpha), 1)
    blurred = gaussians(light, radius[:, :, :1, :1], beta)
    return blurred[:, :3], None if alpha is None else blurred[:, 3:]


@torch.no_grad()
def reblurred(fitter: Fitter, frames: Tensor) -> dict[str, str]:
    """PSNR and SSIM of the layers, blurred again, beside the clip; and how many steps it took."""
    model, canvas = fitter.model, fitter.canvas(1)
    found = []
    for t in range(len(frames)):
        light = canvas.crop(model.blurred(model.look(canvas, [t]), 1))
        found.append(from_working(light, model.config.linear)[0])
    again = torch.stack(found)
    return {
        "reblurred": f"{psnr(again, frames).mean():.2f}",
        "reblurred ssim": f"{ssim(again, frames).mean():.4f}",
        "steps": str(fitter.done),
    }


@torch.no_grad()
def draw(folder: Path, name: str, fitter: Fitter, made: Rendered, shown: Tensor) -> None:
    """A sheet of before, after, truth, opacity and radius, and one of the atlases."""
    folder.mkdir(parents=True, exist_ok=True)
    T, _, H, W = shown.shape
    chosen = [0, T // 3, 2 * T // 3, T - 1]
    look = fitter.model.look(Canvas(H, W), chosen)
    cover = look.alphas[-1]
    alpha = torch.zeros(len(chosen), 1, H, W) if cover is None else cover
    rows = [
        made.blurred[0, chosen],
        shown[chosen],
        made.sharp[0, chosen],
        alpha.expand(-1, 3, -1, -1),
    ]
    save(folder / f"{name}.png", torch.cat([torch.cat(list(row), 2) for row in rows], 1))
    for i, atlas in enumerate(fitter.model.atlases()):
        image = from_working(atlas[:3], fitter.model.config.linear)
        if len(atlas) > 3:
            image = image * torch.sigmoid(atlas[3:])
        save(folder / f"{name}_atlas{i}.png", image)


def save(path: Path, image: Tensor) -> None:
    """Writes (3, H, W) RGB."""
    codes = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).flip(-1)
    cv2.imwrite(str(path), codes.contiguous().numpy())


def markdown(rows: list[dict[str, str]], options: argparse.Namespace) -> str:
    """The table."""
    height = options.width * 9 // 16
    lines = [
        f"{options.frames} frames of {options.width}x{height}, preset `{options.preset}`,"
        f" {options.threads} thread(s). PSNR in dB; FLIP: less is better.",
        "",
        "| " + " | ".join(FIELDS) + " |",
        "|" + "---|" * len(FIELDS),
        *("| " + " | ".join(row.get(field, "") for field in FIELDS) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
