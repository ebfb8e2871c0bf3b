"""Tables that are labelled: rows come out as they went in, wherever a run was interrupted."""

from __future__ import annotations

import csv
import fcntl
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.cli import tables
from duologue.cli.tablejob import TableCall, TableOptions, label_table
from duologue.cli.tables import CsvTable, JsonlTable
from duologue.errors import DataError, InputError
from duologue.types import Result

CELLS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=2)


class PlugError(Exception):
    """As if somebody had pulled the plug."""


def label(texts: list[str]) -> list[Result]:
    return [
        Result(f"l{len(text)}", "stop", 0.5, probabilities={f"l{len(text)}": 0.5}) for text in texts
    ]


def call(source: Path, name: str = "out", settings: Any = None, **changes: Any) -> TableCall:
    options = {"column": "text", "output": None, "into": "kind", "encoding": None}
    options |= {"resume": False, "force": False} | changes
    target = source.with_name(f"{name}{source.suffix}")
    return TableCall(source, target, TableOptions(**options), settings or {"model": "one"})


def labelled(source: Path, **changes: Any) -> str:
    made = call(source, **changes)
    label_table(made, label)
    assert not made.partial.exists()
    assert not made.partial.with_name(f"{made.partial.name}.json").exists()
    return made.target.read_bytes().decode()


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- CSV ---------------------------------------------------------------------------------------


def test_rows_keep_their_order_and_all_their_columns(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.csv", 'id,text,note\r\n7,"one, two","a\nb"\r\n\r\n8,"say ""hi""",\r\n'
    )
    assert labelled(source) == (
        "id,text,note,kind,kind_probability,kind_error\n"
        '7,"one, two","a\nb",l8,0.5000,\n'
        '8,"say ""hi""",,l8,0.5000,\n'
    )


