"""The command line has the options of `unblur.restore`, with the same values and defaults."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import get_args, get_type_hints

import pytest

from unblur.cli.batch import batch
from unblur.cli.restore import FormatChoice, restore
from unblur.cli.restore_options import BlurChoice, LightChoice, PrecisionChoice, QualityChoice
from unblur.commands.request import DEFAULTS, FileOptions
from unblur.commands.request import LightChoice as Light
from unblur.restorers.base import Precision
from unblur.restorers.registry import Blur, Quality
from unblur.video import Format

OWN = {"source", "destination", "json_events", "quiet", "verbose"}
"""What only the command line has."""
OF_BATCH = {"paths", "recursive", "suffix", "ending"}


def test_restore_has_every_option_of_files():
    options = inspect.signature(restore).parameters.keys() - OWN
    assert options == FileOptions.__annotations__.keys() - {"progress"}


@pytest.mark.parametrize("verb", [restore, batch])
def test_defaults_are_those_of_the_function(verb):
    for name, option in inspect.signature(verb).parameters.items():
        if name in OWN | OF_BATCH:
            continue
        given = option.default.value if isinstance(option.default, Enum) else option.default
        assert given == DEFAULTS.get(name), name


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        (BlurChoice, get_args(Blur)),
        (QualityChoice, get_args(Quality)),
        (LightChoice, get_args(Light)),
        (PrecisionChoice, ("auto", *get_args(Precision))),
        (FormatChoice, get_args(Format)),
    ],
)
def test_choices_are_those_of_the_types(choice, values):
    assert {each.value for each in choice} == set(values)


def test_batch_shares_the_options_of_restore():
    mine, whole = get_type_hints(batch), get_type_hints(restore)
    shared = mine.keys() - OF_BATCH - OWN - {"return"}
    assert {name: mine[name] for name in shared} == {name: whole[name] for name in shared}
