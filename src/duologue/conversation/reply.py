"""A reply that is being made, without a word on who waits for it.

Reply    what to ask the engine, events from its progress, and what is remembered at the end
Writer   progress of a request to events

Nothing here blocks on other requests or starts anything: whoever has a Reply gives its request to
the engine, each progress to digest(), and calls finish() or stop() when there is no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from duologue.conversation.state import State, have_read, place, read, reading_usage
from duologue.engine.engine import EncodeItem, Finished, Progress
from duologue.engine.memory import Memory
from duologue.errors import EngineError
from duologue.explain import Explanation, evidence, has_loop, token_confidences
from duologue.runtime import Runtime
from duologue.text.tokenizer import StreamDecoder, TokenBytes
from duologue.types import Checks, Commit, Done, Event, Options, Result, Revise, Usage


@dataclass(frozen=True)
class Asked:
    """What a reply is made from.

    state   all that was said, the question last; some of it may still be pending
    checks  what was wrong with the turns that are pending
    """

    state: State
    checks: Checks


class Reply:
    """One reply on its way. Made by Conversation.begin; used by one thread at a time.

    What the engine is to be asked, with attention recorded:

    memory      what is encoded already
    sources     what is to be encoded after it, between the steps of others
    prefix_ids  what the decoder is told first
    options     how to decode

    keep        is given the state that is reached at the end; returns False if the conversation
                was changed while the reply was made
    """

    def __init__(
        self, runtime: Runtime, asked: Asked, options: Options, keep: Callable[[State], bool]
    ) -> None:
        state = asked.state
        prefix = runtime.reply_prefix(state.memory, state.pending)
        self.memory: Memory = state.memory
        self.sources: tuple[EncodeItem, ...] = state.pending
        self.prefix_ids: tuple[int, ...] = prefix.ids
        self.options = runtime.fit(options, prefix)
        self._runtime = runtime
        self._asked = asked
        self._state = state
        self._keep = keep
        self._writer = Writer(runtime.tokenizer)
        self._encode_ms = self._decode_ms = 0.0
        self._usage = reading_usage(runtime, state, state.memory, 0.0)
        self._finished: Finished | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the last progress was digested."""
        return self._finished is not None

    @property
    def checks(self) -> Checks:
        """What did not fit of the turns that were pending, and what had to leave for them."""
        return self._asked.checks

    @property
    def turn_of_segment(self) -> tuple[int, ...]:
        """For each segment that the reply is made from, the index of its turn among all turns."""
        return tuple(index for index, said in enumerate(self._asked.state.said) if said.source)

    @property
    def tokens(self) -> tuple[tuple[str, float], ...]:
        """See Explanation.tokens; empty before the last progress."""
        if self._finished is None:
            return ()
        return token_confidences(self._runtime.tokenizer, self._finished.best)

    @property
    def is_aborted(self) -> bool:
        """Whether the engine was told to end it early."""
        return self._finished is not None and self._finished.best.finish_reason == "abort"

    @property
    def delivered(self) -> str:
        """The text of all commits so far."""
        return self._writer.delivered

    def digest(self, progress: Progress, waited_s: float = 0.0) -> Iterator[Event]:
        """The Commit and Revise events that a progress of the request brings.

        waited_s  how long it was waited for since the progress before
        """
        if self._state.pending:
            self._encode_ms += 1000 * waited_s
        else:
            self._decode_ms += 1000 * waited_s
        if progress.memory is not None:
            asked = self._state
            self._usage = reading_usage(self._runtime, asked, progress.memory, self._encode_ms)
            self._state = have_read(asked, progress.memory)
        self._finished = progress.finished
        yield from self._writer.events(progress)

    def finish(self) -> Done:
        """Let a reply that has ended by itself join the memory. Encodes it, which takes a while.

        Raises EngineError if it was ended from outside or failed, or if the conversation was
        changed while it was made; then nothing is remembered.
        """
        finished = self._finished
        if finished is None or finished.best.finish_reason in ("abort", "error"):
            problem = finished.problem if finished is not None else ""
            problem = problem or "the reply was ended from outside"
            raise EngineError(f"{problem}; the conversation is unchanged")
        runtime, asked = self._runtime, self._state
        spans = evidence(finished.attention, asked.sources, runtime.tokenizer)
        result = runtime.result(finished, self._asked.checks, spans, self._usage)
        state, checks, reading = self._with_reply(result.text)
        explanation = Explanation(
            text=result.text,
            confidence=result.confidence,
            tokens=self.tokens,
            evidence=spans,
        )
        if not self._keep(replace(state, explanation=explanation)):
            raise EngineError("the conversation was changed while this reply was made")
        usage = replace(
            result.usage,
            encoded_tokens=result.usage.encoded_tokens + reading.encoded_tokens,
            encode_ms=result.usage.encode_ms + reading.encode_ms,
            decode_ms=self._decode_ms,
        )
        checks = replace(checks, repetition=has_loop(result.text))
        return Done(replace(result, checks=checks, usage=usage))

    def stop(self) -> Result | None:
        """After an early end: remember the question and what was delivered of the reply.

        None, and nothing is remembered, if there was no text yet or the conversation was changed.
        """
        text = self._writer.delivered
        if not text.strip():
            return None
        state, checks, reading = self._with_reply(text)
        if not self._keep(state):
            return None
        usage = replace(
            self._usage,
            encoded_tokens=self._usage.encoded_tokens + reading.encoded_tokens,
            encode_ms=self._usage.encode_ms + reading.encode_ms,
            decode_ms=self._decode_ms,
        )
        if self._finished is not None:
            result = self._runtime.result(self._finished, checks, (), usage)
            return replace(result, finish_reason="abort", text=text)
        return Result(text, "abort", checks=checks, usage=usage)

    def keep_question(self) -> None:
        """Once all sources were read: remember them without a reply, which can be begun later.

        Raises EngineError if something is still to be read, or the conversation was changed.
        """
        if self._state.pending:
            raise EngineError("the question was not read to its end")
        if not self._keep(replace(self._state, explanation=None)):
            raise EngineError("the conversation was changed while it was read")

    def _with_reply(self, text: str) -> tuple[State, Checks, Usage]:
        """The state with this reply in its memory, what is wrong by then, and what reading cost."""
        runtime = self._runtime
        placed = place(runtime, self._state, "agent", runtime.turn("agent", text))
        state, usage = read(runtime, placed.state)
        asked = self._asked.checks
        checks = Checks(
            source_truncated=asked.source_truncated + placed.truncated,
            trimmed_turns=asked.trimmed_turns + placed.num_trimmed,
        )
        return replace(state, explanation=None), checks, usage


class Writer:
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
