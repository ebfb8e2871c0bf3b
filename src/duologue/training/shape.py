"""The shape of the model to train: the recipe's sizes, completed from tokenizer and data.

model_config    of every run
imported_tasks  what an imported model can do after a run, and with which prompts
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duologue.config import LEARNT, ModelConfig, Recipe, from_dict, replace, to_dict
from duologue.data import survey
from duologue.data.dataset import Dataset
from duologue.data.survey import Contents
from duologue.errors import ConfigError, InputError
from duologue.text.describe import PAIR
from duologue.text.language_codes import resolve_language
from duologue.text.template import LANGUAGES, TASKS
from duologue.text.templates import AnyTokenizer

DERIVED = ("vocab_size", *LEARNT)


def model_config(
    recipe: Recipe, tokenizer: AnyTokenizer, datasets: Sequence[Dataset], init: ModelConfig | None
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
    limits = {"max_positions": config.max_positions, "target_positions": config.target_positions}
    for name, (key, limit) in zip(("max_source", "max_target"), limits.items(), strict=True):
        if getattr(recipe.data, name) > limit:
            raise ConfigError(f"data.{name}: is above model.{key}, {limit}")
    contents = survey.contents(datasets)
    if config.generation is not None:
        return imported_tasks(config, contents, recipe)
    languages = {*contents.languages, *config.languages}
    reply_languages = {*contents.reply_languages, *config.reply_languages}
    tasks = {*contents.tasks, *config.tasks}
    return replace(
        config,
        languages=tuple(code for code in LANGUAGES if code in languages),
        reply_languages=tuple(code for code in LANGUAGES if code in reply_languages),
        tasks=tuple(task for task in TASKS if task in tasks),
        label_sets=_labels(config, contents),
        calibration={},  # it was of the weights before
        calibration_by_language={},
    )


def _labels(config: ModelConfig, contents: Contents) -> dict[str, tuple[str, ...]]:
    labels = dict(config.label_sets)
    for name, found in contents.label_sets.items():
        labels[name] = tuple(sorted({*labels.get(name, ()), *found}))
    return labels


def imported_tasks(config: ModelConfig, contents: Contents, recipe: Recipe) -> ModelConfig:
    """The configuration of an imported model that has learnt what is in the data as well.

    A task that it did not know gets a prompt in front of its sources, `sentiment: `, as in Raffel
    et al. 2020 (arXiv:1910.10683, section 2.4); a pair of languages gets `translate en to de: `,
    unless the model names languages by tokens of their own or was made for one target only.

    Raises ConfigError for a model that hears, for denoising, and for several targets of a model
    that was made for one.
    """
    if config.front_end == "mel":
        raise ConfigError("init: a model that hears cannot be trained on texts")
    if "denoise" in contents.tasks:
        raise ConfigError("augment.denoise: imported models have no token for what is masked")
    assert config.generation is not None  # imported models have one
    prompts = dict(config.generation.prompts)
    for task in contents.tasks:
        if task not in config.tasks and task != "translate":
            prompts.setdefault(task, f"{task}: ")
    languages = config.languages
    if contents.pairs and not config.generation.languages:
        if "translate" in config.tasks and not any(map(PAIR.fullmatch, prompts)):
            languages = _only_target(contents, recipe)
        else:
            pairs = [(source, _spelled(code, languages)) for source, code in contents.pairs]
            for source, target in pairs:
                task = f"translate {source} {target}"
                prompts.setdefault(task, f"translate {source} to {target}: ")
            languages = tuple(dict.fromkeys((*languages, *(target for _, target in pairs))))
    return replace(
        config,
        languages=languages,
        tasks=tuple(dict.fromkeys((*config.tasks, *contents.tasks))),
        label_sets=_labels(config, contents),
        calibration={},
        calibration_by_language={},
        generation=replace(config.generation, prompts=prompts),
    )


def _only_target(contents: Contents, recipe: Recipe) -> tuple[str, ...]:
    if len(contents.languages) > 1:
        raise ConfigError(
            f"{recipe.init}: translates into one language, and cannot be told into which; the "
            f"data has {', '.join(contents.languages)}"
        )
    return contents.languages


def _spelled(code: str, known: tuple[str, ...]) -> str:
    """A code as the model spells it, if it knows the language."""
    try:
        return resolve_language(code, known)
    except InputError:
        return code


def _sizes_of(init: ModelConfig, asked: dict[str, Any]) -> dict[str, Any]:
    """The settings of `init`; raises ConfigError where the recipe asks for others."""
    known = to_dict(init)
    for key, value in asked.items():
        if known.get(key) != value:
            raise ConfigError(
                f"model.{key}: the model of `init` has {known.get(key)!r}; leave the key out"
            )
    return known
