"""Augmentation: what changes, what never does, and that the seed decides."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.config import AugmentConfig
from duologue.data import augment as module
from duologue.data.augment import augment, denoise, forget_turns, join
from duologue.data.rows import Example, Target
from duologue.types import Turn

PAIR = Example(
    "pairs", 1, (Turn("user", "good morning"),), (Target("translate", "早上好", 1, "zh"),), "en"
)
ENGLISH = "the quick brown fox jumps over the lazy dog and runs away"
CHINESE = "今天天气很好我们去公园走走"
texts = st.text(alphabet="ab c早上好，\n", min_size=1).map(str.strip).filter(bool)
seeds = st.integers(0, 2**32)


def plain(text: str) -> Example:
    return Example("notes", 1, (Turn("user", text),), ())


def dialogue(num_turns: int, with_document: bool = False) -> Example:
    turns = [Turn("agent" if index % 2 else "user", f"turn {index}") for index in range(num_turns)]
    segments = [*([Turn("document", "facts")] if with_document else []), *turns]
    targets = tuple(
        Target("reply", turn.text, index)
        for index, turn in enumerate(segments)
        if turn.role == "agent"
    )
    return Example("chats", 1, tuple(segments), targets)


def test_defaults_change_nothing() -> None:
    for example in (PAIR, dialogue(6)):
        assert augment(example, AugmentConfig(), random.Random(1)) == [example]


def test_pair_swap_adds_the_other_direction() -> None:
    there, back = augment(PAIR, AugmentConfig(pair_swap=True), random.Random(1))
    assert there == PAIR
    assert back.segments == (Turn("user", "早上好"),)
    assert back.targets == (Target("translate", "good morning", 1, "en"),)
    assert module.swap_pair(back) == PAIR


def test_pair_swap_leaves_other_tasks_alone() -> None:
    config = AugmentConfig(pair_swap=True)
    assert augment(dialogue(4), config, random.Random(1)) == [dialogue(4)]


@given(st.integers(1, 5), st.integers(2, 6), st.integers(2, 6), seeds)
def test_a_joined_dialogue_reads_the_last_turns_of_the_earlier_one_and_learns_its_own(
    most: int, earlier_turns: int, own_turns: int, seed: int
) -> None:
    earlier, own = dialogue(earlier_turns), dialogue(own_turns)
    joined = join(earlier, own, most, random.Random(seed))
    added = len(joined.segments) - own_turns
    assert 1 <= added <= min(most, earlier_turns)
    assert joined.segments == (*earlier.segments[-added:], *own.segments)
    assert [target.text for target in joined.targets] == [target.text for target in own.targets]
    for target in joined.targets:
        assert joined.segments[target.limit].text == target.text


def test_what_is_no_dialogue_or_has_a_document_is_not_joined() -> None:
    rng = random.Random(1)
    for earlier, own in (
        (PAIR, dialogue(4)),
        (dialogue(4), PAIR),
        (dialogue(4, with_document=True), dialogue(4)),
        (dialogue(4), dialogue(4, with_document=True)),
    ):
        assert join(earlier, own, 4, rng) is own


def test_plain_text_trains_nothing_without_denoise() -> None:
    assert augment(plain(ENGLISH), AugmentConfig(), random.Random(1)) == []
    assert len(augment(plain(ENGLISH), AugmentConfig(denoise=True), random.Random(1))) == 1


def test_dialogue_without_a_reply_is_not_taken_for_plain_text() -> None:
    example = replace(dialogue(2), targets=())
    assert augment(example, AugmentConfig(denoise=True), random.Random(1)) == []


@given(text=texts, ratio=st.floats(0, 1), mean=st.floats(1, 6), seed=seeds)
def test_denoise_masks_the_asked_share_and_keeps_the_rest_in_order(
    text: str, ratio: float, mean: float, seed: int
) -> None:
    config = AugmentConfig(denoise=True, mask_ratio=ratio, mean_span=mean)
    example = denoise(plain(text), config, random.Random(seed))
    words = module._WORD.findall(text)
    corrupted = example.segments[0].text
    edges = [0, *example.gaps, len(corrupted)]
    pieces = [corrupted[start:stop] for start, stop in pairwise(edges)]
    kept = [word for piece in pieces for word in module._WORD.findall(piece)]
    assert example.targets == (Target("denoise", text, 1),)
    assert len(words) - len(kept) == round(ratio * len(words))
    assert list(example.gaps) == sorted(set(example.gaps))  # no two masks touch
    assert bool(example.gaps) == (len(kept) < len(words))
    rest = iter(words)
    assert all(any(word == other for other in rest) for word in kept)


def test_denoise_spans_have_the_asked_mean() -> None:
    config = AugmentConfig(denoise=True, mask_ratio=0.3, mean_span=3)
    text = " ".join(["word"] * 3000)
    num_spans = len(denoise(plain(text), config, random.Random(5)).gaps)
    assert 900 / num_spans == pytest.approx(3.05, abs=0.3)  # 3.05: no span is empty


@given(text=texts, chance=st.floats(0, 1), seed=seeds)
def test_noise_invents_no_character(text: str, chance: float, seed: int) -> None:
    rng = random.Random(seed)
    assert sorted(module.swap_words(text, chance, rng)) == sorted(text)
    assert sorted(module.swap_chars(text, chance, rng)) == sorted(text)
    for shorter in (
        module.drop_words(text, chance, rng),
        module.drop_chars(text, chance, rng),
    ):
        rest = iter(text)
        assert all(char in rest for char in shorter)


@pytest.mark.parametrize(
    "noise",
    [{"drop_word": 0.3}, {"swap_words": 0.3}, {"drop_char": 0.3}, {"swap_chars": 0.3}],
)
@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_each_noise_changes_the_source_alone_and_as_the_seed_says(
    noise: dict[str, float], text: str
) -> None:
    example = replace(PAIR, segments=(Turn("user", text),))
    config = AugmentConfig(**noise)  # type: ignore[arg-type]
    found = [augment(example, config, random.Random(seed))[0] for seed in (3, 3, 4)]
    assert found[0] == found[1]
    assert found[0].segments != found[2].segments
    assert found[0].segments != example.segments
    assert found[0].targets == example.targets


def test_word_noise_moves_whole_words_and_chinese_characters() -> None:
    assert module.swap_words("one two three", 1.0, random.Random(1)) == "two one three"
    assert module.swap_words("早上好", 1.0, random.Random(1)) == "上早好"
    words = ENGLISH.split()
    assert set(module.drop_words(ENGLISH, 0.5, random.Random(1)).split()) < set(words)


def test_noise_never_empties_a_text() -> None:
    config = AugmentConfig(drop_word=1.0, drop_char=1.0)
    assert augment(PAIR, config, random.Random(1)) == [PAIR]


def test_noise_leaves_documents_and_the_agent_alone() -> None:
    example = dialogue(4, with_document=True)
    noisy = augment(example, AugmentConfig(drop_char=0.5), random.Random(1))[0]
    changed = [
        before.role
        for before, after in zip(example.segments, noisy.segments, strict=True)
        if before != after
    ]
    assert set(changed) == {"user"}


@pytest.mark.parametrize("with_document", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_forgotten_turns_are_the_oldest_and_replies_keep_their_history(
    seed: int, with_document: bool
) -> None:
    whole = dialogue(8, with_document)
    part = forget_turns(whole, random.Random(seed))
    turns = [turn for turn in part.segments if turn.role != "document"]
    assert 2 <= len(turns) < 8
    assert tuple(turns) == whole.segments[-len(turns) :]
    assert (part.segments[0].role == "document") == with_document
    for target in part.targets:
        assert part.segments[target.limit].text == target.text
        assert part.segments[target.limit - 1].role == "user"
    assert part.targets[-1].text == "turn 7"


def test_truncate_turns_happens_in_the_asked_share_of_dialogues() -> None:
    config = AugmentConfig(truncate_turns=0.25)
    rng = random.Random(7)
    whole = dialogue(8)
    changed = sum(augment(whole, config, rng) != [whole] for _ in range(2000))
    assert changed == pytest.approx(500, abs=80)


def test_shortest_dialogue_forgets_nothing() -> None:
    assert forget_turns(dialogue(2), random.Random(1)) == dialogue(2)
