"""Batches: what collate writes can be read back, and cut keeps the budget and loses nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duologue.data.batching import Batch, collate, cut
from duologue.data.encoding import Encoded, EncodedTarget

PAD, EOS = 0, 1
ids = st.integers(2, 50)


@st.composite
def examples(draw: st.DrawFn) -> Encoded:
    segments = draw(st.lists(st.lists(ids, min_size=1, max_size=6), min_size=1, max_size=4))
    targets = [
        EncodedTarget(
            tuple(draw(st.lists(ids, min_size=1, max_size=2))),
            tuple(draw(st.lists(ids, max_size=6))),
            draw(st.integers(1, len(segments))),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    num_documents = draw(st.integers(0, len(segments)))
    return Encoded("set", tuple(map(tuple, segments)), num_documents, tuple(targets))


def unpacked(batch: Batch, row: int) -> Encoded:
    """The slow inverse of collate, from the arrays alone."""
    segment, block = batch.src_segment[row], batch.tgt_block[row]
    segments = [
        tuple(map(int, batch.src_ids[row][segment == index])) for index in range(segment.max() + 1)
    ]
    documents = {int(index) for index in segment[batch.src_document[row]]}
    targets = []
    for index in range(block.max() + 1):
        inside = block == index
        outputs = batch.tgt_out[row][inside]
        num_prefix = int((outputs == -1).sum()) + 1
        inputs = tuple(map(int, batch.tgt_in[row][inside]))
        limit = {int(limit) for limit in batch.tgt_limit[row][inside]}
        assert len(limit) == 1
        assert tuple(map(int, outputs[num_prefix - 1 :])) == (*inputs[num_prefix:], EOS)
        targets.append(EncodedTarget(inputs[:num_prefix], inputs[num_prefix:], limit.pop()))
    return Encoded(batch.sets[row], tuple(segments), len(documents), tuple(targets))


@given(st.lists(examples(), min_size=1, max_size=5))
def test_collate_keeps_everything(rows: list[Encoded]) -> None:
    batch = collate(rows, PAD, EOS)
    assert [unpacked(batch, row) for row in range(batch.num_rows)] == rows


@given(st.lists(examples(), min_size=1, max_size=5))
def test_padding_is_marked_in_every_array(rows: list[Encoded]) -> None:
    batch = collate(rows, PAD, EOS)
    for row, example in enumerate(rows):
        num_source, num_target = example.num_source_tokens, example.num_target_tokens
        assert (batch.src_segment[row] >= 0).sum() == num_source
        assert (batch.src_segment[row, num_source:] == -1).all()
        assert (batch.src_ids[row, num_source:] == PAD).all()
        assert not batch.src_document[row, num_source:].any()
        assert (batch.tgt_in[row, num_target:] == PAD).all()
        assert (batch.tgt_out[row, num_target:] == -1).all()
        assert (batch.tgt_block[row, num_target:] == -1).all()


@given(st.lists(examples(), min_size=1, max_size=5))
def test_counts_are_those_of_the_examples(rows: list[Encoded]) -> None:
    batch = collate(rows, PAD, EOS)
    targets = [target for example in rows for target in example.targets]
    assert batch.num_source_tokens == sum(example.num_source_tokens for example in rows)
    assert batch.num_target_tokens == sum(len(target.text) + 1 for target in targets)
    longest_source = max(example.num_source_tokens for example in rows)
    longest_target = max(example.num_target_tokens for example in rows)
    assert batch.num_padded_tokens == len(rows) * (longest_source + longest_target)


def test_arrays_of_a_dialogue_with_documents() -> None:
    example = Encoded(
        set="chats",
        segments=((20, 21), (22, 23), (30, 31), (40, 41), (50,)),
        num_documents=2,
        targets=(EncodedTarget((9,), (7, 8), 3), EncodedTarget((9, 5), (6,), 5)),
    )
    other = Encoded("pairs", ((30, 33),), 0, (EncodedTarget((9, 5), (4,), 1),))
    batch = collate([example, other], PAD, EOS)
    expected = {
        "src_ids": [[20, 21, 22, 23, 30, 31, 40, 41, 50], [30, 33, 0, 0, 0, 0, 0, 0, 0]],
        "src_segment": [[0, 0, 1, 1, 2, 2, 3, 3, 4], [0, 0, -1, -1, -1, -1, -1, -1, -1]],
        "src_position": [[0, 1, 0, 1, 0, 1, 2, 3, 4], [0, 1, 0, 0, 0, 0, 0, 0, 0]],
        "src_document": [[1, 1, 1, 1, 0, 0, 0, 0, 0], [0] * 9],
        "tgt_in": [[9, 7, 8, 9, 5, 6], [9, 5, 4, 0, 0, 0]],
        "tgt_out": [[7, 8, 1, -1, 6, 1], [-1, 4, 1, -1, -1, -1]],
        "tgt_block": [[0, 0, 0, 1, 1, 1], [0, 0, 0, -1, -1, -1]],
        "tgt_position": [[0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 0, 0]],
        "tgt_limit": [[3, 3, 3, 5, 5, 5], [1, 1, 1, 0, 0, 0]],
    }
    for name, values in expected.items():
        array = getattr(batch, name)
        assert array.dtype == (np.bool_ if name == "src_document" else np.int32), name
        assert array.tolist() == values, name
    assert batch.sets == ("chats", "pairs")


def sized(source: int, target: int) -> Encoded:
    return Encoded("set", ((2,) * source,), 0, (EncodedTarget((3,), (4,) * (target - 1), 1),))


sizes = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=60)


@given(sizes=sizes, batch_tokens=st.integers(40, 300))
def test_cut_keeps_the_budget_and_loses_nothing(
    sizes: list[tuple[int, int]], batch_tokens: int
) -> None:
    pool = [sized(*size) for size in sizes]
    groups = cut(pool, batch_tokens)
    assert sorted(map(id, (item for group in groups for item in group))) == sorted(map(id, pool))
    for group in groups:
        assert collate(group, PAD, EOS).num_padded_tokens <= batch_tokens


@given(sizes=sizes)
def test_example_over_the_budget_is_alone(sizes: list[tuple[int, int]]) -> None:
    pool = [sized(*size) for size in sizes]
    for group in cut(pool, 10):
        assert len(group) == 1 or collate(group, PAD, EOS).num_padded_tokens <= 10


def test_cut_leaves_little_padding_where_both_lengths_vary() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.lognormal(3, 0.6, size=(4000, 2)).astype(int) + 1
    pool = [sized(int(source), int(target)) for source, target in lengths]
    batches = [collate(group, PAD, EOS) for group in cut(pool, 2000)]
    padded = sum(batch.num_padded_tokens for batch in batches)
    real = sum(example.num_source_tokens + example.num_target_tokens for example in pool)
    assert 1 - real / padded < 0.15
    assert padded / len(batches) > 0.9 * 2000
