"""Texts that are read on a thread of their own, a bounded amount of work at a time.

encoded   a dialogue as a memory
embedded  texts as vectors

These are generators that yield between two pieces of their work; see Service.in_pieces.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from duologue.engine.forward import Encoding
from duologue.engine.memory import Memory
from duologue.explain import Source
from duologue.runtime import Runtime, check_text
from duologue.server.errors import ApiError
from duologue.types import Turn

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
