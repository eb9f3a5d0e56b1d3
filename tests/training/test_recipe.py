"""Recipes: YAML and dotted settings to one object, or one error that names all that is wrong."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.training_case import load_tiny, tiny_recipe
from xy_codec.errors import ConfigError
from xy_codec.training.codec_start import codec_config
from xy_codec.training.recipe import RECIPES, load_recipe
from xy_codec.training.speech_batches import check_shares

STAGES = [path.stem for path in RECIPES.glob("*train.yaml")]


@pytest.mark.parametrize("name", STAGES)
def test_recipes_in_the_package_load(name: str):
    recipe = load_recipe(name)
    assert recipe.stage in name
    assert codec_config(recipe).encoder_downsample_rate == 1280


def test_the_full_recipe_has_the_papers_batch_on_any_divisor_of_its_gpus():
    recipe = load_recipe("full_pretrain")
    assert recipe.speech.batch_clips * recipe.speech.crop_seconds == 32 * 4 * 30
    for workers in (1, 2, 4, 8, 16, 32):
        check_shares(recipe.speech, workers)
    assert (recipe.losses.recon, recipe.losses.commit, recipe.losses.asr) == (15, 1, 1)
    assert (recipe.text.kind, recipe.text.trainable) == ("llm", False)


def test_unknown_and_mistyped_values_of_a_recipe_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="crop_secs"):
        load_tiny(tmp_path, speech__crop_secs=3)
    with pytest.raises(ConfigError, match="learning_rate"):
        load_tiny(tmp_path, optimizer__learning_rate="fast")
    with pytest.raises(ConfigError, match="full_pretrain"):
        load_recipe("no_such_recipe")
    with pytest.raises(ConfigError, match=r"steps\.x.*is no key"):
        load_recipe(tiny_recipe(tmp_path), {"steps.x": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulate", 0),
        ("steps", -1),
        ("log_every", 0),
        ("speech__batch_clips", 0),
        ("speech__crop_seconds", -1),
        ("speech__pitches", [0]),
        ("speech__pitches", []),
        ("speech__gain_db", [1]),
        ("optimizer__betas", [1, 2]),
        ("optimizer__learning_rate", 0),
        ("optimizer__learning_rate", ".nan"),
        ("codebooks__kmeans_batches", 0),
        ("seed", -1),
    ],
)
def test_values_out_of_range_are_named(tmp_path: Path, name: str, value: Any):
    with pytest.raises(ConfigError, match=name.replace("__", ".")):
        load_tiny(tmp_path, **{name: value})


def test_a_number_that_yaml_takes_for_a_word_is_a_number(tmp_path: Path):
    assert load_tiny(tmp_path, optimizer__learning_rate="1e-4").optimizer.learning_rate == 1e-4


def test_all_that_is_wrong_is_told_at_once_with_the_nearest_names(tmp_path: Path):
    settings = {
        "steps": 0,
        "speech.crop_secs": 3,
        "optimizer.learning_rate": True,
        "optimizer.betas": [0.8, 1],
        "losses.spectral.num_mels": [20, 40],
        "precision": "float16",
    }
    with pytest.raises(ConfigError) as caught:
        load_recipe(tiny_recipe(tmp_path), settings)
    for fault in (
        "`steps` is 0; expected 1 or more",
        "`speech.crop_secs` is 3; expected `crop_seconds`",
        "`optimizer.learning_rate` is True; expected a number",
        "`optimizer.betas.1` is 1; expected less than 1",
        "`losses.spectral` has 1 windows and 2 num_mels",
        "`precision` is 'float16'; expected ",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize("content", ["", "- steps", "steps"])
def test_a_file_without_a_mapping_is_no_recipe(tmp_path: Path, content: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_recipe(path)


def test_an_unknown_recipe_is_answered_with_recipes_alone():
    with pytest.raises(ConfigError, match="'full_pretrain'") as told:
        load_recipe("nosuch")
    assert "xy_full" not in str(told.value)
