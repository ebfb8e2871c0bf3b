"""Text to ids and back: nothing is lost, nothing is halved, nothing is mistaken for a command."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.errors import CheckpointError, ConfigError, InputError
from duologue.text.template import CONTROL_TOKENS, label_text, prefix_ids, segment_ids
from duologue.text.tokenizer import BYTE_TOKENS, StreamDecoder, Tokenizer
from duologue.text.tokenizer_train import train_tokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "Where is my card? I ordered it on 3 May.",
    "你好，我想找一个便宜的餐馆。",
    "Wo ist die nächste Straßenbahn?",
    "Write <user> or <0x41> or </s> as often as you like: <user> <0x41> </s>",
] * 20


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(CORPUS, vocab_size=600)


def assert_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    stream = StreamDecoder(tokenizer)
    assert "".join([stream.push(idx) for idx in ids]) + stream.flush() == text


@settings(deadline=None, max_examples=300)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_unicode_text_comes_back_exactly(tokenizer: Tokenizer, text: str) -> None:
    assert_round_trip(tokenizer, text)


@settings(deadline=None, max_examples=200)
@given(parts=st.lists(st.sampled_from([*CONTROL_TOKENS, *BYTE_TOKENS[:70], "▁", " ", "a", "你"])))
def test_text_that_looks_like_control_tokens_stays_text(
    tokenizer: Tokenizer, parts: list[str]
) -> None:
    text = "".join(parts)
    controls = {tokenizer.control_id(token) for token in CONTROL_TOKENS}
    assert_round_trip(tokenizer, text)
    assert controls.isdisjoint(tokenizer.encode(text))


@pytest.mark.parametrize(
    "text", ["", " ", "  a", "\n", "▁", " ▁ ", "\x00", "👩‍👩‍👧", "e\u0301", "a▁b"]
)
def test_awkward_texts_come_back_exactly(tokenizer: Tokenizer, text: str) -> None:
    assert_round_trip(tokenizer, text)


def test_a_word_is_the_same_piece_at_the_start_and_inside(tokenizer: Tokenizer) -> None:
    start, inside = tokenizer.encode("fox"), tokenizer.encode("the fox")
    assert inside[-len(start) :] == start


def test_chinese_text_gets_no_leading_blank(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_bytes(tokenizer.encode("你好")[0]).startswith("你".encode())


def test_frequent_words_become_few_pieces(tokenizer: Tokenizer) -> None:
    text = CORPUS[0]
    assert len(tokenizer.encode(text)) < len(text) / 2


def test_stream_decoder_holds_back_half_a_character(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("😀")
    assert len(ids) == 4
    stream = StreamDecoder(tokenizer)
    assert [stream.push(idx) for idx in ids] == ["", "", "", "😀"]
    assert stream.flush() == ""


def test_stream_decoder_marks_a_character_that_never_ends(tokenizer: Tokenizer) -> None:
    stream = StreamDecoder(tokenizer)
    assert stream.push(tokenizer.encode("😀")[0]) == ""
    assert stream.flush() == "\ufffd"


def test_control_tokens_carry_no_text(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.control_id(token) for token in CONTROL_TOKENS]
    assert tokenizer.decode([*ids, *tokenizer.encode("yes")]) == "yes"


def test_a_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="surrogate"):
        tokenizer.encode("broken \ud800 text")


def test_saved_and_loaded_tokenizers_agree(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.vocab_size == tokenizer.vocab_size <= 600
    for text in CORPUS[:5]:
        assert loaded.encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer.load(path)


def test_a_missing_tokenizer_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no tokenizer"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size"):
        train_tokenizer(CORPUS, vocab_size=100)


def test_segments_begin_with_their_role(tokenizer: Tokenizer) -> None:
    ids = segment_ids(tokenizer, "user", "hello")
    assert ids[0] == tokenizer.control_id("<user>")
    assert tokenizer.decode(ids[1:]) == "hello"


def test_prefixes_name_the_task_and_language(tokenizer: Tokenizer) -> None:
    assert prefix_ids(tokenizer, "reply") == [tokenizer.control_id("<reply>")]
    expected = [tokenizer.control_id("<translate>"), tokenizer.control_id("<zh>")]
    assert prefix_ids(tokenizer, "translate", "zh") == expected


@pytest.mark.parametrize(
    ("task", "language", "problem"),
    [("dance", None, "unknown task"), ("translate", None, "target"), ("translate", "xx", "xx")],
)
def test_a_wrong_prefix_is_refused_with_the_valid_names(
    tokenizer: Tokenizer, task: str, language: str | None, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        prefix_ids(tokenizer, task, language)


def test_an_unknown_role_is_refused_with_the_valid_names(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="user"):
        segment_ids(tokenizer, "robot", "hello")


def test_labels_are_spelled_as_words() -> None:
    assert label_text("card_arrival") == "card arrival"
