"""Recipes are read, and refused with a reason."""

from __future__ import annotations

import json

import pytest

from unblur.errors import UsageError
from unblur.training import recipe as recipes
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
        ({"network": "x", "steps": 1e4}, "steps is 10000.0, must be a whole number"),
        ({"network": "x", "precision": "int4"}, "bf16 or fp32"),
        ({"network": "x", "learning_rate": "fast"}, "not a complete recipe"),
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
