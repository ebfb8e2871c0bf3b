"""Typed values as people say them, and templates with values in them.

spoken   "10 minutes", "15:30", "Friday, 6 March"
render   an answer template with its values; marks_of: which ones it wants
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from duologue.apps.assistant.declaration import Slot
from duologue.apps.assistant.values.found import words_of

_MARK = re.compile(r"\{(\w+)\}")
_LOOSE, _GAP = re.compile(r" +(?=[.,:;!?])"), re.compile(r" {2,}")
_UNITS = {
    "en": ((86400, "day", "days"), (3600, "hour", "hours"), (60, "minute", "minutes")),
    "de": ((86400, "Tag", "Tage"), (3600, "Stunde", "Stunden"), (60, "Minute", "Minuten")),
    "zh": ((86400, "天", "天"), (3600, "小时", "小时"), (60, "分钟", "分钟")),
}
_SECONDS = {"en": ("second", "seconds"), "de": ("Sekunde", "Sekunden"), "zh": ("秒", "秒")}
_AND = {"en": " and ", "de": " und ", "zh": ""}
_WEEKDAYS = {
    "en": words_of("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "de": words_of("Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag"),
    "zh": words_of("星期一 星期二 星期三 星期四 星期五 星期六 星期日"),
}
_MONTHS = {
    "en": words_of(
        "January February March April May June July August September October November December"
    ),
    "de": words_of(
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
    ),
}


def spoken(value: Any, slot: Slot | None, language: str, today: date) -> str:
    """A slot's value as it is said in a language; without a slot, as it is."""
    kind = slot.kind if slot is not None else ""
    if kind == "duration":
        return duration(value, language)
    if kind == "date":
        return day(date.fromisoformat(value), language, today)
    if kind == "choice" and slot is not None:
        ways = slot.choices.get(value, {}).get(language, ())
        return ways[0] if ways else str(value).replace("_", " ")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, language)
    return str(value)


def number(value: float, language: str) -> str:
    """A number with 10 digits at most, and the decimal sign of the language."""
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return text.replace(".", ",") if language == "de" else text


def duration(seconds: float, language: str) -> str:
    """ "1 hour and 30 minutes"."""
    parts: list[str] = []
    rest = round(seconds)
    blank = "" if language == "zh" else " "
    for size, one, many in (*_UNITS[language], (1, *_SECONDS[language])):
        count, rest = divmod(rest, size)
        if count or (size == 1 and not parts):
            parts.append(f"{count}{blank}{one if count == 1 else many}")
    if language == "zh":
        return "".join(parts)
    *most, last = parts
    return f"{', '.join(most)}{_AND[language]}{last}" if most else last


def day(value: date, language: str, today: date) -> str:
    """ "today", "tomorrow", "Friday, 6 March"; another year is named."""
    near = {"en": ("today", "tomorrow"), "de": ("heute", "morgen"), "zh": ("今天", "明天")}[
        language
    ]
    distance = (value - today).days
    if distance in (0, 1):
        return near[distance]
    weekday = _WEEKDAYS[language][value.weekday()]
    year = "" if value.year == today.year else str(value.year)
    if language == "zh":
        return f"{year + '年' if year else ''}{value.month}月{value.day}日{weekday}"
    month = _MONTHS[language][value.month - 1]
    dot = "." if language == "de" else ""
    return f"{weekday}, {value.day}{dot} {month}{' ' + year if year else ''}"


def marks_of(template: str) -> set[str]:
    """The names of the values that a template wants."""
    return set(_MARK.findall(template))


def render(template: str, values: Mapping[str, Any], say: Callable[[str, Any], str]) -> str:
    """The template with each {name} replaced; a name without a value becomes nothing.

    say  (name, value) -> text
    """
    text = _MARK.sub(
        lambda mark: say(mark[1], values[mark[1]]) if values.get(mark[1]) is not None else "",
        template,
    )
    return _GAP.sub(" ", _LOOSE.sub("", text)).strip()
