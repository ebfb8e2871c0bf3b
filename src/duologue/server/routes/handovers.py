"""/v1/handovers: questions that wait for a person, and what the person says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel

from duologue.server import views
from duologue.server.desk import Desk
from duologue.server.schemas import Body, Message, Text
from duologue.server.security import Admin, ServiceDep, of_app

router = APIRouter(prefix="/v1/handovers", tags=["hand-overs"])

Id = Annotated[str, Path(max_length=64)]


class HandOver(BaseModel):
    """A question; citations: the nearest passages; mine: whether this key has taken it."""

    id: str
    conversation_id: str
    message_id: str
    status: Literal["waiting", "taken", "closed"]
    mine: bool
    question: str
    language: str
    confidence: float
    citations: list[dict[str, Any]]
    created_at: str
    taken_at: str | None


class WholeHandOver(HandOver):
    """A question with the conversation that it was asked in."""

    messages: list[Message]


class HandOvers(BaseModel):
    """Those that are open, oldest first."""

    data: list[HandOver]


class Reply(Body):
    """What a person says."""

    text: Text


DeskDep = Annotated[Desk, Depends(of_app("desk"))]


@router.get("", response_model=HandOvers)
async def waiting(service: ServiceDep, access: Admin) -> Any:
    """What waits for a person, and what was taken over."""
    found = await service.stored(service.handovers.listed)
    return {"data": [views.handover(one, access.owner) for one in found]}


@router.get("/{handover_id}", response_model=WholeHandOver)
async def get(service: ServiceDep, access: Admin, handover_id: Id) -> Any:
    """A question, and what was said before and after it."""

    def look() -> dict[str, Any]:
        found = service.handovers.get(handover_id)
        path = service.conversations.path(found.owner, found.conversation)
        messages = [views.message(message, [message]) for message in path]
        return {**views.handover(found, access.owner), "messages": messages}

    return await service.stored(look)


@router.post("/{handover_id}/take", response_model=HandOver)
async def take(desk: DeskDep, access: Admin, handover_id: Id) -> Any:
    """Answer in place of the model from now on."""
    return views.handover(await desk.take(handover_id, access.owner), access.owner)


@router.post("/{handover_id}/reply", status_code=201, response_model=Message)
async def reply(desk: DeskDep, access: Admin, handover_id: Id, body: Reply) -> Any:
    """Say something in the conversation."""
    return await desk.reply(handover_id, access.owner, body.text)


@router.post("/{handover_id}/give-back", response_model=HandOver)
async def give_back(desk: DeskDep, access: Admin, handover_id: Id) -> Any:
    """Let the model answer again; the question leaves the queue."""
    return views.handover(await desk.give_back(handover_id), access.owner)
