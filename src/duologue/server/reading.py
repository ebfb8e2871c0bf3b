"""Texts that are read on a thread of their own, a bounded amount of work at a time.

encoded   a dialogue as a memory
judged    whether a text is positive or negative
embedded  texts as vectors

These are generators that yield between two pieces of their work; see Service.in_pieces.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from duologue.apps.labels import classify
from duologue.apps.sentiment import LABELS
from duologue.engine.forward import Encoding
from duologue.engine.memory import Memory
from duologue.explain import Source
from duologue.runtime import Reading, Runtime, check_text
from duologue.server.errors import ApiError
from duologue.types import Result, Turn

Vector = npt.NDArray[np.float32]


def encoded(runtime: Runtime, turns: Sequence[Turn]) -> Generator[None, None, Memory]:
    """The memory of a dialogue. Raises InputError, with the sizes, if there is no room for it."""
    memory = Memory.empty()
    for turn in turns:
        source = runtime.turn(turn.role, check_text(turn.text))
        runtime.require_room(source, memory)
        encoding = yield from _read(runtime, source, memory, turn.role == "document")
        memory = encoding.memory
    return memory


def judged(runtime: Runtime, text: str) -> Generator[None, None, Result]:
    """What Model.sentiment gives; raises what it raises."""
    runtime.template.prefix("sentiment")  # refuses a model that cannot
    source = runtime.source(check_text(text).strip(), "sentiment")
    kept, unread = runtime.cut(source, runtime.config.max_positions, 0)
    begun_s = time.perf_counter()
    memory = (yield from _read(runtime, kept, Memory.empty())).memory
    encode_ms = 1000 * (time.perf_counter() - begun_s)
    reading = Reading(memory, kept, unread, encode_ms)
    return classify(runtime, text, "sentiment", LABELS, reading)


def embedded(
    runtime: Runtime, texts: Sequence[str]
) -> Generator[None, None, tuple[list[Vector], int]]:
    """For each text the mean [D] of what the encoder makes of it, of length 1; and all tokens.

    Raises ApiError for a text that the model cannot read as a whole.
    """
    vectors, num_tokens = [], 0
    most = runtime.config.max_positions
    for text in texts:
        alone = runtime.template.alone(check_text(text))
        if len(alone.ids) > most:
            problem = f"a text has {len(alone.ids)} tokens, this model reads at most {most}"
            raise ApiError("invalid_input", problem, "input")
        source = Source(alone.ids, text, alone.start, alone.stop)
        mean = (yield from _read(runtime, source, Memory.empty())).states().mean(axis=0)
        length = float(np.linalg.norm(mean))
        vectors.append((mean / np.float32(length or 1.0)).astype(np.float32))
        num_tokens += len(alone.ids)
    return vectors, num_tokens


def _read(
    runtime: Runtime, source: Source, memory: Memory, is_document: bool = False
) -> Generator[None, None, Encoding]:
    encoding = runtime.forward.begin_encode(source.ids, memory, is_document)
    while not encoding.advance():
        yield
    return encoding
