"""Which language a short text is in, among a few: by its script, then by its commonest words.

guess_language   a code of `codes`, or None where the text gives no sign
is_foreign       whether a text that should be in one of them is plainly in another

Good enough to answer people in the language they speak; no claim beyond the languages of
template.LANGUAGES.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_LATIN_WORD = re.compile(r"[a-zäöüß']+")

# Function words and greetings that the other language does not have.
_ENGLISH = """
a about am and any are at but can could do does for from good have hello help hey how i i'd i'll i'm
is it it's like me my need no not of ok on please sure thank thanks that the there this to want we
what what's when where which who why with would yes you your
"""
_GERMAN = """
aber auch auf bei bitte danke das dass dein dem den der die doch ein eine einen einer es für guten
hallo habe haben ich ihr ihre ist ja kann kein keine können mein mich mir mit möchte nach nein nicht
oder schon sehr sie sind tag uhr um und uns vielen von wann warum was wer wie wir wo zu zum zur
"""
_WORDS = {"en": frozenset(_ENGLISH.split()), "de": frozenset(_GERMAN.split())}


def guess_language(text: str, codes: Sequence[str]) -> str | None:
    """The likeliest of `codes` for a text, or None where nothing speaks for one of them.

    A text is Chinese when at least a third of its words are: every Chinese character counts as a
    word, so that a product name in Latin letters does not decide.
    """
    words = _LATIN_WORD.findall(text.lower())
    num_han = len(_HAN.findall(text))
    if num_han and 2 * num_han >= len(words):
        return "zh" if "zh" in codes else None
    scores = {code: _score(words, code) for code in _WORDS if code in codes}
    best = max(scores, key=scores.__getitem__, default=None)
    if best is None or scores[best] == 0 or list(scores.values()).count(scores[best]) > 1:
        return None
    return best


def _score(words: Sequence[str], code: str) -> int:
    """How many words speak for a language; letters that only German has count as well."""
    hits = sum(word in _WORDS[code] for word in words)
    if code == "de":
        hits += sum(any(letter in word for letter in "äöüß") for word in words)
    return hits


def is_foreign(text: str, code: str) -> bool:
    """Whether a text that should be in a language is plainly in another one.

    code  en, zh or de; of any other language nothing is claimed

    Chinese without Chinese characters but with three words of another language, English or German
    with Chinese characters for a third of its words, or with two words of the other language that
    it does not have itself, and none of its own.
    """
    words = _LATIN_WORD.findall(text.lower())
    num_han = len(_HAN.findall(text))
    if code == "zh":
        known = max(_score(words, other) for other in _WORDS)
        return num_han == 0 and len(words) >= 3 and known >= 1
    if code not in _WORDS:
        return False
    if num_han and 2 * num_han >= len(words):
        return True
    others = (_score(words, other) for other in _WORDS if other != code)
    return max(others) >= 2 and _score(words, code) == 0
