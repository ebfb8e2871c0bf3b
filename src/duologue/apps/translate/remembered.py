"""Translations that somebody has confirmed, in place of the model's.

remembered      the translation of a text that a translation memory knows
with_remembered translations of texts, of which only those are made that the memory lacks
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from duologue.apps.translate.placeholders import lost
from duologue.storage.translation_memory import TranslationMemory
from duologue.types import Checks, Result

MIN_SCORE = 0.85


def remembered(
    memory: TranslationMemory, text: str, to: str, from_: str | None, min_score: float = MIN_SCORE
) -> Result | None:
    """The translation of the text that is most like this one, in Result.match; None: there is none.

    from_      language code; None or "auto": any
    min_score  of a text that is alike, 0..1; 1: the same text alone
    """
    language = None if from_ == "auto" else from_
    found = memory.search(text, to, language, min_score, limit=1)
    if not found:
        return None
    checks = Checks(lost=lost(text, found[0].target))
    score = found[0].score
    return Result(found[0].target, "stop", confidence=score, checks=checks, match=found[0])


def with_remembered(
    memory: TranslationMemory | None,
    texts: Sequence[str],
    to: str | None,
    from_: str | None,
    translate: Callable[[list[str]], list[Result]],
) -> list[Result]:
    """Translations in order; translate makes those that the memory does not know, None: all."""
    if memory is None or to is None:
        return translate(list(texts))
    known = [remembered(memory, text, to, from_) for text in texts]
    left = [text for text, result in zip(texts, known, strict=True) if result is None]
    made = iter(translate(left) if left else [])
    return [result or next(made) for result in known]
