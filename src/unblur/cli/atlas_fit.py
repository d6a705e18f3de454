"""`unblur atlas fit`: a clip to a project."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from unblur.cli.options import End, Quiet, Start, Verbose
from unblur.cli.progress import duration, text_bar
from unblur.cli.signals import check, delayed
from unblur.cli.terminal import show

if TYPE_CHECKING:
    from unblur.atlas.fitting.fit import Status


class PresetChoice(str, Enum):
    """Values of `--preset`."""

    cpu = "cpu"
    fast = "fast"
    paper = "paper"


class CocChoice(str, Enum):
    """Values of `--coc`."""

    estimated = "estimated"
    learned = "learned"
    none = "none"


def fit(
    clip: Annotated[
        str,
        typer.Argument(
            metavar="CLIP", show_default=False, help="One shot: a video, a folder or a pattern."
        ),
    ],
    project: Annotated[
        str, typer.Argument(metavar="PROJECT", show_default=False, help="A folder to write.")
    ],
    masks: Annotated[
        str | None,
        typer.Option(
            metavar="MASKS",
            show_default="what moves",
            help="Rough masks of the foreground, white: images or a video, one for each frame.",
        ),
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y", help="Masks by SAM 2 of what is there in the first frame \\[priors]."
        ),
    ] = None,
    preset: Annotated[
        PresetChoice,
        typer.Option(help="cpu: minutes; fast: seven times the steps, for a GPU; paper: as there."),
    ] = PresetChoice.cpu,
    layers: Annotated[
        int, typer.Option(min=1, max=6, metavar="N", help="Layers, the background counted.")
    ] = 2,
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="All of it takes no longer.")
    ] = None,
    coc: Annotated[
        CocChoice | None,
        typer.Option(
            show_default="estimated", help="Where radii of blur come from; none: no lens at all."
        ),
    ] = None,
    start: Start = None,
    end: End = None,
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", help="Same seed, same machine: same result.")
    ] = 0,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:1; cpu for preset cpu.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace PROJECT.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take one shot apart into sharp layers. Cut off, the same call goes on where it was."""
    with delayed():
        from unblur.atlas.fitting.take import fit as fit_clip

    with fit_bar(wanted=not quiet) as progress:
        made = fit_clip(
            clip,
            project,
            masks=masks,
            point=None if point is None else parse_point(point),
            preset_name=preset.value,
            layers=layers,
            minutes=minutes,
            coc=None if coc is None else coc.value,
            start=start,
            end=end,
            seed=seed,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    if not quiet:
        names = ", ".join(layer.name for layer in made.layers)
        like = made.about["psnr"]
        show(f"{project}: {len(made)} frames as {names}; blurred again {like:.1f} dB like the clip")


def parse_point(text: str) -> tuple[float, float]:
    """`120,80` as numbers."""
    from unblur.errors import UsageError

    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--point {text!r} is no point: give X,Y in pixels, as 120,80") from error
    return x, y


@contextlib.contextmanager
def fit_bar(wanted: bool) -> Iterator[Callable[[Status], None]]:
    """A bar with the steps, how like the clip the layers are by now, and the time to go."""
    with text_bar("fit", "flow, masks, first atlases", wanted) as draw:

        def update(now: Status) -> None:
            check()
            if draw is not None:
                left = now.seconds / max(1, now.step) * (now.steps - now.step)
                like = "" if now.psnr != now.psnr else f"{now.psnr:.1f} dB like the clip, "
                facts = f"{now.step}/{now.steps} steps, {like}{duration(left)} left"
                draw("fit", now.step, now.steps, facts)

        yield update
