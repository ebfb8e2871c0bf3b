"""What a client of /v1/live sends, and how it is told of errors.

DraftFrame, SendFrame, StopFrame   one frame each
read_frame                         from its text
failed                             the answer to one that cannot be used
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from duologue.errors import DuologueError
from duologue.server.errors import ApiError, body
from duologue.server.schemas import MAX_TEXT_CHARS, Body, Id


class DraftFrame(Body):
    """What stands there now."""

    type: Literal["draft"]
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
    translate_to: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    sentiment: bool = False
    conversation_id: Id | None = None


class SendFrame(Body):
    """Say the last draft. parent: what it comes after; null: nothing; left out: the head."""

    type: Literal["send"]
    conversation_id: Id
    parent: Id | None = None


class StopFrame(Body):
    """End the reply."""

    type: Literal["stop"]


Frame = DraftFrame | SendFrame | StopFrame
_FRAME: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


def read_frame(content: str | bytes) -> Frame:
    """A frame. Raises ApiError, without what it said, for what is none."""
    try:
        return _FRAME.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or None
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        raise ApiError("invalid_input", message, where) from None


def failed(error: DuologueError, of: str | None) -> dict[str, Any]:
    """What tells of an error; of: the type of the frame that it came from, None: it has none."""
    return {"type": "failed", "of": of, **body(error)}
