"""`unblur atlas`: a clip as sharp layers, to be rendered, edited, refocused and measured."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.atlas_fit import fit
from unblur.cli.options import HELP_NAMES, End, Overwrite, Quiet, Start, Verbose
from unblur.cli.progress import frames_bar
from unblur.cli.signals import delayed
from unblur.cli.terminal import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from unblur.atlas import Project

app = typer.Typer(
    help="Take a clip apart into sharp layers; edit and refocus it.",
    no_args_is_help=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)

app.command()(fit)

Folder = Annotated[
    str,
    typer.Argument(
        metavar="PROJECT", show_default=False, help="A folder made by `unblur atlas fit`."
    ),
]
Out = Annotated[str, typer.Argument(metavar="OUT", show_default=False, help="A video or images.")]
Codec = Annotated[str | None, typer.Option("--codec", metavar="NAME", help="Codec of OUT.")]
Crf = Annotated[
    float | None, typer.Option("--crf", metavar="NUMBER", help="Quality of OUT, lower is better.")
]
Foreground = Annotated[
    str | None,
    typer.Option(
        "--foreground",
        metavar="FILE",
        help="Paint for the foreground: an overlay with transparency or the edited atlas, PNG, "
        "OpenRaster or PSD, of the atlas's size.",
    ),
]
Background = Annotated[
    str | None, typer.Option("--background", metavar="FILE", help="The same for the background.")
]
Paint = Annotated[
    list[str] | None,
    typer.Option("--paint", metavar="LAYER=FILE", help="The same for any layer; repeat it."),
]


class RenderChoice(str, Enum):
    """Values of `render --mode`."""

    sharp = "sharp"
    reblurred = "reblurred"
    layer = "layer"
    alpha = "alpha"


class EditChoice(str, Enum):
    """Values of `edit --mode`."""

    sharp = "sharp"
    over_original = "over-original"
    reblurred = "reblurred"


class BokehChoice(str, Enum):
    """Values of `--bokeh`."""

    disk = "disk"
    hexagon = "hexagon"


@app.command()
def render(
    project: Folder,
    destination: Out,
    mode: Annotated[
        RenderChoice,
        typer.Option(help="All in focus, blurred as the clip, one layer, or where it is visible."),
    ] = RenderChoice.sharp,
    layer: Annotated[str | None, typer.Option(metavar="LAYER", help="For layer and alpha.")] = None,
    start: Start = None,
    end: End = None,
    codec: Codec = None,
    crf: Crf = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Render the clip from its layers."""
    with delayed():
        from unblur.atlas.project.render import render_frames

    opened, chosen = open_part(project, start, end)
    rendered = render_frames(opened, mode.value, chosen, layer=layer)
    write("render", opened, rendered, chosen, destination, codec, crf, overwrite, quiet)


