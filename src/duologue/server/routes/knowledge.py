"""/v1/kb and /v1/ask: documents of the server, and questions answered from them."""

from __future__ import annotations

from email.message import Message
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel

from duologue.apps.support.answer import OPTIONS
from duologue.server.errors import ApiError
from duologue.server.knowledge import Knowledge, Progress
from duologue.server.schemas import Body, OptionChanges, Text, options_of
from duologue.server.security import Admin, Chat, ServiceDep, of_app
from duologue.types import Result

router = APIRouter(prefix="/v1", tags=["documents"])

DocumentId = Annotated[str, Path(max_length=64)]
_UPLOADED: Any = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Document(BaseModel):
    """A document. bytes: of the file; passages: pieces that questions find."""

    id: str
    name: str
    bytes: int
    passages: int
    indexed_at: str


class Documents(BaseModel):
    """All of them, in order of their paths."""

    data: list[Document]


class Passage(BaseModel):
    """A passage that was found; document: its name; score: 1 is the best there can be."""

    document_id: str
    document: str
    heading: str
    passage: int
    text: str
    score: float


class Passages(BaseModel):
    """Best first."""

    data: list[Passage]


class NotRead(BaseModel):
    """A file that could not be read; what was known of it stays."""

    name: str
    problem: str


class Refreshed(BaseModel):
    """What became of the files; encoded: passages that had to be encoded."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: int
    failed: list[NotRead]
    encoded: int


class Underway(BaseModel):
    """The change that is being made, in passages; null: there is none."""

    progress: Progress | None


class Asked(Body):
    """A question to the documents."""

    question: Text
    options: OptionChanges | None = None


KnowledgeDep = Annotated[Knowledge, Depends(of_app("knowledge"))]


@router.get("/kb/documents", response_model=Documents)
async def documents(knowledge: KnowledgeDep, _access: Chat) -> Any:
    """What the answers come from."""
    return {"data": await knowledge.documents()}


@router.post(
    "/kb/documents",
    status_code=201,
    response_model=Document,
    responses={200: {"model": Document, "description": "It took the place of a former one"}},
    openapi_extra=_UPLOADED,
)
async def upload(
    request: Request,
    response: Response,
    knowledge: KnowledgeDep,
    _access: Admin,
    name: Annotated[str | None, Query(max_length=200)] = None,
    content_disposition: Annotated[str | None, Header(max_length=1000)] = None,
) -> Any:
    """Add a file, which is the body; one with the same name that was uploaded is replaced."""
    name = name if name is not None else _file_name(content_disposition)
    if not name:
        problem = "a name is needed: ?name=, or filename in Content-Disposition"
        raise ApiError("invalid_input", problem, "name")
    added = await knowledge.upload(request.receive, name, await request.body())
    if not added.is_new:
        response.status_code = 200
    return added.document


@router.delete("/kb/documents/{document_id}", status_code=204)
async def remove(
    request: Request, knowledge: KnowledgeDep, _access: Admin, document_id: DocumentId
) -> None:
    """Remove a document: its text, its index, and what was encoded of it."""
    await request.body()
    await knowledge.remove(request.receive, document_id)


@router.post("/kb/refresh", response_model=Refreshed)
async def refresh(request: Request, knowledge: KnowledgeDep, _access: Admin) -> Any:
    """Read again what has changed, and let go of what is gone."""
    await request.body()
    return await knowledge.refresh(request.receive)


@router.get("/kb/progress")
async def progress(knowledge: KnowledgeDep, _access: Admin) -> Underway:
    """How far the change is that is being made."""
    return Underway(progress=knowledge.progress)


@router.get("/kb/search", response_model=Passages)
async def search(
    knowledge: KnowledgeDep,
    _access: Chat,
    q: Annotated[str, Query(min_length=1, max_length=2000)],
    limit: Annotated[int, Query(ge=1, le=100)] = 5,
) -> Any:
    """The passages that fit a question best."""
    return {"data": await knowledge.search(q, limit)}


@router.post("/ask", response_model=None, responses={200: {"model": Result}})
async def ask(
    service: ServiceDep, knowledge: KnowledgeDep, _access: Chat, body: Asked
) -> dict[str, Any]:
    """The answer from the documents alone, or that they do not say."""
    options = options_of(body.options, OPTIONS, service.limits)
    result = await knowledge.ask(body.question, options)
    return await service.stored(knowledge.shown, result)


def _file_name(disposition: str | None) -> str | None:
    """The file name in a Content-Disposition, in any of its ways to be written."""
    if disposition is None:
        return None
    message = Message()
    message["Content-Disposition"] = disposition
    return message.get_filename()
