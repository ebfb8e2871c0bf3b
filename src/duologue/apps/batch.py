"""What apps want decoded, many things at a time, and who decodes it.

An app that must look at what came out before it knows what to decode next is written as a Plan: a
generator that yields Asks and is sent what became of them. It knows no engine, so that one and the
same plan is run to its end here, and step by step by a server (server/jobs.py).

Ask            one thing to read and decode; score_ask: to be told how likely a text is
Plan, advance  an app as a sequence of rounds of asks
run_plan       a plan to its result
check_texts    a list of texts that anything can read
answer_batch   texts to results, one source each
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from duologue.engine import scoring
from duologue.engine.engine import Constraints, Finished
from duologue.engine.memory import Memory
from duologue.engine.rules import Only, TokenRule
from duologue.engine.search import Prompt
from duologue.errors import EngineError, InputError
from duologue.explain import Source, has_loop
from duologue.runtime import Runtime, check_text
from duologue.text.imported_template import Prefix
from duologue.types import Checks, Options, Result, Span, Usage

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """One thing to read and decode.

    source  what the encoder reads; None: nothing, and the decoder speaks of its own accord
    rule    see engine.rules.TokenRule
    """

    source: Source | None
    prefix: Prefix
    options: Options
    rule: TokenRule | None = None
    record_attention: bool = False

    def prompt(self, runtime: Runtime) -> Prompt:
        """What the search is told; options are fitted to the model."""
        return Prompt(
            self.prefix.ids,
            runtime.fit(self.options, self.prefix),
            self.record_attention,
            Constraints(self.prefix.forced, self.rule),
        )


@dataclass(frozen=True)
class Decoded:
    """What became of one ask.

    unread  what of its source did not fit
    usage   decode_ms is its share, by produced tokens, of the time that its round took
    """

    finished: Finished
    unread: tuple[Span, ...]
    usage: Usage


def score_ask(source: Source | None, prefix: Prefix, ids: Sequence[int]) -> Ask:
    """Asks how likely it is that the decoder says `ids`, and then nothing more."""
    return Ask(source, prefix, Options(max_tokens=len(ids) + 1), Only(tuple(ids)))


def scores_of(decoded: Decoded, num_ids: int) -> npt.NDArray[np.float64]:
    """See engine.scoring.scores_of, of a score_ask."""
    return scoring.scores_of(decoded.finished, num_ids)


# --- plans -------------------------------------------------------------------------------------

Plan: TypeAlias = Generator[Sequence[Ask], Sequence[Decoded], T]


@dataclass(frozen=True)
class Ended(Generic[T]):
    """A plan is over, and this is its result."""

    value: T


def advance(plan: Plan[T], answers: Sequence[Decoded] | None = None) -> Sequence[Ask] | Ended[T]:
    """The next round of a plan: what is to be decoded, or its end.

    answers  what became of the last round, in its order; None: the plan begins
    """
    try:
        return next(plan) if answers is None else plan.send(answers)
    except StopIteration as end:
        return Ended(end.value)


def run_plan(runtime: Runtime, plan: Plan[T]) -> T:
    """Run a plan to its end. Raises what it raises, and EngineError if it is ended from outside."""
    asked = advance(plan)
    while not isinstance(asked, Ended):
        asked = advance(plan, _decode(runtime, asked))
    return asked.value


def _decode(runtime: Runtime, asks: Sequence[Ask]) -> list[Decoded]:
    """Read and decode, many at a time; results in order. Neighbours read the same source once."""
    costs: list[tuple[tuple[Span, ...], Usage]] = []

    def prompts() -> Iterator[tuple[Memory, Prompt]]:
        known: tuple[Source, Memory] | None = None
        for ask in asks:
            if ask.source is None:
                costs.append(((), Usage()))
                yield Memory.empty(), ask.prompt(runtime)
            elif known is not None and known[0] is ask.source:
                costs.append(((), Usage(reused_tokens=known[1].num_tokens)))
                yield known[1], ask.prompt(runtime)
            else:
                reading = runtime.read(ask.source)
                known = ask.source, reading.memory
                costs.append((reading.unread, reading.usage))
                yield reading.memory, ask.prompt(runtime)

    before = time.perf_counter()
    finished = runtime.engine.finish_all(prompts())
    encode_ms = sum(usage.encode_ms for _, usage in costs)
    decode_ms = 1000 * (time.perf_counter() - before) - encode_ms
    if any(item.best.finish_reason in ("abort", "error") for item in finished):
        raise EngineError("the decoding was ended from outside")
    ms_per_token = decode_ms / max(1, sum(len(item.best.ids) for item in finished))
    decoded = []
    for item, (unread, usage) in zip(finished, costs, strict=True):
        num_produced = len(item.best.ids)
        usage = replace(usage, produced_tokens=num_produced, decode_ms=num_produced * ms_per_token)
        decoded.append(Decoded(item, unread, usage))
    return decoded


# --- one round ---------------------------------------------------------------------------------


def check_texts(texts: Sequence[str]) -> None:
    """Raise InputError, which names a text by number if there are several, for any of no use."""
    if isinstance(texts, str):
        raise InputError("a list of texts is needed, not one text")
    for number, text in enumerate(texts, 1):
        try:
            check_text(text)
        except InputError as error:
            if len(texts) == 1:
                raise
            raise InputError(f"text {number}: {error}") from None


def answer_batch(
    runtime: Runtime, task: str, texts: Sequence[str], options: Options
) -> list[Result]:
    """The answer of a task to each text, read as it is; results in order.

    What of a text is beyond the model's positions is not read, and checks.source_truncated says
    what it was. Results lack evidence.
    """
    prefix = runtime.template.prefix(task)
    check_texts(texts)
    asks = [Ask(runtime.source(text, task), prefix, options) for text in texts]
    return run_plan(runtime, _answers(runtime, asks))


def _answers(runtime: Runtime, asks: Iterable[Ask]) -> Plan[list[Result]]:
    results = []
    for item in (yield list(asks)):
        result = runtime.result(item.finished, Checks(), (), item.usage)
        checks = Checks(source_truncated=item.unread, repetition=has_loop(result.text))
        results.append(replace(result, checks=checks))
    return results
