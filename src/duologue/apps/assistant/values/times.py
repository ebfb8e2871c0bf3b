"""Times of the day: "half past three", "halb vier", "下午三点一刻", as "15:30".

A bare hour is read on the clock of 24 hours ("at 7" is 07:00) unless something says which half of
the day is meant: pm, "in the evening", "abends", "下午".
"""

from __future__ import annotations

import re

from duologue.apps.assistant.values.found import Found, Pieces, longest
from duologue.apps.assistant.values.numbers import read_number

_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)(?::[0-5]\d)?")
_DOTTED = re.compile(r"([01]?\d|2[0-4])\.([0-5]\d)")
# What a part of the day does to an hour on a clock of 12: "pm" adds 12 from 1 to 11.
_PM, _AM, _NIGHT = "pm", "am", "night"
_PARTS = {
    "en": {
        "in the morning": _AM,
        "this morning": _AM,
        "tomorrow morning": _AM,
        "in the afternoon": _PM,
        "this afternoon": _PM,
        "tomorrow afternoon": _PM,
        "in the evening": _PM,
        "this evening": _PM,
        "tomorrow evening": _PM,
        "at night": _NIGHT,
        "tonight": _NIGHT,
    },
    "de": {
        "morgens": _AM,
        "am morgen": _AM,
        "früh": _AM,
        "vormittags": _AM,
        "am vormittag": _AM,
        "nachmittags": _PM,
        "am nachmittag": _PM,
        "abends": _PM,
        "am abend": _PM,
        "heute abend": _PM,
        "nachts": _NIGHT,
        "in der nacht": _NIGHT,
    },
}
_ZH_PARTS = {
    "凌晨": _AM,
    "早上": _AM,
    "早晨": _AM,
    "上午": _AM,
    "清晨": _AM,
    "中午": _PM,
    "下午": _PM,
    "傍晚": _PM,
    "晚上": _NIGHT,
    "今晚": _NIGHT,
    "明晚": _NIGHT,
    "夜里": _NIGHT,
    "半夜": _NIGHT,
}
_NAMED = {
    "en": {"noon": (12, 0), "midday": (12, 0), "midnight": (0, 0)},
    "de": {"mittags": (12, 0), "mittag": (12, 0), "mitternacht": (0, 0)},
    "zh": {"中午": (12, 0), "正午": (12, 0), "午夜": (0, 0)},
}
_MERIDIEM = {"am": _AM, "a.m": _AM, "pm": _PM, "p.m": _PM}

Clock = tuple[int, int, int]  # hour, minute, pieces
Minutes = tuple[int, int]  # minutes after midnight, pieces


def find_times(text: str, language: str) -> list[Found]:
    """All times of the day in a text, each as "HH:MM"."""
    pieces = Pieces(text)
    reader = {"en": _english, "de": _german, "zh": _chinese}[language]
    found: list[Found] = []
    for index in range(len(pieces)):
        clock = reader(pieces, index) or _named(pieces, index, language)
        if clock is not None:
            hour, minute, count = clock
            value = f"{hour % 24:02d}:{minute:02d}"
            found.append(pieces.found(index, index + count, "time", value))
    return longest(found)


def _named(pieces: Pieces, index: int, language: str) -> Clock | None:
    size = 2 if language == "zh" else 1
    word = pieces.words(index, size).replace(" ", "")
    named = _NAMED[language].get(word)
    return None if named is None else (*named, size)


def _small(pieces: Pieces, index: int, language: str, most: int) -> tuple[int, int] | None:
    """A whole number up to `most` at a piece."""
    read = read_number(pieces, index, language)
    if read is None or not isinstance(read[0], int) or not 0 <= read[0] <= most:
        return None
    return read[0], read[1]


def _shift(hour: int, part: str | None) -> int:
    """The hour of 24 that an hour means in a part of the day."""
    if part == _PM and 1 <= hour < 12:
        return hour + 12
    if part == _NIGHT and 5 <= hour < 12:
        return hour + 12
    if part in (_AM, _NIGHT) and hour == 12:
        return 0
    return hour


