"""What a table or figure of a paper is made of: steps, and what each step needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unblur import weights

Row = Mapping[str, Any]
SCRIPTS = Path(__file__).parents[3] / "benchmarks"
"""Where the scripts are in a clone of the repository."""


@dataclass(frozen=True)
class Have:
    """What a user has."""

    data: Mapping[str, Path] = field(default_factory=dict)
    """Folders of data sets by name: gopro, dvd, davis."""
    textures: Path | None = None
    """A texture bank to train on."""


@dataclass(frozen=True)
class Need:
    """Something that a step cannot do without."""

    kind: Literal["data", "weights", "clone", "textures", "yaml", "none"]
    name: str
    remedy: str
    """How to get it."""

    def missing(self, have: Have) -> bool:
        """True where it is not there."""
        return not {
            "data": self.name in have.data,
            "weights": self.kind == "weights" and weights.find(self.name) is not None,
            "clone": SCRIPTS.is_dir(),
            "textures": have.textures is not None,
            "yaml": importlib.util.find_spec("yaml") is not None,
            "none": False,
        }[self.kind]


@dataclass(frozen=True)
class Step:
    """One thing that is run."""

    name: str
    """Of its folder."""
    what: str
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True)
class Evaluate(Step):
    """A suite by some models, as `unblur evaluate` does."""

    suite: str = ""
    models: tuple[str, ...] = ()
    options: Row = field(default_factory=dict)
    data: str | None = None
    """Name of the data set that the suite is made of."""


@dataclass(frozen=True)
class Script(Step):
    """A script of the clone."""

    words: tuple[str, ...] = ()
    """Its name, and what it is told; `{folder}` stands for the folder of the step."""
    results: tuple[str, ...] = ()
    """Tables that it leaves in `results`, without their suffix."""


@dataclass(frozen=True)
class Train(Step):
    """One arm of an ablation: a recipe with some fields replaced, for as long as all others."""

    recipe: str = ""
    arm: str = ""
    """What it has in common with itself from another seed."""
    changes: Row = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A table or a figure."""

    name: str
    """`table 3`, `figure 4`, `peers` or `aligned`."""
    what: str
    steps: tuple[Step, ...]
    published: tuple[Row, ...] = ()
    """Its rows as the paper prints them."""
    note: str = ""
    """What differs from the paper, or is not done."""
    images: str = ""
    """Pattern of the names of its images."""


@dataclass(frozen=True)
class State:
    """Where a step is, and what it found."""

    state: str
    """`done`, `begun`, `to run`, `missing: ...` or `failed: ...`."""
    rows: tuple[Row, ...] = ()
    arm_minutes: float | None = None
    """Of an arm: how long it is trained in all; None where an older version noted it."""
    missing: tuple[Need, ...] = ()
    """What it lacks; the state has their names."""

    @property
    def failed(self) -> bool:
        """True where it ended with an error."""
        return self.state.startswith("failed")

    @property
    def open(self) -> bool:
        """True where it can be run, or run on."""
        return self.state in ("to run", "begun") or self.failed


@dataclass(frozen=True)
class Known:
    """A table or figure of a paper with what was found for it."""

    part: Part
    steps: tuple[tuple[Step, State], ...]


def named(step: Step) -> str:
    """What is run, in words; an arm by its name too, whatever its seed."""
    return f"{step.arm} ({step.what})" if isinstance(step, Train) else step.what


def rows(head: str, *lines: tuple[Any, ...]) -> tuple[Row, ...]:
    """Rows of a table; the names of its columns parted by spaces, `_` for a space within."""
    names = [name.replace("_", " ") for name in head.split()]
    return tuple(dict(zip(names, line, strict=True)) for line in lines)
