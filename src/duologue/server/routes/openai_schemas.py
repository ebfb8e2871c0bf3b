"""Bodies that OpenAI's clients send. What would change an answer and is not supported is refused.

ChatRequest, ResponseRequest, EmbeddingRequest   what comes in
turns_of, turns_of_input                         messages as turns
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from duologue.server.errors import ApiError
from duologue.server.schemas import MAX_TEXT_CHARS, Body, Name
from duologue.types import Role, Turn

_MAX_MESSAGES = 2000
_MANY = 1_000_000
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "agent",
}

AnyText = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=1, le=_MANY)]


class Part(Body):
    """A part of a message; only text."""

    type: Literal["text", "input_text", "output_text"]
    text: AnyText
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: Annotated[list[Any], Field(max_length=0)] | None = None


Content = AnyText | Annotated[list[Part], Field(max_length=_MAX_MESSAGES)]


class ChatMessage(Body):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: Annotated[str, Field(max_length=200)] | None = None
    refusal: None = None


class StreamOptions(Body):
    """include_usage: a last chunk tells the tokens."""

    include_usage: bool = False
    include_obfuscation: bool = False


class TextFormat(Body):
    """The only one there is."""

    type: Literal["text"]


class Sampling(Body):
    """What all answers can be asked for; the first fields have no effect on them."""

    user: Annotated[str, Field(max_length=1000)] | None = None
    safety_identifier: Annotated[str, Field(max_length=1000)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=1000)] | None = None
    metadata: Annotated[dict[str, Any], Field(max_length=16)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None
    model: Name
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None

    def changes(self) -> dict[str, Any]:
        """The options that were given."""
        given = {"temperature": self.temperature, "top_p": self.top_p}
        return {name: value for name, value in given.items() if value is not None}


class ChatRequest(Sampling):
    """See docs/how-to/clients.md."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=_MAX_MESSAGES)]
    n: Count = 1
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Literal[0] | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    response_format: TextFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> ChatRequest:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("give either max_tokens or max_completion_tokens")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is for streams")
        return self

    @property
    def stops(self) -> list[str]:
        """The texts that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def changes(self) -> dict[str, Any]:
        """See Sampling."""
        most = self.max_completion_tokens or self.max_tokens
        given = {"max_tokens": most, "seed": self.seed}
        changed = {name: value for name, value in given.items() if value is not None}
        return {**super().changes(), **changed}


class InputItem(Body):
    """One message of a response's input."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    id: Annotated[str, Field(max_length=200)] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class TextSettings(Body):
    """How the text is to be."""

    format: TextFormat | None = None


class ResponseRequest(Sampling):
    """See docs/how-to/clients.md."""

    input: AnyText | Annotated[list[InputItem], Field(min_length=1, max_length=_MAX_MESSAGES)]
    instructions: AnyText | None = None
    max_output_tokens: Count | None = None
    text: TextSettings | None = None
    truncation: Literal["auto"] | None = None
    background: Literal[False] | None = None
    include: Annotated[list[Any], Field(max_length=0)] | None = None
    previous_response_id: None = None

    def changes(self) -> dict[str, Any]:
        """See Sampling."""
        most = self.max_output_tokens
        return {**super().changes(), **({"max_tokens": most} if most is not None else {})}


class EmbeddingRequest(Body):
    """See docs/how-to/clients.md."""

    model: Name
    input: AnyText | Annotated[list[AnyText], Field(min_length=1, max_length=_MAX_MESSAGES)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    user: Annotated[str, Field(max_length=1000)] | None = None


def turns_of(messages: list[ChatMessage] | list[InputItem], param: str) -> list[Turn]:
    """Messages as turns; the last one has to be the user's. Raises ApiError."""
    turns = [Turn(_ROLES[message.role], _text(message.content)) for message in messages]
    for number, turn in enumerate(turns):
        if not turn.text.strip():
            raise ApiError("invalid_input", f"message {number + 1} is empty", param)
    if turns[-1].role != "user":
        raise ApiError("invalid_input", "the last message must be the user's", param)
    return turns


def turns_of_input(request: ResponseRequest) -> list[Turn]:
    """The turns of a response's input, after its instructions. Raises ApiError."""
    given = request.input
    if isinstance(given, str):
        given = [InputItem(role="user", content=given)]
    turns = turns_of(given, "input")
    if request.instructions is not None and request.instructions.strip():
        return [Turn("system", request.instructions), *turns]
    return turns


def _text(content: str | list[Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
