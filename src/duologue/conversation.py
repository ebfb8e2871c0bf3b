"""One turn, read in one go: template, encode what is new, decode, check, remember.

Conversation   say or stream a turn; fork, save, load, explain, forget

The reply joins the memory, so the next turn starts from there and only new turns are ever encoded.
When the memory is full the oldest turns leave it, whole, and the result says how many did.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from duologue.config import from_dict
from duologue.engine.engine import Finished, Progress
from duologue.engine.memory import Memory
from duologue.errors import CheckpointError, ConfigError, EngineError, InputError
from duologue.explain import Explanation, Source, evidence, has_loop, token_confidences
from duologue.runtime import Reading, Runtime, check_text
from duologue.text.tokenizer import StreamDecoder, TokenBytes
from duologue.types import Checks, Commit, Done, Event, Options, Result, Revise, Role, Turn, Usage

FORMAT: Literal["duologue.conversation.v1"] = "duologue.conversation.v1"
TURNS = "conversation.json"
MAX_TURNS_BYTES = 64 * 2**20
MAX_MEMORY_BYTES = 2**30


@dataclass(frozen=True)
class _Said:
    """A turn and what of it is in the memory; None once it has left it."""

    turn: Turn
    source: Source | None

    @property
    def ids(self) -> tuple[int, ...]:
        """What of it is in the memory; empty once it has left it."""
        return self.source.ids if self.source else ()


@dataclass(frozen=True)
class _State:
    """Everything a conversation knows; replaced as a whole, so that it is never half changed."""

    memory: Memory = field(default_factory=Memory.empty)
    said: tuple[_Said, ...] = ()
    explanation: Explanation | None = None

    @property
    def sources(self) -> list[Source]:
        """The turns in the memory, one for each of its segments."""
        return [said.source for said in self.said if said.source]


class Conversation:
    """A dialogue with one model.

    What was delivered is what is remembered: a finished reply joins the memory just before its
    Done; of a stream that is closed early the committed text does, or nothing, not even what was
    asked, if there was none yet. An error or Ctrl-C inside leaves everything as it was before the
    turn. The state is replaced as a whole and never half changed.

    Conversations share a model and may run in different threads; one conversation takes one turn
    at a time. Segments in the spans of a result count the segments of the memory that the reply
    was made from; offsets are into the texts of `turns`.

    REPLY_OPTIONS  greedy: the same question gets the same answer. Six tokens in a row are never
                   said twice, which ends loops but lets times, prices and names be repeated
    """

    REPLY_OPTIONS: ClassVar[Options] = Options(max_tokens=128, no_repeat_ngram_size=6)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._state = _State()

    @property
    def memory(self) -> Memory:
        """What the next reply will be made from."""
        return self._state.memory

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Everything that was said, also what has left the memory."""
        return tuple(said.turn for said in self._state.said)

    def fork(self) -> Conversation:
        """A conversation that goes on from here by itself; shares the memory, costs nothing."""
        fork = Conversation(self._runtime)
        fork._state = self._state
        return fork

    def forget(self) -> None:
        """Forget everything: turns, memory, and the last explanation."""
        self._state = _State()

    def why(self) -> Explanation:
        """What the last reply leaned on and how sure each piece of it was.

        Raises InputError before the first reply. Explanations are not saved.
        """
        if self._state.explanation is None:
            raise InputError("there is no reply to explain yet")
        return self._state.explanation

    # --- turns -------------------------------------------------------------------------------

    def add(self, role: Role, text: str) -> Checks:
        """Put a turn into the memory without replying: history, a document, an instruction."""
        source = self._runtime.turn(role, check_text(text))
        state, reading, num_trimmed = self._with_turn(self._state, role, source)
        self._state = state
        return Checks(source_truncated=reading.unread, trimmed_turns=num_trimmed)

    def say(self, text: str, options: Options | None = None) -> Result:
        """Say something and get the whole reply; see stream."""
        *_, last = self.stream(text, options)
        assert isinstance(last, Done)  # a stream that ends, ends so
        return last.result

    def stream(self, text: str, options: Options | None = None) -> Generator[Event, None, None]:
        """Say something and get the reply as it is made: Commit and Revise events, then Done.

        options  None: REPLY_OPTIONS

        The commits in a row are the text of the result. Raises InputError for a text that cannot
        be read, EngineError if the reply could not be made.
        """
        runtime = self._runtime
        runtime.template.prefix("reply")  # refuses a model that cannot
        source = runtime.turn("user", check_text(text))
        return self._reply(source, options or self.REPLY_OPTIONS)

    def _reply(self, source: Source, options: Options) -> Generator[Event, None, None]:
        before = self._state
        asked, reading, num_trimmed = self._with_turn(before, "user", source)
        prefix = self._runtime.reply_prefix(asked.memory)
        options = self._runtime.fit(options, prefix)
        opened = self._runtime.engine.open_stream(
            asked.memory, prefix.ids, options, record_attention=True
        )
        writer = _Writer(self._runtime.tokenizer)
        decode_s = 0.0
        with contextlib.closing(opened) as stream:
            finished = None
            while finished is None:
                begun = time.perf_counter()
                progress = next(stream)
                decode_s += time.perf_counter() - begun  # not what the reader does in between
                try:
                    yield from writer.events(progress)
                except GeneratorExit:
                    self._keep_delivered(before, asked, writer.delivered)
                    raise
                finished = progress.finished
        usage = replace(reading.usage, decode_ms=1000 * decode_s)
        checks = Checks(source_truncated=reading.unread, trimmed_turns=num_trimmed)
        state, result = self._finish(asked, finished, checks, usage)
        if self._state is not before:
            raise EngineError("the conversation was changed while this reply was made")
        self._state = state
        yield Done(result)

    def _keep_delivered(self, before: _State, asked: _State, text: str) -> None:
        """After an early close: remember the question and the part of the reply that was read."""
        if text.strip() and self._state is before:
            reply = self._runtime.turn("agent", text)
            state, _, _ = self._with_turn(asked, "agent", reply)
            self._state = replace(state, explanation=None)

    def _finish(
        self, state: _State, finished: Finished, checks: Checks, usage: Usage
    ) -> tuple[_State, Result]:
        """The state with the reply in its memory, and the result."""
        runtime = self._runtime
        if finished.best.finish_reason in ("abort", "error"):
            raise EngineError("the reply was ended from outside; the conversation is unchanged")
        spans = evidence(finished.attention, state.sources, runtime.tokenizer)
        result = runtime.result(finished, checks, spans, usage)
        reply = runtime.turn("agent", result.text)
        state, reading, num_trimmed = self._with_turn(state, "agent", reply)
        checks = Checks(
            source_truncated=checks.source_truncated + reading.unread,
            trimmed_turns=checks.trimmed_turns + num_trimmed,
            repetition=has_loop(result.text),
        )
        usage = replace(
            result.usage,
            encoded_tokens=usage.encoded_tokens + reading.memory.encoded_tokens,
            encode_ms=usage.encode_ms + reading.encode_ms,
        )
        explanation = Explanation(
            text=result.text,
            confidence=result.confidence,
            tokens=token_confidences(runtime.tokenizer, finished.best),
            evidence=spans,
        )
        result = replace(result, checks=checks, usage=usage)
        return replace(state, explanation=explanation), result

    def _with_turn(self, state: _State, role: Role, source: Source) -> tuple[_State, Reading, int]:
        """The state after one more turn, and how many old turns had to leave the memory."""
        limit = self._runtime.config.max_positions
        state, num_trimmed = _trimmed(state, max(0, limit - len(source.ids)))
        reading = self._runtime.read(source, state.memory, is_document=role == "document")
        said = _Said(Turn(role, source.text), reading.source)
        return replace(state, memory=reading.memory, said=(*state.said, said)), reading, num_trimmed

    # --- files -------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write the conversation into a folder that only its owner may read.

        What was saved there before is replaced at once or, on any failure, not at all.
        Raises CheckpointError if it cannot be written.
        """
        folder = Path(path)
        memory = f"memory-{secrets.token_hex(8)}.safetensors"
        saved = _Saved(
            format=FORMAT,
            fingerprint=self._runtime.fingerprint,
            memory=memory,
            turns=tuple(
                _SavedTurn(said.turn.role, said.turn.text, len(said.ids))
                for said in self._state.said
            ),
        )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._state.memory.save(folder / memory, saved.fingerprint)
            _write(folder / TURNS, json.dumps(asdict(saved), ensure_ascii=False, indent=1))
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be written: {error.strerror}") from None
        for old in folder.glob("memory-*.safetensors"):
            if old.name != memory:
                old.unlink(missing_ok=True)

    def load(self, path: Path | str) -> None:
        """Go on with a saved conversation in place of this one.

        Raises CheckpointError, and changes nothing, if it is missing, damaged, too large, or was
        led with another model.
        """
        folder = Path(path)
        saved = _read_saved(folder / TURNS)
        if saved.fingerprint != self._runtime.fingerprint:
            raise CheckpointError(f"{folder}: this conversation was led with another model")
        memory_path = folder / Path(saved.memory).name
        if memory_path.is_file() and memory_path.stat().st_size > MAX_MEMORY_BYTES:
            raise CheckpointError(
                f"{memory_path}: larger than any memory ({MAX_MEMORY_BYTES} bytes)"
            )
        memory = Memory.load(memory_path, saved.fingerprint, self._runtime.forward)
        said = tuple(self._restored(turn) for turn in saved.turns)
        ids = [idx for segment in memory.segments for idx in segment.ids]
        if ids != [idx for one in said for idx in one.ids]:
            raise CheckpointError(f"{folder}: damaged: the turns are not those of the memory")
        try:
            self._runtime.forward.start(memory)
        except EngineError as error:
            raise CheckpointError(f"{folder}: damaged: {error}") from None
        self._state = _State(memory, said)

    def _restored(self, saved: _SavedTurn) -> _Said:
        source = self._runtime.turn(saved.role, saved.text)
        if not 0 <= saved.num_tokens <= len(source.ids):
            raise CheckpointError("the saved conversation is damaged: a turn has too many tokens")
        read = source.cut(saved.num_tokens) if saved.num_tokens else None
        return _Said(Turn(saved.role, saved.text), read)


def _trimmed(state: _State, max_tokens: int) -> tuple[_State, int]:
    """The state without the oldest turns in its memory, and how many left it."""
    if state.memory.num_tokens <= max_tokens:
        return state, 0
    memory = state.memory.trim(max_tokens)
    kept = {id(segment) for segment in memory.segments}
    inside = [index for index, said in enumerate(state.said) if said.source]
    segments = state.memory.segments
    if len(segments) == len(inside):
        gone = {i for i, segment in zip(inside, segments, strict=True) if id(segment) not in kept}
    else:  # encoder_mask "full" makes one segment of all turns: they leave together
        gone = set(inside)
    said = tuple(
        replace(one, source=None) if index in gone else one for index, one in enumerate(state.said)
    )
    return replace(state, memory=memory, said=said), len(gone)


class _Writer:
    """Progress of a request to events; commits are whole characters.

    delivered  the text of all commits that were taken
    """

    def __init__(self, tokenizer: TokenBytes) -> None:
        self.delivered = ""
        self._tokenizer = tokenizer
        self._stream = StreamDecoder(tokenizer)
        self._ids: list[int] = []
        self._guess = ""

    def events(self, progress: Progress) -> Iterator[Event]:
        """What a reader of the stream needs to know after this progress."""
        text = "".join(map(self._stream.push, progress.committed_ids))
        if progress.finished is not None:
            text += self._stream.flush()
        self._ids += progress.committed_ids
        self.delivered += text
        if text:
            yield Commit(text)
        guess = self._guessed(progress.tail_ids)
        if guess != self._guess or (text and guess):
            yield Revise(guess)
        self._guess = guess

    def _guessed(self, tail_ids: tuple[int, ...]) -> str:
        """Text of the guessed ids after the committed ones, without half a character at the end."""
        if not tail_ids:
            return ""
        stream = StreamDecoder(self._tokenizer)
        return "".join(map(stream.push, (*self._ids, *tail_ids)))[len(self.delivered) :]


@dataclass(frozen=True)
class _SavedTurn:
    """num_tokens  how many of the turn's tokens are in the memory; 0: it has left it."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    role: Role
    text: str
    num_tokens: int


@dataclass(frozen=True)
class _Saved:
    """The content of conversation.json."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    format: Literal["duologue.conversation.v1"]
    fingerprint: str
    memory: str
    turns: tuple[_SavedTurn, ...]


def _read_saved(path: Path) -> _Saved:
    try:
        if path.stat().st_size > MAX_TURNS_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_TURNS_BYTES} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent}: no saved conversation here") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: damaged (not valid JSON)") from None
    try:
        return from_dict(_Saved, values, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _write(path: Path, text: str) -> None:
    """Replace a file at once; mkstemp makes it readable by its owner alone."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