@given(rows=st.lists(CELLS.map(lambda cells: cells[:2]), max_size=5))
def test_any_csv_comes_out_as_it_went_in(rows: list[list[str]], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    made = io.StringIO(newline="")
    csv.writer(made).writerows([["text", "other"], *rows])
    source = write(folder / "a.csv", made.getvalue())
    found = list(csv.reader(io.StringIO(labelled(source), newline="")))
    assert [row[:2] for row in found[1:]] == rows
    for row in found[1:]:
        assert row[2] == (f"l{len(row[0])}" if row[0].strip() else "")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_seen_in_the_header_and_kept(tmp_path: Path, delimiter: str) -> None:
    source = write(tmp_path / "a.csv", f"id{delimiter}text\n1{delimiter}a,b\n")
    assert labelled(source).splitlines()[1] == delimiter.join(["1", "a,b", "l3", "0.5000", ""])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_with_a_byte_order_mark_are_read(tmp_path: Path, encoding: str) -> None:
    source = write(tmp_path / "a.csv", "text\n你好\n".encode(encoding))
    assert labelled(source).splitlines()[1] == "你好,l2,0.5000,"


def test_another_encoding_is_named_by_the_caller(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "text\n你好\n".encode("gb18030"))
    assert labelled(source, encoding="gb18030").splitlines()[1] == "你好,l2,0.5000,"
    with pytest.raises(InputError, match="unknown encoding 'klingon'"):
        labelled(source, name="other", encoding="klingon")


def test_bad_rows_are_kept_with_what_is_wrong_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b'id,text\n1,fine\n2\n3,a,b\n4, \n5,\xe4\n"6,open\n7,fine\n'
    lines = labelled(write(tmp_path / "a.csv", content)).splitlines()
    assert lines[1:] == [
        "1,fine,l4,0.5000,",
        "2,,,,1 cells where the header has 2",
        '3,a,,,"3 cells where the header has 2; too many: [""b""]"',
        "4, ,,,the text is empty",
        "5,\\xe4,,,1 bytes are not of the encoding; --encoding names another",
        '"""6,open",,,,"a quote is not closed, or stands inside of a cell"',
        "7,fine,l4,0.5000,",
    ]
    told = capsys.readouterr().err
    for line in (3, 4, 5, 6, 7):
        assert f"a.csv, line {line}: " in told
    assert "5 of these rows could not be read" in told


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_lines_beyond_the_limit_are_told_of_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(tables, "MAX_ROW_CHARS", 100)
    wrap = (lambda text: text) if suffix == ".csv" else (lambda text: json.dumps({"text": text}))
    head = ["text"] if suffix == ".csv" else []
    lines = [*head, wrap("x" * 500), wrap("fine"), wrap("y" * 80)]
    source = write(tmp_path / f"a{suffix}", "\n".join(lines))
    found = labelled(source).splitlines()[len(head) :]
    assert "longer than" in found[0]
    assert ["l4" in found[1], "l80" in found[2]] == [True, True]


def test_a_quote_that_is_never_closed_costs_one_line_of_a_long_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_ROW_CHARS", 1000)
    rows = ['"open', *("fine" for _ in range(2000))]
    found = labelled(write(tmp_path / "a.csv", "\n".join(["text", *rows]))).splitlines()
    assert [line.startswith("fine,l4") for line in found[1:]] == [False] + [True] * 2000


@pytest.mark.parametrize(
    ("content", "error", "problem"),
    [
        ("", DataError, "is empty"),
        ("a,b\n1,2\n", DataError, "no column 'text'; there are a, b"),
        ("text,kind\n1,2\n", InputError, "has a column 'kind' already; --into"),
    ],
)
def test_headers_of_no_use_are_refused(
    tmp_path: Path, content: str, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        labelled(write(tmp_path / "a.csv", content))


def test_a_header_that_is_not_of_the_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,Größe\nhello,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 1: 2 bytes are not of the encoding; --encoding"):
        labelled(path)


# --- JSONL -------------------------------------------------------------------------------------


def test_objects_keep_their_spelling_and_get_one_key_more(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"n": 1.10,"text":"你好" }\n\n{"text": "x", "n": 1e400}')
    first, second = labelled(source).splitlines()
    assert first.startswith('{"n": 1.10,"text":"你好", "kind": {"label": "l2"')
    assert second.startswith('{"text": "x", "n": 1e400, "kind": {')
    assert json.loads(first)["kind"]["probabilities"] == {"l2": 0.5}


def test_bad_lines_are_kept_with_what_is_wrong_with_them(tmp_path: Path) -> None:
    lines = ["{}", "[]", '{"text": 3}', '{"text": " "}', '{"text": "\\ud800"}', "{", "[" * 9000]
    source = write(tmp_path / "a.jsonl", "\n".join([*lines, '{"text": "a\xe4"}']).encode("latin-1"))
    found = [json.loads(line) for line in labelled(source).splitlines()]
    problems = [row["kind"]["error"] for row in found]
    assert problems[:2] == ["no text in 'text'", "no JSON object"]
    assert problems[2:4] == ["no text in 'text'", "the text is empty"]
    assert "surrogate" in problems[4]
    assert problems[5:7] == ["no valid JSON"] * 2
    assert "1 bytes are not of the encoding" in problems[7]
    assert found[5]["unreadable"] == "{"
    assert found[7]["unreadable"] == '{"text": "a\\xe4"}'


def test_a_key_that_is_taken_is_refused_with_its_line(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "a", "kind": 1}\n')
    with pytest.raises(DataError, match=r"line 2: has 'kind' already; --into"):
        labelled(source)


# --- interrupted and resumed ---------------------------------------------------------------------


@pytest.fixture(params=[".csv", ".jsonl"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    texts = ["one", 'two "quoted"\n你好', "", "three, four", "\\", "five"]
    if request.param == ".csv":
        made = io.StringIO(newline="")
        csv.writer(made).writerows([["id", "text"], *enumerate(texts)])
        return write(tmp_path / "a.csv", made.getvalue())
    rows = [json.dumps({"id": number, "text": text}) for number, text in enumerate(texts)]
    return write(tmp_path / "a.jsonl", "\n".join([*rows, "no json"]))


def test_a_run_that_is_cut_off_anywhere_is_resumed_to_the_same_file(source: Path) -> None:
    whole = labelled(source).encode()
    judged: list[str] = []

    def count(texts: list[str]) -> list[Result]:
        judged.extend(texts)
        return label(texts)

    for size in range(len(whole) + 1):
        again = call(source, "again", resume=True, settings={"model": "one"})
        again.target.unlink(missing_ok=True)
        write(again.partial, whole[:size])
        settings = json.dumps(again.begun_with)
        write(again.partial.with_name(f"{again.partial.name}.json"), settings)
        judged.clear()
        label_table(again, count)
        assert again.target.read_bytes() == whole, size
    assert judged == []  # of a file that lacked nothing


def test_an_error_leaves_what_was_done_for_a_later_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "\n".join(f"{number},text {number}" for number in range(200))
    source = write(tmp_path / "a.csv", f"id,text\n{rows}\n")

    def fail(texts: list[str]) -> list[Result]:
        if "text 100" in texts:
            raise PlugError
        return label(texts)

    first = call(source)
    with pytest.raises(PlugError):
        label_table(first, fail)
    assert "64 rows are in" in capsys.readouterr().err
    assert not first.target.exists()
    with pytest.raises(InputError, match="--resume goes on, --force begins anew"):
        label_table(call(source), label)
    with pytest.raises(InputError, match="begun with another model"):
        label_table(call(source, settings={"model": "two"}, resume=True), label)
    with pytest.raises(InputError, match="begun with another column"):
        label_table(call(source, column="id", resume=True), label)
    assert labelled(source, resume=True).count("\n") == 201
    label_table(call(source, resume=True), fail)  # which would fail if anything were missing
    assert "is complete already" in capsys.readouterr().err
    with pytest.raises(InputError, match="exists already; --force"):
        label_table(call(source), label)
    assert labelled(source, force=True).count("\n") == 201


def test_rows_that_another_input_gave_are_not_gone_on_with(source: Path) -> None:
    made = call(source)
    label_table(made, label)
    made.target.rename(made.partial)
    write(made.partial.with_name(f"{made.partial.name}.json"), json.dumps(made.begun_with))
    content = source.read_text(encoding="utf-8")
    write(source, content.replace("three", "other"))
    with pytest.raises(InputError, match="row 4 was not made from this input; --force"):
        label_table(call(source, resume=True), label)


def test_two_runs_do_not_write_the_same_file(source: Path) -> None:
    made = call(source, resume=True)
    with made.partial.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run writes it just now"):
            label_table(made, label)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"resume": True, "force": True}, "choose one"), ({"name": "a"}, "is the input itself")],
)
def test_calls_that_contradict_themselves_are_refused(
    source: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        call(source, **changes)


def test_tables_of_other_kinds_are_refused(tmp_path: Path) -> None:
    make: Callable[..., Any] = tables.table_of
    with pytest.raises(InputError, match="rows are read from"):
        make(tmp_path / "a.xlsx", "text", "kind", None)
    with pytest.raises(DataError, match="cannot be read"):
        make(tmp_path / "none.csv", "text", "kind", None)
    assert isinstance(make(write(tmp_path / "a.tsv", "text\n"), "text", "kind", None), CsvTable)
    assert isinstance(make(tmp_path / "a.NDJSON", "text", "kind", None), JsonlTable)
