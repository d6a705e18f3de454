"""`unblur simulate`: test data whose truth is known."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from unblur.cli.options import HELP_NAMES, Overwrite, Quiet, Verbose
from unblur.cli.progress import frames_bar
from unblur.cli.terminal import show

app = typer.Typer(
    help="Make blurred video whose sharp truth is known.",
    no_args_is_help=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)


class FocusChoice(str, Enum):
    """Values of `focus --mode`."""

    lens = "lens"
    paper = "paper"
    official = "official"


class BlurChoice(str, Enum):
    """Values of `--mode`."""

    motion = "motion"
    focus = "focus"
    joint = "joint"


@app.command()
def scenes(
    destination: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help="A new folder.")
    ],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Number of clips.")] = 4,
    mode: Annotated[BlurChoice, typer.Option(help="What blurs them.")] = BlurChoice.motion,
    frames: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Of each clip.")] = 8,
    width: Annotated[int, typer.Option(min=16, metavar="PIXELS")] = 320,
    height: Annotated[int, typer.Option(min=16, metavar="PIXELS")] = 240,
    textures: Annotated[
        str | None,
        typer.Option(metavar="DIR", show_default="those that ship", help="A texture bank."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Same seed: same clips.")] = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Render clips with sharp frames, flow, depth, circle of confusion and layers as files."""
    from unblur.commands.simulate import scenes as render_scenes

    folder = render_scenes(
        destination,
        count=count,
        mode=mode.value,
        frames=frames,
        width=width,
        height=height,
        textures=textures,
        seed=seed,
    )
    if not quiet:
        show(f"{folder}: {count} clips; clip.json in each says what is what")


@app.command()
def motion(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", show_default=False, help="A sharp video, a folder or a pattern."
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help="A video or images.")
    ],
    exposure: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, metavar="0..1", help="Shutter time over the time between frames."
        ),
    ] = 0.5,
    every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Keep every n-th frame, add up the others.")
    ] = 1,
    shake: Annotated[
        float, typer.Option(min=0, metavar="PIXELS", help="Hand shake to add (sigma).")
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of the shake.")] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Blur a sharp video by motion; the video itself is the truth.

    Frames are averaged in linear light, with frames between them made by optical flow.
    """
    from unblur.commands.simulate import motion as blur_motion

    written = blur_motion(
        source,
        destination,
        exposure=exposure,
        every=every,
        shake=shake,
        seed=seed,
        overwrite=overwrite,
    )
    if not quiet:
        show(f"{destination}: {written} frames")


@app.command()
def focus(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", show_default=False, help="A sharp video, a folder or a pattern."
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help="A video or images.")
    ],
    keys: Annotated[
        list[str],
        typer.Option(
            "--focus",
            metavar="DEPTH@TIME",
            show_default=False,
            help="What is in focus when: near, far or 0..1, at 2s, f10 or mm:ss. Repeat it to pull "
            "the focus.",
        ),
    ],
    radius: Annotated[
        float,
        typer.Option(
            metavar="PIXELS", help="Radius of the blur, the whole depth away from the focus."
        ),
    ] = 8.0,
    mode: Annotated[
        FocusChoice, typer.Option(help="A lens, or DaBiT's simulator as in paper or release.")
    ] = FocusChoice.lens,
    depth: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Depth maps, one for each frame, dark = near; or depth-anything; or ramp, a "
            "stand-in: near at the bottom of the image, far at its top.",
        ),
    ] = "ramp",
    depth_invert: Annotated[
        bool, typer.Option("--depth-invert", help="Bright = near in the depth maps.")
    ] = False,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where depth-anything runs.")
    ] = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Blur a sharp video by a missed or moving focus; the video itself is the truth."""
    from unblur.commands.simulate import focus as blur_focus

    with frames_bar("blur", wanted=not quiet) as progress:
        written = blur_focus(
            source,
            destination,
            keys,
            radius=radius,
            mode=mode.value,
            depth=depth,
            invert=depth_invert,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    if not quiet:
        show(f"{destination}: {written} frames")
