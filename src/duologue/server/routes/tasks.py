"""/v1/encode, decode, translate, sentiment: what can be done with one text."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, model_validator

from duologue.apps.sentiment import choice, judging
from duologue.apps.translate import Glossary, TranslateOptions
from duologue.apps.translate.glossary import MAX_TERM_CHARS, MAX_TERMS
from duologue.engine.memory import Memory
from duologue.errors import InputError
from duologue.server import jobs, reading
from duologue.server.errors import ApiError
from duologue.server.held import HeldMemories
from duologue.server.limits import Limits
from duologue.server.schemas import Body, Id, Name, OptionChanges, Text, options_of
from duologue.server.security import Chat, ServiceDep, Translate, of_app
from duologue.server.service import ServedModel
from duologue.text.imported_template import Prefix
from duologue.types import Options, Result, Turn

router = APIRouter(prefix="/v1", tags=["tasks"])

Language = Annotated[str, Field(min_length=1, max_length=32)]
_MAX_TURNS = 1000


class GivenTurn(Body):
    """One turn of a dialogue."""

    role: Literal["system", "user", "agent", "document"]
    text: Text


class ToEncode(Body):
    """A text, or a dialogue."""

    text: Text | None = None
    turns: Annotated[list[GivenTurn], Field(min_length=1, max_length=_MAX_TURNS)] | None = None
    model: Name | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ToEncode:
        if (self.text is None) == (self.turns is None):
            raise ValueError("give either text or turns")
        return self


class Encoded(BaseModel):
    """tokens: how many the memory has."""

    memory_id: str
    tokens: int
    expires_at: str


class ToDecode(Body):
    """What is to be made of a memory."""

    memory_id: Id
    task: Annotated[str, Field(min_length=1, max_length=64)]
    language: Language | None = None
    options: OptionChanges | None = None


class GivenTerm(Body):
    """A term and what it is to be called."""

    source: Annotated[str, Field(max_length=MAX_TERM_CHARS)]
    target: Annotated[str, Field(max_length=MAX_TERM_CHARS)]


class ToTranslate(Body):
    """A text, or several. glossary: left out, that of the server; empty, none."""

    text: Text | None = None
    texts: Annotated[list[Text], Field(min_length=1)] | None = None
    to: Language | None = None
    from_: Annotated[Language | None, Field(alias="from")] = None
    options: OptionChanges | None = None
    check: bool = True
    glossary: Annotated[list[GivenTerm], Field(max_length=MAX_TERMS)] | None = None
    model: Name | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ToTranslate:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        return self


class ToJudge(Body):
    """A text that is positive or negative. sentences: whether each is judged by itself as well."""

    text: Text
    label_set: Name | None = None
    sentences: bool = False
    model: Name | None = None


class Results(BaseModel):
    """One for each text."""

    data: list[Result]


# Documented and not checked again: the engine made them.
_RESULT: dict[int | str, dict[str, Any]] = {200: {"model": Result}}
_RESULTS: dict[int | str, dict[str, Any]] = {200: {"model": Result | Results}}


HeldDep = Annotated[HeldMemories, Depends(of_app("held"))]


@router.post("/encode")
async def encode(
    request: Request, service: ServiceDep, held: HeldDep, access: Chat, body: ToEncode
) -> Encoded:
    """Read a text or a dialogue into a memory, to be decoded any number of times."""
    served = service.reader(body.model)
    if body.turns is not None:
        turns = [Turn(turn.role, turn.text) for turn in body.turns]
    else:
        turns = [Turn("user", body.text or "")]

    def read() -> Generator[None, None, Memory]:
        service.limits.check_texts(served.runtime, ["\n".join(turn.text for turn in turns)])
        return (yield from reading.encoded(served.runtime, turns))

    memory = await jobs.unless_gone(request.receive, service.in_pieces(read()))
    kept = held.keep(access.owner, served, memory)
    expires = datetime.fromtimestamp(kept.expires_s, UTC)
    return Encoded(
        memory_id=kept.id,
        tokens=memory.num_tokens,
        expires_at=expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


@router.post("/decode", response_model=None, responses=_RESULT)
async def decode(
    request: Request, service: ServiceDep, held: HeldDep, access: Chat, body: ToDecode
) -> dict[str, Any]:
    """Answer, translate or judge a memory."""
    found = held.get(access.owner, body.memory_id)
    options = options_of(body.options, Options(), service.limits)
    prefix = _prefix(found.served, found.memory, body.task, body.language)
    work = jobs.decode(service, found.served, found.memory, prefix, options, access.owner)
    result = await jobs.unless_gone(request.receive, work)
    service.metrics.used(found.served.name, result.usage)
    return result.to_dict()


@router.post("/translate", response_model=None, responses=_RESULTS)
async def translate(
    request: Request, service: ServiceDep, access: Translate, body: ToTranslate
) -> dict[str, Any]:
    """Translate a text, or several together."""
    served = service.reader(body.model)
    options = options_of(body.options, served.model.options("translate"), service.limits)
    texts = body.texts if body.texts is not None else [body.text or ""]
    terms = _glossary(body, service.limits)
    how = TranslateOptions(body.to, body.from_, options, body.check, terms)
    work = jobs.translate(service, served, texts, how, access.owner)
    results = await jobs.unless_gone(request.receive, work)
    for result in results:
        service.metrics.used(served.name, result.usage)
    if body.texts is None:
        return results[0].to_dict()
    return {"data": [result.to_dict() for result in results]}


@router.post("/sentiment", response_model=None, responses=_RESULT)
async def sentiment(
    request: Request, service: ServiceDep, _access: Translate, body: ToJudge
) -> dict[str, Any]:
    """Whether a text is positive or negative."""
    served = service.reader(body.model)

    def judge() -> Generator[None, None, Result]:
        service.limits.check_texts(served.runtime, [body.text])
        wanted = choice(served.runtime, name=body.label_set)
        return (yield from judging(served.runtime, body.text, wanted, body.sentences))

    result = await jobs.unless_gone(request.receive, service.in_pieces(judge()))
    service.metrics.used(served.name, result.usage)
    return result.to_dict()


def _glossary(body: ToTranslate, limits: Limits) -> Glossary | None:
    """The terms of a request. Raises ApiError for those that cannot be."""
    if body.glossary is None:
        return None
    limits.check("the number of terms", len(body.glossary), "max_terms")
    try:
        return Glossary.of((term.source, term.target) for term in body.glossary)
    except InputError as error:
        raise ApiError("invalid_input", str(error), "glossary") from None


def _prefix(served: ServedModel, memory: Memory, task: str, language: str | None) -> Prefix:
    try:
        if task == "reply" and language is None:
            return served.runtime.reply_prefix(memory)
        return served.runtime.template.prefix(task, to_language=language)
    except InputError as error:
        raise ApiError("invalid_input", str(error), "task") from None
