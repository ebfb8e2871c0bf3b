"""Days: "next Friday", "übermorgen", "下周五", "3月5日", as "2026-03-05".

Relative to a day that the caller gives. Where people disagree:

- "Friday", "on Friday", "this Friday": the coming one; said on a Friday, in a week.
- "next Friday" and 下周五 are in the next calendar week, which begins on Monday; German "nächsten
  Freitag" and "kommenden Freitag" are the coming one, "Freitag nächster Woche" is in the next week.
- "in March" and other months, weeks and week-ends are no days.
- A day without a year is the next such day, today included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

from duologue.apps.assistant.values.found import Found, Pieces, longest, words_of
from duologue.apps.assistant.values.numbers import read_number

_ISO = re.compile(r"(?<!\d)(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)")
_GERMAN_DATE = re.compile(r"(?<![\d.])(\d{1,2})\.\s?(\d{1,2})\.(?:\s?(\d{4}))?(?!\d)")
_CHINESE_DATE = re.compile(
    r"(?:(\d{4}|[零〇一二三四五六七八九]{4})年)?(\d{1,2}|[一二三四五六七八九十]{1,2})月"
    r"(\d{1,2}|[一二三四五六七八九十]{1,3})[日号]"
)
_DAYS = {
    "en": {
        "today": 0,
        "tonight": 0,
        "this evening": 0,
        "this morning": 0,
        "this afternoon": 0,
        "tomorrow": 1,
        "the day after tomorrow": 2,
        "day after tomorrow": 2,
        "yesterday": -1,
    },
    "de": {
        "heute": 0,
        "morgen": 1,
        "übermorgen": 2,
        "uebermorgen": 2,
        "überübermorgen": 3,
        "gestern": -1,
        "vorgestern": -2,
    },
    "zh": {
        "今天": 0,
        "今晚": 0,
        "今早": 0,
        "今日": 0,
        "明天": 1,
        "明晚": 1,
        "明早": 1,
        "明日": 1,
        "后天": 2,
        "大后天": 3,
        "昨天": -1,
        "前天": -2,
    },
}
_WEEKDAYS = {
    "en": words_of("monday tuesday wednesday thursday friday saturday sunday"),
    "de": words_of("montag dienstag mittwoch donnerstag freitag samstag sonntag"),
}
_MONTHS = {
    "en": words_of("""january february march april may june july august september october november
        december"""),
    "de": words_of("""januar februar märz april mai juni juli august september oktober november
        dezember"""),
}
_SHORT = {  # abbreviations, without the dot
    **{name[:3]: index for index, name in enumerate(_MONTHS["en"], 1)},
    "sept": 9,
}
_EN_ORDINALS = {
    word: value
    for value, word in enumerate(
        words_of("""first second third fourth fifth sixth seventh eighth ninth tenth eleventh
        twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth
        twentieth"""),
        1,
    )
}
_DE_ORDINALS = {
    word: value
    for value, word in enumerate(
        words_of("""erste zweite dritte vierte fünfte sechste siebte achte neunte zehnte elfte
        zwölfte
        dreizehnte vierzehnte fünfzehnte sechzehnte siebzehnte achtzehnte neunzehnte zwanzigste
        einundzwanzigste zweiundzwanzigste dreiundzwanzigste vierundzwanzigste
        fünfundzwanzigste
        sechsundzwanzigste siebenundzwanzigste achtundzwanzigste neunundzwanzigste dreißigste
        einunddreißigste"""),
        1,
    )
}
_EN_DAY = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")
_ZH_WEEK = re.compile("(这个?|本|下下个?|下个?|上个?)?(?:周|星期|礼拜)([一二三四五六日天])")
_ZH_AFTER = re.compile("(天|周|个?星期|个?礼拜)(?:之?后|以后)")


def find_dates(text: str, language: str, today: date) -> list[Found]:
    """All days in a text, each as an ISO date."""
    pieces = Pieces(text)
    found = list(_written(text, language, today))
    if language == "zh":
        found += _chinese(pieces, text, today)
    else:
        for index in range(len(pieces)):
            for reading in (_named_day, _weekday, _in_days, _month_day):
                read = reading(pieces, index, language, today)
                if read is not None:
                    found.append(pieces.found(index, index + read[1], "date", read[0].isoformat()))
    return longest(found)


Read = tuple[date, int] | None


def _written(text: str, language: str, today: date) -> Iterator[Found]:
    for match in _ISO.finditer(text):
        yield from _made(match, (int(match[1]), int(match[2]), int(match[3])), today)
    if language == "de":
        for match in _GERMAN_DATE.finditer(text):
            year = int(match[3]) if match[3] else None
            yield from _made(match, (year, int(match[2]), int(match[1])), today)


def _made(match: re.Match[str], parts: tuple[int | None, int, int], today: date) -> Iterator[Found]:
    day = _day(*parts, today)
    if day is not None:
        yield Found(match.start(), match.end(), "date", day.isoformat())


def _day(year: int | None, month: int, day: int, today: date) -> date | None:
    """The day, without a year the next one from today on; None if there is none."""
    for candidate in (year,) if year is not None else range(today.year, today.year + 9):
        try:
            made = date(candidate, month, day)
        except ValueError:
            continue
        if year is not None or made >= today:
            return made
    return None


def _later(today: date, days: int) -> date | None:
    try:
        return today + timedelta(days=days)
    except OverflowError:
        return None


# --- English and German ------------------------------------------------------------------------


def _named_day(pieces: Pieces, index: int, language: str, today: date) -> Read:
    for phrase, days in sorted(_DAYS[language].items(), key=lambda item: -len(item[0])):
        size = phrase.count(" ") + 1
        is_daytime = phrase == "morgen" and pieces.word(index - 1) in ("am", "guten", "jeden")
        if pieces.words(index, size) == phrase and not is_daytime:
            return today + timedelta(days=days), size
    return None


def _weekday(pieces: Pieces, index: int, language: str, today: date) -> Read:
    names = _WEEKDAYS[language]
    week_first = "next week" if language == "en" else "nächste woche"
    weeks, at = None, index
    if pieces.words(index, 2) in (week_first, "nächster woche"):
        weeks, at = 1, index + 2
    elif pieces.word(index) == "next" and language == "en":
        weeks, at = 1, index + 1
    elif pieces.word(index) in ("this", "coming", "diesen", "kommenden", "nächsten", "am", "on"):
        at = index + 1
    at += pieces.word(at) in ("on", "am")
    word = pieces.word(at)
    name = word.removesuffix("s") if word not in names else word
    if word == "sonnabend":
        name = "samstag"
    if name not in names:
        return None
    count = at + 1 - index
    if pieces.words(at + 1, 2) == "next week":
        weeks, count = 1, count + 2
    if pieces.words(at + 1, 2) == "nächster woche" or pieces.words(at + 1, 2) == "nächste woche":
        weeks, count = 1, count + 2
    return _on_weekday(today, names.index(name), weeks), count


def _on_weekday(today: date, weekday: int, weeks: int | None) -> date:
    """A weekday of the calendar week so many weeks on; None: the coming one."""
    if weeks is None:
        return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
    return today + timedelta(days=weekday - today.weekday() + 7 * weeks)


def _in_days(pieces: Pieces, index: int, language: str, today: date) -> Read:
    """ "in three days", "in einer Woche", "three days from now"."""
    if pieces.word(index) != "in":
        return None
    one = pieces.word(index + 1) in ("a", "one", "einem", "einer")
    read = (1, 1) if one else read_number(pieces, index + 1, language)
    if read is None or not isinstance(read[0], int) or not 0 <= read[0] < 10**5:
        return None
    unit = pieces.word(index + 1 + read[1])
    days = {"day": 1, "days": 1, "tag": 1, "tagen": 1, "week": 7, "weeks": 7}
    days |= {"woche": 7, "wochen": 7}
    later = _later(today, read[0] * days[unit]) if unit in days else None
    return None if later is None else (later, 2 + read[1])


def _month(word: str, language: str) -> int | None:
    if word in _MONTHS[language]:
        return _MONTHS[language].index(word) + 1
    return _SHORT.get(word) if language == "en" and word != "may" else None


def _ordinal(pieces: Pieces, index: int, language: str) -> tuple[int, int] | None:
    """A day of a month at a piece, and its size."""
    word = pieces.word(index)
    if language == "de":
        value = _DE_ORDINALS.get(word.removesuffix("n"))
        if value is not None:
            return value, 1
        has_dot = word.isdigit() and pieces.word(index + 1) == "."
        return (int(word), 2) if has_dot and len(word) <= 2 else None
    match = _EN_DAY.fullmatch(word)
    if match:
        suffix = pieces.word(index + 1) in ("st", "nd", "rd", "th")
        return int(match[1]), 1 + suffix
    if word in ("twenty", "thirty"):
        dash = 1 if pieces.word(index + 1) == "-" else 0
        unit = _EN_ORDINALS.get(pieces.word(index + 1 + dash), 10)
        if unit < 10:
            return {"twenty": 20, "thirty": 30}[word] + unit, 2 + dash
    return (30, 1) if word == "thirtieth" else _with_size(_EN_ORDINALS.get(word))


def _with_size(value: int | None) -> tuple[int, int] | None:
    return None if value is None else (value, 1)


def _month_day(pieces: Pieces, index: int, language: str, today: date) -> Read:
    """ "March 5", "march the 5th 2027", "the 5th of March", "5. März 2027"."""
    at = index
    month = _month(pieces.word(at), language) if language == "en" else None
    if month is not None:
        at += 1 + (pieces.word(at + 1) == ".")
        at += pieces.word(at) == "the"
        day = _ordinal(pieces, at, language)
        if day is None:
            return None
        at += day[1]
    else:
        day = _ordinal(pieces, at, language)
        if day is None:
            return None
        at += day[1]
        at += pieces.word(at) == "of"
        month = _month(pieces.word(at), language)
        if month is None:
            return None
        at += 1
    comma = 1 if pieces.word(at) == "," else 0
    word = pieces.word(at + comma)
    year = int(word) if re.fullmatch(r"[12]\d{3}", word) else None
    made = _day(year, month, day[0], today)
    return None if made is None else (made, (at + comma + 1 if year else at) - index)


# --- Chinese -----------------------------------------------------------------------------------


def _chinese(pieces: Pieces, text: str, today: date) -> Iterator[Found]:
    for phrase, days in _DAYS["zh"].items():
        for match in re.finditer(phrase, text):
            day = today + timedelta(days=days)
            yield Found(match.start(), match.end(), "date", day.isoformat())
    for match in _ZH_WEEK.finditer(text):
        weekday = "一二三四五六日天".index(match[2])
        prefix = (match[1] or "").removesuffix("个")
        weeks = {"下": 1, "下下": 2, "上": -1, "这": 0, "本": 0}.get(prefix)
        day = _on_weekday(today, min(weekday, 6), weeks)
        yield Found(match.start(), match.end(), "date", day.isoformat())
    for match in _CHINESE_DATE.finditer(text):
        year, month, number = (_whole(part) for part in match.groups())
        if month is not None and number is not None:
            yield from _made(match, (year, month, number), today)
    for index in range(len(pieces)):
        read = read_number(pieces, index, "zh")
        if read is None or not isinstance(read[0], int) or read[0] >= 10**5:
            continue
        end = pieces[index + read[1] - 1].end
        after = _ZH_AFTER.match(text, end)
        if after is not None:
            days = read[0] * (1 if after[1] == "天" else 7)
            later = _later(today, days)
            if later is not None:
                yield Found(pieces[index].start, after.end(), "date", later.isoformat())


def _whole(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isdigit() and text.isascii():
        return int(text)
    read = read_number(Pieces(text), 0, "zh")
    return read[0] if read is not None and isinstance(read[0], int) else None
