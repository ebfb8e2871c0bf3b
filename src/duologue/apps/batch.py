"""Sources decoded together: what translate, generate and summarize do in the same way.

check_texts    a list of texts that anything can read
decode_batch   sources to hypotheses, with what each of them cost
answer_batch   texts to results, one source each
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from duologue.engine.engine import Constraints, Finished
from duologue.engine.memory import Memory
from duologue.errors import EngineError, InputError
from duologue.explain import Source, has_loop
from duologue.runtime import Reading, Runtime, check_text
from duologue.text.imported_template import Prefix
from duologue.types import Checks, Options, Result, Span, Usage


@dataclass(frozen=True)
class Decoded:
    """What became of one source.

    unread  what of its text did not fit
    usage   decode_ms is its share, by produced tokens, of the time that all took
    """

    finished: Finished
    unread: tuple[Span, ...]
    usage: Usage


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


def decode_batch(
    runtime: Runtime, sources: Iterable[Source], prefix: Prefix, options: Options
) -> list[Decoded]:
    """Read and decode sources, many at a time; results in their order.

    Raises EngineError if one of them was ended from outside.
    """
    options = runtime.fit(options, prefix)
    costs: list[tuple[tuple[Span, ...], Usage]] = []

    def memories() -> Iterator[tuple[Memory, Sequence[int]]]:
        for source in sources:
            reading: Reading = runtime.read(source)
            costs.append((reading.unread, reading.usage))
            yield reading.memory, prefix.ids

    before = time.perf_counter()
    finished = runtime.engine.generate_batch(memories(), options, Constraints(prefix.forced))
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


def answer_batch(
    runtime: Runtime, task: str, texts: Sequence[str], options: Options
) -> list[Result]:
    """The answer of a task to each text, read as it is; results in order.

    What of a text is beyond the model's positions is not read, and checks.source_truncated says
    what it was. Results lack evidence.
    """
    prefix = runtime.template.prefix(task)
    check_texts(texts)
    decoded = decode_batch(runtime, (runtime.source(text, task) for text in texts), prefix, options)
    results = []
    for item in decoded:
        result = runtime.result(item.finished, Checks(), (), item.usage)
        checks = Checks(source_truncated=item.unread, repetition=has_loop(result.text))
        results.append(replace(result, checks=checks))
    return results
