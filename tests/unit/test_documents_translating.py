"""Documents translated by a model, with and without a translation memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from duologue.api import Model, load
from duologue.apps.documents.pairs import confirmed
from duologue.errors import InputError
from duologue.storage.translation_memory import Entry, TranslationMemory
from duologue.types import Options

GREEDY = Options(max_tokens=6)
TEXT = b"hello how are you\n\n  what time, {name}\nhello how are you\n42\n"


@pytest.fixture(scope="module")
def model(tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(), threads=1)


def translated(model: Model, data: bytes | Path, **settings: object) -> object:
    how = {"format": "txt", "options": GREEDY, "check": False, **settings}
    return model.translate_document(data, "zh", **how)  # type: ignore[arg-type]


def test_lines_are_translated_as_texts_are_and_stay_where_they_are(model: Model) -> None:
    document = model.translate_document(TEXT, "zh", format="txt", options=GREEDY, check=False)
    one, two = (
        result.text
        for result in model.translate_batch(
            ["hello how are you", "what time, {name}"], "zh", options=GREEDY, check=False
        )
    )
    assert document.content.decode() == f"{one}\n\n  {two}\n{one}\n42\n"
    assert [segment.place for segment in document.segments] == ["line 1", "line 3", "line 4"]
    assert [segment.source for segment in document.segments][1] == "what time, {name}"
    assert two.count("{name}") == 1


def test_progress_counts_each_different_text_once(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    model.translate_document(
        TEXT, "zh", format="txt", options=GREEDY, check=False,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(0, 2), (2, 2)]


def test_marks_of_equal_segments_are_each_their_own(model: Model) -> None:
    text = '<p><a href="1">hello</a> you</p><p><a href="2">hello</a> you</p>'
    document = model.translate_document(
        text.encode(), "zh", format="html", options=GREEDY, check=False
    )
    content = document.content.decode()
    assert content.count('<a href="1">') == content.count('<a href="2">') == 1
    assert content.count("</a>") == 2


def test_what_the_memory_knows_is_not_translated(model: Model, tmp_path: Path) -> None:
    with TranslationMemory(tmp_path / "a.tm") as memory:
        memory.add(
            [Entry("hello how are you", "你好吗", "en", "zh"), Entry("old", "旧", "en", "de")]
        )
        memory.add([Entry("what times, {name}", "几点 {name}", "en", "zh")])
        document = model.translate_document(
            TEXT, "zh", "auto", format="txt", options=GREEDY, memory=memory
        )
    assert document.content.decode() == "你好吗\n\n  几点 {name}\n你好吗\n42\n"
    assert [segment.match is not None for segment in document.segments] == [True] * 3
    (flagged,) = document.flagged
    assert flagged.place == "line 3"
    assert "similar text of the memory (9" in flagged.problems[0]
    report = json.loads(json.dumps(document.to_dict()))
    assert (report["num_segments"], report["num_flagged"], report["num_from_memory"]) == (3, 1, 3)
    assert document.from_ == "en"


def test_a_document_without_words_stays_as_it_is(model: Model) -> None:
    for data in (b"42\n---\n", "\ufeff1\r\n".encode("utf-16")):
        document = model.translate_document(data, "zh", format="txt")
        assert (document.content, document.segments) == (data, ())


def test_a_file_that_cannot_be_read_is_named(model: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "a.txt").mkdir()
    for name, problem in (
        ("bad.json", r"bad\.json: it is no JSON"),
        ("none.txt", r"none\.txt: No such file"),
        ("a.txt", "is a folder"),
        ("a.pdf", "format is unknown"),
    ):
        with pytest.raises(InputError, match=problem):
            model.translate_document(tmp_path / name, "zh")
    with pytest.raises(InputError, match="format of a document must be named"):
        model.translate_document(b"hello", "zh")
    with pytest.raises(InputError, match="the document cannot be read"):
        model.translate_document(b"\0", "zh", format="txt")
    with pytest.raises(InputError, match="nothing tells which language"):
        model.translate_document(b"xyzzy", "zh", "auto", format="txt")
    with pytest.raises(InputError, match="xx"):
        model.translate_document(b"42", "xx", format="txt")


def test_a_corrected_translation_is_learnt_segment_by_segment(tmp_path: Path) -> None:
    one, other = tmp_path / "a.md", tmp_path / "b.md"
    one.write_text("# Head\n\nSome **bold** text\n\nSame\n", encoding="utf-8")
    other.write_text("# Kopf\n\n**Fetter** Text\n\nSame\n", encoding="utf-8")
    assert confirmed(one, other) == [("Head", "Kopf")]
    other.write_text("# Kopf\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"1 segments of md; .* has 3"):
        confirmed(one, other)
    with pytest.raises(InputError, match="nothing to learn"):
        confirmed(one, one)
