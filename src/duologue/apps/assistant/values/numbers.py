"""Numbers in digits and words: English, Chinese, German.

find_numbers  all numbers in a text
read_number   the number that begins at a piece, for the other recognisers

Whole numbers below 10^12 in words; digits also with a decimal part, as the language separates it.
"a" and "eine" are no numbers here, although they count one hour; durations see to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from duologue.apps.assistant.values.found import Found, Pieces, longest, words_of

Number = int | float
Read = tuple[Number, int] | None  # the value, and how many pieces it takes

_EN_UNITS = words_of("""zero one two three four five six seven eight nine ten eleven twelve thirteen
fourteen fifteen sixteen seventeen eighteen nineteen""")
_EN_TENS = words_of("twenty thirty forty fifty sixty seventy eighty ninety")
EN_SMALL = {word: value for value, word in enumerate(_EN_UNITS)}
EN_TENS = {word: 10 * value for value, word in enumerate(_EN_TENS, 2)} | {"fourty": 40}
_EN_SCALES = (("billion", 10**9), ("million", 10**6), ("thousand", 1000))

_DE_UNITS = words_of("""null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn
vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn""")
_DE_TENS = words_of("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
DE_SMALL = {word: value for value, word in enumerate(_DE_UNITS)} | {
    "zwo": 2,
    "fuenf": 5,
    "zwoelf": 12,
}
DE_TENS = {word: 10 * value for value, word in enumerate(_DE_TENS, 2)} | {
    "dreissig": 30,
    "fuenfzig": 50,
}
_DE_SCALES = (
    (("milliarde", "milliarden"), 10**9),
    (("million", "millionen"), 10**6),
    (("tausend",), 1000),
)

_ZH_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_ZH_UNITS = {"十": 10, "百": 100, "千": 1000}
_ZH_SCALES = {"亿": 10**8, "万": 10**4}
_ZH_NUMBER = re.compile("[零〇一二两三四五六七八九十百千万亿]+(?:点[零〇一二两三四五六七八九]+)?")

_DIGITS = {
    "en": re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"),
    "zh": re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"),
    "de": re.compile(r"(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?"),
}


def find_numbers(text: str, language: str) -> list[Found]:
    """All numbers in a text, the longest reading of each."""
    pieces = Pieces(text)
    found: list[Found] = []
    index = 0
    while index < len(pieces):
        read = read_number(pieces, index, language)
        if read is not None:
            value, count = read
            first = pieces[index]
            has_sign = pieces.word(index - 1) == "-" and pieces[index - 1].end == first.start
            is_sign = has_sign and (index == 1 or not text[pieces[index - 1].start - 1].isalnum())
            begin = index - 1 if is_sign else index
            found.append(pieces.found(begin, index + count, "number", -value if is_sign else value))
        index += read[1] if read is not None else 1
    return longest(found)


def read_number(pieces: Pieces, index: int, language: str) -> Read:
    """The longest number that begins at a piece, and how many pieces it takes; None: there is none.

    A number of digits before a colon or in a date written with dots is none.
    """
    digits = _digits(pieces.word(index), language)
    if digits is not None:
        scaled = _scaled(digits, pieces, index, language)
        return scaled if scaled is not None else (digits, 1)
    return _READERS[language](pieces, index)


def _digits(word: str, language: str) -> Number | None:
    if not word or not word[0].isdigit() or not _DIGITS[language].fullmatch(word):
        return None
    group, decimal = (".", ",") if language == "de" else (",", ".")
    whole, _, fraction = word.replace(group, "").partition(decimal)
    if len(whole) > 15 or not whole.isascii():
        return None
    return float(f"{whole}.{fraction}") if fraction else int(whole)


def _scaled(value: Number, pieces: Pieces, index: int, language: str) -> Read:
    """ "3 million", "2.5 Millionen", "3万"."""
    word = pieces.word(index + 1)
    scales: dict[str, int] = {}
    if language == "en":
        scales = dict(_EN_SCALES)
    elif language == "de":
        scales = {name: scale for names, scale in _DE_SCALES for name in names}
    else:
        scales = _ZH_SCALES
    if word not in scales:
        return None
    product = value * scales[word]
    return (int(product) if product == int(product) else product), 2


# --- English -----------------------------------------------------------------------------------


def _read_english(pieces: Pieces, index: int) -> Read:
    start, total, found = index, 0, False
    for scale_word, scale in _EN_SCALES:
        group, after = _english_group(pieces, index)
        if after > index and pieces.word(after) == scale_word:
            total, index, found = total + group * scale, after + 1, True
    joined = index + 1 if found and pieces.word(index) == "and" else index
    group, after = _english_group(pieces, joined)
    if after > joined and not (found and group == 0):
        total, index, found = total + group, after, True
    if not found:
        return None
    return _with_fraction(total, pieces, index, start, "point", EN_SMALL)


def _english_group(pieces: Pieces, index: int) -> tuple[int, int]:
    """A number below 1,000 and where it ends; it ends where it begins if there is none."""
    value, after = _english_below_100(pieces, index)
    has_article = pieces.word(index) in ("a", "one") and pieces.word(index + 1) == "hundred"
    if has_article:
        value, after = 1, index + 1
    if after > index and 0 < value < 10 and pieces.word(after) == "hundred":
        value, after = 100 * value, after + 1
        joined = after + 1 if pieces.word(after) == "and" else after
        rest, end = _english_below_100(pieces, joined)
        if end > joined and rest:
            return value + rest, end
    return value, after


def _english_below_100(pieces: Pieces, index: int) -> tuple[int, int]:
    word = pieces.word(index)
    if word in EN_TENS:
        unit = index + 2 if pieces.word(index + 1) == "-" else index + 1
        small = EN_SMALL.get(pieces.word(unit), 0)
        if 0 < small < 10:
            return EN_TENS[word] + small, unit + 1
        return EN_TENS[word], index + 1
    if word in EN_SMALL:
        return EN_SMALL[word], index + 1
    return 0, index


def _with_fraction(
    total: int, pieces: Pieces, index: int, start: int, point: str, small: dict[str, int]
) -> Read:
    """The number, with what is said digit by digit behind the point."""
    digits = ""
    end = index + 1
    if pieces.word(index) == point:
        while 0 <= small.get(pieces.word(end), 10) < 10:
            digits += str(small[pieces.word(end)])
            end += 1
    if digits:
        return float(f"{total}.{digits}"), end - start
    return total, index - start


# --- German ------------------------------------------------------------------------------------

_DE_PARTS = sorted(
    {*DE_SMALL, *DE_TENS, "ein", "und", "hundert", "tausend"}, key=lambda word: -len(word)
)
_DE_COMPOUND = re.compile("|".join(_DE_PARTS))


def _read_german(pieces: Pieces, index: int) -> Read:
    start, total, found = index, 0, False
    for names, scale in _DE_SCALES[:2]:
        one = 1 if pieces.word(index) == "eine" else _german_word(pieces.word(index))
        if one is not None and pieces.word(index + 1) in names:
            total, index, found = total + one * scale, index + 2, True
    value = _german_word(pieces.word(index))
    if value is not None and not (found and value == 0):
        total, index, found = total + value, index + 1, True
    return _with_fraction(total, pieces, index, start, "komma", DE_SMALL) if found else None


def _german_word(word: str) -> int | None:
    """A number below a million that is spelled as one word; "ein" alone is none."""
    if word in ("ein", "und", ""):
        return None
    parts = _DE_COMPOUND.findall(word)
    if "".join(parts) != word:
        return None
    if "tausend" in parts:
        place = parts.index("tausend")
        thousands = _german_group(parts[:place]) if place else 1
        rest = _german_group(_joined(parts[place + 1 :])) if parts[place + 1 :] else 0
        return None if thousands is None or rest is None else 1000 * thousands + rest
    return _german_group(parts)


def _joined(parts: list[str]) -> list[str]:
    """What follows a hundred or thousand may be joined by "und"."""
    return parts[1:] if parts[:1] == ["und"] else parts


def _german_group(parts: list[str]) -> int | None:
    """Parts of a number below 1,000."""
    if "hundert" in parts:
        place = parts.index("hundert")
        hundreds = _german_below_100(parts[:place]) if place else 1
        rest = _german_below_100(_joined(parts[place + 1 :])) if parts[place + 1 :] else 0
        if hundreds is None or rest is None or not 0 < hundreds < 10:
            return None
        return 100 * hundreds + rest
    return _german_below_100(parts)


def _german_below_100(parts: list[str]) -> int | None:
    match parts:
        case ["ein"]:
            return 1
        case [word] if word in DE_SMALL:
            return DE_SMALL[word]
        case [word] if word in DE_TENS:
            return DE_TENS[word]
        case [unit, "und", tens] if tens in DE_TENS:
            value = 1 if unit == "ein" else DE_SMALL.get(unit, 0)
            return DE_TENS[tens] + value if 0 < value < 10 and unit != "eins" else None
    return None


# --- Chinese -----------------------------------------------------------------------------------


def _read_chinese(pieces: Pieces, index: int) -> Read:
    if not pieces.word(index):
        return None
    begin = pieces[index].start
    match = _ZH_NUMBER.match(pieces.text, begin)
    if match is None:
        return None
    whole, _, fraction = match[0].partition("点")
    # "三点" of "三点二十分" is a time, which others read; here only "三点二" with nothing after it.
    value = chinese_whole(whole)
    if value is None:
        return None
    if fraction and not re.match("[十分刻半]", pieces.text[match.end() : match.end() + 1]):
        digits = "".join(str(_ZH_DIGITS[char]) for char in fraction)
        return float(f"{value}.{digits}"), _num_pieces(pieces, index, match.end())
    return value, _num_pieces(pieces, index, begin + len(whole))


def _num_pieces(pieces: Pieces, index: int, end: int) -> int:
    count = 0
    while pieces.word(index + count) and pieces[index + count].end <= end:
        count += 1
    return count


def chinese_whole(text: str) -> int | None:
    """A whole number such as 三千零五万; digits in a row (二零二六) are read one by one."""
    if text and all(char in _ZH_DIGITS for char in text):
        return int("".join(str(_ZH_DIGITS[char]) for char in text)) if len(text) <= 15 else None
    total = 0
    last_scale = 10**12
    for scale_char, scale in _ZH_SCALES.items():
        head, found, tail = text.partition(scale_char)
        if not found:
            continue
        value = _chinese_group(head)
        if not value or scale >= last_scale:
            return None
        total, last_scale = total + value * scale, scale
        text = tail
    if not text:
        return total or None
    bare = text.removeprefix("零") if total else text
    if total and len(bare) == 1 and bare == text and bare in _ZH_DIGITS:
        return total + _ZH_DIGITS[bare] * last_scale // 10  # 三万五 is 35,000
    rest = _chinese_group(bare)
    return None if rest is None else total + rest


def _chinese_group(text: str) -> int | None:
    """A number below 10,000."""
    if not text:
        return None
    total, digit, last_unit = 0, None, 10**4
    for char in text:
        if char in _ZH_UNITS:
            unit = _ZH_UNITS[char]
            if unit >= last_unit or (digit is None and not (unit == 10 and total == 0)):
                return None
            total, last_unit = total + (1 if digit is None else digit) * unit, unit
            digit = None
        elif char in "零〇":
            if digit is not None:
                return None
            digit = None if len(text) > 1 else 0
            last_unit = min(last_unit, 100 if total else last_unit)
        elif char in _ZH_DIGITS and digit is None:
            digit = _ZH_DIGITS[char]
        else:
            return None
    if digit is not None and total and last_unit > 10 and not _ends_with_zero(text):
        digit *= last_unit // 10  # 三百五 is 350
    return total + (digit or 0)


def _ends_with_zero(text: str) -> bool:
    return any(first in "零〇" for first, _ in list(pairwise(text))[-1:])


_READERS: dict[str, Callable[[Pieces, int], Read]] = {
    "en": _read_english,
    "zh": _read_chinese,
    "de": _read_german,
}
