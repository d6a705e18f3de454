"""`unblur analyze IN`: what is wrong with a video, and what would be done about it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.options import End, Quiet, Start, Verbose
from unblur.cli.progress import reporter, rough
from unblur.cli.signals import delayed
from unblur.cli.terminal import one_line, show, table
from unblur.errors import UsageError

if TYPE_CHECKING:
    from unblur.commands.analyze import Analysis, Shot

PAGES = (".html", ".htm")
WORDS = {
    "sharp": "sharp",
    "motion": "blurred by motion",
    "focus": "out of focus",
    "both": "blurred by motion, and out of focus",
}
NOUNS = {"motion": "motion blur", "focus": "a missed focus", "both": "both kinds of blur"}


def analyze(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", show_default=False, help="A video, a folder of images, or a pattern."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    report: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", show_default=False, help="A page (.html) or a timeline (.png)."
        ),
    ] = None,
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Do not measure what each quality costs.")
    ] = False,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    start: Start = None,
    end: End = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the report if it exists.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look at a video: how it is blurred and by what, what to restore it with, and how long.

    Shots, the codec's blocks, noise and interlacing are reported, too.
    """
    if report is not None and Path(report).suffix.lower() not in (".png", *PAGES):
        raise UsageError(f"--report {report}: end it in .html or .png")
    with delayed():
        from unblur.commands.analyze import analyze as look
        from unblur.video.output import check_target

    if report is not None:  # said before the work, not after it
        check_target(report, source=source, overwrite=overwrite)

    with reporter(wanted=not quiet) as progress:
        found = look(
            source,
            start=start,
            end=end,
            device=device,
            estimate=not no_estimate,
            progress=progress,
        )
    lines = summary(found)
    if report is not None:
        write(Path(report), found, lines, overwrite)
    if as_json:
        show(json.dumps(found.facts(), indent=2))
        return
    show("\n".join(lines))
    show("")
    header = ("frames", "looks", "moved", "radius", "model", "")
    rows = [
        (
            f"{s.start}-{s.stop - 1}",
            s.looks,
            f"{s.motion:.1f} px",
            f"{s.radius:.1f} px",
            s.model,
            why(s),
        )
        for s in found.shots
    ]
    show(table(header, rows))
    if report is not None:
        show(f"\nreport: {report}")


def summary(found: Analysis) -> list[str]:
    """What is said of the whole."""
    first = found.frames[0].index
    frames = found.count - first
    rate = f", {found.frame_rate:.2f} frames/s" if found.frame_rate else ""
    many = "1 frame" if frames == 1 else f"{frames} frames"
    shots = "1 shot" if len(found.shots) == 1 else f"{len(found.shots)} shots"
    lines = [
        f"{one_line(found.path.name)}: {many} of {found.width}x{found.height}{rate}, "
        f"{shots}{', interlaced' if found.interlaced else ''}",
        found_to_be(found),
        codec(found),
    ]
    ranges = [(a, b) for a, b in found.sharp_ranges if b - a > 1]
    if ranges and found.kind != "sharp":
        listed = ", ".join(f"{a}-{b - 1}" for a, b in ranges[:6])
        lines.append(f"needs nothing: frames {listed}{', ...' if len(ranges) > 6 else ''}")
    for e in found.estimates:
        those = "all of it" if e.frames == frames else f"the {e.frames} frames that need it"
        default = ", taken by default" if e.quality == found.quality else ""
        lines.append(
            f"--quality {e.quality} ({e.model}): about {rough(e.seconds)} for {those}, "
            f"{e.memory / 1e9:.1f} GB{default}"
        )
    return lines


def why(shot: Shot) -> str:
    """Why a shot is restored for something else than it looks like; nothing where it is not."""
    if shot.kind == shot.looks:
        return ""
    if shot.kind == "sharp":
        return "(on trial models hardly changed it)"
    return f"(on trial models found {NOUNS[shot.kind]})"


def found_to_be(found: Analysis) -> str:
    """What blurs it, and how much of it."""
    blurred = sum(frame.kind != "sharp" for frame in found.frames)
    share = f"{blurred / len(found.frames):.0%}"
    untouched = all(shot.kind == "sharp" for shot in found.shots)
    if untouched and 2 * blurred > len(found.frames):
        return f"{share} of the frames look blurred, but models on trial hardly changed them"
    if found.kind == "sharp":
        said = "sharp" if blurred == 0 else f"sharp, but for {share}"
        tried = sum(shot.kind != "sharp" for shot in found.shots)
        gains = f"{tried} of {len(found.shots)} shots" if len(found.shots) > 1 else "it"
        return f"looks {said}; a model on trial still found blur in {gains}" if tried else said
    if blurred == 0:
        return f"looks sharp; models on trial found {NOUNS[found.kind]}"
    return f"{WORDS[found.kind]}: {share} of the frames look blurred"


def codec(found: Analysis) -> str:
    """What the codec and the camera left."""
    blocks = "no blocks" if found.blockiness < 0.1 else f"blocks stand out ({found.blockiness:.2f})"
    bits = "" if found.bits_per_pixel is None else f"{found.bits_per_pixel:.3f} bits a pixel, "
    level = "little" if found.noise < 0.006 else "some" if found.noise < 0.02 else "strong"
    return f"{bits}{blocks}, {level} noise ({255 * found.noise:.1f} of 255)"


def write(path: Path, found: Analysis, lines: list[str], overwrite: bool) -> None:
    """The report as a file."""
    from unblur.commands.report import as_png, page, timeline
    from unblur.video.output import write_whole

    content = (
        page(found, lines).encode() if path.suffix.lower() in PAGES else as_png(timeline(found))
    )
    write_whole(Path(os.path.realpath(path)), content, overwrite=overwrite)
