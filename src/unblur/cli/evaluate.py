"""`unblur evaluate SUITE`: how good models are, measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.options import Quiet, Verbose
from unblur.cli.progress import reporter
from unblur.cli.terminal import one_line, show

if TYPE_CHECKING:
    from unblur.evaluation import Evaluation
    from unblur.evaluation.maps import MapEvaluation

FILES, RENDERED, OUTPUT = "Suites of frames on disk", "Rendered suites", "Output"
FOCUS = "Models for focus"


def evaluate(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE",
            show_default=False,
            help="synth-motion, synth-focus, synth-joint, synth-lowlight, real-average, pairs, "
            "davis-blur, bench (all rendered ones), a data set on disk: gopro:DIR, dvd:DIR, "
            "bsd:DIR or reds:DIR; or the maps that guide: flow, coc; or layers of pulls of focus: "
            "atlas.",
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            show_default="auto",
            help="A name from `unblur models`, or NAME=FILE for other weights; behind it @linear "
            "or @encoded for its light, @alone for a frame at a time, @unfused for its frames as "
            "they are. May be repeated.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="CLIPS", show_default="all", help="Only the first clips."),
    ] = None,
    fuse: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N", help="Restored frames on either side that repair each frame."
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=FILES,
            show_default=False,
            help="Sharp frames, or folders of them; may be repeated. For davis-blur: DAVIS.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=FILES,
            show_default="7, or all of a data set",
            help="How many are averaged, 3, 5 or 7; for data sets: taken from each sequence.",
        ),
    ] = None,
    blur: Annotated[
        str | None,
        typer.Option(
            metavar="paper|release",
            rich_help_panel=FILES,
            show_default="paper",
            help="For davis-blur: one setting for all, or one for each sequence.",
        ),
    ] = None,
    blurred: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=FILES,
            show_default=False,
            help="For pairs: images, videos or folders of frames.",
        ),
    ] = None,
    sharp: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=FILES,
            show_default=False,
            help="For pairs: the same ones sharp, under the same names.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="fair|paper",
            rich_help_panel=FILES,
            show_default="fair",
            help="For gopro and dvd: every frame once, or windows, frames and means as BSSTNet's "
            "released code counts them.",
        ),
    ] = None,
    encoded: Annotated[
        int | None,
        typer.Option(
            metavar="23|29",
            rich_help_panel=RENDERED,
            show_default="not encoded",
            help="Frames out of H.264 files of that rate factor.",
        ),
    ] = None,
    textures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=RENDERED,
            show_default="those held out",
            help="Images that scenes are made of.",
        ),
    ] = None,
    scale: Annotated[
        int,
        typer.Option(
            metavar="1|2",
            rich_help_panel=FOCUS,
            help="Size of the truth in multiples of the input's.",
        ),
    ] = 1,
    depth: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            rich_help_panel=FOCUS,
            help="depth (the true one), coc (true blur, too) or depth-anything: models again, "
            "guided by it. For davis-blur also a folder of depth maps, dark = near.",
        ),
    ] = "builtin",
    ablate: Annotated[
        bool,
        typer.Option(
            "--ablate",
            rich_help_panel=FOCUS,
            help="Models again, without blur map (V1, V1b), propagation (V2), or both (V3).",
        ),
    ] = False,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="Also FFmpeg's cas and unsharp, Richardson-Lucy, deconvolution by estimated blur, "
            "and bursts laid together.",
        ),
    ] = False,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE", rich_help_panel=OUTPUT, help="Everything, for programs."
        ),
    ] = None,
    csv_file: Annotated[
        str | None,
        typer.Option(
            "--csv", metavar="FILE", rich_help_panel=OUTPUT, help="The table, for spreadsheets."
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=OUTPUT,
            help="A sheet for each clip, all methods side by side.",
        ),
    ] = None,
    html_file: Annotated[
        str | None,
        typer.Option(
            "--html",
            metavar="FILE",
            rich_help_panel=OUTPUT,
            help="One page: tables, plots, images under a slider.",
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=OUTPUT,
            show_default=False,
            help="For --html: earlier results (--json) at other rate factors; may be repeated.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure models against the truth, beside an unsharp mask and Wiener's filter.

    The table has a row for each clip and method, and means at its end.
    """
    import unblur
    from unblur.evaluation.images import write
    from unblur.evaluation.maps import SUITES as MAPS

    if suite in MAPS:
        with reporter(wanted=not quiet) as progress:
            maps = unblur.evaluate_maps(
                suite,
                methods=models or (),
                limit=limit,
                encoded=encoded,
                device=device,
                progress=progress,
            )
        for file, text in ((json_file, maps.json), (csv_file, maps.csv)):
            if file is not None:
                write(Path(file), text().encode())
        show(f"{head(maps)}\n\n{maps.markdown(maps.rows if verbose else maps.means())}")
        return

    with reporter(wanted=not quiet) as progress:
        result = unblur.evaluate(
            suite,
            models=models or ("auto",),
            limit=limit,
            fuse=fuse,
            data=data or (),
            frames=frames,
            textures=textures,
            blur=blur,
            depth=depth,
            scale=scale,
            encoded=encoded,
            blurred=blurred,
            sharp=sharp,
            protocol=protocol,
            ablate=ablate,
            peers=peers,
            images=images,
            html=html_file,
            beside=beside or (),
            device=device,
            progress=progress,
        )
    for file, text in ((json_file, result.json), (csv_file, result.csv)):
        if file is not None:
            write(Path(file), text().encode())
    tables = (head(result), result.markdown(), result.published_markdown())
    show("\n\n".join(text for text in tables if text))


def head(result: Evaluation | MapEvaluation) -> str:
    """What stands above the table: what was measured, on what, and what could not be."""
    facts = ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in result.facts.items()
    )
    lines = [f"{result.suite}, version {result.version}: {one_line(facts)}"]
    lines += [f"no {method}: {why}" for method, why in result.left_out.items()]
    return "\n".join(lines)
