"""An evaluation as one page that fetches nothing: tables, plots, and images under a slider."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unblur.errors import MediaError, ResourceError
from unblur.evaluation.images import most_detailed
from unblur.evaluation.plots import Line, plot
from unblur.evaluation.scores import COLUMNS, Evaluation, decimals

QUALITY = 95
"""Of the JPEGs, with full chroma: a quarter of a PNG, and no difference that shows."""
LENGTHS = {"motion_px": "motion in an exposure, px", "coc_px": "circle of confusion, px"}
"""Facts of a clip that say how long its blur is."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shown:
    """One frame of a clip by every method, the truth last; (3, H, W) each."""

    clip: str
    images: tuple[tuple[str, Tensor], ...]


def shown(clip: str, truth: Tensor, columns: Sequence[tuple[str, Tensor]]) -> Shown:
    """The part of a frame with most detail, by every method."""
    top, left, height, width = most_detailed(truth)
    every = (*columns, ("truth", truth))
    return Shown(
        clip, tuple((name, x[:, top : top + height, left : left + width]) for name, x in every)
    )


def read_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Earlier results, as `--json` wrote them.

    Raises:
        MediaError: a file is missing or is none.
    """
    found = []
    for path in paths:
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            _ = result["suite"], result["means"][0]["psnr"], result["facts"]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise MediaError(f"{path} is no result of unblur evaluate --json") from error
        found.append(result)
    return found


def page(result: Evaluation, images: Sequence[Shown], beside: Rows = ()) -> str:
    """The whole page.

    Args:
        result: what was measured.
        images: frames to show.
        beside: earlier results, `read_results`: those of the same suite at other rate factors
            stand in one plot with this one.
    """
    own = json.loads(result.json())
    title = f"{result.suite}, version {result.version}"
    facts = ", ".join(f"{name} {words(value)}" for name, value in result.facts.items())
    left_out = "".join(
        f"<p>No {html.escape(method)}: {html.escape(why)}.</p>"
        for method, why in result.left_out.items()
    )
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(facts)}</p>{left_out}",
        "<h2>Means</h2>" + table(result.means()),
        published(result),
        "".join(plots(result, [own, *beside])),
        "<h2>Images</h2>" + "".join(slider(one) for one in images) if images else "",
        f"<h2>Clips</h2><details><summary>all clips</summary>{table(result.rows())}</details>",
    ]
    return PAGE.replace("{title}", html.escape(title)).replace("{body}", "\n".join(parts))


def words(value: object) -> str:
    """A fact as text."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def table(rows: Rows) -> str:
    """Rows of an evaluation; columns that are empty in all are left out."""
    names = [name for name in COLUMNS if any(decimals(dict(row), name) for row in rows)]
    head = "".join(f"<th>{COLUMNS[name][0]}" for name in names)
    lines = [
        f"<tr><td>{html.escape(row['clip'])}<td>{html.escape(row['method'])}"
        + "".join(f"<td>{decimals(dict(row), name)}" for name in names)
        for row in rows
    ]
    return (
        f'<div class="wide"><table><tr><th>clip<th>method{head}\n'
        + "\n".join(lines)
        + "</table></div>"
    )


def published(result: Evaluation) -> str:
    """What papers print, apart from what was measured."""
    if not result.published:
        return ""
    lines = [
        f"<tr><td>{html.escape(row.method)}<td>{html.escape(row.source)}<td>{row.psnr:.2f}"
        f"<td>{row.ssim:.4f}<td>{'' if row.tof is None else f'{row.tof:.3f}'}"
        for row in result.published
    ]
    return (
        '<h2>Published, not measured here</h2><div class="wide"><table>'
        "<tr><th>method<th>source<th>PSNR<th>SSIM<th>tOF\n" + "\n".join(lines) + "</table></div>"
    )


def plots(result: Evaluation, results: Rows) -> list[str]:
    """Those plots that there are figures for."""
    means = [row for row in result.means() if row["clip"] == "mean"]
    # The input and filters are done in no time, which a logarithm has no place for.
    costly = [row for row in means if row["seconds"] >= 1e-3]
    numbers = {method: i for i, method in enumerate(result.methods)}
    found = []
    if costly:
        lines = [
            Line(row["method"], ((row["seconds"], row["psnr"]),), numbers[row["method"]])
            for row in costly
        ]
        found.append(plot("PSNR over cost", "seconds a frame", "PSNR, dB", lines, log=True))
    for fact, label in LENGTHS.items():
        if lines := over_length(result, fact):
            found.append(plot("Gain over blur length", label, "gain, dB", lines, joined=False))
    if lines := over_rate_factor(results):
        heading = "PSNR over rate factor"
        found.append(plot(heading, "crf (0: not encoded)", "PSNR, dB", lines))
    return found


