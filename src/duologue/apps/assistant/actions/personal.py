"""What the assistant knows of a person: every slot is kept as a preference of its name."""

from __future__ import annotations

from duologue.apps.assistant.actions import Call, Outcome, action


@action("preferences.set")
def set_preferences(call: Call) -> Outcome:
    """Slots: any; each is kept under its own name."""
    store = call.services.store
    before = {
        name: store.set_preference(call.user, name, str(value))
        for name, value in call.slots.items()
    }
    return Outcome("done", undo={"before": before})


@action("preferences.restore")
def restore(call: Call) -> Outcome:
    """Undo: as it was before."""
    for name, value in call.slots["before"].items():
        call.services.store.set_preference(call.user, name, value)
    return Outcome()


@action("preferences.list")
def list_preferences(call: Call) -> Outcome:
    """Everything that is known."""
    known = call.preferences
    if not known:
        return Outcome("none")
    said = [f"{name.replace('_', ' ')}: {value}" for name, value in known.items()]
    return Outcome("done", {"list": "; ".join(said)})
