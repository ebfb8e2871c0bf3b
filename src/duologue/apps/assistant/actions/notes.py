"""Notes: kept, listed, deleted, and brought back."""

from __future__ import annotations

from dataclasses import asdict

from duologue.apps.assistant.actions import Call, Outcome, action
from duologue.storage.preferences import Note


@action("notes.add")
def add(call: Call) -> Outcome:
    """Slots: text."""
    note = call.services.store.add_note(call.user, str(call.slots["text"]), call.now.timestamp())
    return Outcome("done", {"number": note.id}, {"ids": [note.id]})


@action("notes.list")
def list_notes(call: Call) -> Outcome:
    """All notes, numbered from 1."""
    notes = call.services.store.notes(call.user)
    if not notes:
        return Outcome("none")
    said = [f"{place}. {note.text}" for place, note in enumerate(notes, 1)]
    return Outcome("done", {"list": "; ".join(said[:50]), "count": len(notes)})


@action("notes.delete")
def delete(call: Call) -> Outcome:
    """Slots: number, as they are listed; without one all of them."""
    notes = call.services.store.notes(call.user)
    number = call.slots.get("number")
    if not notes:
        return Outcome("none")
    if number is not None and not 1 <= number <= len(notes):
        return Outcome("missing", {"count": len(notes)})
    chosen = notes if number is None else [notes[int(number) - 1]]
    gone = call.services.store.delete_notes(call.user, [note.id for note in chosen])
    values = {"count": len(gone), "list": "; ".join(note.text for note in gone)}
    return Outcome("done", values, {"notes": [asdict(note) for note in gone]})


@action("notes.forget")
def forget(call: Call) -> Outcome:
    """Undo: delete what was just added."""
    call.services.store.delete_notes(call.user, list(call.slots["ids"]))
    return Outcome()


@action("notes.restore")
def restore(call: Call) -> Outcome:
    """Undo: bring deleted notes back."""
    call.services.store.restore_notes(call.user, [Note(**row) for row in call.slots["notes"]])
    return Outcome()
