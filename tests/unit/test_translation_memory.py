"""Translation memories: what is found, what is exchanged, what is refused, who may write."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.errors import DataError, InputError, StorageError
from duologue.storage import translation_memory
from duologue.storage.translation_exchange import read_entries, write_entries
from duologue.storage.translation_memory import Entry, TranslationMemory
from duologue.types import Match

ENTRIES = [
    Entry("Sign in to your account", "Melden Sie sich an", "en", "de"),
    Entry("Sign out of your account", "Melden Sie sich ab", "en", "de"),
    Entry("Sign in to your account", "登录您的帐户", "en", "zh"),
    Entry("今天天气很好。", "The weather is fine today.", "zh", "en"),
    Entry("OK", "In Ordnung", "en", "de"),
]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[TranslationMemory]:
    with TranslationMemory(tmp_path / "work.tm") as opened:
        opened.add(ENTRIES)
        yield opened


# --- what is found ------------------------------------------------------------------------------


def test_the_same_text_is_found_in_its_language(memory: TranslationMemory) -> None:
    text = "Sign in to your account"
    assert memory.search(text, "zh") == [Match(text, "登录您的帐户", 1.0)]
    best = memory.search(text, "de", "en")[0]
    assert (best.target, best.score) == ("Melden Sie sich an", 1.0)
    assert memory.search(text, "de", "fr") == []
    assert memory.search("OK", "de") == [Match("OK", "In Ordnung", 1.0)]


def test_case_and_blanks_make_a_small_difference(memory: TranslationMemory) -> None:
    best = memory.search(" sign  in to your ACCOUNT ", "de")[0]
    assert best.target == "Melden Sie sich an"
    assert 0.98 < best.score < 1


def test_similar_texts_are_found_best_first(memory: TranslationMemory) -> None:
    found = memory.search("Sign in to your accounts", "de", min_score=0.5)
    assert [match.target for match in found] == ["Melden Sie sich an", "Melden Sie sich ab"]
    assert found[0].score == pytest.approx(1 - 1 / 24)
    assert memory.search("Sign in to your accounts", "de", min_score=0.97) == []
    assert memory.search("Sign in to your accounts", "de", min_score=1) == []
    assert memory.search("今天天气真好。", "en")[0].score == pytest.approx(1 - 1 / 7)


def test_nothing_is_like_nothing(memory: TranslationMemory) -> None:
    for text in ("", "   ", "entirely other words", '"*" OR NEAR', "x" * 20_000):
        assert memory.search(text, "de") == []


def test_the_number_of_matches_is_limited(memory: TranslationMemory) -> None:
    memory.add([Entry(f"row number {n} of many", f"Zeile {n}", "en", "de") for n in range(30)])
    assert len(memory.search("row number 7 of many", "de", limit=3)) == 3
    assert memory.search("row number 7 of many", "de", limit=1)[0].target == "Zeile 7"


@given(st.text(max_size=12), st.text(max_size=12), st.integers(0, 12))
def test_the_edit_distance_is_that_of_the_whole_table(one: str, other: str, most: int) -> None:
    table = [[max(i, j) for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i][j] = min(
                table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b)
            )
    found = translation_memory._distance(one, other, most)
    assert found == table[-1][-1] if table[-1][-1] <= most else found > most


# --- what is kept -------------------------------------------------------------------------------


def test_a_new_translation_takes_the_place_of_the_old_one(memory: TranslationMemory) -> None:
    memory.add([Entry("OK", "Gut", "en", "de")])
    assert len(memory) == len(ENTRIES)
    assert memory.search("OK", "de")[0].target == "Gut"


def test_what_is_removed_is_found_no_more_and_not_in_the_file(memory: TranslationMemory) -> None:
    assert memory.remove("今天天气很好。") == 1
    assert memory.remove("今天天气很好。") == 0
    assert memory.search("今天天气很好。", "en") == []
    memory.close()
    content = b"".join(path.read_bytes() for path in memory.path.parent.iterdir())
    assert "天气".encode() not in content
    assert b"weather" not in content


def test_all_entries_are_listed_in_order(memory: TranslationMemory) -> None:
    memory.add([Entry(f"text {n}", f"Text {n}", "en", "de") for n in range(1500)])
    listed = [entry.source for entry in memory.entries()]
    assert listed == [entry.source for entry in ENTRIES] + [f"text {n}" for n in range(1500)]


def test_all_or_none_are_added(memory: TranslationMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Entry("new", "neu", "en", "de")
    for bad in (
        Entry("", "x", "en", "de"),
        Entry("x", " ", "en", "de"),
        Entry("x", "y", "", "de"),
        Entry("x", "y", "en", "d e"),
        Entry("x" * 10_001, "y", "en", "de"),
    ):
        with pytest.raises(InputError):
            memory.add([good, bad])
    monkeypatch.setattr(translation_memory, "MAX_ENTRIES", len(ENTRIES))
    with pytest.raises(StorageError, match="full"):
        memory.add([good])
    assert len(memory) == len(ENTRIES)


def test_threads_and_other_openings_share_a_file(memory: TranslationMemory) -> None:
    def write(number: int) -> None:
        with TranslationMemory(memory.path) as own:
            for n in range(20):
                own.add([Entry(f"text {number} {n}", "x", "en", "de")])
                own.search(f"text {number} {n}", "de")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory) == len(ENTRIES) + 80


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tm").write_text("hello " * 200)
    with pytest.raises(StorageError):
        TranslationMemory(tmp_path / "a.tm")
    other = sqlite3.connect(tmp_path / "b.tm")
    other.execute("CREATE TABLE t (x)")
    other.commit()
    other.close()
    with pytest.raises(StorageError, match="no translation memory"):
        TranslationMemory(tmp_path / "b.tm")


# --- exchange -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.tmx", "out.csv"])
def test_what_is_written_is_read_again(
    memory: TranslationMemory, tmp_path: Path, name: str
) -> None:
    odd = Entry('a < b & "c",\n\td', "ü]]>\u2028", "en", "de")
    memory.add([odd])
    path = tmp_path / name
    assert write_entries(path, memory.entries()) == len(ENTRIES) + 1
    found = [(e.source, e.target, e.from_language, e.to_language) for e in read_entries(path)]
    assert found == [(e.source, e.target, e.from_language, e.to_language) for e in [*ENTRIES, odd]]
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_tmx_of_other_programs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    path.write_text(
        '<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4">'
        '<header srclang="en-US"/><body><tu><prop type="x">p</prop><tuv xml:lang="DE-de"><seg>Fett '
        '<bpt i="1">&lt;b></bpt>hier<ept i="1">&lt;/b></ept></seg></tuv><tuv xml:lang="en-US"><seg>'
        'Bold <hi>here</hi></seg></tuv><tuv xml:lang="zh"><seg>粗</seg></tuv></tu>'
        '<tu><tuv xml:lang="en"><seg>alone</seg></tuv></tu></body></tmx>',
        encoding="utf-8",
    )
    assert read_entries(path) == [
        Entry("Bold here", "Fett hier", "en", "de"),
        Entry("Bold here", "粗", "en", "zh"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", "x", "format is unknown"),
        ("a.tmx", "<tmx>", "line 1: it is no TMX"),
        ("a.tmx", "<!DOCTYPE t [<!ENTITY a 'b'>]><tmx/>", "declares entities"),
        ("a.tmx", "<tmx/>", "no translation in it"),
        ("a.csv", "", "must name source"),
        ("a.csv", "source,target\na,b\n", "must name from, to"),
        ("a.csv", "source,target,from,to\na,b,en\n", "line 2: a value is missing"),
        ("a.csv", 'source,target,from,to\n"a,b,en,de\n', "unexpected end"),
        ("a.csv", "source,target,from,to\n" + "a" * 10_001 + ",b,en,de\n", "10,000 characters"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=problem):
        read_entries(tmp_path / name)


def test_files_that_cannot_be_opened_are_told(tmp_path: Path, memory: TranslationMemory) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_entries(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        read_entries(tmp_path / "b.csv")
    with pytest.raises(DataError):
        write_entries(tmp_path / "no folder" / "x.csv", memory.entries())