def _part_near(pieces: Pieces, start: int, end: int, language: str) -> tuple[str | None, int, int]:
    """The part of the day said right before or behind pieces start..end-1, and its sizes there."""
    for phrase, part in _PARTS[language].items():
        size = phrase.count(" ") + 1
        if pieces.words(end, size) == phrase:
            return part, 0, size
        before = start - 1 if pieces.word(start - 1) in ("at", "um") else start
        if before >= size and pieces.words(before - size, size) == phrase:
            return part, 0, 0
    return None, 0, 0


def _with_part(pieces: Pieces, index: int, clock: Clock, language: str) -> Clock:
    hour, minute, count = clock
    part, _, after = _part_near(pieces, index, index + count, language)
    return _shift(hour, part), minute, count + after


def _clock(word: str) -> tuple[int, int] | None:
    match = _CLOCK.fullmatch(word)
    return None if match is None else (int(match[1]), int(match[2]))


# --- English -----------------------------------------------------------------------------------


def _english(pieces: Pieces, index: int) -> Clock | None:
    relative = _english_relative(pieces, index)
    if relative is not None:
        return _with_meridiem(pieces, index, relative)
    written = _clock(pieces.word(index))
    if written is not None:
        return _with_meridiem(pieces, index, (*written, 1))
    read = _small(pieces, index, "en", 24)
    if read is None:
        return None
    hour, count = read
    after = index + count
    if pieces.words(after, 3) in ("o ' clock", "o ’ clock") or pieces.word(after) == "o'clock":
        size = 1 if pieces.word(after) == "o'clock" else 3
        return _with_meridiem(pieces, index, (hour, 0, count + size))
    minute = _small(pieces, after, "en", 59)
    if minute is not None and minute[0] >= 10 and not pieces.word(index)[0].isdigit():
        with_minute = _with_meridiem(pieces, index, (hour, minute[0], count + minute[1]))
        if with_minute[2] > count + minute[1] or _is_introduced(pieces, index):
            return with_minute
    clock = _with_meridiem(pieces, index, (hour, 0, count))
    return clock if clock[2] > count or _is_introduced(pieces, index) else None


def _is_introduced(pieces: Pieces, index: int) -> bool:
    """Whether "at" or "for" makes a bare number an hour, and nothing behind it a count."""
    if pieces.word(index - 1) not in ("at", "um"):
        return False
    words = {pieces.word(place) for place in range(index + 1, index + 4)}
    return not words & {"percent", "degrees", "prozent", "grad", "%", "°"}


def _with_meridiem(pieces: Pieces, index: int, clock: Clock) -> Clock:
    hour, minute, count = clock
    after = index + count
    letters = pieces.words(after, 3).replace(" ", "")
    if pieces.word(after) in ("am", "pm"):
        return _shift(hour, _MERIDIEM[pieces.word(after)]), minute, count + 1
    if letters in ("a.m", "p.m"):
        size = 4 if pieces.word(after + 3) == "." else 3
        return _shift(hour, _MERIDIEM[letters]), minute, count + size
    return _with_part(pieces, index, clock, "en")


def _english_relative(pieces: Pieces, index: int) -> Clock | None:
    """ "half past three", "quarter to four", "ten minutes past three"."""
    skip = 1 if pieces.word(index) == "a" else 0
    first = pieces.word(index + skip)
    if first in ("half", "quarter"):
        minutes, count = {"half": 30, "quarter": 15}[first], skip + 1
    else:
        read = _small(pieces, index, "en", 29)
        if read is None:
            return None
        minutes, count = read
        count += pieces.word(index + count) in ("minutes", "minute")
    way = pieces.word(index + count)
    if way not in ("past", "after", "to", "before"):
        return None
    hour = _small(pieces, index + count + 1, "en", 12)
    if hour is None or (first not in ("half", "quarter") and minutes not in range(1, 30)):
        return None
    total = hour[0] * 60 + (minutes if way in ("past", "after") else -minutes)
    return total // 60 % 24, total % 60, count + 1 + hour[1]


# --- German ------------------------------------------------------------------------------------

_DE_QUARTERS = {"halb": -30, "viertel": -45, "dreiviertel": -15}


