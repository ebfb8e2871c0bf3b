"""Lights and devices of a house: on, off, brighter, warmer, and what they are."""

from __future__ import annotations

from typing import Any

from duologue.apps.assistant.actions import Call, Outcome, action

_ANYWHERE = "home"  # the room of a device that was named without one


def _place(call: Call) -> tuple[str, str]:
    return str(call.slots.get("room", _ANYWHERE)), str(call.slots["device"])


def _change(call: Call, **settings: Any) -> Outcome:
    room, device = _place(call)
    before = call.services.house.change(room, device, **settings)
    return Outcome("done", undo={"room": room, "device": device, "before": before})


@action("devices.on")
def turn_on(call: Call) -> Outcome:
    """Slots: device, room."""
    return _change(call, on=True)


@action("devices.off")
def turn_off(call: Call) -> Outcome:
    """Slots: device, room."""
    return _change(call, on=False)


@action("devices.level")
def set_level(call: Call) -> Outcome:
    """Slots: device, room, level: percent of brightness, degrees of warmth."""
    level = call.slots["level"]
    if not 0 <= level <= 100:
        return Outcome("range")
    return _change(call, on=level > 0, level=level)


@action("devices.state")
def tell_state(call: Call) -> Outcome:
    """Slots: device, room."""
    room, device = _place(call)
    state = call.services.house.state(room, device)
    if not state:
        return Outcome("unknown")
    if not state.get("on"):
        return Outcome("off")
    return Outcome("on_level" if "level" in state else "on", {"level": state.get("level")})


@action("devices.restore")
def restore(call: Call) -> Outcome:
    """Undo: as it was before."""
    call.services.house.change(call.slots["room"], call.slots["device"], **call.slots["before"])
    return Outcome()
