"""The pages of keys and values: never past the limit, nothing lost, nothing left behind."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.checkpoint.weights import Weights, to_precision
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.errors import CheckpointError, EngineError

MakeForward = Callable[..., Forward]
CELLS = ["transformer", "gru"]


@pytest.fixture(scope="module")
def make_forward(
    tiny_config: Callable[..., ModelConfig], tiny_weights: Callable[[ModelConfig], Weights]
) -> MakeForward:
    def make(cell: str = "transformer", pages: int = 10_000, precision: str = "int8") -> Forward:
        config = tiny_config(cell)
        weights = tiny_weights(config)
        weights = to_precision(weights, "int8") if precision == "int8" else weights
        page_bytes = 2 * 16 * config.d_model * (2 if precision == "int8" else 4)
        return Forward(config, weights, threads=1, cache_bytes=pages * page_bytes)

    return make


def pages_in_use(forward: Forward) -> int:
    gc.collect()
    forward.pool.check()
    return forward.pool.used_bytes // forward.pool.page_bytes


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_a_token_takes_keys_and_values_of_every_layer(
    precision: str, make_forward: MakeForward
) -> None:
    forward = make_forward(precision=precision)
    memory = forward.encode([5] * 17, Memory.empty())  # 2 blocks, 2 + 2 layers
    assert pages_in_use(forward) == 8
    assert memory.num_bytes == 8 * forward.pool.page_bytes
    document = forward.encode([5] * 17, Memory.empty(), is_document=True)
    assert pages_in_use(forward) == 8 + 4
    del memory, document
    assert pages_in_use(forward) == 0


def test_bfloat16_caches_take_half_the_bytes(make_forward: MakeForward) -> None:
    single, half = make_forward(precision="f32"), make_forward(precision="int8")
    assert single.pool.page_bytes == 2 * half.pool.page_bytes


def test_a_full_cache_refuses_and_changes_nothing(make_forward: MakeForward) -> None:
    forward = make_forward(pages=10)
    memory = forward.encode([5] * 17, Memory.empty())
    with pytest.raises(EngineError, match=r"the cache is full: 4096 bytes .* 8192 of 10240"):
        forward.encode([5], memory)
    states = [forward.start(memory) for _ in range(2)]
    with pytest.raises(EngineError, match="the cache is full"):
        forward.decode_step(states, [1, 1])
    assert [state.length for state in states] == [0, 0]
    del states
    alone = forward.start(memory)
    forward.decode_step([alone], [1])
    assert pages_in_use(forward) == 10


def test_a_cache_too_small_for_a_page_is_refused(make_forward: MakeForward) -> None:
    with pytest.raises(CheckpointError, match="does not hold one page"):
        make_forward(pages=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("is_document", [False, True])
def test_encoding_in_pieces_is_not_disturbed_by_what_runs_in_between(
    cell: str, is_document: bool, make_forward: MakeForward
) -> None:
    forward = make_forward(cell)
    earlier = forward.encode([7, 8, 9], Memory.empty())
    ids = [3, 4, 5, 6, 7] * 12
    expected = forward.encode(ids, earlier, is_document).segments[-1].encoded.arrays()

    encoding = forward.begin_encode(ids, earlier, is_document)
    state, num_pieces = forward.start(earlier), 0
    with pytest.raises(EngineError, match="not been encoded to its end"):
        _ = encoding.memory
    while not encoding.advance():
        forward.decode_step([state], [num_pieces])
        forward.encode([1, 2], earlier)
        num_pieces += 1
    assert num_pieces >= 2
    result = encoding.memory.segments[-1].encoded.arrays()
    assert all(np.array_equal(a, b) for a, b in zip(result, expected, strict=True))
    assert (encoding.memory.encoded_tokens, encoding.memory.reused_tokens) == (60, 3)


@pytest.mark.parametrize("cell", CELLS)
def test_a_dropped_encoding_gives_its_pages_back(cell: str, make_forward: MakeForward) -> None:
    forward = make_forward(cell)
    encoding = forward.begin_encode([5] * 20, Memory.empty(), True)
    encoding.advance()
    assert pages_in_use(forward) > 0
    del encoding
    assert pages_in_use(forward) == 0


def test_forks_share_full_pages_and_copy_the_one_in_use(make_forward: MakeForward) -> None:
    forward = make_forward()
    state = forward.start(Memory.empty())
    for _ in range(17):
        forward.decode_step([state], [1])
    assert pages_in_use(forward) == 4  # 2 blocks, 2 layers
    forks = [state.fork() for _ in range(3)]
    assert pages_in_use(forward) == 4 + 3 * 2
    del state, forks
    assert pages_in_use(forward) == 0


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["encode", "start", "step", "fork", "drop"]), st.integers(0, 40)),
        max_size=40,
    )
)
def test_whatever_happens_no_page_is_lost(
    steps: list[tuple[str, int]], make_forward: MakeForward
) -> None:
    forward = make_forward(pages=60)
    memories, states = [Memory.empty()], [forward.start(Memory.empty())]
    for action, number in steps:
        try:
            if action == "encode":
                memories.append(
                    forward.encode([5] * (number + 1), memories[number % len(memories)])
                )
            elif action == "start":
                states.append(forward.start(memories[number % len(memories)]))
            elif action == "step":
                forward.decode_step(states[: number + 1], [1] * len(states[: number + 1]))
            elif action == "fork":
                states.append(states[number % len(states)].fork())
            elif len(states) > 1:
                del states[number % len(states)]
        except EngineError:
            pass  # full: that is what the limit is for
        forward.pool.check()
        assert forward.pool.used_bytes <= forward.pool.limit_bytes
    del memories, states
    assert pages_in_use(forward) == 0