def _german(pieces: Pieces, index: int) -> Clock | None:
    relative = _german_relative(pieces, index)
    if relative is not None:
        return _with_part(pieces, index, relative, "de")
    word = pieces.word(index)
    written = _clock(word)
    dotted = _DOTTED.fullmatch(word)
    if written is None and dotted and pieces.word(index + 1) == "uhr":
        written = int(dotted[1]), int(dotted[2])
    if written is not None:
        count = 2 if pieces.word(index + 1) == "uhr" else 1
        return _with_part(pieces, index, (*written, count), "de")
    hour = (1, 1) if word == "ein" else _small(pieces, index, "de", 24)
    if hour is None:
        return None
    after = index + hour[1]
    if pieces.word(after) != "uhr":
        if word == "ein":
            return None
        clock = _with_part(pieces, index, (hour[0], 0, hour[1]), "de")
        return clock if clock[2] > hour[1] or _is_introduced(pieces, index) else None
    minute = _small(pieces, after + 1, "de", 59)
    if minute is not None and pieces.word(after + 1 + minute[1]) not in ("minuten", "minute"):
        clock = hour[0], minute[0], hour[1] + 1 + minute[1]
    else:
        clock = hour[0], 0, hour[1] + 1
    return _with_part(pieces, index, clock, "de")


def _german_relative(pieces: Pieces, index: int) -> Clock | None:
    """ "halb vier", "viertel vor drei", "viertel vier", "zehn nach drei", "fünf vor halb vier"."""
    word = pieces.word(index)
    if word in _DE_QUARTERS:
        hour = _small(pieces, index + 1, "de", 12)
        if hour is not None:
            return _minutes(hour[0] * 60 + _DE_QUARTERS[word], 1 + hour[1])
    minutes = (15, 1) if word == "viertel" else _small(pieces, index, "de", 29)
    if minutes is None:
        return None
    after = index + minutes[1]
    after += pieces.word(after) in ("minuten", "minute")
    way = {"nach": 1, "vor": -1}.get(pieces.word(after))
    if way is None:
        return None
    half = 1 if pieces.word(after + 1) == "halb" else 0
    hour = _small(pieces, after + 1 + half, "de", 12)
    if hour is None:
        return None
    total = hour[0] * 60 - 30 * half + way * minutes[0]
    return _minutes(total, after + 1 + half + hour[1] - index)


def _minutes(total: int, count: int) -> Clock:
    return total // 60 % 24, total % 60, count


# --- Chinese -----------------------------------------------------------------------------------


def _chinese(pieces: Pieces, index: int) -> Clock | None:
    part = _ZH_PARTS.get(pieces.words(index, 2).replace(" ", ""))
    at = index + 2 if part is not None else index
    early = 1 if pieces.word(at) == "差" else 0
    before = _small(pieces, at + early, "zh", 29) if early else None
    if before is not None:
        at = at + early + before[1] + (pieces.word(at + early + before[1]) == "分")
    written = _clock(pieces.word(at))
    if written is not None:
        return _shift(written[0], part), written[1], at + 1 - index
    hour = _small(pieces, at, "zh", 24)
    if hour is None or pieces.word(at + hour[1]) not in ("点", "時", "时"):
        return None
    after = at + hour[1] + 1
    minute, count = _chinese_minutes(pieces, after)
    if count == 0 and pieces.word(after) == "钟":
        count = 1
    total = _shift(hour[0], part) * 60 + minute - (before[0] if before else 0)
    return _minutes(total, after + count - index)


def _chinese_minutes(pieces: Pieces, index: int) -> Minutes:
    """What follows "三点": 半, 一刻, 二十分, 二十, or nothing."""
    if pieces.word(index) == "半":
        return 30, 1
    skip = 1 if pieces.word(index) == "过" else 0
    read = _small(pieces, index + skip, "zh", 59)
    if read is None:
        return 0, 0
    after = index + skip + read[1]
    if pieces.word(after) == "刻":
        return 15 * read[0] % 60, after + 1 - index
    if pieces.word(after) == "分" and pieces.word(after + 1) != "钟":
        return read[0], after + 1 - index
    is_minute = read[0] >= 10 or pieces.word(index + skip) == "零"
    is_count = pieces.word(after) in ("分", "个", "天", "小", "秒", "度")
    return (read[0], after - index) if is_minute and not is_count else (0, 0)
