"""What time and day it is, here or in a city."""

from __future__ import annotations

from datetime import date, timedelta

from duologue.apps.assistant.actions import Call, Outcome, action
from duologue.apps.assistant.cities import city, zone
from duologue.apps.assistant.spoken import day


@action("clock.time")
def time_in(call: Call) -> Outcome:
    """Slots: place; without one the time here."""
    place = call.slots.get("place")
    if place is None:
        return Outcome("here", {"time": f"{call.now:%H:%M}"})
    found = city(str(place))
    if found is None:
        return Outcome("unknown", {"place": place})
    there = call.now.astimezone(zone(found.zone))
    day_of = day(there.date(), call.language, call.now.date())
    return Outcome("done", {"time": f"{there:%H:%M}", "place": place, "day": day_of})


@action("clock.date")
def date_today(call: Call) -> Outcome:
    """The day of the week and of the month; slots: date, if another day is asked for."""
    said = call.slots.get("date")
    asked = date.fromisoformat(said) if said else call.now.date()
    # Relative to a day long ago, so that it is neither "today" nor without its year.
    return Outcome("done", {"date": day(asked, call.language, asked - timedelta(days=4000))})
