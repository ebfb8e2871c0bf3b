"""Timers, alarms and reminders: set, list, cancel, and take that back."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from duologue.apps.assistant.actions import Call, Outcome, action
from duologue.apps.assistant.spoken import day, duration
from duologue.storage.preferences import Due

_MOST_SECONDS = 400 * 86400


@action("timers.set")
def set_timer(call: Call) -> Outcome:
    """Slots: duration in seconds; label."""
    seconds = float(call.slots["duration"])
    if not 1 <= seconds <= _MOST_SECONDS:
        return Outcome("failed")
    return _set(call, "timer", call.now + timedelta(seconds=seconds), _label(call))


@action("timers.alarm")
def set_alarm(call: Call) -> Outcome:
    """Slots: time, and date if it is not the next such time."""
    at = moment(call)
    if at is None:
        return Outcome("failed")
    if at <= call.now:
        return Outcome("past")
    return _set(call, "alarm", at, _label(call))


@action("timers.remind")
def set_reminder(call: Call) -> Outcome:
    """Slots: text; time, date, or duration from now."""
    if "duration" in call.slots:
        seconds = min(float(call.slots["duration"]), _MOST_SECONDS)
        at: datetime | None = call.now + timedelta(seconds=seconds)
    else:
        at = moment(call)
    if at is None:
        return Outcome("when")
    if at <= call.now:
        return Outcome("past")
    return _set(call, "reminder", at, str(call.slots["text"]))


def moment(call: Call) -> datetime | None:
    """The time and date of the slots; a time alone is the next one, a date alone is at nine."""
    said_time, said_date = call.slots.get("time"), call.slots.get("date")
    if said_time is None and said_date is None:
        return None
    clock = time.fromisoformat(said_time or "09:00")
    day_of = date.fromisoformat(said_date) if said_date else call.now.date()
    at = datetime.combine(day_of, clock, call.now.tzinfo)
    if said_date is None and at <= call.now:
        at = datetime.combine(day_of + timedelta(days=1), clock, call.now.tzinfo)
    return at


def _set(call: Call, kind: str, at: datetime, label: str) -> Outcome:
    due = call.services.scheduler.set(call.user, kind, at, label, call.language)
    values = {"at": f"{at:%H:%M}", "day": day(at.date(), call.language, call.now.date())}
    return Outcome("done", values, {"ids": [due.id]})


def _label(call: Call) -> str:
    return str(call.slots.get("label", ""))


@action("timers.forget")
def forget(call: Call) -> Outcome:
    """Undo: cancel what was just set."""
    call.services.scheduler.cancel(call.user, list(call.slots["ids"]))
    return Outcome()


@action("timers.restore")
def restore(call: Call) -> Outcome:
    """Undo: set what was just cancelled."""
    for row in call.slots["dues"]:
        at = datetime.fromtimestamp(row["at_s"], call.now.tzinfo)
        call.services.scheduler.set(call.user, row["kind"], at, row["label"], row["language"])
    return Outcome()


def _cancel(call: Call, kind: str) -> Outcome:
    pending = call.services.scheduler.pending(call.user, kind)
    if not pending:
        return Outcome("none")
    call.services.scheduler.cancel(call.user, [due.id for due in pending])
    rows = [
        {"kind": d.kind, "at_s": d.at_s, "label": d.label, "language": d.language} for d in pending
    ]
    return Outcome("done", {"count": len(pending)}, {"dues": rows})


def _list(call: Call, kind: str) -> Outcome:
    pending = call.services.scheduler.pending(call.user, kind)
    if not pending:
        return Outcome("none")
    said = [_said(call, due) for due in pending[:10]]
    return Outcome("done", {"list": "; ".join(said), "count": len(pending)})


def _said(call: Call, due: Due) -> str:
    at = datetime.fromtimestamp(due.at_s, call.now.tzinfo)
    label = f" ({due.label})" if due.label else ""
    if due.kind == "timer":
        return duration(max(0, round(due.at_s - call.now.timestamp())), call.language) + label
    day_of = day(at.date(), call.language, call.now.date())
    return f"{day_of} {at:%H:%M}{label}"


@action("timers.list")
def list_timers(call: Call) -> Outcome:
    """How long each timer still runs."""
    return _list(call, "timer")


@action("timers.cancel")
def cancel_timers(call: Call) -> Outcome:
    """Stop all timers."""
    return _cancel(call, "timer")


@action("timers.list_alarms")
def list_alarms(call: Call) -> Outcome:
    """When each alarm rings."""
    return _list(call, "alarm")


@action("timers.cancel_alarms")
def cancel_alarms(call: Call) -> Outcome:
    """Forget all alarms."""
    return _cancel(call, "alarm")


@action("timers.list_reminders")
def list_reminders(call: Call) -> Outcome:
    """What is to be remembered, and when."""
    return _list(call, "reminder")
