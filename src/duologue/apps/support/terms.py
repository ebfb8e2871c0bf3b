"""The words by which passages are found: of passages when they are indexed, and of questions.

terms        words of a text, and every two neighbouring characters of a script without blanks
asked_terms  those of a question that passages are looked for by
any_of       what SQLite's full-text index is asked for them
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from duologue.text.tokenizer import FIRST_CJK

MAX_QUERY_TERMS = 64
_CJK = rf"{FIRST_CJK}-\U0010ffff"
_RUN = re.compile(rf"(?P<blankless>[^\W_\x00-{FIRST_CJK}]+)|[^\W_{_CJK}]+")
_ENDING = re.compile(r"(?<=[^\W\d_]{3})(?:ing|ed|en|es|(?<!s)s|e)$")
_VOWEL = re.compile(r"[aeiouyäöü]")
# What questions are asked with, and what stands in every passage: the index would score them all.
_WORDS = """
a about an and are as at be been by can could did do does for from had has have how i if in is
it its me my of on or that the their there these they this to was we were what when where which
who why will with would you your
aber als am an auch auf aus bei bin bis das dass dem den der des die dies ein eine einem einen
einer er es für hat haben ich ihr im in ist kann man mein mir mit nach nicht oder sich sie sind
und von wann warum was welche wenn wer werden wie wir wo zu zum zur
什么 哪个 哪些 怎么 如何 多少 为什 是什 有哪 是否 吗 呢 的 了 是
"""


def terms(text: str) -> list[str]:
    """Words without case and the commonest endings.

    A lone character of a script without blanks is a word.
    """
    return list(_terms(text))


def asked_terms(text: str) -> list[str]:
    """The terms of a question that passages are looked for by, each once, at most MAX_QUERY_TERMS.

    Words that say nothing of what is asked for are left out, unless there are no others.
    """
    found = list(dict.fromkeys(_terms(text)))
    telling = [term for term in found if term not in _COMMON] or found
    return telling[:MAX_QUERY_TERMS]


def telling_terms(text: str) -> set[str]:
    """The terms of a text that are not among the commonest."""
    return set(_terms(text)) - _COMMON


def any_of(words: Iterable[str]) -> str:
    """An expression for FTS5's MATCH: any of these terms; empty if there are none."""
    return " OR ".join(f'"{word}"' for word in words)  # a term holds no quotation mark


def _terms(text: str) -> Iterator[str]:
    for match in _RUN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        run = match["blankless"]
        if run is None:
            yield _stem(match[0])
        elif len(run) == 1:
            yield run
        else:
            yield from (run[start : start + 2] for start in range(len(run) - 1))


def _stem(word: str) -> str:
    """A word without an ending of English or German inflection: opens, opening, opened -> open.

    What is left has three letters and a vowel, so that short words stay as they are.
    """
    ending = _ENDING.search(word)
    if ending is None or not _VOWEL.search(word[: ending.start()]):
        return word
    return word[: ending.start()]


_COMMON = frozenset(map(_stem, _WORDS.split()))
