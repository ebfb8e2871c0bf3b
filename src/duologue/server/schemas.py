"""Bodies of requests and answers. Every field has bounds; unknown ones are refused.

OptionChanges, Said ...   what comes in
Conversation, Message ... what goes out; made by views.py
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from duologue.server.limits import Limits
from duologue.storage.records import Source
from duologue.types import Options

MAX_TEXT_CHARS = 4 * 2**20
_MANY = 1_000_000

Id = Annotated[str, Field(min_length=1, max_length=64)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
Title = Annotated[str, Field(max_length=200)]


class Body(BaseModel):
    """A body that comes in."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class OptionChanges(Body):
    """How to decode; see docs/protocol.md. What is left out stays as it is."""

    max_tokens: Annotated[int, Field(ge=1, le=_MANY)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=_MANY)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    beam_size: Annotated[int, Field(ge=1, le=_MANY)] | None = None
    num_hypotheses: Annotated[int, Field(ge=1, le=_MANY)] | None = None
    length_penalty: Annotated[float, Field(ge=-10, le=10)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=_MANY)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] | None = None


def options_of(changes: OptionChanges | None, base: Options, limits: Limits) -> Options:
    """The options of a request. Raises InputError for what cannot be, or is beyond a limit."""
    return limits.options(changes.model_dump(exclude_none=True) if changes else {}, base)


# --- in --------------------------------------------------------------------------------------


class NewConversation(Body):
    """A conversation to create; source: what its replies come from."""

    title: Title = ""
    model: Name | None = None
    source: Source = "model"


class ConversationChanges(Body):
    """What is to change of a conversation."""

    title: Title | None = None
    head: Id | None = None


class Regenerated(Body):
    """How a reply is to be made again."""

    stream: bool = False
    options: OptionChanges | None = None


class Said(Regenerated):
    """What the user says. parent: what it comes after; null: nothing; left out: the head."""

    text: Text
    parent: Id | None = None


class ForkPlace(Body):
    """Where to fork; left out: at the head."""

    message_id: Id | None = None


# --- out -------------------------------------------------------------------------------------

# For the documentation of routes that answer with a stream if they are asked to.
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


class Conversation(BaseModel):
    """A conversation without its messages; handover: whether a person is to answer, or does."""

    id: str
    title: str
    model: str
    created_at: str
    updated_at: str
    head: str | None
    source: Source
    handover: Literal["waiting", "taken"] | None
    replying: bool


class Message(BaseModel):
    """One message, and its place among those with the same parent."""

    id: str
    parent: str | None
    role: Literal["user", "agent", "system", "document"]
    text: str
    created_at: str
    status: Literal["complete", "unfinished"]
    finish_reason: Literal["stop", "length", "abort", "error"] | None
    siblings: list[str]
    index: int
    by_person: bool
    result: dict[str, Any] | None


class WholeConversation(Conversation):
    """A conversation with the path that is shown."""

    messages: list[Message]


class SentimentPoint(BaseModel):
    """One message. value: of it alone; level: of its speaker so far; both from -1 to 1."""

    message: str
    speaker: Literal["user", "agent"]
    label: str
    probabilities: dict[str, float]
    value: float
    level: float


class SentimentCurve(BaseModel):
    """smoothing: weight of the newest message in a level; left_out: messages before these."""

    points: list[SentimentPoint]
    smoothing: float
    left_out: int


class ConversationPage(BaseModel):
    """next_cursor: of the next page; null on the last."""

    data: list[Conversation]
    next_cursor: str | None


class Answered(BaseModel):
    """A user's message and the reply to it; null: a person answers there, in their own time."""

    message: Message
    reply: Message | None


class Stopped(BaseModel):
    """Whether there was a reply to stop."""

    stopped: bool


class ModelInfo(BaseModel):
    """memory_bytes: what its weights take, and now the keys and values of all that is said."""

    name: str
    family: str
    tasks: list[str]
    languages: list[str]
    license: str
    memory_bytes: int
    loaded: bool


class Info(BaseModel):
    """The server, its models, its limits, and what this key may do.

    documents: whether it has a knowledge base
    """

    version: str
    models: list[ModelInfo]
    limits: dict[str, int | float]
    documents: bool
    scopes: list[str]


class Health(BaseModel):
    """How the server is."""

    status: Literal["live", "ready", "stopping"]


class ErrorBody(BaseModel):
    """What was wrong."""

    message: str
    type: str
    code: str
    param: str | None


class Error(BaseModel):
    """Every error has this form."""

    error: ErrorBody
