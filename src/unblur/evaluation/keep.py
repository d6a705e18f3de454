"""Scores of an evaluation that is stopped and goes on later: a file for each clip."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unblur.disk import read_bytes, write_file
from unblur.errors import MediaError, UsageError
from unblur.evaluation.scores import Score, finite
from unblur.schema import read_json

SETUP = "setup.json"
LARGEST = 100_000_000
"""Bytes of a file."""


class Kept:
    """Scores of clips in a folder, by their number in the suite.

    Args:
        folder: where they are; made where it is not there.
        setup: what they are of. Scores of another setup are refused.

    Raises:
        UsageError: the folder holds scores of another setup.
        MediaError: what it holds cannot be read.
    """

    def __init__(self, folder: Path, setup: Mapping[str, Any]) -> None:
        self.folder = folder
        text = json.dumps(setup, indent=1, default=str)
        path = folder / SETUP
        if path.is_file() and read_bytes(path, LARGEST) != text.encode():
            raise UsageError(f"{folder} holds scores of other methods or clips: name another")
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode())

    def read(self, number: int) -> tuple[str, dict[str, float], list[Score]] | None:
        """Name, facts and scores of a clip; None where it was not measured yet."""
        path = self.folder / f"{number:04}.json"
        if not path.is_file():
            return None
        try:
            found = read_json(read_bytes(path, LARGEST))
            scores = [Score(**{k: _number(v) for k, v in one.items()}) for one in found["scores"]]
            return found["clip"], {k: _number(v) for k, v in found["facts"].items()}, scores
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise MediaError(f"{path} is damaged ({error!r}): delete it") from error

    def write(
        self, number: int, clip: str, facts: Mapping[str, float], scores: Sequence[Score]
    ) -> None:
        """Keeps a clip's."""
        every = {"clip": clip, "facts": dict(facts), "scores": [asdict(one) for one in scores]}
        write_file(self.folder / f"{number:04}.json", json.dumps(finite(every)).encode())


def _number(value: Any) -> Any:
    """JSON's null is NaN."""
    return float("nan") if value is None else value
