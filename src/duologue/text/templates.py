"""One way to ask any model: what goes in front of a text, and in front of what is produced.

Template      source, prefix, turn and language; what apps and runtime ask
DuoTemplate   of models that Duologue trains, see template.py
template_of   the template of a model
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from duologue.config import ModelConfig
from duologue.errors import InputError
from duologue.text.imported import ImportedTokenizer
from duologue.text.imported_template import ImportedTemplate, Prefix, SourceIds
from duologue.text.template import prefix_ids, segment_ids
from duologue.text.tokenizer import Tokenizer

AnyTokenizer = Tokenizer | ImportedTokenizer


class Template(Protocol):
    """Every method raises InputError, which lists what there is, for what the model has not."""

    def language(self, code: str) -> str:
        """The model's spelling of a language that it can translate into."""

    def turn(self, role: str, text: str) -> SourceIds:
        """What one side of a dialogue said, for the encoder."""

    def alone(self, text: str) -> SourceIds:
        """A text that is encoded for its own sake, and nothing is to be done with it."""

    def source(
        self,
        text: str,
        task: str,
        from_language: str | None = None,
        to_language: str | None = None,
    ) -> SourceIds:
        """A text to do something with, for the encoder."""

    def prefix(
        self, task: str, from_language: str | None = None, to_language: str | None = None
    ) -> Prefix:
        """What the decoder starts with."""


class DuoTemplate:
    """The source is a user's turn, whatever is to be done; the prefix says what to do with it."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        self._config = config
        self._tokenizer = tokenizer

    def language(self, code: str) -> str:
        """See Template."""
        return _known(code, self._config.languages)

    def turn(self, role: str, text: str) -> SourceIds:
        """See Template."""
        ids = tuple(segment_ids(self._tokenizer, role, text))
        return SourceIds(ids, 1, len(ids))

    def alone(self, text: str) -> SourceIds:
        """See Template."""
        return self.turn("user", text.strip())

    def source(
        self,
        text: str,
        task: str,
        from_language: str | None = None,
        to_language: str | None = None,
    ) -> SourceIds:
        """See Template. The model sees what language it reads: from_language is only checked."""
        self._require_task(task)
        if from_language is not None:
            self.language(from_language)
        return self.turn("user", text)

    def prefix(
        self, task: str, from_language: str | None = None, to_language: str | None = None
    ) -> Prefix:
        """See Template."""
        self._require_task(task)
        known = self._config.reply_languages if task == "reply" else self._config.languages
        if to_language is not None:
            _known(to_language, known)
        elif task == "translate":
            raise InputError(
                f"the language to translate to is missing; this model knows {_listed(known)}"
            )
        return Prefix(tuple(prefix_ids(self._tokenizer, task, to_language)))

    def _require_task(self, task: str) -> None:
        known = self._config.tasks
        if task not in known:
            raise InputError(
                f"this model has not learnt the task {task!r}; it knows {_listed(known)}"
            )


def template_of(config: ModelConfig, tokenizer: AnyTokenizer) -> Template:
    """The template that a model was trained with."""
    if isinstance(tokenizer, Tokenizer):
        return DuoTemplate(config, tokenizer)
    return ImportedTemplate(config, tokenizer)


def _known(language: str, known: Sequence[str]) -> str:
    if language not in known:
        raise InputError(f"unknown language {language!r}; this model knows {_listed(known)}")
    return language


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
