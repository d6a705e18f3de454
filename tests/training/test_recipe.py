"""Recipes are read, and refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unblur.errors import UsageError
from unblur.schema import MismatchError, conform
from unblur.training import recipe as recipes
from unblur.training.batches import scene_config
from unblur.training.recipe import Recipe


def test_recipes_that_ship_are_sound():
    pytest.importorskip("yaml", reason="needs the extra 'train'")
    names = [path.stem for path in recipes.SHIPPED.glob("*.yaml")]
    assert "motion-s" in names
    for name in names:
        recipes.load(name)


def test_json_comes_back(tmp_path):
    recipe = Recipe("bsstnet-tiny", options={"channels": 24}, losses={"l1": 1.0}, betas=(0.8, 0.9))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(recipes.to_json(recipe)))
    assert recipes.load(path) == recipe


def test_yaml_takes_rates_without_a_point(tmp_path):
    pytest.importorskip("yaml", reason="needs the extra 'train'")
    path = tmp_path / "r.yaml"
    path.write_text(
        "network: motion-m\nlearning_rate: 6e-5\nfinal_rate: 1e-7\n"
        "scenes: {read_noise: [3e-4, 2.5e-3]}\n"
    )
    recipe = recipes.load(path)
    assert (recipe.learning_rate, recipe.final_rate) == (6e-5, 1e-7)
    assert recipe.scenes == {"read_noise": [3e-4, 2.5e-3]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": "x", "stepz": 3}, "unknown field 'stepz'"),
        ({"steps": 3}, "not a complete recipe"),
        ({"network": "x", "steps": 0}, "steps is 0"),
        ({"network": "x", "steps": 1e4}, "steps must be a whole number, not 10000.0"),
        ({"network": "x", "precision": "int4"}, "bf16 or fp32"),
        ({"network": "x", "learning_rate": "fast"}, "learning_rate must be a number, not 'fast'"),
        ({"network": "x", "learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"network": "x", "losses": {"l1": [1]}}, "losses.l1 must be a number, not list"),
        ({"network": "x", "losses": {}}, "losses are none"),
        ({"network": "x", "batch": True}, "batch must be a whole number"),
        ({"network": "x", "betas": [0.9]}, "betas must be a list of 2"),
        ({"network": "x", "betas": [0.9, 1]}, "betas are"),
        ({"network": "x", "options": [1]}, "options must be a mapping"),
        ({"network": "x", "start_from": "a\0b"}, "start_from must be a text"),
        ({"network": 3}, "network must be a text, not 3"),
        ({"network": "x", "scenes": {"mode": {"a": [[[1e999]]]}}}, "scenes.mode.a.* be finite"),
        ({1: 2}, "unknown field '1'"),
        (["network"], "not a recipe"),
    ],
)
def test_refusals_name_the_field(tmp_path, fields, message):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(UsageError, match=message):
        recipes.load(path)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UsageError, match="no recipe 'nothing': use one of "):
        recipes.load("nothing")


ALIASES = "network: x\nlosses:\n  a: &a [1,1]\n  b: &b [*a,*a]\n"
BOMBS = {
    "aliases.yaml": ALIASES.encode(),
    "deep.yaml": b"network: " + b"[" * 20_000,
    "deep.json": b"[" * 50_000,
    "large.yaml": b"#" * 200_000,
    "not-text.yaml": b"network: \xff\xfe",
    "nul.yaml": b"network: \x00",
    "date.yaml": b"network: 2020-13-45",
    "tag.yaml": b"network: !!python/object/apply:os.system [ls]",
    "merge.yaml": b"<<: 3",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_is_too_much_for_the_reader(tmp_path, name):
    pytest.importorskip("yaml", reason="needs the extra 'train'")
    (tmp_path / name).write_bytes(BOMBS[name])
    with pytest.raises(UsageError, match=name):
        recipes.load(tmp_path / name)


def test_scenes_are_checked_by_type():
    for fields, message in (
        ({"motion": [1, 2, 3]}, "scenes: motion must be a list of 2"),
        ({"static": "x"}, "scenes: static must be a number"),
        ({"layers": [1.5, 2]}, r"scenes: layers\[0\] must be a whole number"),
        ({"nothing": 1}, "scenes: "),
    ):
        with pytest.raises(UsageError, match=message):
            scene_config(fields)
    assert scene_config({"motion": [1, 4], "static": 0}).motion == (1.0, 4.0)


def test_what_is_too_deep_or_too_much_is_refused():
    deep = []
    for _ in range(100):
        deep = [deep]
    for value in (deep, [[0] * 1000] * 1000, {"a": object()}, {1: 2}):
        with pytest.raises(MismatchError):
            conform(value, Any, "value")