@app.command()
def edit(
    project: Folder,
    destination: Out,
    foreground: Foreground = None,
    background: Background = None,
    paint: Paint = None,
    mode: Annotated[
        EditChoice,
        typer.Option(
            help="Over the clip, as blurred as the clip is there; over the clip, sharp; or all "
            "rendered sharp."
        ),
    ] = EditChoice.reblurred,
    start: Start = None,
    end: End = None,
    codec: Codec = None,
    crf: Crf = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Carry what was painted on an atlas to every frame."""
    with delayed():
        from unblur.atlas.project.edit import edit_frames

    opened, chosen = open_part(project, start, end)
    paints = painted(foreground, background, paint)
    rendered = edit_frames(opened, paints, mode.value, chosen)
    read = tuple(paints.values())
    write("edit", opened, rendered, chosen, destination, codec, crf, overwrite, quiet, read)


@app.command()
def refocus(
    project: Folder,
    destination: Out,
    focus: Annotated[
        list[str] | None,
        typer.Option(
            "--focus",
            metavar="WHAT@TIME",
            help="What is in focus when: a layer, a depth from 0 (foreground) to 1, or track; at "
            "2s, f10 or mm:ss. Repeat it to pull the focus.",
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(metavar="X,Y@TIME", help="A point of a frame; focus on its layer."),
    ] = None,
    blur: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER=PIXELS@TIME", help="Radius of a layer, whatever is in focus; repeat it."
        ),
    ] = None,
    aperture: Annotated[
        float,
        typer.Option(
            metavar="PIXELS", help="Radius of the blur, the whole depth away from the focus."
        ),
    ] = 8.0,
    bokeh: Annotated[BokehChoice, typer.Option(help="Shape of the aperture.")] = BokehChoice.disk,
    beta: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Rim of the blur: low is a soft bright ring."),
    ] = None,
    highlights: Annotated[
        float,
        typer.Option(metavar="TIMES", help="How much brighter than white the brightest light is."),
    ] = 1.0,
    foreground: Foreground = None,
    background: Background = None,
    paint: Paint = None,
    start: Start = None,
    end: End = None,
    codec: Codec = None,
    crf: Crf = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Give the clip another focus, pulled or following a layer or a point."""
    with delayed():
        from unblur.atlas.project.refocus import refocus_frames

    opened, chosen = open_part(project, start, end)
    colours = painted(foreground, background, paint)
    if colours:
        opened = opened.edited(colours)
    rendered = refocus_frames(
        opened,
        focus or (),
        chosen,
        aperture=aperture,
        bokeh=bokeh.value,
        beta=beta,
        highlights=highlights,
        track=track,
        blur=blur or (),
    )
    read = tuple(colours.values())
    write("refocus", opened, rendered, chosen, destination, codec, crf, overwrite, quiet, read)


@app.command()
def flow(
    project: Folder,
    destination: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help=".flo, or .png as KITTI's.")
    ],
    start: Annotated[
        str, typer.Option("--from", metavar="TIME", show_default=False, help="2.5s, f10 or mm:ss.")
    ],
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", show_default=False, help="The other frame.")
    ],
    image: Annotated[
        str | None,
        typer.Option(metavar="PNG", help="Draw it: direction as hue, length as saturation."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(metavar="PNG", help="White where the point is seen in the other frame."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the optical flow from one frame to another."""
    with delayed():
        import unblur
        from unblur.atlas.project.flow_files import write_flow

    opened = unblur.atlas.open(project)
    first, last = opened.frame_at(start), opened.frame_at(end)
    found = opened.flow(first, last)
    write_flow(found, destination, image=image, mask=mask, overwrite=overwrite, project=opened)
    if not quiet:
        valid = 100 * float(found.valid.mean())
        show(f"{destination}: frame {first} to {last}, {valid:.0f} % of the pixels visible in both")


def open_part(folder: str, start: str | None, end: str | None) -> tuple[Project, list[int]]:
    """A project, and the numbers of its frames from `start` up to `end`."""
    with delayed():
        import unblur

    project = unblur.atlas.open(folder)
    return project, project.frames_between(start, end)


def painted(
    foreground: str | None, background: str | None, paint: list[str] | None
) -> dict[str, str]:
    """Files by the name of their layer."""
    found = {"foreground": foreground, "background": background}
    named = {name: file for name, file in found.items() if file is not None}
    for pair in paint or []:
        name, is_pair, file = pair.partition("=")
        if not is_pair or name in named:
            raise typer.BadParameter(f"'{pair}': write LAYER=FILE, each layer once")
        named[name] = file
    return named


def write(
    stage: str,
    project: Project,
    rendered: Iterator[Tensor],
    chosen: list[int],
    destination: str,
    codec: str | None,
    crf: float | None,
    overwrite: bool,
    quiet: bool,
    inputs: tuple[str, ...] = (),
) -> None:
    """Renders and writes, with a bar."""
    from unblur.atlas.project.output import write_frames

    with frames_bar(stage, wanted=not quiet) as progress:
        written = write_frames(
            project,
            rendered,
            chosen,
            destination,
            codec=codec,
            crf=crf,
            overwrite=overwrite,
            inputs=inputs,
            progress=progress,
        )
    if not quiet:
        show(f"{destination}: {written} frames")
