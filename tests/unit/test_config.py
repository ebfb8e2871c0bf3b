"""Settings: what is wrong is named, what is right survives a round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duologue import config
from duologue.config import ModelConfig, Recipe, TrainConfig, load_recipe
from duologue.errors import ConfigError, InputError
from duologue.types import EngineOptions, Options

RECIPE = """
output: runs/x
data:
  sets:
    - path: a.jsonl
      augment: {pair_swap: true}
training: {max_steps: 500}
"""


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_fills_in_every_default(recipe_path: Path) -> None:
    recipe = load_recipe(recipe_path)
    assert recipe.training.max_steps == 500
    assert recipe.training.learning_rate == TrainConfig().learning_rate
    assert recipe.data.sets[0].augment.pair_swap


def test_overrides_reach_nested_keys(recipe_path: Path) -> None:
    recipe = load_recipe(recipe_path, ("training.learning_rate=0.5", "model.d_model=64"))
    assert recipe.training.learning_rate == 0.5
    assert recipe.model == {"d_model": 64}


def test_a_saved_recipe_loads_as_the_same_recipe(recipe_path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_path)
    config.save_recipe(recipe, tmp_path / "resolved.yaml")
    assert load_recipe(tmp_path / "resolved.yaml") == recipe


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("training.learning_rat=1", "learning_rat: unknown key"),
        ("training.max_steps=soon", "max_steps"),
        ("training.warmup_steps=900", "warmup_steps must be below max_steps"),
        ("data.batch_tokens=100", "batch_tokens must hold"),
        ("data.sets=[]", "at least one data set"),
        ("training", "key=value"),
        ("output.folder=x", "output holds no keys"),
        ("model=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(recipe_path: Path, override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_recipe(recipe_path, (override,))


@pytest.mark.parametrize(
    ("content", "problem"),
    [("- a list", "mapping"), ("a: [", "not valid YAML"), ("output: x", "data")],
)
def test_a_broken_recipe_names_the_file(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=rf"broken\.yaml.*{problem}"):
        load_recipe(path)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"vocab_size": 10, "d_model": 30, "num_heads": 4}, "multiple of num_heads"),
        ({"vocab_size": 10, "d_model": 12, "num_heads": 4}, "even"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"vocab_size": 10, "cell": "gru", "encoder_mask": "full"}, "block_causal"),
        ({"vocab_size": 10, "cell": "lstm"}, "cell"),
        ({}, "vocab_size"),
    ],
)
def test_a_contradictory_model_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config.from_dict(ModelConfig, values, "config.json")


def test_replace_checks_again() -> None:
    with pytest.raises(ConfigError, match="max_steps"):
        config.replace(TrainConfig(), max_steps=0)
    assert config.replace(TrainConfig(), seed=7).seed == 7


@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    assert isinstance(load_recipe(path), Recipe)


@pytest.mark.parametrize(
    "values",
    [
        {"max_tokens": 0},
        {"beam_size": 0},
        {"beam_size": 4, "temperature": 1.0},
        {"num_hypotheses": 2},
        {"num_hypotheses": 65, "temperature": 1.0},
        {"seed": -1},
        {"top_p": 0.0},
        {"temperature": -1.0},
        {"repetition_penalty": 0.0},
        {"no_repeat_ngram_size": -1},
        {"top_k": -1},
        {"patience": 0.0},
    ],
)
def test_impossible_decoding_options_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Options(**values)


@pytest.mark.parametrize(
    "values",
    [{"max_rows": 0}, {"max_gap_ms": -1.0}, {"max_waiting": 0}, {"max_client_waiting": 0}],
)
def test_impossible_engine_options_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        EngineOptions(**values)
