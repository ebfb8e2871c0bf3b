"""A knowledge base: what goes in, what goes out, and what a process that is killed leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support_bases import NEW, OLD, POINTS, opened, texts, write_files

from duologue import api
from duologue.apps.support import KnowledgeBase
from duologue.apps.support import base as base_module
from duologue.apps.support.base import Failure
from duologue.apps.support.memories import Floats, joined
from duologue.apps.support.passages import Passage
from duologue.engine.memory import Memory
from duologue.errors import ConfigError, InputError, NotFoundError
from duologue.storage.knowledge import KnowledgeStore
from duologue.types import Precision

HELPER = Path(__file__).with_name("support_bases.py")


@pytest.fixture(scope="module")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory, passage_model: Callable[..., Path]
) -> Path:
    return passage_model(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def model(model_folder: Path) -> api.Model:
    return api.load(model_folder, threads=1)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    write_files(tmp_path / "documents", OLD)
    return (tmp_path / "documents").resolve()


@pytest.fixture
def base(tmp_path: Path, model: api.Model, documents: Path) -> KnowledgeBase:
    base = opened(tmp_path / "base", model)
    base.add([documents])
    return base


def names(paths: tuple[str, ...] | list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "memories").iterdir())


# --- in and out ----------------------------------------------------------------------------------


def test_what_was_added_is_found_and_listed(base: KnowledgeBase) -> None:
    (best, *_) = base.search("Where are lamps?")
    assert (best.passage.heading, best.passage.text) == ("Shop", "We sell lamps.")
    assert best.words > 0
    assert 0 < best.score <= 1
    assert [(Path(d.path).name, d.num_passages) for d in base.documents()] == [
        ("a.md", 1),
        ("b.txt", 1),
    ]


def test_refresh_encodes_what_changed_and_nothing_else(
    base: KnowledgeBase, documents: Path
) -> None:
    sections = [f"# Part {number}\n\nText number {number}.\n" for number in range(4)]
    (documents / "long.md").write_text("\n".join(sections))
    assert base.refresh().num_encoded == 4
    sections[2] = "# Part 2\n\nOther words.\n"
    (documents / "long.md").write_text("\n".join(sections))
    changes = base.refresh()
    assert names(changes.changed) == ["long.md"]
    assert names(changes.unchanged) == ["a.md", "b.txt"]
    assert changes.num_encoded == 1
    again = base.refresh()
    assert (again.changed, again.num_encoded) == ((), 0)
    os.utime(documents / "long.md", ns=(1, 1))  # touched, and the same as before
    assert base.refresh().changed == ()


def test_files_that_come_and_go_in_a_folder_do_so_in_the_base(
    base: KnowledgeBase, documents: Path
) -> None:
    write_files(documents, NEW)
    changes = base.refresh()
    assert names(changes.added) == ["c.txt", "d.txt"]
    assert names(changes.changed) == ["a.md"]
    assert names(changes.removed) == ["b.txt"]
    assert texts(base) == {"We sell desks.", "The door is green.", "Call us."}


def test_nothing_of_a_removed_document_is_left_on_the_disk(
    base: KnowledgeBase, documents: Path
) -> None:
    folder = base.store.folder
    with base.store.reading() as state:
        (hit,) = [h for h in base.search("chrysanthemum", 2) if "yellow" in h.passage.text]
        embedding = dict(state.embeddings(base.encoder.model))[hit.passage.id]
    for trace in (b"chrysanthemum", b"b.txt", embedding):
        assert trace in content(folder)
    assert len(entries(folder)) == 2
    assert names(base.remove(documents / "b.txt")) == ["b.txt"]
    for trace in (b"chrysanthemum", b"yellow", embedding):
        assert trace not in content(folder)
    assert len(entries(folder)) == 1
    assert base.refresh().added == ()  # it was told to leave
    base.add([documents / "b.txt"])
    assert b"chrysanthemum" in content(folder)
    base.remove(documents)
    assert b"b.txt" not in content(folder)
    assert base.documents() == []
    assert entries(folder) == []
    with pytest.raises(NotFoundError, match="not in the knowledge base"):
        base.remove(documents)


def test_a_document_that_changed_leaves_nothing_of_its_former_text(
    base: KnowledgeBase, documents: Path
) -> None:
    (documents / "b.txt").write_text("The rose is red.")
    base.refresh()
    assert b"chrysanthemum" not in content(base.store.folder)


def test_a_file_that_was_added_and_is_gone_goes_and_a_folder_stays(
    tmp_path: Path, model: api.Model, documents: Path
) -> None:
    single = tmp_path / "single.txt"
    single.write_text("A file of its own.")
    base = opened(tmp_path / "base", model)
    base.add([documents, single])
    single.unlink()
    documents.rename(tmp_path / "elsewhere")
    changes = base.refresh()
    assert names(changes.removed) == ["single.txt"]
    assert changes.failed == (
        Failure(str(documents), "no such folder; remove it if it is gone for good"),
    )
    assert len(base.documents()) == 2


# --- bad input -----------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_told_and_the_others_go_on(
    base: KnowledgeBase, documents: Path
) -> None:
    (documents / "bad.txt").write_bytes(b"\xff\xff")
    (documents / "empty.md").touch()
    (documents / "good.txt").write_text("Good.")
    (documents / "a.md").write_bytes(b"\0")  # its former version stays
    changes = base.refresh()
    assert names(changes.added) == ["good.txt"]
    assert [(Path(f.path).name, f.problem) for f in changes.failed] == [
        ("a.md", "line 1: binary, not text: it has zero bytes"),
        ("bad.txt", "line 1: not UTF-8; save it as UTF-8 first"),
        ("empty.md", "holds no text"),
    ]
    assert "We sell lamps." in texts(base)


def test_a_file_that_is_too_large_is_not_read(
    base: KnowledgeBase, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "MAX_FILE_BYTES", 10)
    (documents / "large.txt").write_text("x" * 11)
    (failure,) = base.add([documents / "large.txt"]).failed
    assert failure.problem == "11 bytes; at most 10 are read"


def test_what_is_not_there_or_of_no_kind_is_told(base: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        base.add([tmp_path / "nothing.txt"])
    (tmp_path / "picture.png").touch()
    (tmp_path / "nothing").mkdir()
    changes = base.add([tmp_path / "picture.png", tmp_path / "nothing"])
    problems = {Path(failure.path).name: failure.problem for failure in changes.failed}
    assert "unknown kind of file" in problems["picture.png"]
    assert "no files that can be read" in problems["nothing"]
    with pytest.raises(InputError, match="limit must be between"):
        base.search("lamps", 0)
    with pytest.raises(ConfigError, match="budget"):
        KnowledgeStore(tmp_path / "other", 0)


# --- memories ------------------------------------------------------------------------------------


def test_a_passage_from_disk_is_what_was_encoded_but_for_rounding(base: KnowledgeBase) -> None:
    passage = Passage("Shop", "We sell lamps.")
    before = base.encoder.num_encoded
    stored = base.encoder.passage(passage)
    assert base.encoder.num_encoded == before
    source = base.encoder.source(passage)
    fresh = base.runtime.read(source, is_document=True).memory
    assert stored.memory is not None
    (kept,), (new,) = stored.memory.segments, fresh.segments
    assert (kept.ids, kept.is_document, kept.start) == (new.ids, True, 0)

    def logits(memory: Memory) -> Floats:
        state = base.runtime.forward.start(memory)
        row: Floats = base.runtime.forward.decode_step([state], [5])[0]
        return row

    assert np.abs(logits(stored.memory) - logits(fresh)).max() < 0.05 * np.ptp(logits(fresh))


@pytest.mark.parametrize("cell", ["transformer", "gru"])
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_memories_of_every_cell_and_precision_come_back(
    tmp_path: Path, passage_model: Callable[..., Path], cell: str, precision: Precision
) -> None:
    folder = passage_model(tmp_path / "model", cell=cell)
    base = opened(tmp_path / "base", api.load(folder, precision=precision, threads=1))
    first = base.encoder.passage(Passage("Shop", "We sell lamps."))
    again = base.encoder.passage(Passage("Shop", "We sell lamps."))
    assert base.encoder.num_encoded == 1
    assert first.memory is not None
    assert again.memory is not None
    (new,), (kept,) = first.memory.segments, again.memory.segments
    assert new.ids == kept.ids
    states = [base.runtime.forward.start(memory) for memory in (first.memory, again.memory)]
    logits = base.runtime.forward.decode_step(states, [5, 5])
    assert np.abs(logits[0] - logits[1]).max() < 0.05 * np.ptp(logits[0])


def test_memories_put_together_are_what_reading_in_a_row_gives(base: KnowledgeBase) -> None:
    first, second = (base.runtime.turn("document", text) for text in ("One.", "Two more."))
    question = base.encoder.question("Where are lamps?")
    assert question.encoded.memory is not None
    apart = [base.runtime.read(item, is_document=True).memory for item in (first, second)]
    together = joined([*apart, question.encoded.memory])
    memory = base.runtime.read(first, is_document=True).memory
    memory = base.runtime.read(second, memory, is_document=True).memory
    memory = base.runtime.read(question.source, memory).memory
    assert together == memory
    states = [base.runtime.forward.start(item) for item in (together, memory)]
    logits = base.runtime.forward.decode_step(states, [5, 5])
    assert (logits[0] == logits[1]).all()


def test_memories_stay_within_their_budget_and_come_back_when_asked(
    tmp_path: Path, model: api.Model
) -> None:
    documents = tmp_path / "documents"
    write_files(documents, {f"{n}.txt": f"Lamp number {n} is here." for n in range(10, 30)})
    base = opened(tmp_path / "base", model)
    base.add([documents])
    whole = sum(p.stat().st_size for p in (tmp_path / "base/memories").rglob("*") if p.is_file())
    small = opened(tmp_path / "small", model, memory_bytes=whole // 4)
    small.add([documents])
    kept = sum(p.stat().st_size for p in (tmp_path / "small/memories").rglob("*") if p.is_file())
    assert 0 < kept <= whole // 4
    before = small.encoder.num_encoded
    assert small.ask("Where is lamp number 10?", threshold=0).text
    assert small.encoder.num_encoded > before


def test_a_damaged_memory_is_encoded_again(base: KnowledgeBase) -> None:
    for path in (base.store.folder / "memories").glob("*/part.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    before = base.encoder.num_encoded
    assert base.ask("Where are lamps?", threshold=0).text
    assert base.encoder.num_encoded == before + 2


def test_another_model_reads_everything_again(
    base: KnowledgeBase, tmp_path: Path, passage_model: Callable[..., Path]
) -> None:
    folder = passage_model(tmp_path / "m", answers=False)
    other = opened(base.store.folder, folder)
    assert other.search("Where are lamps?")[0].passage.text == "We sell lamps."  # by its words
    changes = other.refresh()
    assert names(changes.changed) == ["a.md", "b.txt"]
    assert changes.num_encoded == 2
    assert other.refresh().changed == ()


# --- while it changes ----------------------------------------------------------------------------


def test_who_asks_during_a_refresh_is_answered_from_the_old_state(
    base: KnowledgeBase, documents: Path, model: api.Model
) -> None:
    other = opened(base.store.folder, model)
    write_files(documents, NEW)
    seen: list[set[str]] = []
    base.refresh(lambda done, total: seen.append(texts(other)))
    assert len(seen) == 3
    assert all(state == {"We sell lamps.", "The chrysanthemum is yellow."} for state in seen)
    assert other.search("desks")[0].passage.text == "We sell desks."


def test_a_passage_that_is_removed_while_somebody_encodes_it_leaves_no_memory(
    base: KnowledgeBase, documents: Path
) -> None:
    (hit,) = [hit for hit in base.search("chrysanthemum", 2) if "yellow" in hit.passage.text]
    base.remove(documents / "b.txt")
    base.encoded(Passage(hit.passage.heading, hit.passage.text))
    assert len(entries(base.store.folder)) == 1


def test_two_at_once_lose_nothing(tmp_path: Path, model: api.Model) -> None:
    start = threading.Barrier(4)

    def add(number: int) -> None:
        documents = tmp_path / f"documents {number}"
        write_files(documents, {f"{n}.txt": f"Text {number} {n}." for n in range(5)})
        base = opened(tmp_path / "base", model)
        start.wait()
        base.add([documents])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened(tmp_path / "base", model).documents()) == 20


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_leaves_the_old_or_the_new_state(
    tmp_path: Path, model: api.Model, model_folder: Path, documents: Path, point: str
) -> None:
    opened(tmp_path / "base", model).add([documents])
    write_files(documents, NEW)
    command = [sys.executable, str(HELPER), str(tmp_path), str(model_folder), point]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    base = opened(tmp_path / "base", model)
    old, new = {"We sell lamps.", "The chrysanthemum is yellow."}, {"We sell desks."}
    new |= {"The door is green.", "Call us."}
    assert texts(base) == (new if point == "committed" else old)
    with base.store._file.writing() as connection:
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    changes = base.refresh()
    assert changes.num_encoded == 0  # what was encoded before it died is used
    assert texts(base) == new
    assert b"chrysanthemum" not in content(tmp_path / "base")
    assert len(entries(tmp_path / "base")) == 3


def test_in_a_base_of_one_passage_its_words_still_count(tmp_path: Path, model: api.Model) -> None:
    write_files(tmp_path / "documents", {"a.md": "The guarantee lasts three years."})
    base = opened(tmp_path / "one", model)
    base.add([tmp_path / "documents"])
    known, unknown = base.rarity("guarantee"), base.rarity("delivery")
    assert max(known.values()) > max(unknown.values()) / 2
