"""A loaded model ready to run: what conversations and apps do with one in the same way.

Runtime      configuration, tokenizer, arithmetic and engine of one model
Reading      a memory after one more turn was read into it
check_text   what a text must be before anything reads it

Turns are read without outer blanks, as they were in training; texts for a task are read as they
are. Offsets in the spans that come from here count characters of what was read.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from duologue.checkpoint.store import LoadedModel, fingerprint
from duologue.config import ModelConfig
from duologue.engine.engine import EncodeItem, Engine, Finished, SpecialIds
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.errors import EngineError, InputError
from duologue.explain import Source, confidence, unread_span
from duologue.explain.erasure import Context, Effects, ErasureOptions, answer_scorer, erasing
from duologue.text.imported_template import Prefix, SourceIds
from duologue.text.language import guess_language
from duologue.text.templates import AnyTokenizer, Template, template_of
from duologue.types import Alternative, Checks, Options, Result, Span, Usage

MAX_TEXT_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Reading:
    """A memory after one more turn.

    source     the new segment; its ids are those that were read
    unread     what of the text did not fit: one span or none
    encode_ms  time that the encoder took
    """

    memory: Memory
    source: Source
    unread: tuple[Span, ...]
    encode_ms: float

    @property
    def usage(self) -> Usage:
        """The cost of reading."""
        return Usage(
            encoded_tokens=self.memory.encoded_tokens,
            reused_tokens=self.memory.reused_tokens,
            encode_ms=self.encode_ms,
        )


class Runtime:
    """The parts of one model. Threads may share it; nothing in it changes but the engine's queue.

    model      what checkpoint.store.load_model returned
    threads    of one forward pass; None: as many as is sensible here
    two_stage  see Forward

    special   (attribute) what ends a target, and what is never produced
    template  (attribute) how texts become sources, and what targets begin with
    """

    def __init__(
        self, model: LoadedModel, threads: int | None = None, two_stage: bool = False
    ) -> None:
        self._model = model
        self.config: ModelConfig = model.config
        self.tokenizer: AnyTokenizer = model.tokenizer
        self.template: Template = template_of(model.config, model.tokenizer)
        self.forward = Forward(model.config, model.weights, threads, two_stage=two_stage)
        model.let_go()  # the engine has packed weights of its own
        self.special = _special_ids(model.config, model.tokenizer)
        self.engine = Engine(self.forward, self.special)

    @cached_property
    def fingerprint(self) -> str:
        """Names the function that the model computes; saved memories carry it."""
        return fingerprint(self.config, self._model.weights)

    # --- what goes in ------------------------------------------------------------------------

    def reply_prefix(self, memory: Memory, pending: Iterable[EncodeItem] = ()) -> Prefix:
        """Decoder prefix of a reply, in the language that the user spoke last.

        pending  what is still to be encoded after the memory

        Turns that give no sign, such as a number, leave the language as it was; before any sign
        it is the model's first. A model whose data named no languages takes `<reply>` alone.
        """
        known = self.config.reply_languages
        if not known:
            return self.template.prefix("reply")
        user_id = self.tokenizer.control_id("<user>")
        said = [segment.ids for segment in memory.segments] + [tuple(item.ids) for item in pending]
        for ids in reversed(said):
            if ids[0] == user_id:
                guess = guess_language(self.tokenizer.decode(list(ids[1:])), known)
                if guess is not None:
                    return self.template.prefix("reply", to_language=guess)
        return self.template.prefix("reply", to_language=known[0])

    def turn(self, role: str, text: str) -> Source:
        """The segment that a turn becomes, however long. Raises InputError for an unknown role."""
        text = text.strip()
        return _source(text, self.template.turn(role, text))

    def source(
        self,
        text: str,
        task: str,
        from_language: str | None = None,
        to_language: str | None = None,
    ) -> Source:
        """The segment that a text becomes, however long; raises what Template.source raises."""
        return _source(text, self.template.source(text, task, from_language, to_language))

    def options(self, fallback: Options) -> Options:
        """How to decode unless the caller says otherwise: as the model was published, if it was.

        fallback  for a model of Duologue's own; its max_tokens also where no advice was published
        """
        advice = self.config.generation
        if advice is None:
            return fallback
        return Options(
            max_tokens=fallback.max_tokens if advice.max_tokens is None else advice.max_tokens,
            beam_size=advice.beam_size,
            length_penalty=advice.length_penalty,
            early_stopping=advice.early_stopping,
            min_tokens=advice.min_tokens,
            repetition_penalty=advice.repetition_penalty,
            no_repeat_ngram_size=advice.no_repeat_ngram_size,
        )

    def fit(self, options: Options, prefix: Prefix) -> Options:
        """The options with max_tokens lowered to what the model can produce at all.

        A result that is cut there says so, with finish_reason "length".
        """
        num_fed = len(prefix.ids) + len(prefix.forced)
        room = max(1, self.config.target_positions - num_fed)
        return replace(options, max_tokens=min(options.max_tokens, room))

    def cut(self, source: Source, room: int, segment: int) -> tuple[Source, tuple[Span, ...]]:
        """As much of a source as fits into `room` tokens, and the span of it that does not.

        segment  index of the source among those of the memory
        Raises EngineError if nothing of the text fits.
        """
        if room < 1:
            num_tokens = self.config.max_positions - room
            raise EngineError(f"the memory is full: {num_tokens} tokens")
        kept = source.cut(room)
        text_ids = source.ids[source.start : source.stop]
        num_read = kept.stop - kept.start
        return kept, unread_span(self.tokenizer, source.text, text_ids, num_read, segment)

    def require_room(self, source: Source, memory: Memory) -> None:
        """Raises InputError, with the sizes, if a memory has no room for all of a source."""
        room = self.config.max_positions - memory.num_tokens
        if len(source.ids) > room:
            raise InputError(
                f"the text has {len(source.ids)} tokens, the memory has room for {room} "
                f"of {self.config.max_positions}"
            )

    def read(
        self, source: Source, memory: Memory | None = None, is_document: bool = False
    ) -> Reading:
        """Encode a segment after a memory (None: the empty one), as much of it as there is room.

        Raises EngineError if the memory is full.
        """
        memory = Memory.empty() if memory is None else memory
        room = self.config.max_positions - memory.num_tokens
        kept, unread = self.cut(source, room, len(memory.segments))
        before = time.perf_counter()
        memory = self.forward.encode(kept.ids, memory, is_document)
        encode_ms = 1000 * (time.perf_counter() - before)
        return Reading(memory, kept, unread, encode_ms)

    # --- what comes out ----------------------------------------------------------------------

    def result(
        self, finished: Finished, checks: Checks, evidence: tuple[Span, ...], usage: Usage
    ) -> Result:
        """A finished request as text; usage lacks only the produced tokens."""
        best, *others = finished.hypotheses
        return Result(
            text=self.tokenizer.decode(list(best.ids)),
            finish_reason=best.finish_reason,
            confidence=confidence([best]),
            checks=checks,
            evidence=evidence,
            alternatives=tuple(
                Alternative(self.tokenizer.decode(list(other.ids)), other.logprob)
                for other in others
            ),
            usage=replace(usage, produced_tokens=len(best.ids)),
        )

    # --- why it came out so ------------------------------------------------------------------

    def answer_ids(self, answer: str, prefix: Prefix) -> tuple[int, ...]:
        """An answer as the decoder would say it, as much of it as it can say."""
        room = self.config.target_positions - len(prefix.ids) - len(prefix.forced) - 1
        return tuple(self.tokenizer.encode(answer)[: max(1, room)])

    def effects(
        self,
        context: Context,
        prefix: Prefix,
        ids: Sequence[int],
        options: ErasureOptions,
        segments: Sequence[int] | None = None,
    ) -> Generator[None, None, Effects]:
        """What an answer would be less likely without; yields between pieces of its work.

        ids       of the answer, without its end
        segments  whose text may be left out; None: all
        """
        score = answer_scorer(self.engine, prefix.ids, prefix.forced, ids)
        pieces = erasing(context, score, self.tokenizer, options, len(ids), segments)
        return (yield from pieces)


def check_text(text: str) -> str:
    """The text as it is, if anything can read it.

    Raises InputError for what is not a string, is empty or blank, is longer than MAX_TEXT_BYTES in
    UTF-8, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InputError(f"a text is needed, not {type(text).__name__}")
    if not text.strip():
        raise InputError("the text is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InputError("the text holds half of a character (a lone surrogate)") from None
    if size > MAX_TEXT_BYTES:
        raise InputError(f"the text has {size:,} bytes; at most {MAX_TEXT_BYTES:,} are read")
    return text


def _source(text: str, made: SourceIds) -> Source:
    return Source(made.ids, text, made.start, made.stop)


def _special_ids(config: ModelConfig, tokenizer: AnyTokenizer) -> SpecialIds:
    """What was published; of Duologue's own models, whatever stands for no text."""
    advice = config.generation
    if advice is not None:
        return SpecialIds(
            eos_ids=advice.eos_ids,
            suppressed_ids=advice.suppressed_ids,
            first_suppressed_ids=advice.first_suppressed_ids,
        )
    ids = range(tokenizer.vocab_size)
    textless = tuple(idx for idx in ids if not tokenizer.token_bytes(idx))
    return SpecialIds((tokenizer.eos_id,), absent_ids=textless)
