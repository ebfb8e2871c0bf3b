"""/v1/conversations: conversations that are stored, and replies in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from duologue.conversation import Conversation
from duologue.errors import DuologueError, InputError
from duologue.server import jobs, schemas, views
from duologue.server.curves import Curves
from duologue.server.dialogues import Answer, Dialogues
from duologue.server.errors import ApiError, body
from duologue.server.routes.knowledge import KnowledgeDep
from duologue.server.schemas import options_of
from duologue.server.security import Access, Chat, ServiceDep, of_app
from duologue.server.service import Service
from duologue.server.sse import EventStream, frame, while_here
from duologue.storage.export import WRITERS
from duologue.storage.records import Page, StoredConversation, StoredMessage
from duologue.types import Commit, Done, Event, Revise

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])

Id = Annotated[str, Path(max_length=64)]
_MEDIA_TYPES = {"json": "application/json", "md": "text/markdown", "txt": "text/plain"}


DialoguesDep = Annotated[Dialogues, Depends(of_app("dialogues"))]


# --- conversations ---------------------------------------------------------------------------


@router.post("", status_code=201, response_model=schemas.Conversation)
async def create(
    service: ServiceDep,
    knowledge: KnowledgeDep,
    access: Chat,
    body: schemas.NewConversation | None = None,
) -> Any:
    """Begin a conversation."""
    body = body or schemas.NewConversation()
    if body.source == "documents":
        model = service.name_of(knowledge.base.runtime)
        if body.model not in (None, model):
            raise ApiError("invalid_input", f"the documents are read by {model!r}", "model")
    else:
        served = service.model(body.model)
        served.runtime.template.prefix("reply")  # refuses a model that cannot
        model = served.name
    create = service.conversations.create
    made = await service.stored(create, access.owner, model, body.title, body.source)
    return views.conversation(made, False)


@router.get("", response_model=schemas.ConversationPage)
async def page(
    service: ServiceDep,
    dialogues: DialoguesDep,
    access: Chat,
    query: Annotated[str, Query(max_length=200)] = "",
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Any:
    """Conversations, last changed first; query: those that hold this text."""

    def look() -> tuple[Page, dict[str, bool]]:
        found = service.conversations.page(access.owner, query, cursor, limit)
        return found, _handovers(service, *found.conversations)

    found, taken = await service.stored(look)
    data = [
        views.conversation(one, dialogues.is_busy(access.owner, one.id), taken.get(one.id))
        for one in found.conversations
    ]
    return {"data": data, "next_cursor": found.cursor}


@router.get("/{conversation_id}", response_model=schemas.WholeConversation)
async def get(
    service: ServiceDep, dialogues: DialoguesDep, access: Chat, conversation_id: Id
) -> Any:
    """A conversation with the messages of the path to its head."""

    def look() -> tuple[StoredConversation, list[StoredMessage], bool | None]:
        found, messages = _everything(service, access, conversation_id)
        return found, messages, _handovers(service, found).get(found.id)

    found, messages, is_taken = await service.stored(look)
    shown = views.conversation(found, dialogues.is_busy(access.owner, found.id), is_taken)
    return {**shown, "messages": views.path(found.head, messages)}


@router.patch("/{conversation_id}", response_model=schemas.Conversation)
async def change(
    service: ServiceDep,
    dialogues: DialoguesDep,
    access: Chat,
    conversation_id: Id,
    body: schemas.ConversationChanges,
) -> Any:
    """Give it another title, or show the branch that goes through another message."""

    def apply() -> tuple[StoredConversation, bool | None]:
        store, where = service.conversations, (access.owner, conversation_id)
        found, messages = _everything(service, access, conversation_id)
        if body.head is not None:
            store.message(*where, body.head)
            found = store.set_head(*where, views.newest_leaf(body.head, messages))
        if body.title is not None:
            found = store.rename(*where, body.title)
        return found, _handovers(service, found).get(found.id)

    found, is_taken = await service.stored(apply)
    return views.conversation(found, dialogues.is_busy(access.owner, found.id), is_taken)


@router.delete("/{conversation_id}", status_code=204)
async def delete(dialogues: DialoguesDep, access: Chat, conversation_id: Id) -> None:
    """Delete it, with all that is kept of it."""
    await dialogues.delete(access.owner, conversation_id)


@router.post("/{conversation_id}/fork", status_code=201, response_model=schemas.Conversation)
async def fork(
    service: ServiceDep,
    access: Chat,
    conversation_id: Id,
    body: schemas.ForkPlace | None = None,
) -> Any:
    """A new conversation with a copy of the path to a message."""

    def copy() -> StoredConversation:
        store, where = service.conversations, (access.owner, conversation_id)
        place = body.message_id if body is not None else None
        place = place or store.get(*where).head
        if place is None:
            raise InputError("there is nothing to fork: the conversation has no messages")
        return store.fork(*where, place)

    return views.conversation(await service.stored(copy), False)


@router.get(
    "/{conversation_id}/export",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in _MEDIA_TYPES.values()}}},
)
async def export(
    service: ServiceDep,
    access: Chat,
    conversation_id: Id,
    format: Annotated[Literal["json", "md", "txt"], Query()] = "json",
) -> Response:
    """The conversation as a file: everything as JSON, or what is shown as Markdown or text."""
    exported = await service.stored(service.conversations.export, access.owner, conversation_id)
    content = WRITERS[format](exported)
    headers = {"Content-Disposition": f'attachment; filename="{conversation_id}.{format}"'}
    return Response(content, media_type=_MEDIA_TYPES[format], headers=headers)


@router.get("/{conversation_id}/sentiment", response_model=schemas.SentimentCurve)
async def sentiment(
    request: Request, service: ServiceDep, access: Chat, conversation_id: Id
) -> Any:
    """How the sentiment of each side runs over what is shown of it."""
    where = access.owner, conversation_id
    found = await service.stored(service.conversations.get, *where)
    path = await service.stored(service.conversations.path, *where)
    curves: Curves = request.app.state.curves
    work = service.in_pieces(curves.of_path(service.model(found.model), path))
    return await jobs.unless_gone(request.receive, work)


def _everything(
    service: Service, access: Access, conversation_id: str
) -> tuple[StoredConversation, list[StoredMessage]]:
    exported = service.conversations.export(access.owner, conversation_id)
    messages = [StoredMessage(**message) for message in exported.pop("messages")]
    return StoredConversation(**exported), messages


def _handovers(service: Service, *found: StoredConversation) -> dict[str, bool]:
    """In which of these a person is to answer, or answers (True)."""
    asked = [one.id for one in found if one.source == "documents"]
    return service.handovers.states(asked) if asked else {}


# --- replies ---------------------------------------------------------------------------------


@router.post(
    "/{conversation_id}/messages", response_model=schemas.Answered, responses=schemas.STREAMED
)
async def say(
    request: Request,
    service: ServiceDep,
    dialogues: DialoguesDep,
    access: Chat,
    conversation_id: Id,
    body: schemas.Said,
) -> Any:
    """Say something; the reply comes whole, or as a stream of events."""
    options = options_of(body.options, Conversation.REPLY_OPTIONS, service.limits)
    after = {"parent": body.parent} if "parent" in body.model_fields_set else {}
    ask = partial(dialogues.say, access.owner, conversation_id, body.text, options, **after)
    return await _answered(request, service, access, ask, body.stream)


@router.post(
    "/{conversation_id}/messages/{message_id}/regenerate",
    response_model=schemas.Answered,
    responses=schemas.STREAMED,
)
async def regenerate(
    request: Request,
    service: ServiceDep,
    dialogues: DialoguesDep,
    access: Chat,
    conversation_id: Id,
    message_id: Id,
    body: schemas.Regenerated | None = None,
) -> Any:
    """Another reply to the same message."""
    body = body or schemas.Regenerated()
    options = options_of(body.options, Conversation.REPLY_OPTIONS, service.limits)
    ask = partial(dialogues.regenerate, access.owner, conversation_id, message_id, options)
    return await _answered(request, service, access, ask, body.stream)


@router.post("/{conversation_id}/stop")
async def stop(
    service: ServiceDep, dialogues: DialoguesDep, access: Chat, conversation_id: Id
) -> schemas.Stopped:
    """End the reply in progress; what was committed of it is kept."""
    await service.stored(service.conversations.get, access.owner, conversation_id)
    return schemas.Stopped(stopped=dialogues.stop(access.owner, conversation_id))


async def _answered(
    request: Request,
    service: Service,
    access: Access,
    ask: Callable[[], Awaitable[Answer]],
    stream: bool,
) -> Any:
    if not stream:
        answer = await ask()
        async with while_here(request.receive, answer.running):
            await answer.running.whole()
        return {"message": answer.question, "reply": answer.running.kept}
    with ExitStack() as places:
        places.enter_context(service.places.stream(access.owner))
        answer = await ask()
        return EventStream(
            answer.running,
            partial(_to_bytes, answer),
            places.pop_all(),
            request.app.state.options.keep_alive_s,
            first=frame("message", answer.question),
        )


def _to_bytes(answer: Answer, event: Event | DuologueError) -> bytes:
    match event:
        case Commit(text=text):
            return frame("commit", {"text": text})
        case Revise(text=text):
            return frame("revise", {"text": text})
        case Done():
            return frame("done", {"message": answer.running.kept})
        case _:
            return frame("failed", body(event))
