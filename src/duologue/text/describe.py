"""What a published model can do, read from its configuration and its tokenizer.

describe      tasks, languages and prompts for ModelConfig and GenerationConfig
Description   what it gives
PAIR          how the task of one pair of languages is spelled among the prompts
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from duologue.config.model import Family
from duologue.text.imported import ImportedTokenizer

PAIR = re.compile(r"translate (?P<source>\w+) (?P<target>\w+)")

_LANGUAGE_TOKENS: Mapping[Family, str] = {
    "t5": r"<2([a-z]{2,3}(?:_[A-Z]\w+)?)>",
    "marian": r">>([\w.-]+)<<",
    "mbart": r"([a-z]{2,3}_[A-Z]{2})",
    "m2m_100": r"__([a-z]{2,3})__|([a-z]{3}_[A-Z][a-z]{3})",
    "whisper": r"<\|([a-z]{2,3})\|>",
}
_TRANSLATORS: tuple[Family, ...] = ("marian", "mbart", "m2m_100")
_ENGLISH_WHISPER_VOCAB_SIZE = 51864
_TRANSLATION = re.compile(r"translation_([a-z]+)_to_([a-z]+)")
_MARIAN_NAME = re.compile(r"opus-mt-(?:tc-(?:base|big)-)?\w+?-([a-z]{2,3})\b")


@dataclass(frozen=True)
class Description:
    """What a published model can do.

    tasks         ModelConfig.tasks
    languages     ModelConfig.languages: into which it translates, or which it hears
    language_ids  GenerationConfig.languages
    prompts       GenerationConfig.prompts: task -> text in front of the source; the task of one
                  pair of languages is spelled as PAIR
    """

    tasks: tuple[str, ...]
    languages: tuple[str, ...] = ()
    language_ids: dict[str, int] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)


def describe(
    values: Mapping[str, Any], family: Family, tokenizer: ImportedTokenizer, name: str = ""
) -> Description:
    """Tasks, languages and prompts of a published model.

    values  config.json as published, updated with generation_config.json if there is one
    name    of the folder; tells the target of a Marian model where its files do not
    """
    if family == "whisper" and not _is_multilingual(values):
        return Description(("transcribe",))
    if family == "bart" and not _is_summarizer(values):
        return Description(("generate",))
    ids = _language_ids(family, tokenizer)
    prompts = {} if ids else _prompts(values)
    languages = tuple(ids)
    if family == "marian" and not ids:
        languages = _marian_target(values, tokenizer, name)
    elif not ids:
        pairs = [pair for task in prompts if (pair := PAIR.fullmatch(task))]
        languages = tuple(dict.fromkeys(pair["target"] for pair in pairs))
    return Description(_tasks(family, languages, prompts), languages, ids, prompts)


def _tasks(
    family: Family, languages: tuple[str, ...], prompts: Mapping[str, str]
) -> tuple[str, ...]:
    if family == "whisper":
        return ("transcribe", "translate")
    if family in ("bart", "pegasus"):
        return ("summarize", "generate")
    if family in _TRANSLATORS or (languages and not prompts):
        return ("translate",)
    named = (("translate",) if languages else ()) + (
        ("summarize",) if "summarize" in prompts else ()
    )
    return ("generate", *named)


def _is_multilingual(values: Mapping[str, Any]) -> bool:
    known = values.get("is_multilingual")
    if known is None:
        return values.get("vocab_size") != _ENGLISH_WHISPER_VOCAB_SIZE
    return bool(known)


def _is_summarizer(values: Mapping[str, Any]) -> bool:
    """Whether a BART has learnt to sum up; the plain one lists settings for several data sets."""
    settings = _task_settings(values)
    is_plain = "summarization_cnn" in settings
    has_settings = "summarization" in settings or bool(values.get("min_length"))
    return has_settings and not is_plain


def _task_settings(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    settings = values.get("task_specific_params")
    entries = settings.items() if isinstance(settings, dict) else ()
    return {task: options for task, options in entries if isinstance(options, dict)}


def _language_ids(family: Family, tokenizer: ImportedTokenizer) -> dict[str, int]:
    """Code -> id of each language token, in the order of the ids."""
    pattern = re.compile(_LANGUAGE_TOKENS.get(family, "(?!)()"))
    found = []
    for token, idx in tokenizer.controls.items():
        match = pattern.fullmatch(token)
        if match and match.lastindex:
            found.append((idx, match[match.lastindex]))
    return {code: idx for idx, code in sorted(found)}


def _prompts(values: Mapping[str, Any]) -> dict[str, str]:
    """Prompts of `summarization` and `translation_xx_to_yy` in task_specific_params."""
    texts = {task: options.get("prefix") for task, options in _task_settings(values).items()}
    texts["summarization"] = texts.get("summarization") or values.get("prefix")
    prompts = {}
    for task, text in texts.items():
        pair = _TRANSLATION.fullmatch(task)
        if text and pair:
            prompts[f"translate {pair[1]} {pair[2]}"] = text
        elif text and task == "summarization":
            prompts["summarize"] = text
    return prompts


def _marian_target(
    values: Mapping[str, Any], tokenizer: ImportedTokenizer, name: str
) -> tuple[str, ...]:
    """The target of a Marian model without language tokens; empty if nothing tells it."""
    target = tokenizer.settings.get("target_lang")
    names = (str(values.get("_name_or_path") or ""), name)
    found = [match[1] for text in names for match in _MARIAN_NAME.finditer(text)]
    target = target if isinstance(target, str) else next(iter(found), "")
    return (target,) if target else ()
