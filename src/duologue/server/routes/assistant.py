"""/v1/assistant: commands that are understood and done."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from duologue.server.commands import Commands, state_of
from duologue.server.schemas import Body, Text
from duologue.server.security import Chat, of_app
from duologue.types import Result

router = APIRouter(prefix="/v1/assistant", tags=["assistant"])

Session = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class Command(Body):
    """What somebody says; session: which conversation it belongs to."""

    text: Text
    session: Session = "default"
    language: Annotated[str, Field(min_length=1, max_length=32)] | None = None


class Pending(BaseModel):
    """A command that is not done yet; asking: the slot that was asked for, empty: yes or no."""

    intent: str
    slots: dict[str, Any]
    asking: str


class SessionState(BaseModel):
    """Where the conversation is."""

    language: str
    pending: Pending | None
    can_undo: bool


class Understood(BaseModel):
    """What was made of it, and where the conversation is now."""

    result: Result
    session: str
    state: SessionState


class Ring(BaseModel):
    """Something that is due; text: what to say."""

    id: int
    kind: str
    at: str
    label: str
    text: str


class Rings(BaseModel):
    """Soonest first."""

    data: list[Ring]


CommandsDep = Annotated[Commands, Depends(of_app("commands"))]


# Documented and not checked again: the assistant made it.
@router.post("", response_model=None, responses={200: {"model": Understood}})
async def say(commands: CommandsDep, access: Chat, body: Command) -> dict[str, Any]:
    """Understand a command, do it, and answer."""
    said = access.owner, body.session, body.text, body.language
    result, state = await commands.say(*said)
    return {"result": result.to_dict(), "session": body.session, "state": state_of(state)}


@router.post("/due", response_model=Rings)
async def due(commands: CommandsDep, access: Chat) -> Any:
    """Take the timers, alarms and reminders that ring now; each is told once."""
    return {"data": await commands.due(access.owner)}
