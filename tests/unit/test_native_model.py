"""Forward, encode and decode of whole models against the NumPy reference, and what they refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from reference.model import Part, ReferenceModel

from duologue import _native
from duologue.checkpoint.weights import Int4Weight, Int8Weight, Weights, to_precision
from duologue.config import ModelConfig
from duologue.engine.forward import DecoderState, Forward
from duologue.engine.memory import Memory
from duologue.engine.sampling import Scores
from duologue.errors import CheckpointError, ConfigError, EngineError
from duologue.types import PRECISIONS, Precision

ISAS = _native.isa_names()
CELLS = ["transformer", "gru"]
every_cell = pytest.mark.parametrize("cell", CELLS)
MakeConfig = Callable[..., ModelConfig]
MakeWeights = Callable[[ModelConfig], Weights]

# Documents between and before turns; lengths below, at and above a block of 16 tokens.
PARTS = [
    Part([3, 9, 4, 1, 5]),
    Part([7, 7, 8, 2, 6, 4] * 3, is_document=True),
    Part([11, 12]),
    Part([2] * 16, is_document=True),
    Part([21, 3, 4, 5, 30, 2, 8, 9, 1, 4]),
]
IDS = [1, 5, 2, 30, 31, 8, 8, 4, 12, 9, 3, 3, 2, 17, 6, 5, 4, 2, 1, 20]


@pytest.fixture
def wide_config(tiny_config: MakeConfig) -> MakeConfig:
    """Heads of 32 and odd d_ff: whole vectors, and rests."""

    def make(cell: str) -> ModelConfig:
        return replace(tiny_config(cell), d_model=64, d_ff=51, max_positions=128)

    return make


def encode(forward: Forward, parts: list[Part]) -> Memory:
    memory = Memory.empty()
    for part in parts:
        memory = forward.encode(part.ids, memory, part.is_document)
    return memory


def decode(forward: Forward, state: DecoderState, ids: list[int]) -> np.ndarray:
    return np.concatenate([forward.decode_step([state], [idx]) for idx in ids])


def assert_close(result: np.ndarray, expected: np.ndarray, rtol: float = 1e-5) -> None:
    assert np.abs(result - expected).max() <= rtol * np.abs(expected).max()


@every_cell
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", ["tiny", "wide"])
def test_turn_by_turn_equals_the_reference_that_encodes_all_at_once(
    size: str,
    isa: str,
    cell: str,
    tiny_config: MakeConfig,
    wide_config: MakeConfig,
    tiny_weights: MakeWeights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUOLOGUE_ISA", isa)
    config = tiny_config(cell) if size == "tiny" else wide_config(cell)
    weights = tiny_weights(config)
    forward, reference = Forward(config, weights, threads=1), ReferenceModel(config, weights)
    assert forward.isa == isa

    state = forward.start(encode(forward, PARTS), record_attention=True)
    logits, attention = reference.decode(reference.encode(PARTS), IDS)
    assert_close(decode(forward, state, IDS), logits)
    np.testing.assert_allclose(state.attention(), attention, atol=1e-6)
    assert state.length == len(IDS)


@every_cell
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("precision", "rtol"), [("bf16", 0.03), ("int8", 0.05), ("int4", 0.05)])
def test_rounded_weights_are_close_to_the_reference_with_the_same_weights(
    precision: Precision,
    rtol: float,
    isa: str,
    cell: str,
    wide_config: MakeConfig,
    tiny_weights: MakeWeights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUOLOGUE_ISA", isa)
    config = wide_config(cell)
    weights = to_precision(tiny_weights(config), precision)
    forward, reference = Forward(config, weights, threads=1), ReferenceModel(config, weights)
    state = forward.start(encode(forward, PARTS))
    expected, _ = reference.decode(reference.encode(PARTS), IDS)
    assert_close(decode(forward, state, IDS), expected, rtol)


@every_cell
def test_a_decoder_without_a_memory_runs(
    cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, tiny_weights(config), threads=1)
    reference = ReferenceModel(config, tiny_weights(config))
    state = forward.start(Memory.empty(), record_attention=True)
    expected, _ = reference.decode(reference.encode([]), IDS)
    assert_close(decode(forward, state, IDS), expected)
    assert state.attention().shape == (len(IDS), 0)


@every_cell
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_ragged_batch_equals_each_row_alone(
    precision: Precision,
    threads: int,
    cell: str,
    tiny_config: MakeConfig,
    tiny_weights: MakeWeights,
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, to_precision(tiny_weights(config), precision), threads)
    memories = [encode(forward, PARTS[:count]) for count in range(len(PARTS))]

    # Row r joins at step r, so that lengths differ as well as memories.
    alone = [decode(forward, forward.start(memory), IDS) for memory in memories]
    states = [forward.start(memory) for memory in memories]
    for step in range(len(IDS) - len(states)):
        rows = range(min(step + 1, len(states)))
        ids = [IDS[step - row] for row in rows]
        logits = forward.decode_step([states[row] for row in rows], ids)
        for row in rows:
            assert_close(logits[row], alone[row][step - row])


@every_cell
def test_two_threads_give_the_same_bits_as_one(
    cell: str, wide_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = wide_config(cell)
    for precision in PRECISIONS:
        weights = to_precision(tiny_weights(config), precision)
        results = []
        for threads in (1, 2):
            forward = Forward(config, weights, threads)
            results.append(decode(forward, forward.start(encode(forward, PARTS)), IDS))
        assert np.array_equal(*results)


@every_cell
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17])
def test_a_fork_goes_its_own_way(
    length: int, cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, tiny_weights(config), threads=1)
    memory = encode(forward, PARTS[:2])
    fresh = {
        last: decode(forward, forward.start(memory), [*IDS[:length], last, 5, 6])[-3:]
        for last in (3, 4)
    }
    state = forward.start(memory, record_attention=True)
    if length:
        decode(forward, state, IDS[:length])
    fork = state.fork()
    assert fork.length == length
    for step, (a, b) in enumerate([(3, 4), (5, 5), (6, 6)]):
        logits = forward.decode_step([state, fork], [a, b])
        assert_close(logits[0], fresh[3][step])
        assert_close(logits[1], fresh[4][step])
    assert np.array_equal(state.attention()[:length], fork.attention()[:length])
    assert not np.array_equal(state.attention(), fork.attention())


@every_cell
def test_appending_encodes_only_the_new_turn_and_leaves_the_old_memory(
    cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, tiny_weights(config), threads=1)
    first = forward.encode([1, 2, 3], Memory.empty())
    second = forward.encode([4, 5], first)
    assert (first.encoded_tokens, first.reused_tokens) == (3, 0)
    assert (second.encoded_tokens, second.reused_tokens) == (2, 3)
    assert second.segments[0] is first.segments[0]
    assert [segment.start for segment in second.segments] == [0, 3]
    assert first.num_tokens == 3
    assert second.num_bytes > first.num_bytes > 0


def test_positions_run_on_over_dialogue_and_restart_in_documents(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    memory = encode(Forward(config, tiny_weights(config), threads=1), PARTS)
    assert [segment.start for segment in memory.segments] == [0, 0, 5, 0, 7]


@every_cell
def test_a_document_is_the_same_in_every_memory(
    cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, tiny_weights(config), threads=1)
    alone = forward.encode(PARTS[1].ids, Memory.empty(), is_document=True).segments[0]
    late = forward.encode(PARTS[1].ids, encode(forward, PARTS[:1]), is_document=True).segments[-1]
    pairs = zip(alone.encoded.arrays(), late.encoded.arrays(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_full_mask_encodes_everything_again_as_one_segment(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = replace(tiny_config(), encoder_mask="full")
    weights = tiny_weights(config)
    forward, reference = Forward(config, weights, threads=1), ReferenceModel(config, weights)
    memory = encode(forward, PARTS)
    ids = [idx for part in PARTS for idx in part.ids]
    assert [segment.ids for segment in memory.segments] == [tuple(ids)]
    assert (memory.encoded_tokens, memory.reused_tokens) == (len(ids), 0)
    expected, _ = reference.decode(reference.encode([Part(ids)]), IDS)
    assert_close(decode(forward, forward.start(memory), IDS), expected)


@every_cell
def test_a_trimmed_memory_goes_on_from_its_last_position(
    cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, tiny_weights(config), threads=1)
    memory = Memory.empty()
    for _ in range(30):  # far more tokens in all than max_positions
        memory = forward.encode([4, 5, 6, 7, 8], memory.trim(20))
    assert memory.num_tokens == 25
    assert memory.segments[-1].start == 29 * 5
    assert np.isfinite(decode(forward, forward.start(memory), IDS)).all()


@every_cell
def test_python_threads_may_share_a_model(
    cell: str, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, tiny_weights(config), threads=2)
    expected = [
        decode(forward, forward.start(encode(forward, PARTS[: n + 1])), IDS) for n in range(4)
    ]
    results: dict[int, np.ndarray] = {}

    def work(n: int) -> None:
        memory = encode(forward, PARTS[: n + 1])
        results[n] = decode(forward, forward.start(memory).fork(), IDS)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for n in range(4):
        assert np.array_equal(results[n], expected[n])


@pytest.mark.parametrize("isa", ISAS)
def test_two_stages_find_the_best_id_of_the_whole_product(
    isa: str, tiny_config: MakeConfig, tiny_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_ISA", isa)
    # A vocabulary of many panels, and rows of very different lengths: a best id among them all.
    config = replace(tiny_config(), vocab_size=3000, d_model=64, num_heads=2)
    weights = tiny_weights(config)
    length = np.random.default_rng(4).uniform(0.2, 1.0, (3000, 1)).astype(np.float32)
    weights["embed.weight"] = weights["embed.weight"] * length
    packed = to_precision(weights, "int8")
    whole = Forward(config, packed, threads=1)
    staged = Forward(config, packed, threads=2, two_stage=True)
    states = [forward.start(encode(forward, PARTS)) for forward in (whole, staged)]
    num_exact = 0
    for idx in (IDS * 10)[:64]:
        expected = whole.decode_step([states[0]], [idx])[0]
        logits = staged.decode_step([states[1]], [idx])[0]
        best = int(expected.argmax())
        assert int(logits.argmax()) == best
        assert logits[best] == expected[best]
        assert np.abs(logits - expected).max() < 0.2 * np.abs(expected).max()
        num_exact += int((logits == expected).sum())
    assert num_exact < 64 * 3000 / 2  # most of it was left coarse


def test_two_stages_change_nothing_where_rows_decode_together(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    packed = to_precision(tiny_weights(tiny_config()), "int8")
    logits = []
    for two_stage in (False, True):
        forward = Forward(tiny_config(), packed, threads=1, two_stage=two_stage)
        logits.append(forward.decode_step([forward.start(Memory.empty()) for _ in "ab"], [3, 4]))
    assert np.array_equal(*logits)


@pytest.mark.parametrize("isa", ISAS)
def test_scores_are_those_of_the_formula(
    isa: str,
    tiny_config: MakeConfig,
    tiny_weights: MakeWeights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUOLOGUE_ISA", isa)
    config = tiny_config()
    forward = Forward(config, tiny_weights(config), threads=2)
    logits = np.random.default_rng(3).standard_normal((5, config.vocab_size), dtype=np.float32) * 9
    logits[1, 7] = logits[1, 300] = logits[1].max() + 1  # equals: the first is the best
    logits[2, -1] = 100
    expected = Scores.of(logits.copy(), [0, 5])
    scores = forward.score(logits, [0, 5])
    assert scores.best == expected.best
    assert (scores.best[1], scores.best[2]) == (7, config.vocab_size - 1)
    np.testing.assert_allclose(scores.log_norm, expected.log_norm, rtol=1e-6)
    assert np.isneginf(logits[:, [0, 5]]).all()
    with pytest.raises(ValueError, match="outside the vocabulary"):
        forward.score(logits, [config.vocab_size])
    with pytest.raises(ValueError, match="one column for each id"):
        forward.score(logits[:, :-1].copy(), [])


# --- what is refused ----------------------------------------------------------------------------


@pytest.fixture
def forward(tiny_config: MakeConfig, tiny_weights: MakeWeights) -> Forward:
    config = tiny_config()
    return Forward(config, tiny_weights(config), threads=1)


def test_encode_refuses_nothing_unknown_ids_and_too_much(forward: Forward) -> None:
    memory = forward.encode([1, 2], Memory.empty())
    with pytest.raises(EngineError, match="at least one id"):
        forward.encode([], memory)
    with pytest.raises(EngineError, match=r"id 420 is outside the vocabulary"):
        forward.encode([forward.config.vocab_size], memory)
    with pytest.raises(EngineError, match="id -1 is outside"):
        forward.encode([-1], memory)
    with pytest.raises(EngineError, match="65 tokens, more than max_positions, 64"):
        forward.encode([1] * 63, memory)


def test_decode_step_refuses_wrong_batches_and_changes_nothing(forward: Forward) -> None:
    state, other = forward.start(Memory.empty()), forward.start(Memory.empty())
    before = forward.decode_step([state.fork()], [3])
    with pytest.raises(EngineError, match="one id for each state"):
        forward.decode_step([state, other], [1])
    with pytest.raises(EngineError, match="twice"):
        forward.decode_step([state, state], [1, 2])
    with pytest.raises(EngineError, match="outside the vocabulary"):
        forward.decode_step([state, other], [1, 10_000])
    with pytest.raises(EngineError, match="at least one state"):
        forward.decode_step([], [])
    assert (state.length, other.length) == (0, 0)
    assert np.array_equal(forward.decode_step([state], [3]), before)


def test_decode_step_refuses_to_pass_max_positions(forward: Forward) -> None:
    state = forward.start(Memory.empty())
    decode(forward, state, [1] * forward.config.max_positions)
    with pytest.raises(EngineError, match="target_positions, 64"):
        forward.decode_step([state], [1])


def test_states_and_memories_of_another_model_are_refused(
    forward: Forward, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    gru_config = tiny_config("gru")
    gru = Forward(gru_config, tiny_weights(gru_config), threads=1)
    memory = gru.encode([1, 2], Memory.empty())
    with pytest.raises(EngineError, match="another shape"):
        forward.start(memory)
    with pytest.raises(EngineError, match="another shape"):
        forward.encode([1], memory)
    with pytest.raises(EngineError, match="another model"):
        forward.decode_step([gru.start(memory)], [1])


def test_none_is_no_segment_and_no_state(forward: Forward) -> None:
    model = forward._model
    with pytest.raises(ValueError, match="another shape"):
        model.start([None], False)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="another shape"):
        model.begin_encode([None], [1], False)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="another model"):
        model.decode_step([None], [1])  # type: ignore[list-item]


def test_attention_is_only_there_when_asked_for(forward: Forward) -> None:
    state = forward.start(Memory.empty())
    assert not state.record_attention
    for recorded in (state.attention, state.head_attention):
        with pytest.raises(ValueError, match="not started to record that"):
            recorded()


def test_weights_are_asked_for_one_after_another(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    eager, asked = tiny_weights(config), []

    class Lazy(Mapping[str, Any]):
        def __len__(self) -> int:
            return len(eager)

        def __iter__(self) -> Iterator[str]:
            return iter(eager)

        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return eager[name].copy()  # nobody else keeps it

    forwards = Forward(config, eager, threads=1), Forward(config, Lazy(), threads=1)
    assert sorted(asked) == sorted(eager)
    first, second = (
        decode(forward, forward.start(forward.encode([1, 2, 3], Memory.empty())), [1, 2])
        for forward in forwards
    )
    np.testing.assert_array_equal(first, second)


def test_unfitting_weights_are_all_listed(
    tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    weights = tiny_weights(config)
    del weights["embed.weight"]
    weights["encoder.norm.weight"] = np.ones(3, np.float32)
    weights["more.weight"] = np.ones(3, np.float32)
    with pytest.raises(CheckpointError) as error:
        Forward(config, weights, threads=1)
    assert "embed.weight is missing" in str(error.value)
    assert "encoder.norm.weight has shape [3] and should have [16]" in str(error.value)
    assert "more.weight is not a weight of this model" in str(error.value)


@pytest.mark.parametrize(
    "weight",
    [
        np.ones((16, 16)),
        Int8Weight(np.ones((16, 16), np.int8), np.ones(15, np.float32)),
        Int8Weight(np.ones((16, 16), np.int16), np.ones(16, np.float32)),  # type: ignore[arg-type]
        Int4Weight(np.ones((16, 8), np.uint8), np.ones((16, 2), np.float32), 16),
        Int4Weight(np.ones((16, 16), np.uint8), np.ones((16, 1), np.float32), 16),
    ],
    ids=["float64", "scales too short", "int16", "scales of other groups", "a byte for each input"],
)
def test_a_weight_of_a_wrong_type_is_named(
    weight: object, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    weights = tiny_weights(config) | {"encoder.layers.0.attn.out.weight": weight}
    with pytest.raises(CheckpointError, match=r"encoder\.layers\.0\.attn\.out\.weight must be"):
        Forward(config, weights, threads=1)  # type: ignore[arg-type]


def test_a_norm_cannot_be_int8(tiny_config: MakeConfig, tiny_weights: MakeWeights) -> None:
    config = tiny_config()
    vector = Int8Weight(np.ones((16, 1), np.int8), np.ones(16, np.float32))
    with pytest.raises(CheckpointError, match=r"encoder\.norm\.weight has shape \[16, 1\]"):
        Forward(config, tiny_weights(config) | {"encoder.norm.weight": vector}, threads=1)


@pytest.mark.parametrize("name", ["embed.weight", "encoder.norm.weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_named(
    name: str, value: float, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    weights = tiny_weights(config)
    weights[name].flat[3] = value  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=f"{name} holds values that are no finite numbers"):
        Forward(config, weights, threads=1)
    weights = to_precision(tiny_weights(config), "int8")
    weights["embed.weight"].scale[3] = value  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"embed\.weight holds values"):
        Forward(config, weights, threads=1)


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_a_wrong_number_of_threads_is_refused(
    threads: int, tiny_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    with pytest.raises(ConfigError, match="threads must be between 1 and 256"):
        Forward(config, tiny_weights(config), threads)


def test_an_unknown_instruction_set_is_refused_with_the_valid_names(
    tiny_config: MakeConfig, tiny_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOLOGUE_ISA", "mmx")
    config = tiny_config()
    with pytest.raises(ConfigError, match=f"'mmx' is not one .*: {', '.join(ISAS)}$"):
        Forward(config, tiny_weights(config), threads=1)


def test_the_matrices_take_what_their_precision_says(
    wide_config: MakeConfig, tiny_weights: MakeWeights
) -> None:
    config = replace(wide_config("transformer"), d_ff=64)
    weights = tiny_weights(config)
    values = sum(weight.size for weight in weights.values() if weight.ndim == 2)
    taken = {
        precision: Forward(config, to_precision(weights, precision), threads=1).weight_bytes
        for precision in PRECISIONS
    }
    # Rows are filled up to whole panels, and there are scales.
    for precision, num_bytes in (("f32", 4), ("bf16", 2), ("int8", 1)):
        assert values * num_bytes <= taken[precision] <= values * num_bytes * 1.2
    assert values / 2 <= taken["int4"] < taken["int8"]
    sketched = Forward(config, to_precision(weights, "int8"), threads=1, two_stage=True)
    assert sketched.weight_bytes > taken["int8"]
