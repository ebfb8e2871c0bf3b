"""What `duologue bench` measures: sizes, steps, repetition. No test asserts a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from model_shapes import SHAPES

from duologue import benchmark
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.weights import Weights, to_precision
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.errors import InputError

MakeConfig = Callable[..., ModelConfig]
MakeWeights = Callable[[ModelConfig], Weights]


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few runs of everything, and little memory to read."""
    monkeypatch.setattr(benchmark, "MAX_RUNS", 2)
    monkeypatch.setattr(benchmark, "MEMORY_BYTES", 2**16)


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_everything_is_measured_as_far_as_the_model_has_positions(
    cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    weights = to_precision(tiny_weights(config), "int8")
    told: list[str] = []
    forward = Forward(config, weights, 1)
    found = benchmark.measure(forward, weights, 1, 3, told.append)
    assert (found.one_user.users, found.many_users.users) == (1, 3)
    for decoding in (found.one_user, found.many_users):
        assert (decoding.source_tokens, decoding.produced_tokens) == (32, 63)
        whole_s = decoding.reply.median_ms / 1e3
        assert decoding.ms_per_token == pytest.approx(1e3 * whole_s / 63)
        assert decoding.tokens_per_s == pytest.approx(decoding.users * 63 / whole_s)
    read = [(item.new_tokens, item.remembered_tokens) for item in found.encoding]
    assert read == [(32, 0), (64, 0), (20, 44)]
    assert [item.reused_tokens for item in found.encoding] == [0, 0, 44]
    assert told == [
        "decoding, 1 user",
        "decoding, 3 users",
        *("encoding 32 tokens", "encoding 64 tokens", "encoding 20 tokens after 44"),
        "reading memory",
    ]
    assert found.peak_process_bytes > 2**20
    assert found.reading.share == found.reading.step_gb_per_s / found.reading.memory_gb_per_s
    assert forward.pool.used_bytes == 0  # nothing is left behind


def test_bytes_of_a_memory_are_counted_for_each_token(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    weights = tiny_weights(config)
    found = benchmark.measure(Forward(config, weights, 1), weights, 1, 1)
    assert found.bytes_per_token == 8 * config.d_model * 4  # float32, 2 + 2 layers


def test_one_user_is_measured_once(tiny_config: MakeConfig, tiny_weights: MakeWeights) -> None:
    config = tiny_config()
    weights = tiny_weights(config)
    told: list[str] = []
    found = benchmark.measure(Forward(config, weights, 1), weights, 1, 1, told.append)
    assert found.many_users is found.one_user
    assert sum(what.startswith("decoding") for what in told) == 1


def test_a_model_that_encodes_all_again_is_said_to_reuse_nothing(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = replace(tiny_config(), encoder_mask="full")
    weights = tiny_weights(config)
    found = benchmark.measure(Forward(config, weights, 1), weights, 1, 1)
    assert [item.reused_tokens for item in found.encoding] == [0, 0, 0]


@pytest.mark.parametrize("cell", ["transformer", "gru"])
@pytest.mark.parametrize("is_int8", [True, False])
def test_a_step_reads_the_decoder_without_what_belongs_to_the_memory(
    cell: str, is_int8: bool, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    plain = tiny_weights(config)
    memory_s = ("cross_attn.kv.weight", "attn.key.weight")
    matrices = [
        array.shape
        for name, array in plain.items()
        if isinstance(array, np.ndarray) and array.ndim == 2 and not name.endswith(memory_s)
        if name.startswith("decoder.") or name == "embed.weight"
    ]
    values = sum(rows * columns for rows, columns in matrices)
    scales = sum(rows for rows, _ in matrices)
    weights = to_precision(plain, "int8") if is_int8 else plain
    found = benchmark.measure(Forward(config, weights, 1), weights, 1, 1)
    assert found.reading.bytes_per_step == (values + 4 * scales if is_int8 else 4 * values)


def test_turns_are_those_that_fit() -> None:
    def turns(limit: int) -> list[tuple[int, int]]:
        return list(benchmark.turns(ModelConfig(vocab_size=9, max_positions=limit)))

    assert turns(1024) == [(32, 0), (512, 0), (20, 400)]
    assert turns(100) == [(32, 0), (100, 0), (20, 80)]
    assert turns(20) == [(20, 0)]


def test_more_users_than_there_is_room_for_are_refused_with_the_sizes(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    weights = tiny_weights(config)
    small = Forward(config, weights, 1, cache_bytes=100_000)
    with pytest.raises(InputError, match=r"9 users need .* fewer users"):
        benchmark.measure(small, weights, 1, 9)


def test_a_model_of_one_position_is_refused(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = replace(tiny_config(), max_positions=1)
    weights = tiny_weights(config)
    with pytest.raises(InputError, match="too few"):
        benchmark.measure(Forward(config, weights, 1), weights, 1, 1)


def test_random_ids_are_repeatable_and_of_the_vocabulary() -> None:
    config = ModelConfig(vocab_size=300)
    ids = benchmark.random_ids(config, 5000, seed=3)
    assert ids == benchmark.random_ids(config, 5000, seed=3)
    assert ids != benchmark.random_ids(config, 5000, seed=4)
    assert (min(ids), max(ids)) == (0, 299)


@pytest.mark.parametrize(
    ("seconds", "budget_s", "runs"),
    [
        (1.0, 3.5, 3),  # one that does not count, then 3 that begin before the end
        (5.0, 3.5, 1),  # the first has used up the budget: it counts
        (0.001, 3.5, 7),  # enough is enough
    ],
)
def test_runs_are_repeated_for_a_while(
    monkeypatch: pytest.MonkeyPatch, seconds: float, budget_s: float, runs: int
) -> None:
    now = [0.0]

    def run() -> None:
        now[0] += seconds

    monkeypatch.setattr(benchmark, "MAX_RUNS", 7)
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: now[0])
    times = benchmark.repeat(run, budget_s)
    assert times.runs == runs
    assert times.median_ms == pytest.approx(1e3 * seconds)


@pytest.mark.parametrize("num_bytes", [1, 2**16])
def test_memory_is_read_at_some_speed(num_bytes: int) -> None:
    assert benchmark.read_gb_per_s(num_bytes, threads=2, passes=1) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_reads_matrices_that_the_model_has(shape: str) -> None:
    config = SHAPES[shape]
    names = benchmark.step_names(config)
    spec = weight_spec(config)
    assert len(set(names)) == len(names)
    assert all(len(spec[name]) == 2 for name in names)
    assert not any(name.startswith("encoder.") for name in names)
    assert ("output.weight" in names) == (not config.tied_output)
