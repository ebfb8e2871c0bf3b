"""The shape of the model to train: the recipe's sizes, completed from tokenizer and data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duologue.config import ModelConfig, Recipe, from_dict, replace, to_dict
from duologue.data import survey
from duologue.data.dataset import Dataset
from duologue.errors import ConfigError
from duologue.text.template import LANGUAGES, TASKS
from duologue.text.tokenizer import Tokenizer

DERIVED = ("vocab_size", "languages", "reply_languages", "tasks", "label_sets")


def model_config(
    recipe: Recipe, tokenizer: Tokenizer, datasets: Sequence[Dataset], init: ModelConfig | None
) -> ModelConfig:
    """The model to train.

    init  the model to start from; its sizes hold, and what it can do already is kept

    Raises ConfigError for unknown keys, keys that are derived here, and contradictions.
    """
    derived = [key for key in DERIVED if key in recipe.model]
    if derived:
        raise ConfigError(f"model.{derived[0]}: follows from the data and the tokenizer")
    values: dict[str, Any] = {**recipe.model, "vocab_size": tokenizer.vocab_size}
    if init is not None:
        values = _sizes_of(init, values)
    config = from_dict(ModelConfig, values, "model")
    for name in ("max_source", "max_target"):
        if getattr(recipe.data, name) > config.max_positions:
            raise ConfigError(f"data.{name}: is above model.max_positions, {config.max_positions}")
    contents = survey.contents(datasets)
    languages = {*contents.languages, *config.languages}
    reply_languages = {*contents.reply_languages, *config.reply_languages}
    tasks = {*contents.tasks, *config.tasks}
    labels = dict(config.label_sets)
    for name, found in contents.label_sets.items():
        labels[name] = tuple(sorted({*labels.get(name, ()), *found}))
    return replace(
        config,
        languages=tuple(code for code in LANGUAGES if code in languages),
        reply_languages=tuple(code for code in LANGUAGES if code in reply_languages),
        tasks=tuple(task for task in TASKS if task in tasks),
        label_sets=labels,
    )


def _sizes_of(init: ModelConfig, asked: dict[str, Any]) -> dict[str, Any]:
    """The settings of `init`; raises ConfigError where the recipe asks for others."""
    known = to_dict(init)
    for key, value in asked.items():
        if known.get(key) != value:
            raise ConfigError(
                f"model.{key}: the model of `init` has {known.get(key)!r}; leave the key out"
            )
    return known
