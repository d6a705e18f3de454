"""What `unblur analyze` found, as an image and as a page."""

from __future__ import annotations

import base64
import html
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from unblur.commands.analyze import Analysis, Kind

Canvas = NDArray[np.uint8]
COLOURS: dict[Kind, tuple[int, int, int]] = {
    "sharp": (120, 170, 90),
    "motion": (60, 130, 240),
    "focus": (200, 120, 60),
    "both": (150, 70, 170),
}
"""Blue, green and red of each kind."""
INK, PALE = (40, 40, 40), (215, 215, 215)
WIDTH, HEIGHT, MARGIN = 960, 340, 56
LINES: tuple[tuple[str, Kind, str, int], ...] = (
    ("motion", "motion", "how far things moved in an exposure", 100),
    ("radius", "focus", "radius of the circle of confusion", 420),
)
"""What is drawn over the frames: values, whose colour, words, and where these begin."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


def timeline(found: Analysis) -> Canvas:
    """An image (340, 960, 3), BGR: motion and radius over the frames, kinds and cuts below."""
    canvas: Canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    first = found.frames[0].index
    span = max(1, found.count - first)

    def column(index: float) -> int:
        return round(MARGIN + (index - first) / span * (WIDTH - 2 * MARGIN))

    bottom = 236
    most = max(4.0, *(max(f.motion, f.radius) for f in found.frames))
    step = 10.0 ** math.floor(math.log10(most))
    step = step if most / step < 5 else 2 * step
    for n in range(int(most / step) + 1):
        row = round(bottom - n * step / most * 190)
        cv2.line(canvas, (MARGIN, row), (WIDTH - MARGIN, row), PALE, 1)
        write(canvas, f"{n * step:g}", (14, row + 4))
    write(canvas, "pixels", (10, 24))
    for name, kind, words, at in LINES:
        points = [
            (column(f.index), round(bottom - getattr(f, name) / most * 190)) for f in found.frames
        ]
        cv2.polylines(canvas, [np.array(points, np.int32)], False, COLOURS[kind], 2, cv2.LINE_AA)
        cv2.line(canvas, (at, 20), (at + 24, 20), COLOURS[kind], 2, cv2.LINE_AA)
        write(canvas, words, (at + 32, 24))
    stops = [*(f.index for f in found.frames[1:]), found.count]
    for frame, stop in zip(found.frames, stops, strict=True):
        corner = column(frame.index), bottom + 12
        cv2.rectangle(canvas, corner, (column(stop), bottom + 32), COLOURS[frame.kind], -1)
    for shot in found.shots:
        at = column(shot.start)
        cv2.line(canvas, (at, 36), (at, bottom + 38), INK, 1)
        write(canvas, shot.model, (at + 4, bottom + 52))
    write(canvas, "frames look", (MARGIN, HEIGHT - 20))
    at = MARGIN + 90
    for kind, colour in COLOURS.items():
        cv2.rectangle(canvas, (at, HEIGHT - 32), (at + 14, HEIGHT - 18), colour, -1)
        write(canvas, kind, (at + 20, HEIGHT - 20))
        at += 110
    write(canvas, f"frames {first} to {found.count - 1}", (WIDTH - MARGIN - 170, HEIGHT - 20))
    return canvas


def write(canvas: Canvas, text: str, at: tuple[int, int]) -> None:
    """Puts words on an image."""
    cv2.putText(canvas, text, at, FONT, 0.42, INK, 1, cv2.LINE_AA)


def as_png(canvas: Canvas) -> bytes:
    """The image as a file."""
    return bytes(cv2.imencode(".png", canvas)[1])


def page(found: Analysis, lines: list[str]) -> str:
    """One file that holds all of it and fetches nothing: image, summary, and shots."""
    image = base64.b64encode(as_png(timeline(found))).decode()
    rows = "".join(
        f"<tr><td>{s.start} to {s.stop - 1}<td>{s.looks}<td>{s.kind}"
        f"<td>{s.motion:.1f}<td>{s.radius:.1f}<td>{s.model}"
        for s in found.shots
    )
    title = html.escape(found.path.name)
    paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body { font: 15px sans-serif; max-width: 62em; margin: 2em auto }"
        " td, th { padding: 2px 12px; text-align: left } img { max-width: 100% }</style>"
        f'<h1>{title}</h1>{paragraphs}<img src="data:image/png;base64,{image}" alt="timeline">'
        "<table><tr><th>frames<th>look<th>restored for<th>moved, pixels<th>radius, pixels<th>model"
        f"{rows}</table></html>\n"
    )
