"""Cities by the names that they have in English, Chinese and German, and their time zones.

find_cities  those that a text names
city         the one that a text is about
zone         a time zone by name, with a message for systems that have none
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import yaml

from duologue.apps.assistant.values.found import Found, longest
from duologue.errors import InputError

_FILE = Path(__file__).parent / "skills" / "cities.yaml"


@dataclass(frozen=True)
class City:
    """name: in English; others: in other languages, or spelled otherwise."""

    name: str
    zone: str
    others: tuple[str, ...] = ()


@cache
def cities() -> dict[str, City]:
    """Every casefolded name with its city."""
    rows = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    found: dict[str, City] = {}
    for name, (zone_name, *others) in rows.items():
        made = City(name, zone_name, tuple(others))
        for spelled in (name, *others):
            found[spelled.casefold()] = made
    return found


@cache
def _pattern() -> re.Pattern[str]:
    names = sorted(cities(), key=lambda name: -len(name))
    latin = "|".join(re.escape(name) for name in names if name[0] < "\u3400")
    chinese = "|".join(name for name in names if name[0] >= "\u3400")
    return re.compile(rf"(?<!\w)(?:{latin})(?!\w)|{chinese}")


def find_cities(text: str) -> list[Found]:
    """The cities that a text names; their value is the name as it was said."""
    folded = text.casefold()
    if len(folded) != len(text):  # such as ß, which becomes two letters: places would be wrong
        folded = text.lower()
    found = [
        Found(m.start(), m.end(), "place", text[m.start() : m.end()])
        for m in _pattern().finditer(folded)
    ]
    return longest(found)


def city(text: str) -> City | None:
    """The city that a text names, or the first one that it mentions; None if it names none."""
    known = cities()
    exact = known.get(text.strip().casefold())
    if exact is not None:
        return exact
    found = find_cities(text)
    return known.get(found[0].value.casefold()) if found else None


def zone(name: str) -> ZoneInfo:
    """A time zone such as "Europe/Berlin".

    Raises InputError for one that is not known, and where the machine knows none at all, as Windows
    and small containers do.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if available_timezones():
            raise InputError(f"the time zone {name!r} is not known here") from None
        raise InputError("this machine knows no time zones: run pip install tzdata") from None
