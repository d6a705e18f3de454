"""`unblur probe IN`: what a file is, before anything is done to it."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unblur.cli.options import Verbose
from unblur.cli.terminal import one_line, show

if TYPE_CHECKING:
    from unblur.video import VideoInfo


def probe(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", show_default=False, help="A video, a folder of images, or a pattern."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show size, rate, colour and streams of a video."""
    import unblur

    info = unblur.probe(source)
    if as_json:
        show(json.dumps(dataclasses.asdict(info), default=plain, indent=2))
        return
    rows = describe(info)
    width = max(len(name) for name, _ in rows)
    show("\n".join(f"{name.ljust(width)}  {one_line(value)}" for name, value in rows))


def plain(value: Any) -> Any:
    """What JSON has no word for: fractions stay exact as text, such as `30000/1001`."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (Fraction, Path, Enum)):
        return str(value)
    return repr(value)


def describe(info: VideoInfo) -> list[tuple[str, str]]:
    """The lines of the table: name and value."""
    tags = info.color
    color = (tags.matrix, tags.primaries, tags.transfer, tags.range)
    rows = [
        ("file", str(info.path)),
        ("container", str(info.container)),
        ("video", f"{info.codec}, {info.pixel_format}, {info.bit_depth} bit"),
        ("size", f"{info.width} x {info.height}"),
        ("rate", f"{float(info.frame_rate):.3f} frames/s" if info.frame_rate else "unknown"),
        ("frames", "unknown" if info.frames is None else str(info.frames)),
        ("duration", "unknown" if info.duration is None else f"{float(info.duration):.3f} s"),
        ("colour", " / ".join(tag or "untagged" for tag in color)),
    ]
    if info.sample_aspect_ratio not in (None, 0, 1):
        rows.append(("pixel aspect", str(info.sample_aspect_ratio)))
    if info.rotation:
        rows.append(("rotation", f"{info.rotation} degrees"))
    traits = {"interlaced": info.interlaced, f"HDR ({info.hdr})": info.hdr, "alpha": info.has_alpha}
    rows.append(("traits", ", ".join(name for name, has in traits.items() if has) or "none"))
    rows += [("stream", str(stream)) for stream in info.streams]
    return rows
