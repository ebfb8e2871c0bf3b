"""What OpenAI's clients ask for: models, chat completions, responses, embeddings."""

from __future__ import annotations

import base64
import math
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from fastapi import APIRouter, Request

from duologue.conversation import Conversation
from duologue.server.choices import Choice, Question, answers, question_of
from duologue.server.chunks import ChunkStream, Put, chunk
from duologue.server.errors import ApiError
from duologue.server.jobs import unless_gone
from duologue.server.reading import Vector, embedded
from duologue.server.routes.compatible import StrictRoute
from duologue.server.routes.openai_schemas import (
    ChatRequest,
    EmbeddingRequest,
    ResponseRequest,
    Sampling,
    turns_of,
    turns_of_input,
)
from duologue.server.schemas import STREAMED
from duologue.server.security import Access, AnyKey, Chat, ServiceDep
from duologue.server.service import ServedModel, Service
from duologue.types import Options, Turn, Usage

router = APIRouter(prefix="/v1", tags=["openai"], route_class=StrictRoute)

# Reading so much takes less time than to get to another thread and back.
_SHORT_CHARS = 2000
_DONE = b"data: [DONE]\n\n"


def _id(kind: str) -> str:
    return f"{kind}{secrets.token_hex(12)}"


# --- models --------------------------------------------------------------------------------------


@router.get("/models")
async def models(service: ServiceDep, _access: AnyKey) -> dict[str, Any]:
    """The models of this server."""
    return {"object": "list", "data": [_model(name) for name in service.models]}


@router.get("/models/{name:path}")
async def model(service: ServiceDep, _access: AnyKey, name: str) -> dict[str, Any]:
    """One model."""
    return _model(service.model(name).name)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "duologue"}


# --- what both kinds of answers share ------------------------------------------------------------


async def _asked(
    service: Service, access: Access, body: Sampling, turns: list[Turn], n: int = 1
) -> tuple[ServedModel, Question]:
    """What is to be answered by which model. Raises ApiError and InputError."""
    served = service.reader(body.model)
    service.limits.check("n", n, "max_hypotheses")
    base = Conversation.REPLY_OPTIONS
    if "reply" not in served.runtime.config.tasks:
        base = served.model.options("generate")
    changes = body.changes()
    if n > 1:
        changes.setdefault("temperature", 1.0)
    if changes.get("temperature"):
        changes["beam_size"] = 1
    options: Options = service.limits.options(changes, base)
    asked = service, served, turns, options, access.owner
    if sum(len(turn.text) for turn in turns) <= _SHORT_CHARS:
        return served, question_of(*asked)
    return served, await service.work(question_of, *asked)


def _usage(
    service: Service, served: ServedModel, question: Question, choices: Sequence[Choice]
) -> Usage:
    """Tokens of the dialogue, and of all answers."""
    usage = Usage(
        encoded_tokens=question.num_tokens - question.num_reused,
        reused_tokens=question.num_reused,
        produced_tokens=sum(choice.num_tokens for choice in choices),
    )
    service.metrics.used(served.name, usage)
    return usage


def _stream(
    request: Request, service: Service, access: Access, work: Callable[[Put], Any]
) -> ChunkStream:
    with ExitStack() as places:
        places.enter_context(service.places.stream(access.owner))
        keep_alive_s: float = request.app.state.options.keep_alive_s
        return ChunkStream(work, places.pop_all(), keep_alive_s)


# --- chat completions ----------------------------------------------------------------------------


@router.post("/chat/completions", response_model=dict[str, Any], responses=STREAMED)
async def chat(request: Request, service: ServiceDep, access: Chat, body: ChatRequest) -> Any:
    """Answer a dialogue, whole or as a stream of chunks."""
    turns = turns_of(body.messages, "messages")
    served, question = await _asked(service, access, body, turns, body.n)
    head = {"id": _id("chatcmpl-"), "created": int(time.time()), "model": served.name}
    if body.stream:
        work = partial(_chat_chunks, service, served, question, body, head)
        stream = _stream(request, service, access, work)
        await stream.begin(request.receive)
        return stream
    choices = [
        Choice(index, served, body.stops, lambda _: None, body.logprobs) for index in range(body.n)
    ]
    await unless_gone(request.receive, answers(service, served, question, choices))
    return {
        **head,
        "object": "chat.completion",
        "choices": [
            {
                "index": choice.index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": _logprobs(choice) if body.logprobs else None,
                "finish_reason": choice.finish_reason,
            }
            for choice in choices
        ],
        "usage": _chat_usage(_usage(service, served, question, choices)),
    }


async def _chat_chunks(
    service: Service,
    served: ServedModel,
    question: Question,
    body: ChatRequest,
    head: dict[str, Any],
    put: Put,
) -> None:
    begun: set[int] = set()
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    rest: dict[str, Any] = {"usage": None} if with_usage else {}

    def tell(index: int, text: str = "", **end: Any) -> None:
        delta = {"content": text} if text else {}
        if index not in begun:
            begun.add(index)
            delta = {"role": "assistant", "content": text}
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **end}
        put(chunk({**head, "object": "chat.completion.chunk", "choices": [choice], **rest}))

    choices = [
        Choice(index, served, body.stops, partial(tell, index), body.logprobs)
        for index in range(body.n)
    ]
    await answers(service, served, question, choices)
    for choice in choices:
        logprobs = _logprobs(choice) if body.logprobs else None
        tell(choice.index, finish_reason=choice.finish_reason, logprobs=logprobs)
    usage = _chat_usage(_usage(service, served, question, choices))
    if with_usage:
        put(chunk({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}))
    put(_DONE)


