"""/v1/explain: what a stored reply, or what becomes of a text, leaned on and needed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator

from duologue.server import jobs
from duologue.server.errors import ApiError
from duologue.server.explaining import Asked, Task, erasure, explained
from duologue.server.needed import needed
from duologue.server.routes.knowledge import KnowledgeDep
from duologue.server.schemas import Body, Id, Name, Text
from duologue.server.security import AnyKey, ServiceDep
from duologue.server.service import Service
from duologue.types import Result

router = APIRouter(prefix="/v1", tags=["tasks"])

_OF_REPLIES = {"conversation_id", "message_id"}
_OF_TEXTS = {"task", "text"}
_Language = Annotated[str, Field(min_length=1, max_length=32)]


class ToExplain(Body):
    """A stored reply, by conversation_id and message_id; or a task and its text.

    method  of a stored reply
    answer  to the text, from elsewhere; left out: it is made here
    """

    conversation_id: Id | None = None
    message_id: Id | None = None
    method: Literal["attention", "erasure"] | None = None
    task: Task | None = None
    text: Text | None = None
    answer: Text | None = None
    to: _Language | None = None
    from_: Annotated[_Language | None, Field(alias="from")] = None
    label_set: Name | None = None
    model: Name | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ToExplain:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        of_reply = given >= _OF_REPLIES and given <= _OF_REPLIES | {"method"}
        of_text = given >= _OF_TEXTS and not given & (_OF_REPLIES | {"method"})
        if not of_reply and not of_text:
            raise ValueError(
                "give conversation_id, message_id and if you like method; or task, text and what "
                "belongs to them"
            )
        return self


class Explained(BaseModel):
    """tokens: pieces of the text with their probabilities. influence, turns: by erasure."""

    text: str
    confidence: float
    tokens: list[tuple[str, float]]
    evidence: list[dict[str, Any]]
    influence: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []


# Documented and not checked again: the engine made them.
@router.post("/explain", response_model=None, responses={200: {"model": Explained | Result}})
async def explain(
    request: Request, service: ServiceDep, knowledge: KnowledgeDep, access: AnyKey, body: ToExplain
) -> dict[str, Any]:
    """What a stored reply leaned on and how sure each piece was, or what a result for a text needs.

    By erasure the answer is made likely again without parts of what was read, which takes a while.
    """
    scope = "chat" if body.task in (None, "answer") else "translate"
    if scope not in access.scopes:
        raise ApiError("forbidden", f"this key lacks the scope {scope!r}")
    if body.task is None or body.text is None:
        return (await _reply(request, service, access.owner, body)).model_dump()
    asked = Asked(body.task, body.text, body.answer, body.to, body.from_, body.label_set)
    work = explained(service, knowledge, access.owner, asked, body.model)
    return await jobs.unless_gone(request.receive, work)


async def _reply(request: Request, service: Service, owner: str, body: ToExplain) -> Explained:
    assert body.conversation_id is not None  # as ToExplain has checked
    assert body.message_id is not None
    where = owner, body.conversation_id
    message = await service.stored(service.conversations.message, *where, body.message_id)
    result = message.result
    if message.role != "agent" or result is None:
        raise ApiError("invalid_input", "only a complete reply can be explained", "message_id")
    told = Explained(
        text=message.text,
        confidence=result["confidence"],
        tokens=result.get("tokens", []),  # of an answer from documents there are none
        evidence=result["evidence"],
    )
    if body.method != "erasure":
        return told
    found = await service.stored(service.conversations.get, *where)
    path = await service.stored(service.conversations.path, *where, body.message_id)
    pieces = needed(service.model(found.model), path, erasure(service.limits))
    influence = await jobs.unless_gone(request.receive, service.in_pieces(pieces))
    return told.model_copy(update=influence)
