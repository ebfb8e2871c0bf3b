"""Examples to ids, and windows: nothing over the limits, nothing lost, nothing learnt twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.data.encoding import Encoded, EncodedTarget, Limits, encode, windows
from duologue.data.rows import Example, Target
from duologue.text.tokenizer import Tokenizer
from duologue.types import Turn

WIDE = Limits(max_source=10_000, max_target=10_000, max_turns=1000)


def dialogue(lengths: list[int], document: int = 0) -> Encoded:
    """Turns of these lengths, every second one a reply; turn i is made of the id 100 + i."""
    segments = [(1,) * document] * bool(document)
    targets = []
    for index, length in enumerate(lengths):
        if index % 2:
            targets.append(EncodedTarget((9,), (100 + index,) * length, len(segments)))
        segments.append((100 + index,) * length)
    return Encoded("chats", tuple(segments), int(bool(document)), tuple(targets))


dialogues = st.builds(
    dialogue, st.lists(st.integers(1, 9), min_size=2, max_size=14), st.integers(0, 6)
)
limits = st.builds(Limits, st.integers(1, 40), st.integers(1, 30), st.integers(1, 8), st.booleans())


def test_ids_are_roles_texts_prefixes_and_targets(tiny_tokenizer: Tokenizer) -> None:
    example = Example(
        set="qa",
        line=1,
        segments=(Turn("document", "the food was cold"), Turn("user", "how was it?")),
        targets=(Target("answer", "cold", 2), Target("translate", "你好", 2, "zh")),
    )
    encoded = encode(example, tiny_tokenizer)
    ids, control = tiny_tokenizer.encode, tiny_tokenizer.control_id
    assert encoded.segments == (
        (control("<document>"), *ids("the food was cold")),
        (control("<user>"), *ids("how was it?")),
    )
    assert encoded.num_documents == 1
    assert encoded.targets == (
        EncodedTarget((control("<answer>"),), tuple(ids("cold")), 2),
        EncodedTarget((control("<translate>"), control("<zh>")), tuple(ids("你好")), 2),
    )


def test_reply_has_the_ids_of_its_own_turn(tiny_tokenizer: Tokenizer) -> None:
    turns = (Turn("user", "hello"), Turn("agent", "hello how are you"))
    example = Example("chats", 1, turns, (Target("reply", "hello how are you", 1),))
    encoded = encode(example, tiny_tokenizer)
    assert encoded.targets[0].text == tuple(tiny_tokenizer.encode("hello how are you"))


def test_masks_stand_in_the_gaps_as_control_ids(tiny_tokenizer: Tokenizer) -> None:
    example = Example(
        "notes",
        1,
        (Turn("user", "the food cold"),),
        (Target("denoise", "the food was very cold", 1),),
        gaps=(0, 9),
    )
    ids, mask = tiny_tokenizer.encode, tiny_tokenizer.control_id("<mask>")
    role = tiny_tokenizer.control_id("<user>")
    assert encode(example, tiny_tokenizer).segments == (
        (role, mask, *ids("the food"), mask, *ids("cold")),
    )


def test_text_that_spells_a_mask_stays_text(tiny_tokenizer: Tokenizer) -> None:
    example = Example("notes", 1, (Turn("user", "a <mask> here"),), ())
    assert tiny_tokenizer.control_id("<mask>") not in encode(example, tiny_tokenizer).segments[0]


def test_example_that_fits_is_one_piece_without_the_last_reply() -> None:
    example = dialogue([3, 4, 5, 6])
    pieces, num_left_out = windows(example, WIDE)
    assert num_left_out == 0
    assert len(pieces) == 1
    assert pieces[0].targets == example.targets
    assert pieces[0].segments == example.segments[:3]  # nothing reads the last reply


@given(example=dialogues, limits=limits)
def test_windows_keep_the_limits_and_lose_no_target(example: Encoded, limits: Limits) -> None:
    pieces, num_left_out = windows(example, limits)
    learnt = [target.text for piece in pieces for target in piece.targets]
    assert len(learnt) + num_left_out == len(example.targets)
    assert learnt == [target.text for target in example.targets if target.text in learnt]
    for piece in pieces:
        assert piece.num_source_tokens <= limits.max_source
        assert piece.num_target_tokens <= limits.max_target
        assert len(piece.segments) - piece.num_documents <= limits.max_turns
        assert piece.segments[: piece.num_documents] == example.segments[: example.num_documents]
        if limits.single_target:
            assert len({target.limit for target in piece.targets}) == 1


@given(example=dialogues, limits=limits)
def test_each_target_sees_the_turns_right_before_it(example: Encoded, limits: Limits) -> None:
    for piece in windows(example, limits)[0]:
        for target in piece.targets:
            whole = next(item for item in example.targets if item.text == target.text)
            seen = piece.segments[piece.num_documents : target.limit]
            assert seen
            assert seen == example.segments[whole.limit - len(seen) : whole.limit]


@given(example=dialogues, limits=limits)
def test_target_is_left_out_only_if_it_cannot_fit(example: Encoded, limits: Limits) -> None:
    pieces, _ = windows(example, limits)
    learnt = [target.text for piece in pieces for target in piece.targets]
    documents = sum(map(len, example.segments[: example.num_documents]))
    for target in example.targets:
        source = documents + len(example.segments[target.limit - 1])
        fits = target.num_tokens <= limits.max_target and source <= limits.max_source
        assert (target.text in learnt) == fits


def test_later_windows_overlap_the_turns_before() -> None:
    example = dialogue([1] * 12)
    pieces, _ = windows(example, Limits(100, 100, max_turns=4))
    first_of_later = [piece.targets[0].limit for piece in pieces[1:]]
    assert first_of_later == [2] * len(first_of_later)  # half of max_turns as history


def test_single_target_sees_as_many_turns_as_allowed() -> None:
    pieces, _ = windows(dialogue([1] * 12), Limits(100, 100, max_turns=4, single_target=True))
    assert [len(piece.segments) for piece in pieces] == [1, 3, 4, 4, 4, 4]
    assert all(piece.targets[0].limit == len(piece.segments) for piece in pieces)


def test_targets_of_one_segment_stay_together_in_single_target_mode() -> None:
    targets = (EncodedTarget((9,), (5,), 1), EncodedTarget((8,), (6,), 1))
    example = Encoded("commands", ((1, 2),), 0, targets)
    assert windows(example, Limits(9, 9, 9, single_target=True)) == ([example], 0)


@pytest.mark.parametrize(("source", "target"), [(5, 99), (99, 3)])
def test_long_pair_is_left_out_and_counted(source: int, target: int) -> None:
    example = Encoded("pairs", ((1,) * 6,), 0, (EncodedTarget((9, 8), (1, 2), 1),))
    assert windows(example, Limits(source, target, 12)) == ([], 1)
    assert windows(example, Limits(6, 4, 12)) == ([example], 0)
