"""Tokenizers of imported families against transformers, on tiny ones trained here."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from published_tokenizers import FAMILY, KINDS, VOCAB_SIZE, Published, texts

from duologue.errors import CheckpointError, InputError
from duologue.text.imported import (
    TOKENIZER_FILES,
    load_imported_tokenizer,
)
from duologue.text.tokenizer import StreamDecoder

LOSSLESS = ("byt5", "bart", "bart_json", "whisper", "gemma")
LOOK_ALIKES = [
    *("</s>", "<s>", "<pad>", "<unk>", "<mask>", "<eos>", "<bos>", "<start_of_turn>", "<unused0>"),
    *(">>fra<<", "<2de>", "__de__", "de_DE", "eng_Latn", "<extra_id_0>", "<unk_7>", "<mask_1>"),
    *("<|endoftext|>", "<|en|>", "<|notimestamps|>", "＜/s＞", " ", "a", "house"),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("published"))


# --- against transformers ------------------------------------------------------------------------

# transformers has no class that reads the spiece.model of MADLAD; the SentencePiece library does.
WITH_ORACLE = [kind for kind in KINDS if kind != "madlad"]


@pytest.mark.parametrize("kind", WITH_ORACLE)
def test_ids_and_texts_are_those_of_transformers(kind: str, published: Published) -> None:
    ours, theirs = published.load(kind), published.oracle(kind)
    for text in texts():
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode(text) == ids, text
        decoded: str = theirs.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert ours.decode(ids).strip() == decoded.strip()


@pytest.mark.parametrize("kind", WITH_ORACLE)
def test_control_tokens_are_those_of_transformers_and_carry_no_text(
    kind: str, published: Published
) -> None:
    ours, theirs = published.load(kind), published.oracle(kind)
    # From the .model alone transformers 5 puts NLLB's <mask> before the languages; as published,
    # it comes behind them.
    moved = {"eng_Latn", "deu_Latn", "zho_Hans", "zho_Hant", "<mask>"} if kind == "nllb" else set()
    for token, idx in ours.controls.items():
        assert token in moved or theirs.convert_tokens_to_ids(token) == idx
        assert ours.token_bytes(idx) == b""
    assert set(theirs.all_special_tokens) <= ours.controls.keys() | {"<s>", "<mask>"}
    assert ours.eos_id == theirs.eos_token_id


def test_madlad_reads_texts_and_languages_as_sentencepiece_does(published: Published) -> None:
    ours = published.load("madlad")
    theirs = sentencepiece.SentencePieceProcessor(
        model_file=str(published.folder("madlad") / "spiece.model")
    )
    for text in texts(50):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(theirs.encode(text)) == theirs.decode(theirs.encode(text))
        marker = ours.marker_ids(ours.control_id("<2de>"))
        assert [*marker, *ours.encode(text)] == theirs.encode(f"<2de> {text}")


def test_nllb_languages_come_after_the_pieces_and_before_the_mask(published: Published) -> None:
    controls = published.load("nllb").controls
    order = sorted(controls, key=controls.__getitem__)
    assert order[-5:] == ["deu_Latn", "eng_Latn", "zho_Hans", "zho_Hant", "<mask>"]


# --- promises of our own -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_never_becomes_a_control_token(kind: str, published: Published) -> None:
    tokenizer = published.load(kind)
    generator = random.Random(2)
    forbidden = set(tokenizer.controls.values()) - {tokenizer.controls.get("<unk>")}
    for text in [*LOOK_ALIKES, *("".join(generator.choices(LOOK_ALIKES, k=6)) for _ in range(200))]:
        assert forbidden.isdisjoint(tokenizer.encode(text)), text


@pytest.mark.parametrize("kind", ["t5", "t5_json", "madlad", "bart_json", "gemma", "byt5"])
def test_what_looks_like_a_control_token_is_read_as_text(kind: str, published: Published) -> None:
    tokenizer = published.load(kind)
    for token in ("</s>", "a</s>a", "<2de>"):
        assert tokenizer.decode(tokenizer.encode(token)).strip() == token


@pytest.mark.parametrize("kind", ["bart", "bart_json", "gemma"])
def test_nothing_around_a_look_alike_is_lost(kind: str, published: Published) -> None:
    tokenizer = published.load(kind)
    for text in ("the <mask> house", "a</s>  <s>", "<pad>\n<unused0> the", "<eos><bos>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_reserved_tokens_have_no_text_but_tags_of_html_do(published: Published) -> None:
    tokenizer = published.load("gemma")
    assert {"<unused0>", "<mask>", "<start_of_turn>", "<eos>"} <= tokenizer.controls.keys()
    assert tokenizer.controls.keys().isdisjoint({"<table>", "</s>", "\n\n"})
    (idx,) = tokenizer.encode("<table>")
    assert tokenizer.token_bytes(idx) == b"<table>"


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_reads_as_the_original(kind: str, published: Published, tmp_path: Path) -> None:
    original = published.load(kind)
    original.save(tmp_path)
    copy = load_imported_tokenizer(tmp_path, FAMILY[kind], original.vocab_size)
    assert {path.name for path in tmp_path.iterdir()} <= TOKENIZER_FILES
    assert copy.controls == original.controls
    assert [copy.encode(text) for text in texts(20)] == [original.encode(t) for t in texts(20)]


@given(data=st.data())
def test_lossless_kinds_give_every_text_back(published: Published, data: st.DataObject) -> None:
    tokenizer = published.load(data.draw(st.sampled_from(LOSSLESS)))
    text = data.draw(st.text().filter(lambda text: "▁" not in text))
    assert tokenizer.decode(tokenizer.encode(text)) == text.removeprefix(" ")


@given(data=st.data())
def test_a_stream_emits_whole_characters_and_the_whole_text(
    published: Published, data: st.DataObject
) -> None:
    tokenizer = published.load(data.draw(st.sampled_from(KINDS)))
    ids = tokenizer.encode(data.draw(st.text().filter(lambda text: "\ufffd" not in text)))
    stream = StreamDecoder(tokenizer)
    parts = [stream.push(idx) for idx in ids]
    assert not any("\ufffd" in part for part in parts)
    assert "".join(parts) + stream.flush() == tokenizer.decode(ids)


@given(data=st.data())
def test_any_ids_can_be_decoded(published: Published, data: st.DataObject) -> None:
    tokenizer = published.load(data.draw(st.sampled_from(KINDS)))
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    text = b"".join(map(tokenizer.token_bytes, ids)).decode(errors="replace")
    assert tokenizer.decode(ids) == text.removeprefix(" ")


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_surrogate_is_refused(kind: str, published: Published) -> None:
    with pytest.raises(InputError, match="surrogate"):
        published.load(kind).encode("broken \ud800 text")


def test_ids_of_padded_embeddings_have_no_text(published: Published) -> None:
    assert published.load("t5").vocab_size == VOCAB_SIZE
    assert published.load("t5").token_bytes(VOCAB_SIZE - 1) == b""


# --- folders of no use ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["t5", "t5_json", "m2m", "bart", "gemma"])
def test_more_text_than_the_model_has_ids_is_refused_with_both_numbers(
    kind: str, published: Published
) -> None:
    with pytest.raises(CheckpointError, match=r"has \d+ entries, but the model has 50"):
        load_imported_tokenizer(published.folder(kind), FAMILY[kind], 50)


def test_a_control_token_beyond_the_model_is_left_out(published: Published) -> None:
    folder = published.folder("t5")
    last = load_imported_tokenizer(folder, "t5", VOCAB_SIZE).control_id("<extra_id_0>")
    tokenizer = load_imported_tokenizer(folder, "t5", last)
    assert "<extra_id_0>" not in tokenizer.controls
    assert "<extra_id_1>" in tokenizer.controls
    with pytest.raises(CheckpointError, match="<extra_id_0> is missing"):
        tokenizer.control_id("<extra_id_0>")


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("t5", "tokenizer.json, or spiece.model"),
        ("marian", "source.spm with target.spm with vocab.json"),
        ("whisper", "vocab.json with merges.txt"),
        ("t5gemma", "tokenizer.json"),
    ],
)
def test_a_folder_without_a_tokenizer_says_what_was_looked_for(
    tmp_path: Path, family: Any, names: str
) -> None:
    with pytest.raises(CheckpointError, match=f"looked for .*{names}"):
        load_imported_tokenizer(tmp_path, family, VOCAB_SIZE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "byt5"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"junk", b'{"a": "b"}', b"\xff\xfe"])
def test_a_damaged_file_is_named(
    kind: str, content: bytes, published: Published, tmp_path: Path
) -> None:
    settings = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    published.load(kind).save(tmp_path)
    for path in [path for path in tmp_path.iterdir() if path.name not in settings]:
        whole = path.read_bytes()
        path.write_bytes(content)
        if not (path.name == "merges.txt" and content in (b"", b"{}")):
            with pytest.raises(CheckpointError, match=path.name):
                load_imported_tokenizer(tmp_path, FAMILY[kind], VOCAB_SIZE)
        path.write_bytes(whole)


def test_settings_of_the_wrong_type_are_not_believed(published: Published, tmp_path: Path) -> None:
    published.load("t5").save(tmp_path)
    values = {"extra_ids": "many", "additional_special_tokens": {"a": 1}, "tokenizer_class": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
    tokenizer = load_imported_tokenizer(tmp_path, "t5", VOCAB_SIZE)
    assert tokenizer.controls == published.load("t5").controls


def test_a_panic_of_the_library_is_a_damaged_file(published: Published, tmp_path: Path) -> None:
    published.load("t5_json").save(tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["normalizer"]["precompiled_charsmap"] = "x"
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: damaged"):
        load_imported_tokenizer(tmp_path, "t5", VOCAB_SIZE)


@pytest.mark.parametrize("value", [-1, 10**12])
def test_a_count_beyond_reason_is_refused(published: Published, tmp_path: Path, value: int) -> None:
    published.load("t5").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(f'{{"extra_ids": {value}}}')
    with pytest.raises(CheckpointError, match=f"extra_ids is {value}"):
        load_imported_tokenizer(tmp_path, "t5", VOCAB_SIZE)


def test_nllb_without_a_list_of_languages_is_refused(published: Published, tmp_path: Path) -> None:
    published.load("nllb").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "NllbTokenizer"}')
    with pytest.raises(CheckpointError, match="languages"):
        load_imported_tokenizer(tmp_path, "m2m_100", VOCAB_SIZE)


def test_two_marian_vocabularies_are_refused(published: Published, tmp_path: Path) -> None:
    published.load("marian").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"separate_vocabs": true}')
    with pytest.raises(CheckpointError, match="not supported"):
        load_imported_tokenizer(tmp_path, "marian", VOCAB_SIZE)
