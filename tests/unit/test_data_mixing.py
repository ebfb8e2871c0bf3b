"""The stream: shuffled whole, mixed as asked, resumed exactly, shared out without overlap."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.config import AugmentConfig, DataConfig, DatasetConfig
from duologue.data import mixing, survey
from duologue.data.batching import Batch
from duologue.data.dataset import open_datasets
from duologue.data.mixing import BatchStream, ShuffledRows, mixing_weights
from duologue.errors import CheckpointError, DataError
from duologue.text.tokenizer import Tokenizer

Stream = Callable[..., BatchStream]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """100 pairs, 30 labelled texts, 10 dialogues, 20 plain texts; no two rows are alike."""
    files: dict[str, list[dict[str, Any]]] = {
        "pairs": [
            {"source": f"train {n}", "target": f"火车 {n}", "src_lang": "en", "tgt_lang": "zh"}
            for n in range(100)
        ],
        "labels": [
            {"text": f"food {n}", "label": ("good", "not_bad")[n % 2]} for n in range(30)
        ],
        "chats": [
            {"turns": [
                {"role": ("user", "agent")[turn % 2], "text": f"turn {index} {turn}"}
                for turn in range(20)
            ]}
            for index in range(10)
        ],
        "notes": [{"text": f"the service was very slow {index}"} for index in range(20)],
    }  # fmt: skip
    for name, rows in files.items():
        rows.append({**rows[0], "split": "valid"})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def config_of(root: Path, *sets: DatasetConfig, **changes: Any) -> DataConfig:
    values: dict[str, Any] = {
        "batch_tokens": 400,
        "max_source": 100,
        "max_target": 100,
        "max_turns": 6,
        "shuffle_buffer": 16,
        "bucket_batches": 5,
    }
    return DataConfig(sets=sets, root=str(root), **{**values, **changes})


def mix(root: Path, **changes: Any) -> DataConfig:
    noise = AugmentConfig(drop_word=0.2, pair_swap=True)
    return config_of(
        root,
        DatasetConfig(path="pairs.jsonl", augment=noise),
        DatasetConfig(path="labels.jsonl", weight=0.5),
        DatasetConfig(path="chats.jsonl", augment=AugmentConfig(truncate_turns=0.5)),
        DatasetConfig(path="notes.jsonl", augment=AugmentConfig(denoise=True)),
        **changes,
    )


def same(one: Batch, other: Batch) -> bool:
    arrays = ("src_ids", "src_segment", "src_position", "tgt_in", "tgt_out", "tgt_limit")
    return one.sets == other.sets and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def sources(batch: Batch) -> list[tuple[int, ...]]:
    return [
        tuple(map(int, ids[segment >= 0]))
        for ids, segment in zip(batch.src_ids, batch.src_segment, strict=True)
    ]


def test_same_seed_gives_the_same_batches_and_another_seed_others(
    root: Path, tiny_tokenizer: Tokenizer
) -> None:
    first, second, other = (BatchStream(mix(root), tiny_tokenizer, seed) for seed in (1, 1, 2))
    pairs = [(next(first), next(second), next(other)) for _ in range(20)]
    assert all(same(one, two) for one, two, _ in pairs)
    assert not any(same(one, three) for one, _, three in pairs)


@pytest.mark.parametrize("consumed", [0, 1, 4, 5, 17, 60])
def test_restored_stream_goes_on_exactly(
    consumed: int, root: Path, tiny_tokenizer: Tokenizer
) -> None:
    stream = BatchStream(mix(root), tiny_tokenizer, 1)
    for _ in range(consumed):
        next(stream)
    state = json.loads(json.dumps(stream.state()))
    restored = BatchStream(mix(root), tiny_tokenizer, 1)
    next(restored)
    restored.restore(state)
    assert all(same(next(stream), next(restored)) for _ in range(25))
    assert restored.counts == stream.counts
    assert restored.state() == stream.state()


def test_restored_stream_skips_no_row_of_a_set_with_a_limit(
    root: Path, tiny_tokenizer: Tokenizer
) -> None:
    config = config_of(root, DatasetConfig(path="pairs.jsonl", limit=40))
    stream = BatchStream(config, tiny_tokenizer, 1)
    for _ in range(7):
        next(stream)
    restored = BatchStream(config, tiny_tokenizer, 1)
    restored.restore(stream.state())
    assert all(same(next(stream), next(restored)) for _ in range(30))
    seen = {source for _ in range(60) for source in sources(next(restored))}
    assert len(seen) == 40


def test_restored_stream_counts_no_rows_again(
    root: Path, tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = BatchStream(mix(root), tiny_tokenizer, 1)
    for _ in range(12):
        next(stream)
    restored = BatchStream(mix(root), tiny_tokenizer, 1)
    monkeypatch.delattr(mixing, "count_rows")
    restored.restore(stream.state())
    assert same(next(stream), next(restored))


def test_batches_do_not_come_in_order_of_length(root: Path, tiny_tokenizer: Tokenizer) -> None:
    stream = BatchStream(mix(root, bucket_batches=40), tiny_tokenizer, 1)
    widths = [next(stream).src_ids.shape[1] for _ in range(40)]
    assert abs(np.corrcoef(range(40), widths)[0, 1]) < 0.5


def test_state_of_other_data_or_another_seed_is_refused(
    root: Path, tiny_tokenizer: Tokenizer
) -> None:
    state = BatchStream(mix(root), tiny_tokenizer, 1).state()
    other_sets = config_of(root, DatasetConfig(path="pairs.jsonl"))
    for stream in (
        BatchStream(mix(root), tiny_tokenizer, 2),
        BatchStream(other_sets, tiny_tokenizer, 1),
    ):
        with pytest.raises(CheckpointError, match="another seed or other data"):
            stream.restore(state)


@pytest.mark.parametrize("change", [{"pool": "x"}, {"counts": {}}, {"sets": 3}, {"used": None}])
def test_damaged_state_is_refused(
    change: dict[str, Any], root: Path, tiny_tokenizer: Tokenizer
) -> None:
    stream = BatchStream(mix(root), tiny_tokenizer, 1)
    with pytest.raises(CheckpointError):
        stream.restore({**stream.state(), **change})


def test_state_of_data_that_shrank_is_refused(root: Path, tiny_tokenizer: Tokenizer) -> None:
    stream = BatchStream(mix(root), tiny_tokenizer, 1)
    next(stream)
    with pytest.raises(CheckpointError, match="have changed"):
        stream.restore({**stream.state(), "used": 1000})


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_out_the_stream_of_one(
    world_size: int, root: Path, tiny_tokenizer: Tokenizer
) -> None:
    alone = BatchStream(mix(root), tiny_tokenizer, 1)
    ranks = [
        BatchStream(mix(root), tiny_tokenizer, 1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for _ in range(15):
        shared = [next(stream) for stream in ranks]
        assert all(same(batch, next(alone)) for batch in shared)
    assert all(stream.state() == alone.state() for stream in ranks)


def test_rank_goes_on_from_the_state_of_another(root: Path, tiny_tokenizer: Tokenizer) -> None:
    first, second = (
        BatchStream(mix(root), tiny_tokenizer, 1, rank=rank, world_size=2) for rank in (0, 1)
    )
    for _ in range(9):
        next(first), next(second)
    restored = BatchStream(mix(root), tiny_tokenizer, 1, rank=1, world_size=2)
    restored.restore(first.state())
    assert all(same(next(second), next(restored)) for _ in range(10))


@pytest.mark.parametrize("buffer", [7, 1000])
def test_every_row_comes_once_in_an_epoch_in_a_new_order(buffer: int, root: Path) -> None:
    dataset = open_datasets(config_of(root, DatasetConfig(path="pairs.jsonl")))[0]
    rows = ShuffledRows(dataset, 1, buffer)
    epochs = [[rows.draw().line for _ in range(100)] for _ in range(3)]
    assert all(sorted(epoch) == list(range(1, 101)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert sorted(epochs[0]) != epochs[0]


def test_set_that_fits_in_the_buffer_is_shuffled_as_a_whole(root: Path) -> None:
    dataset = open_datasets(config_of(root, DatasetConfig(path="pairs.jsonl")))[0]
    rows = ShuffledRows(dataset, 1, 100)
    first_half = [rows.draw().line for _ in range(50)]
    assert 10 < sum(line > 50 for line in first_half) < 40


def test_batches_hold_every_example_of_the_rows_drawn(
    root: Path, tiny_tokenizer: Tokenizer
) -> None:
    pairs = DatasetConfig(path="pairs.jsonl", augment=AugmentConfig(pair_swap=True))
    config = config_of(root, pairs, shuffle_buffer=1000)
    stream = BatchStream(config, tiny_tokenizer, 1)
    seen: Counter[tuple[int, ...]] = Counter()
    while stream.counts["pairs"].rows < 500:
        seen.update(sources(next(stream)))
    while stream.state()["used"] < len(stream._batches):
        seen.update(sources(next(stream)))
    assert sum(seen.values()) == 2 * stream.counts["pairs"].rows
    assert len(seen) == 200
    assert max(seen.values()) - min(seen.values()) <= 1


def test_budget_is_kept_in_every_batch(root: Path, tiny_tokenizer: Tokenizer) -> None:
    for batch in islice(BatchStream(mix(root), tiny_tokenizer, 1), 100):
        assert batch.num_padded_tokens <= 400


def test_single_target_rows_hold_targets_of_one_limit(
    root: Path, tiny_tokenizer: Tokenizer
) -> None:
    packed, single = (
        BatchStream(mix(root), tiny_tokenizer, 1, single_target=flag) for flag in (False, True)
    )
    several = 0
    for _ in range(40):
        several += sum(len(set(row[row > 0])) > 1 for row in next(packed).tgt_limit)
        batch = next(single)
        for limit, segment in zip(batch.tgt_limit, batch.src_segment, strict=True):
            assert set(limit[limit > 0]) == {segment.max() + 1}
    assert several > 0


def test_weights_are_shares_of_the_rows_drawn(root: Path, tiny_tokenizer: Tokenizer) -> None:
    config = config_of(
        root,
        DatasetConfig(path="pairs.jsonl", weight=3),
        DatasetConfig(path="labels.jsonl", weight=1),
        DatasetConfig(path="chats.jsonl", weight=0),
    )
    stream = BatchStream(config, tiny_tokenizer, 1)
    for _ in range(150):
        next(stream)
    counts = stream.counts
    assert counts["chats"].rows == 0
    assert counts["pairs"].rows / counts["labels"].rows == pytest.approx(3, rel=0.15)


def test_sets_without_a_weight_share_by_size_and_temperature(root: Path) -> None:
    pairs, labels = DatasetConfig(path="pairs.jsonl"), DatasetConfig(path="labels.jsonl")
    datasets = open_datasets(config_of(root, pairs, labels))
    assert mixing_weights(datasets, 1.0) == pytest.approx([2 * 100 / 130, 2 * 30 / 130])
    even, uneven = mixing_weights(datasets, 1e9), mixing_weights(datasets, 2.0)
    assert even == pytest.approx([1, 1])
    assert uneven[0] / uneven[1] == pytest.approx((100 / 30) ** 0.5)


def test_weight_is_relative_to_the_mean_of_the_sets_without(root: Path) -> None:
    sets = [DatasetConfig(path=f"{name}.jsonl") for name in ("pairs", "labels")]
    datasets = open_datasets(config_of(root, *sets, DatasetConfig(path="chats.jsonl", weight=2)))
    weights = mixing_weights(datasets, 1.0)
    assert weights[2] == 2
    assert sum(weights[:2]) == pytest.approx(2)


def test_too_long_targets_are_left_out_and_counted(root: Path, tiny_tokenizer: Tokenizer) -> None:
    long = {"text": "food " * 200, "label": "good"}
    with (root / "labels.jsonl").open("a") as file:
        file.write(json.dumps(long) + "\n")
    stream = BatchStream(config_of(root, DatasetConfig(path="labels.jsonl")), tiny_tokenizer, 1)
    while stream.counts["labels"].rows < 31 * 4:
        next(stream)
    counts = stream.counts["labels"]
    assert counts.left_out == pytest.approx(4, abs=2)
    assert counts.targets == counts.rows - counts.left_out


def test_set_of_too_long_rows_alone_is_refused(root: Path, tiny_tokenizer: Tokenizer) -> None:
    config = config_of(root, DatasetConfig(path="pairs.jsonl"), max_source=2)
    with pytest.raises(DataError, match="longer than max_source"):
        next(BatchStream(config, tiny_tokenizer, 1))


@pytest.mark.parametrize("weight", [None, 1.0])
def test_plain_text_without_denoise_is_refused(
    weight: float | None, root: Path, tiny_tokenizer: Tokenizer
) -> None:
    notes = DatasetConfig(path="notes.jsonl", weight=weight)
    with pytest.raises(DataError, match=r"notes\.jsonl: no train rows .* augment\.denoise"):
        next(BatchStream(config_of(root, notes), tiny_tokenizer, 1))


def test_mix_without_any_weight_is_refused(root: Path, tiny_tokenizer: Tokenizer) -> None:
    config = config_of(root, DatasetConfig(path="pairs.jsonl", weight=0))
    with pytest.raises(DataError, match="weights of all sets are 0"):
        next(BatchStream(config, tiny_tokenizer, 1))


def test_broken_row_stops_the_stream_at_the_start(root: Path, tiny_tokenizer: Tokenizer) -> None:
    with (root / "pairs.jsonl").open("a") as file:
        file.write("broken\n")
    with pytest.raises(DataError, match="line 102"):
        next(BatchStream(mix(root), tiny_tokenizer, 1))


def test_dialogues_are_joined_by_the_chance_that_the_recipe_gives(
    root: Path, tiny_tokenizer: Tokenizer
) -> None:
    def longest(join_dialogues: float) -> int:
        chats = DatasetConfig(path="chats.jsonl", limit=4)
        config = config_of(root, chats, max_turns=30, join_dialogues=join_dialogues)
        stream = BatchStream(replace(config, max_source=200, max_target=200), tiny_tokenizer, 1)
        return max(int(next(stream).src_segment.max()) + 1 for _ in range(30))

    # 20 turns of which the last is no source; joined, up to half of max_turns come before them.
    assert longest(0.0) == 19
    assert 19 < longest(1.0) <= 19 + 15


@pytest.mark.parametrize("consumed", [1, 5, 23])
def test_joined_dialogues_are_the_same_in_a_restored_stream(
    consumed: int, root: Path, tiny_tokenizer: Tokenizer
) -> None:
    config = mix(root, join_dialogues=0.7)
    stream = BatchStream(config, tiny_tokenizer, 1)
    for _ in range(consumed):
        next(stream)
    restored = BatchStream(config, tiny_tokenizer, 1)
    restored.restore(json.loads(json.dumps(stream.state())))
    assert all(same(next(stream), next(restored)) for _ in range(25))


def test_replies_name_the_languages_that_the_rows_name(tmp_path: Path) -> None:
    turns = [{"role": "user", "text": "hi"}, {"role": "agent", "text": "hello"}]
    rows: list[dict[str, Any]] = [
        {"turns": turns, "lang": "zh"},
        {"turns": turns, "lang": "en"},
        {"turns": turns, "lang": "fr"},  # there is no control token for it
        {"turns": turns},
        {"text": "lock", "intent": "Lock", "response": "Locked.", "lang": "de"},
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    datasets = open_datasets(config_of(tmp_path, DatasetConfig(path="chats.jsonl")))
    found = survey.contents(datasets)
    assert found.reply_languages == ("de", "en", "zh")
    assert found.languages == ()
    languages = [example.targets[-1].language for example in datasets[0].examples()]
    assert languages == ["zh", "en", None, None, "de"]


def test_contents_are_those_of_the_train_rows(root: Path) -> None:
    found = survey.contents(open_datasets(mix(root)))
    assert found.languages == ("en", "zh")
    assert found.pairs == (("en", "zh"), ("zh", "en"))
    assert found.tasks == ("denoise", "reply", "sentiment", "translate")
    assert found.label_sets == {"labels": ("good", "not_bad")}
    one_way = survey.contents(open_datasets(config_of(root, DatasetConfig(path="pairs.jsonl"))))
    assert one_way.languages == ("zh",)


def test_texts_are_every_text_of_the_train_rows_once(root: Path) -> None:
    sets = [DatasetConfig(path=f"{name}.jsonl") for name in ("pairs", "chats", "notes")]
    found = list(survey.texts(open_datasets(config_of(root, *sets))))
    assert len(found) == len(set(found)) == 2 * 100 + 10 * 20 + 20


def test_texts_stop_at_the_asked_size_of_each_set(root: Path) -> None:
    sets = [DatasetConfig(path=f"{name}.jsonl") for name in ("pairs", "notes")]
    found = list(survey.texts(open_datasets(config_of(root, *sets)), max_set_chars=60))
    assert 60 <= sum(map(len, found[: found.index("the service was very slow 0")])) < 80
    assert found[-1].startswith("the service")
