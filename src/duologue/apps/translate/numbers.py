"""Whether a translation holds the numbers of its source, however they are written there.

1,000.5 is 1.000,5 elsewhere, 120000 is 12万, 3 is three or drei or 三, and 3 p.m. is 15 Uhr.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_DIGITS = "零一二三四五六七八九"
_WORDS = {
    1: "one first einen einer einem eins ein eine erste erster ersten once einmal 首",
    2: "two second zwei zweite zweiter zweiten twice zweimal 两 二 双",
    3: "three third drei dritte dritter dritten",
    4: "four fourth vier vierte vierter vierten",
    5: "five fifth fünf fünfte fünfter fünften",
    6: "six sixth sechs sechste sechster sechsten",
    7: "seven seventh sieben siebte siebter siebten",
    8: "eight eighth acht achte achter achten",
    9: "nine ninth neun neunte neunter neunten",
    10: "ten tenth zehn zehnte zehnter zehnten",
    11: "eleven eleventh elf elfte elften",
    12: "twelve twelfth zwölf zwölfte zwölften",
    13: "thirteen dreizehn",
    14: "fourteen vierzehn",
    15: "fifteen fünfzehn",
    16: "sixteen sechzehn",
    17: "seventeen siebzehn",
    18: "eighteen achtzehn",
    19: "nineteen neunzehn",
    20: "twenty zwanzig",
    30: "thirty dreißig",
    40: "forty vierzig",
    50: "fifty fünfzig",
    60: "sixty sechzig",
    70: "seventy siebzig",
    80: "eighty achtzig",
    90: "ninety neunzig",
    100: "hundred hundert",
    1000: "thousand tausend",
}
_VALUE_OF = {word: value for value, words in _WORDS.items() for word in words.split()}
_SCALES = {
    "hundred": 1e2, "hundert": 1e2, "百": 1e2, "thousand": 1e3, "tausend": 1e3, "k": 1e3,
    "千": 1e3, "万": 1e4, "萬": 1e4, "十万": 1e5, "百万": 1e6, "千万": 1e7, "亿": 1e8, "億": 1e8,
    "十亿": 1e9, "million": 1e6, "millions": 1e6, "millionen": 1e6, "mio": 1e6, "m": 1e6, "成": 10,
    "billion": 1e9, "billions": 1e9, "milliarde": 1e9, "milliarden": 1e9, "mrd": 1e9, "bn": 1e9,
}  # fmt: skip
_UNITS = (
    ("km", "公里", "千米", "kilomet"), ("kg", "公斤", "千克", "kilo"),
    ("cm", "厘米", "公分", "zentimet", "centimet"), ("mm", "毫米", "millimet"),
    ("ml", "毫升", "millilit"), ("mg", "毫克", "milligra"), ("kb",), ("mb", "兆"), ("gb",), ("tb",),
    ("mhz",), ("ghz",), ("kwh", "千瓦时"), ("kw", "千瓦"), ("°c", "℃", "摄氏"), ("°f", "℉", "华氏"),
    ("%", "％", "百分之", "percent", "per cent", "prozent", "成"), ("€", "eur", "欧元"),
    ("$", "dollar", "美元", "usd"), ("£", "pound", "pfund", "英镑", "gbp"),
    ("¥", "yuan", "元", "cny", "rmb", "块"),
)  # fmt: skip
_SIGN = r"km|kg|cm|mm|ml|mg|[kmgt]b|[mg]hz|kwh?|[%％]|°[cf]|[€$£¥]"
_NUMBER = re.compile(
    rf"""(?P<before>[€$£¥]\s?)?
    (?:(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?!\d)
    |(?P<digits>\d+(?:[.,'’\ ](?=\d{{3}}(?!\d))\d{{3}})*(?:[.,]\d+)?))
    (?:\s?(?P<sign>{_SIGN})(?![a-z])|(?P<scale>[\s-]?[A-Za-z]+|[多余几]?[十百千]?[万萬亿億]|[百千成])?)
    (?P<clock>\s?(?:[ap]\.?m\b|uhr|o'clock|[点时])|(?<=[ap]m))?""",
    re.X | re.I,
)
_SPELLED = re.compile(r"[零一二三四五六七八九两十百千万亿]+成?|[A-Za-zÄÖÜäöüß]+")
_SEPARATORS = re.compile(r"['’ ]")
_MONTHS = (
    "january jan januar", "february feb februar", "march mar märz", "april apr", "may mai",
    "june jun juni", "july jul juli", "august aug", "september sep sept", "october oct oktober okt",
    "november nov", "december dec dezember dez",
)  # fmt: skip
_VALUE_OF.update((word, month) for month, words in enumerate(_MONTHS, 1) for word in words.split())
_CLOCK = 1e12  # values of times of day begin here


@dataclass(frozen=True)
class _Number:
    """A number as a text has it, with all values that it may mean."""

    text: str
    values: frozenset[float]
    unit: int | None = None


def lost_numbers(source: str, translation: str) -> Iterator[str]:
    """The numbers of a text that its translation lacks, as the text has them."""
    numbers = [*_numbers(unicodedata.normalize("NFKC", source))]
    if not numbers:
        return
    translation = unicodedata.normalize("NFKC", translation)
    left = [*_numbers(translation), *_spelled(translation)]
    low = translation.lower()
    for number in numbers:
        found = next((other for other in left if other.values & number.values), None)
        if found is None:
            yield number.text
            continue
        left.remove(found)
        names = () if number.unit is None else _UNITS[number.unit]
        if names and not any(name in low for name in names):
            yield number.text


def _numbers(text: str) -> Iterator[_Number]:
    for found in _NUMBER.finditer(text):
        scale = (found["scale"] or "").strip(" -多余几").lower()
        if found["hour"]:
            values = {*_times(int(found["hour"]), int(found["minute"]))}
        else:
            values = {*_values(found["digits"])}
            if scale in _SCALES:
                values |= {round(value * _SCALES[scale], 4) for value in values}
            if (found["clock"] or scale in ("am", "pm", "uhr")) and max(values) <= 24:
                values |= {*_times(int(min(values)), 0)}
        yield _Number(_shown(found), frozenset(values), _unit(found))


def _times(hour: int, minute: int) -> Iterator[float]:
    """What a time of day may be written as: with twelve hours or 24, and without minutes."""
    yield _CLOCK + 60 * (hour % 12) + minute
    for same in (hour, hour % 12, hour % 12 + 12):
        yield float(100 * same + minute)
        if minute == 0:
            yield float(same)


def _shown(found: re.Match[str]) -> str:
    end = max(found.end("sign"), found.end("digits"), found.end("minute"))
    return found.string[found.start() : end].strip()


def _unit(found: re.Match[str]) -> int | None:
    sign = (found["sign"] or found["before"] or "").strip().lower()
    return next((place for place, names in enumerate(_UNITS) if sign and sign in names), None)


def _values(digits: str) -> Iterator[float]:
    """What a number may mean: a comma or a point may separate thousands or be the decimal one."""
    plain = _SEPARATORS.sub("", digits)
    separators = [char for char in plain if char in ".,"]
    if not separators:
        yield float(plain)
        return
    last = separators[-1]
    whole, _, rest = plain.rpartition(last)
    whole = whole.replace(".", "").replace(",", "")
    if separators.count(last) == 1:
        yield float(f"{whole}.{rest}")
    if len(rest) == 3:
        yield float(whole + rest)


def _spelled(text: str) -> Iterator[_Number]:
    """Numbers that are written in words or in Chinese."""
    for found in _SPELLED.finditer(text):
        word = found[0].lower()
        value = _VALUE_OF.get(word) if word[0].isascii() or word[0] in "äöü" else _chinese(word)
        if value is None and word[0] not in _DIGITS:
            value = _VALUE_OF.get(word)
        if value is not None:
            values = {float(value)}
            if value <= 24:  # it may be an hour
                values |= {*_times(int(value), 0)}
            yield _Number(found[0], frozenset(values))


def _chinese(word: str) -> float | None:
    """The value of Chinese numerals; tenths are told in percent."""
    if word.endswith("成"):
        return 10 * (_chinese(word[:-1]) or 0)
    if all(char in _DIGITS for char in word):
        return float("".join(str(_DIGITS.index(char)) for char in word))
    total = section = digit = 0
    for char in word:
        if char == "两":
            digit = 2
        elif char in _DIGITS:
            digit = _DIGITS.index(char)
        elif char in "十百千":
            section += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[char]
            digit = 0
        else:
            total = (total + section + digit) * {"万": 10_000, "亿": 100_000_000}[char]
            section = digit = 0
    return float(total + section + digit)
