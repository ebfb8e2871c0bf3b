"""Numbers, durations, times and days in what people say: English, Chinese, German.

find_values   all of one kind in a text
KINDS         the kinds there are

A recogniser reads what is there and nothing else: no model, no locale, and no clock of its own.
"""

from __future__ import annotations

from datetime import date

from duologue.apps.assistant.values.dates import find_dates
from duologue.apps.assistant.values.durations import find_durations
from duologue.apps.assistant.values.found import LANGUAGES, Found
from duologue.apps.assistant.values.numbers import find_numbers
from duologue.apps.assistant.values.times import find_times

__all__ = ["KINDS", "LANGUAGES", "Found", "find_values"]

KINDS = ("number", "duration", "time", "date")


def find_values(text: str, kind: str, language: str, today: date) -> list[Found]:
    """What a text says of one kind, in the order of the text; none overlap.

    kind   one of KINDS
    today  what relative days count from
    """
    if kind == "number":
        return find_numbers(text, language)
    if kind == "duration":
        return find_durations(text, language)
    if kind == "time":
        return find_times(text, language)
    return find_dates(text, language, today)