def _chat_usage(usage: Usage) -> dict[str, Any]:
    asked = usage.encoded_tokens + usage.reused_tokens
    return {
        "prompt_tokens": asked,
        "prompt_tokens_details": {"cached_tokens": usage.reused_tokens},
        "completion_tokens": usage.produced_tokens,
        "total_tokens": asked + usage.produced_tokens,
    }


def _logprobs(choice: Choice) -> dict[str, Any]:
    return {
        "content": [
            {
                "token": piece,
                "logprob": math.log(max(probability, 1e-300)),
                "bytes": list(piece.encode()),
                "top_logprobs": [],
            }
            for piece, probability in choice.logprobs
        ],
        "refusal": None,
    }


# --- responses -----------------------------------------------------------------------------------


@router.post("/responses", response_model=dict[str, Any], responses=STREAMED)
async def respond(
    request: Request, service: ServiceDep, access: Chat, body: ResponseRequest
) -> Any:
    """Answer a text or a dialogue, whole or as a stream of events. Nothing is stored."""
    served, question = await _asked(service, access, body, turns_of_input(body))
    response = _Response(service, served, question, body)
    if body.stream:
        stream = _stream(request, service, access, response.stream)
        await stream.begin(request.receive)
        return stream
    choice = Choice(0, served, (), lambda _: None)
    await unless_gone(request.receive, answers(service, served, question, [choice]))
    return response.ended(choice)


class _Response:
    """One response, as it is sent."""

    def __init__(
        self, service: Service, served: ServedModel, question: Question, body: ResponseRequest
    ) -> None:
        self._service = service
        self._served = served
        self._question = question
        self._message_id = _id("msg_")
        self._number = 0
        self._head: dict[str, Any] = {
            "id": _id("resp_"),
            "object": "response",
            "created_at": int(time.time()),
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "metadata": body.metadata or {},
            "model": served.name,
            "max_output_tokens": body.max_output_tokens,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": question.job.options.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": question.job.options.top_p,
            "truncation": "auto",
        }

    def ended(self, choice: Choice) -> dict[str, Any]:
        """The whole response."""
        status = _status(choice)
        usage = _usage(self._service, self._served, self._question, [choice])
        asked = usage.encoded_tokens + usage.reused_tokens
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            **self._head,
            "status": status,
            "incomplete_details": details,
            "output": [self._message(choice.text, status)],
            "usage": {
                "input_tokens": asked,
                "input_tokens_details": {"cached_tokens": usage.reused_tokens},
                "output_tokens": usage.produced_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": asked + usage.produced_tokens,
            },
        }

    async def stream(self, put: Put) -> None:
        """Put out all events."""

        def tell(kind: str, **values: Any) -> None:
            name = f"response.{kind}"
            put(chunk({"type": name, "sequence_number": self._number, **values}, name))
            self._number += 1

        begun = {**self._head, "status": "in_progress", "output": [], "usage": None}
        message = {**self._message("", "in_progress"), "content": []}
        place = {"item_id": self._message_id, "output_index": 0, "content_index": 0}
        is_begun = False

        def begin() -> None:
            nonlocal is_begun
            if not is_begun:
                is_begun = True
                tell("created", response=begun)
                tell("in_progress", response=begun)
                tell("output_item.added", output_index=0, item=message)
                tell("content_part.added", **place, part=_part(""))

        def say(text: str) -> None:
            begin()
            tell("output_text.delta", **place, delta=text, logprobs=[])

        choice = Choice(0, self._served, (), say)
        await answers(self._service, self._served, self._question, [choice])
        begin()
        whole = self.ended(choice)
        tell("output_text.done", **place, text=choice.text, logprobs=[])
        tell("content_part.done", **place, part=_part(choice.text))
        tell("output_item.done", output_index=0, item=whole["output"][0])
        tell(whole["status"], response=whole)

    def _message(self, text: str, status: str) -> dict[str, Any]:
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [_part(text)],
        }


def _status(choice: Choice) -> str:
    return "incomplete" if choice.finish_reason == "length" else "completed"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


# --- embeddings ----------------------------------------------------------------------------------


@router.post("/embeddings")
async def embed(
    request: Request, service: ServiceDep, _access: Chat, body: EmbeddingRequest
) -> dict[str, Any]:
    """What the encoder makes of texts: the mean over their tokens, of length 1."""
    served = service.reader(body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    size = served.runtime.config.d_model
    if body.dimensions not in (None, size):
        problem = f"this model's embeddings have {size} dimensions, no others"
        raise ApiError("invalid_input", problem, "dimensions")

    def read() -> Generator[None, None, tuple[list[Vector], int]]:
        service.limits.check_texts(served.runtime, texts, "input")
        return (yield from embedded(served.runtime, texts))

    vectors, num_tokens = await unless_gone(request.receive, service.in_pieces(read()))
    return {
        "object": "list",
        "model": served.name,
        "data": [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, body)}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }


def _encoded(vector: Vector, body: EmbeddingRequest) -> list[float] | str:
    if body.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    floats: list[float] = vector.tolist()
    return floats
