"""What tests of scheduling share: random requests, and their ends."""

from __future__ import annotations

from dataclasses import replace

from fake_forward import FakeForward, FakeMemory
from hypothesis import strategies as st

from duologue.engine.engine import EncodeItem, Engine, Finished, Progress, SpecialIds
from duologue.types import EngineOptions, Options

EOS = 1
VOCAB = 6
EMPTY = FakeMemory()
OPTIONS = st.sampled_from(
    [
        Options(max_tokens=6),
        Options(max_tokens=3, no_repeat_ngram_size=2),
        Options(max_tokens=6, beam_size=2, num_hypotheses=2),
        Options(max_tokens=5, beam_size=4, patience=2.0),
        Options(max_tokens=7, temperature=1.0, seed=3),
        Options(max_tokens=4, temperature=1.5, num_hypotheses=3, seed=4),
    ]
)
SOURCES = st.lists(
    st.builds(
        EncodeItem, st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9), st.booleans()
    ),
    max_size=2,
)
CLIENTS = st.sampled_from(["", "anna", "ben"])
ADD = st.tuples(st.sampled_from([(0,), (0, 2), (4, 3, 2)]), OPTIONS, SOURCES, CLIENTS)
ACTIONS = st.lists(st.one_of(ADD, ADD, st.just("step"), st.integers(0, 9)), max_size=30)


def make(options: EngineOptions | None = None, **settings) -> tuple[Engine, FakeForward]:
    forward = FakeForward(VOCAB, **settings)
    return Engine(forward, SpecialIds((EOS,)), options, clock=forward.clock), forward  # type: ignore[arg-type]


class Ends:
    """The terminal event of each request; there may be but one."""

    def __init__(self) -> None:
        self.found: dict[int, Finished] = {}

    def take(self, progress: list[Progress]) -> None:
        for one in progress:
            assert one.request_id not in self.found, "something came after the end"
            if one.finished is not None:
                self.found[one.request_id] = one.finished


def without_memory(progress: list[Progress]) -> list[Progress]:
    """Progress without the memories, which a test that counts pages must not hold."""
    return [
        replace(one, memory=None, finished=one.finished and replace(one.finished, memory=None))
        for one in progress
    ]
