"""translate with documents, and tm: what is written, what is told, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import RunCli, assert_refused, lines_of

TEXT = "# hello\n\nwhat **time** is {it}\n"


@pytest.fixture
def translate(tiny_model_folder: Callable[..., Path]) -> list[str]:
    model = str(tiny_model_folder())
    options = ["--to", "zh", "--beam", "1", "--no-check", "--threads", "1"]
    return ["translate", *options, "--model", model]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(TEXT, encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_document_is_written_beside_its_source(
    run_cli: RunCli, translate: list[str], page: Path
) -> None:
    done = run_cli(*translate, str(page))
    assert (done.returncode, done.stdout) == (0, b"")
    assert names(page.parent) == ["page.md", "page.zh.md"]
    assert page.read_text(encoding="utf-8") == TEXT
    written = (page.parent / "page.zh.md").read_text(encoding="utf-8")
    assert written.startswith("# ")
    assert [written.count(mark) for mark in ("**", "{it}")] == [2, 1]
    assert b"page.zh.md: 2 segments" in done.stderr.splitlines()[-1]


def test_what_exists_is_overwritten_by_force_alone(
    run_cli: RunCli, translate: list[str], page: Path
) -> None:
    assert_refused(
        run_cli(*translate, "-o", str(page), str(page)), "the document itself", "--force"
    )
    target = page.parent / "page.zh.md"
    target.write_text("mine")
    assert_refused(run_cli(*translate, str(page)), "there already")
    assert target.read_text() == "mine"
    assert run_cli(*translate, "--force", str(page)).returncode == 0
    assert target.read_text(encoding="utf-8") != "mine"
    assert run_cli(*translate, "--force", "-o", str(page), str(page)).returncode == 0
    assert names(page.parent) == ["page.md", "page.zh.md"]


def test_documents_go_to_a_folder_with_a_report_each(
    run_cli: RunCli, translate: list[str], page: Path
) -> None:
    other = page.parent / "list.json"
    other.write_text('{"key": "hello"}')
    folder = page.parent / "out"
    done = run_cli(*translate, "--json", "--output", str(folder), str(page), str(other))
    reports = [json.loads(line) for line in lines_of(done)]
    assert [report["format"] for report in reports] == ["md", "json"]
    assert reports[1]["segments"][0]["source"] == "hello"
    assert names(folder) == ["list.json", "page.md"]
    assert list(json.loads((folder / "list.json").read_text())) == ["key"]


def test_a_text_longer_than_a_files_name_is_a_text(run_cli: RunCli, translate: list[str]) -> None:
    for text in ("hello " * 60, "hello " * 60 + ".txt end", "hello" * 60):
        done = run_cli(*translate, text)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1


def test_a_document_that_cannot_be_read_leaves_nothing_behind(
    run_cli: RunCli, translate: list[str], page: Path
) -> None:
    bad = page.parent / "bad.txt"
    bad.write_bytes(b"\xff\xfe\xfd")
    assert_refused(run_cli(*translate, str(bad)), "bad.txt", "UTF-16")
    assert_refused(run_cli(*translate, str(page.parent / "none.md")), "no such file")
    assert_refused(run_cli(*translate, str(page), "hello you"), "translate them apart")
    assert_refused(run_cli(*translate, "--force", "hello"), "for documents")
    assert_refused(run_cli(*translate, "--memory", "none.tm", str(page)), "none.tm")
    assert names(page.parent) == ["bad.txt", "page.md"]


def test_the_other_documents_go_on_after_one_that_cannot_be_read(
    run_cli: RunCli, translate: list[str], page: Path
) -> None:
    bad = page.parent / "bad.txt"
    bad.write_bytes(b"caf\xe9")
    signs = page.parent / "signs.txt"
    signs.write_text("--- 12 ---\n")
    out = page.parent / "out"
    done = run_cli(*translate, "--from", "auto", "-o", str(out), *map(str, (bad, signs, page)))
    assert done.returncode == 2
    assert (
        done.stderr.decode().splitlines()[-1].endswith("2 of 3 documents could not be translated")
    )
    told = done.stderr.decode()
    assert f"warning: {bad}: it is not UTF-8" in told
    assert f"warning: {signs}: nothing tells which language" in told
    assert names(out) == ["page.md"]


def test_a_mistake_in_the_call_is_told_once(
    run_cli: RunCli, translate: list[str], page: Path
) -> None:
    other = page.with_name("other.md")
    other.write_text(TEXT)
    done = run_cli(*translate, "--to", "xx", str(page), str(other))
    assert_refused(done, "2 of 2 documents")
    assert done.stderr.decode().count("unknown language 'xx'") == 1


def test_alternatives_follow_after_tabs(run_cli: RunCli, translate: list[str]) -> None:
    (line,) = lines_of(run_cli(*translate, "--alternatives", "2", "hello"))
    assert line.count("\t") == 2


def test_a_memory_is_filled_searched_exchanged_and_used(
    run_cli: RunCli, translate: list[str], page: Path
) -> None:
    def tm(action: str, *values: str) -> list[str]:
        return lines_of(run_cli("tm", action, str(page.parent / "work.tm"), *values))

    codes = ("--from", "en", "--to", "zh")
    tm("add", "hello", "你好", *codes)
    assert tm("list") == ["en\tzh\thello\t你好"]
    assert tm("search", "hello!", "--to", "zh") == ["83%\thello\t你好"]
    assert json.loads(tm("search", "hello", "--to", "zh", "--json")[0])["score"] == 1
    done = run_cli(*translate, "--memory", str(page.parent / "work.tm"), str(page))
    assert b"1 from the memory" in done.stderr
    written = page.parent / "page.zh.md"
    assert written.read_text(encoding="utf-8").startswith("# 你好\n")
    written.write_text("# 您好\n\n**x** y\n", encoding="utf-8")
    tm("learn", str(page), str(written), *codes)
    assert tm("list") == ["en\tzh\thello\t您好"]
    tm("export", str(page.parent / "a.tmx"))
    tm("remove", "hello")
    assert tm("list") == []
    tm("import", str(page.parent / "a.tmx"))
    assert tm("list") == ["en\tzh\thello\t您好"]


def test_a_memory_refuses_what_is_of_no_use(run_cli: RunCli, page: Path) -> None:
    memory = str(page.parent / "work.tm")
    assert_refused(run_cli("tm", "list", memory), "no such translation memory")
    assert_refused(run_cli("tm", "add", memory, "hello"), "needs 2 values")
    assert_refused(run_cli("tm", "add", memory, "hello", "x"), "--from and --to")
    assert_refused(
        run_cli("tm", "add", str(page), "a", "b", "--from", "en", "--to", "zh"), "page.md"
    )
    assert page.read_text(encoding="utf-8") == TEXT


def test_lines_and_texts_are_looked_up_in_a_memory(
    run_cli: RunCli, translate: list[str], tmp_path: Path
) -> None:
    memory, text = tmp_path / "work.tm", "what time does the train leave?"
    added = run_cli("tm", "add", memory, text, "火车几点出发？", "--from", "en", "--to", "zh")
    assert added.returncode == 0
    alike = "what time does the train leave!"
    stdin = f"{text}\n\nhello how are you\n{alike}\n".encode()
    plain = lines_of(run_cli(*translate, stdin=stdin))
    for language in ((), ("--from", "auto"), ("--from", "en")):
        done = run_cli(*translate, *language, "--memory", memory, stdin=stdin)
        lines = lines_of(done)
        assert [lines[0], lines[3]] == ["火车几点出发？"] * 2
        assert lines[1:3] == plain[1:3]
        told = [line for line in done.stderr.decode().splitlines() if "memory" in line]
        assert len(told) == 1
        assert told[0].startswith("duologue: warning: text 4: the translation of a similar text")
    done = run_cli(*translate, "--memory", memory, "--json", "--explain", text, "hello")
    known, made = map(json.loads, lines_of(done))
    assert known["match"] == {"source": text, "target": "火车几点出发？", "score": 1.0}
    assert (known["text"], known["confidence"]) == ("火车几点出发？", 1.0)
    assert made["match"] is None
    assert_refused(run_cli(*translate, "--memory", tmp_path / "none.tm", "hello"), "no such")
