"""The weather, from a JSON file that the user keeps up to date.

    {"Berlin": {"2026-03-05": {"condition": "rain", "low": 3, "high": 9}}}

Degrees are Celsius; a person whose units are "fahrenheit" hears those. A condition is one of
CONDITIONS, or any other text, which is said as it is.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from duologue.apps.assistant.actions import Call, Outcome, action
from duologue.apps.assistant.cities import city
from duologue.apps.assistant.house import read_json
from duologue.apps.assistant.spoken import day
from duologue.errors import DataError

CONDITIONS = {
    "sun": {"en": "sunny", "de": "sonnig", "zh": "晴"},
    "cloud": {"en": "cloudy", "de": "bewölkt", "zh": "多云"},
    "rain": {"en": "rainy", "de": "regnerisch", "zh": "有雨"},
    "snow": {"en": "snowy", "de": "verschneit", "zh": "有雪"},
    "storm": {"en": "stormy", "de": "stürmisch", "zh": "有暴风雨"},
    "fog": {"en": "foggy", "de": "neblig", "zh": "有雾"},
}


@action("weather.tell")
def tell(call: Call) -> Outcome:
    """Slots: place, date; today without one."""
    if call.services.weather is None:
        return Outcome("nothing")
    place = str(call.slots["place"])
    asked = date.fromisoformat(call.slots.get("date") or call.now.date().isoformat())
    days = _days(read_weather(call.services.weather), place)
    said_day = day(asked, call.language, call.now.date())
    if days is None or asked.isoformat() not in days:
        return Outcome("unknown", {"place": place, "day": said_day})
    found = days[asked.isoformat()]
    is_fahrenheit = call.preferences.get("units") == "fahrenheit"
    degrees = {
        name: round(found[name] * 9 / 5 + 32 if is_fahrenheit else found[name])
        for name in ("low", "high")
    }
    condition = str(found["condition"])
    spoken = CONDITIONS.get(condition, {}).get(call.language, condition)
    unit = "°F" if is_fahrenheit else "°C"
    values = {"place": place, "day": said_day, "condition": spoken, "unit": unit}
    return Outcome("done", {**values, **degrees})


def read_weather(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """City -> ISO date -> condition, low, high; raises DataError for a file that is none."""
    places = read_json(path)
    if not isinstance(places, dict):
        raise DataError(path, None, "must be {city: {date: {condition, low, high}}}")
    for name, days in places.items():
        for day_of, found in days.items() if isinstance(days, dict) else [("", None)]:
            if not _is_weather(found):
                problem = f"{name} {day_of}: needs a condition, and numbers for low and high"
                raise DataError(path, None, problem)
    return places


def _is_weather(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("condition"), str)
        and all(type(found.get(name)) in (int, float) for name in ("low", "high"))
    )


def _days(
    places: dict[str, dict[str, dict[str, Any]]], place: str
) -> dict[str, dict[str, Any]] | None:
    """The days of a place, whichever of its names it goes by."""
    by_name = {name.casefold(): days for name, days in places.items()}
    if place.casefold() in by_name:
        return by_name[place.casefold()]
    found = city(place)
    names = [found.name, *found.others] if found is not None else []
    return next((by_name[n.casefold()] for n in names if n.casefold() in by_name), None)