def over_length(result: Evaluation, fact: str) -> list[Line]:
    """Gain of each method but the input on each clip, where clips differ in this fact."""
    lengths = {clip: facts.get(fact, math.nan) for clip, facts in result.clips.items()}
    if len({length for length in lengths.values() if math.isfinite(length)}) < 3:
        return []
    gains = {(row["clip"], row["method"]): row["gain"] for row in result.rows()}
    return [
        Line(
            method,
            tuple(
                (length, gains[clip, method])
                for clip, length in sorted(lengths.items(), key=lambda item: item[1])
                if math.isfinite(length)
            ),
            number,
        )
        for number, method in enumerate(result.methods[1:], 1)
    ]


def over_rate_factor(results: Rows) -> list[Line]:
    """PSNR of each method at each rate factor of the same clips, where there are two or more."""

    def clips(result: Mapping[str, Any]) -> tuple[Any, ...]:
        return result["suite"], result["version"], *result.get("clips", ())

    found: dict[str, dict[float, float]] = {}
    for result in results:
        if clips(result) != clips(results[0]):
            continue
        factor = re.search(r"crf (\d+)", str(result["facts"].get("encoded", "crf 0")))
        for row in result["means"]:
            if factor and row["clip"] == "mean":
                found.setdefault(row["method"], {}).setdefault(float(factor[1]), row["psnr"])
    if len({factor for points in found.values() for factor in points}) < 2:
        return []
    return [
        Line(method, tuple(sorted(points.items())), number)
        for number, (method, points) in enumerate(found.items())
    ]


def slider(one: Shown) -> str:
    """One frame by two methods, with a limit between them to be drawn; which two can be chosen."""
    names = [name for name, _ in one.images]
    images = "".join(
        f'<img data-name="{html.escape(name)}" alt="{html.escape(name)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(as_jpeg(x)).decode()}">'
        for name, x in one.images
    )
    before, after = names[0], names[-2] if len(names) > 2 else names[-1]

    def choice(side: str, chosen: str) -> str:
        options = "".join(
            f"<option{' selected' if name == chosen else ''}>{html.escape(name)}" for name in names
        )
        return f'<select class="{side}" aria-label="{side}">{options}</select>'

    return (
        f"<figure><figcaption>{html.escape(one.clip)}</figcaption>"
        f'<div class="both">{images}<i></i></div>'
        '<input type="range" min="0" max="100" step="0.1" value="50" aria-label="limit">'
        f'<div class="sides">{choice("left", before)}{choice("right", after)}</div></figure>'
    )


def as_jpeg(image: Tensor) -> bytes:
    """A frame (3, H, W) in [0, 1] as a JPEG with full chroma."""
    import cv2

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[:, :, ::-1]), options)
    if not done:
        raise ResourceError("an image cannot be encoded as JPEG: is OpenCV complete?")
    return bytes(data)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body { font: 15px/1.4 sans-serif; color: #222; max-width: 66em; margin: 1em auto; padding: 0 12px }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin: 1.6em 0 .4em }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px }
th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left }
.plot, figure { display: inline-block; vertical-align: top; width: 100%; max-width: 30em }
.plot, figure { margin: 0 1em 1.5em 0 }
@media (max-width: 32em) { .plot, figure { margin-right: 0 } }
svg { width: 100%; height: auto; font: 11px sans-serif }
.key { list-style: none; padding: 0; margin: 0; font-size: 13px }
.key li { display: inline-block; margin-right: 1em }
.key b { display: inline-block; width: 10px; height: 10px; margin-right: 4px }
.both { position: relative; --at: 50%; overflow: hidden }
.both img { display: none; width: 100% }
.both .one { display: block }
.both .two { display: block; position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)) }
.both i { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; background: #fff }
figure input { width: 100%; margin: 6px 0; box-sizing: border-box }
.sides { display: flex; justify-content: space-between; gap: 8px }
select { max-width: 48% }
</style>
{body}
<script>
for (const figure of document.querySelectorAll("figure")) {
  const both = figure.querySelector(".both"), images = both.querySelectorAll("img");
  const left = figure.querySelector(".left"), right = figure.querySelector(".right");
  const limit = figure.querySelector("input");
  const draw = () => {
    for (const image of images) {
      image.classList.toggle("one", image.dataset.name === left.value);
      image.classList.toggle("two", image.dataset.name === right.value
        && right.value !== left.value);
    }
    both.style.setProperty("--at", limit.value + "%");
  };
  left.onchange = right.onchange = limit.oninput = draw;
  draw();
}
</script>
</html>
"""
