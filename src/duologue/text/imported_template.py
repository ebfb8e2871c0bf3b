"""How a text becomes a source of an imported family, and what its decoder starts with.

ImportedTemplate    source() and prefix() of a model
SourceIds, Prefix   what they give

What a family does is a row of _ROLES: what its language tokens are for. All else is data of
ModelConfig and of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from duologue.config.model import Family, GenerationConfig, ModelConfig
from duologue.errors import ConfigError, InputError
from duologue.text.describe import PAIR
from duologue.text.imported import ImportedTokenizer
from duologue.text.language_codes import listed, resolve_language

# What a language token is for: the target, said in front of the source; source and target, each
# said on its own side; what is spoken, said to the decoder.
_ROLES: Mapping[Family, Literal["source", "sides", "speech"]] = {
    "t5": "source",
    "marian": "source",
    "mbart": "sides",
    "m2m_100": "sides",
    "whisper": "speech",
}
_AS_PUBLISHED: tuple[Family, ...] = ("t5gemma", "t5gemma2")
_MBART_25_LANGUAGES = 25
_ENGLISH = "en"


@dataclass(frozen=True)
class SourceIds:
    """Ids that the encoder reads; ids[start:stop] are those of the text itself."""

    ids: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Prefix:
    """What the decoder is given: `ids`, then `forced`, which count as produced."""

    ids: tuple[int, ...]
    forced: tuple[int, ...] = ()


class ImportedTemplate:
    """Puts prompts, language tokens and special tokens where a family had them in training.

    Languages may be given as the model spells them, or as ISO 639 codes where those name one
    language of the model. A wrong or missing task or language raises InputError, which lists
    what there is.
    """

    def __init__(self, config: ModelConfig, tokenizer: ImportedTokenizer) -> None:
        if config.generation is None:
            raise ConfigError(f"family {config.family}: generation is missing")
        self._config = config
        self._generation: GenerationConfig = config.generation
        self._tokenizer = tokenizer
        self._role = _ROLES.get(config.family) if config.generation.languages else None
        # mBART with 25 languages has its source language at the end, and starts with the target.
        self._is_mbart_25 = (
            config.family == "mbart" and len(config.generation.languages) == _MBART_25_LANGUAGES
        )

    def language(self, code: str) -> str:
        """The model's spelling of a language that it can translate into, or hear."""
        if not self._config.languages:
            raise InputError(
                f"this model does not say which languages it knows; leave out {code!r}"
            )
        return resolve_language(code, self._config.languages)

    def turn(self, role: str, text: str) -> SourceIds:
        """Raises InputError: no imported family was trained on turns of a dialogue."""
        known = listed(self._config.tasks)
        raise InputError(f"this model knows no dialogue, and no role {role!r}; it can {known}")

    def alone(self, text: str) -> SourceIds:
        """The text and the end of it, whatever the family puts around what it is to work on."""
        ids = self._tokenizer.encode(text)
        return SourceIds((*ids, self._tokenizer.eos_id), 0, len(ids))

    def source(
        self,
        text: str,
        task: str,
        from_language: str | None = None,
        to_language: str | None = None,
    ) -> SourceIds:
        """The ids of a text for the encoder.

        from_language  needed where the model has tokens for source languages; otherwise checked
                       where the model knows its pairs
        to_language    needed to translate, unless the model has but one target
        """
        self._require_task(task)
        if self._config.front_end == "mel":
            raise InputError("this model reads speech, not texts")
        before, after = self._around(task, from_language, to_language)
        prompt = self._prompt(task, from_language, to_language)
        ids = self._tokenizer.encode(prompt + text)
        start = _common(self._tokenizer.encode(prompt), ids) if prompt else 0
        return SourceIds((*before, *ids, *after), len(before) + start, len(before) + len(ids))

    def prefix(
        self,
        task: str,
        from_language: str | None = None,
        to_language: str | None = None,
        with_timestamps: bool = False,
    ) -> Prefix:
        """What the decoder starts with.

        from_language    of speech: what is spoken; a caller that does not know has the model
                         choose among generation.languages, after generation.start_ids
        with_timestamps  of speech: the model says when what was spoken
        """
        self._require_task(task)
        start = self._generation.start_ids
        if self._config.front_end == "mel":
            return Prefix(
                start
                + self._speech_ids(task, from_language, to_language)
                + (() if with_timestamps else (self._tokenizer.control_id("<|notimestamps|>"),))
            )
        if self._role == "sides":
            target = self._language_id(to_language, "to")
            return Prefix((target,)) if self._is_mbart_25 else Prefix(start, (target,))
        forced = self._generation.forced_first_id
        return Prefix(start, () if forced is None else (forced,))

    def _require_task(self, task: str) -> None:
        if task not in self._config.tasks:
            known = listed(self._config.tasks)
            raise InputError(f"this model has not learnt the task {task!r}; it knows {known}")

    def _around(
        self, task: str, from_language: str | None, to_language: str | None
    ) -> tuple[list[int], list[int]]:
        """Ids in front of the prompt and behind the text."""
        eos = self._tokenizer.eos_id
        if self._role == "sides":
            self._language_id(to_language, "to")
            source = self._language_id(from_language, "from")
            return ([], [eos, source]) if self._is_mbart_25 else ([source], [eos])
        if self._role == "source":
            return self._tokenizer.marker_ids(self._language_id(to_language, "to")), [eos]
        if self._config.family in _AS_PUBLISHED:
            before, after = self._tokenizer.around
            return list(before), list(after)
        is_bart = self._config.family == "bart"
        return [self._tokenizer.control_id("<s>")] if is_bart else [], [eos]

    def _language_id(self, code: str | None, side: str) -> int:
        if code is None:
            known = listed(self._config.languages)
            raise InputError(
                f"the language to translate {side} is missing; this model knows {known}"
            )
        return self._generation.languages[self.language(code)]

    def _prompt(self, task: str, from_language: str | None, to_language: str | None) -> str:
        if task != "translate" or self._role is not None:
            return self._generation.prompts.get(task, "")
        if to_language is None and len(self._config.languages) > 1:
            self._language_id(None, "to")
        target = self.language(to_language) if to_language else None
        pairs = self._pairs(target)
        if not pairs:
            return ""
        sources = tuple(source for source, _ in pairs)
        if from_language is None and len(sources) > 1:
            raise InputError(
                f"the language to translate from is missing; this model knows {listed(sources)}"
            )
        source = sources[0] if from_language is None else resolve_language(from_language, sources)
        return next(prompt for code, prompt in pairs if code == source)

    def _pairs(self, target: str | None) -> list[tuple[str, str]]:
        """Source languages and prompts of what translates into a target; None: into anything."""
        found = []
        for task, prompt in self._generation.prompts.items():
            pair = PAIR.fullmatch(task)
            if pair and target in (None, pair["target"]):
                found.append((pair["source"], prompt))
        return found

    def _speech_ids(
        self, task: str, from_language: str | None, to_language: str | None
    ) -> tuple[int, ...]:
        """What is spoken, and whether it is written down as it is or in English."""
        known = self._config.languages if self._role == "speech" else (_ENGLISH,)
        if from_language is None and self._role == "speech":
            raise InputError(
                f"the language that is spoken is missing; this model knows {listed(known)}"
            )
        spoken = resolve_language(from_language or _ENGLISH, known)
        if to_language is not None:
            resolve_language(to_language, (_ENGLISH if task == "translate" else spoken,))
        if self._role != "speech":
            return ()
        return (self._generation.languages[spoken], self._tokenizer.control_id(f"<|{task}|>"))


def _common(first: list[int], second: list[int]) -> int:
    """How many ids two lists share from their beginning on."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
