"""`unblur models`: the table of models."""

from __future__ import annotations

from unblur.cli.options import Verbose
from unblur.cli.terminal import show, table


def models(verbose: Verbose = False) -> None:
    """List the models: what they restore, how large they are, and whether weights are here."""
    import unblur
    from unblur.train.tasks import TASKS
    from unblur.weights import find

    rows = []
    for info in unblur.list_models():
        ready = info.ships or not info.parameters or find(info.name) is not None
        rows.append(
            (
                info.name,
                info.blur,
                f"{info.parameters / 1e6:.1f} M" if info.parameters else "-",
                info.light,
                "ready" if ready else "to train" if info.name in TASKS else "to convert",
                info.licence,
                info.summary,
            )
        )
    show(table(("name", "blur", "size", "light", "weights", "licence", "summary"), rows))
