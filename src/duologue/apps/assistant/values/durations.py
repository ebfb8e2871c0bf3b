"""How long: "ten minutes", "anderthalb Stunden", "一个半小时", in seconds.

Units are seconds, minutes, hours, days and weeks; months and years have no fixed length.
"""

from __future__ import annotations

from duologue.apps.assistant.values.found import Found, Pieces, longest
from duologue.apps.assistant.values.numbers import Number, read_number

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_SPELLED = {
    "en": {
        "second": "second seconds sec secs s",
        "minute": "minute minutes min mins m",
        "hour": "hour hours hr hrs h",
        "day": "day days",
        "week": "week weeks",
    },
    "de": {
        "second": "sekunde sekunden sek s",
        "minute": "minute minuten min m",
        "hour": "stunde stunden std h",
        "day": "tag tage tagen",
        "week": "woche wochen",
    },
    "zh": {
        "second": "秒 秒钟",
        "minute": "分 分钟",
        "hour": "小时 钟头",
        "day": "天",
        "week": "周 星期 礼拜",
    },
}
_UNITS = {
    language: {word: _SECONDS[unit] for unit, words in units.items() for word in words.split()}
    for language, units in _SPELLED.items()
}
_WEEK_ENDS = tuple("末一二三四五六日天")
_GERMAN_HALVES = {"anderthalb": 1.5, "eineinhalb": 1.5, "zweieinhalb": 2.5, "dreieinhalb": 3.5}
_GERMAN_HALVES |= {"viereinhalb": 4.5, "fünfeinhalb": 5.5, "sechseinhalb": 6.5}
_ONE = {"en": ("a", "an", "one"), "de": ("ein", "eine", "einer", "einem", "einen"), "zh": ()}
_HALF = {"en": ("half",), "de": ("halbe", "halben", "halb"), "zh": ("半",)}
_AND = {"en": ("and", ","), "de": ("und", ","), "zh": ("零", "又", "，")}

Part = tuple[Number, int, int]  # seconds, size of its unit in seconds, pieces


def find_durations(text: str, language: str) -> list[Found]:
    """All durations in a text, each with its seconds as the value."""
    pieces = Pieces(text)
    found: list[Found] = []
    index = 0
    while index < len(pieces):
        whole = _whole(pieces, index, language)
        if whole is None:
            index += 1
            continue
        seconds, count = whole
        value = int(seconds) if seconds == int(seconds) else seconds
        found.append(pieces.found(index, index + count, "duration", value))
        index += count
    return longest(found)


def _whole(pieces: Pieces, index: int, language: str) -> tuple[Number, int] | None:
    """Parts in a row, each of a smaller unit than the one before: "an hour and ten minutes"."""
    part = _part(pieces, index, language)
    if part is None:
        return None
    total, unit, count = part
    while True:
        after = index + count
        joined = after + 1 if pieces.word(after) in _AND[language] else after
        part = _part(pieces, joined, language)
        if part is None or part[1] >= unit:
            break
        total, unit, count = total + part[0], part[1], joined + part[2] - index
    extra, size = _half_after(pieces, index + count, unit, language)
    return total + extra, count + size


def _half_after(pieces: Pieces, index: int, unit: int, language: str) -> tuple[Number, int]:
    """ "... and a half", "... and a quarter", behind a unit."""
    if language == "en" and pieces.words(index, 3) == "and a half":
        return unit / 2, 3
    if language == "en" and pieces.words(index, 3) == "and a quarter":
        return unit / 4, 3
    is_half = language == "zh" and pieces.word(index) == "半" and not _unit(pieces, index + 1, "zh")
    return (unit / 2, 1) if is_half else (0, 0)


def _part(pieces: Pieces, index: int, language: str) -> Part | None:
    """One number with its unit."""
    special = {"en": _english, "de": _german, "zh": _chinese}[language](pieces, index)
    if special is not None:
        return special
    read = read_number(pieces, index, language)
    if read is None and pieces.word(index) in _ONE[language]:
        read = 1, 1
    if read is None or read[0] > 10**9:
        return None
    value, count = read
    if language == "en" and pieces.words(index + count, 3) == "and a half":
        value, count = value + 0.5, count + 3
    unit = _unit(pieces, index + count, language)
    if unit is None:
        return None
    return value * unit[0], unit[0], count + unit[1]


def _unit(pieces: Pieces, index: int, language: str) -> tuple[int, int] | None:
    """Seconds of the unit at a piece, and how many pieces it takes."""
    if language != "zh":
        seconds = _UNITS[language].get(pieces.word(index))
        if seconds is None:
            return None
        has_dot = pieces.word(index) in ("min", "std", "sek", "sec", "hr") and (
            pieces.word(index + 1) == "." and bool(pieces.word(index + 2))
        )
        return seconds, 2 if has_dot else 1
    skip = 1 if pieces.word(index) in ("个", "個") else 0
    for size in (2, 1):
        seconds = _UNITS["zh"].get("".join(pieces.words(index + skip, size).split()))
        if seconds is None or not pieces.word(index + skip + size - 1):
            continue
        is_weekday = seconds == _SECONDS["week"] and pieces.word(index + skip + size) in _WEEK_ENDS
        return None if is_weekday else (seconds, skip + size)
    return None


def _english(pieces: Pieces, index: int) -> Part | None:
    """ "half an hour", "a quarter of an hour", "three quarters of an hour", "half a minute"."""
    word = pieces.word(index)
    if word == "half" and pieces.word(index + 1) in ("a", "an"):
        return _fraction(pieces, index, 2, 0.5, "en")
    if pieces.words(index, 3) == "a half hour":
        return 1800, 3600, 3
    if pieces.words(index, 2) == "a quarter" and pieces.word(index + 2) == "of":
        return _fraction(pieces, index, 4, 0.25, "en")
    if pieces.words(index, 3) == "three quarters of":
        return _fraction(pieces, index, 4, 0.75, "en")
    return None


def _german(pieces: Pieces, index: int) -> Part | None:
    """ "eine halbe Stunde", "anderthalb Stunden", "eine Viertelstunde", "drei viertel Stunden"."""
    word = pieces.word(index)
    if word in _GERMAN_HALVES:
        return _fraction(pieces, index, 1, _GERMAN_HALVES[word], "de")
    skip = 1 if word in _ONE["de"] else 0
    after = pieces.word(index + skip)
    if after in _HALF["de"]:
        return _fraction(pieces, index, skip + 1, 0.5, "de")
    if after == "viertelstunde":
        return 900, 3600, skip + 1
    if after in ("dreiviertelstunde", "dreiviertel"):
        long = 1 if after == "dreiviertel" else 0
        if long and pieces.word(index + skip + 1) not in ("stunde", "stunden"):
            return None
        return 2700, 3600, skip + 1 + long
    return None


def _chinese(pieces: Pieces, index: int) -> Part | None:
    """ "半小时", "一个半小时", "一刻钟", "三刻钟"."""
    if pieces.word(index) == "半":
        return _fraction(pieces, index, 1, 0.5, "zh")
    read = read_number(pieces, index, "zh")
    if read is None:
        return None
    value, count = read
    if pieces.words(index + count, 2) == "刻 钟":
        return value * 900, 900, count + 2
    if pieces.words(index + count, 2) == "个 半":
        return _fraction(pieces, index, count + 2, value + 0.5, "zh")
    return None


def _fraction(pieces: Pieces, index: int, count: int, value: Number, language: str) -> Part | None:
    unit = _unit(pieces, index + count, language)
    return None if unit is None else (value * unit[0], unit[0], count + unit[1])
