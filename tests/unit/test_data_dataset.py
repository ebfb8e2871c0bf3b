"""Readers: what is refused and how files are read; what is accepted is in test_data_docs.py."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duologue.config import DataConfig, DatasetConfig
from duologue.data import lines
from duologue.data.dataset import Dataset, open_datasets
from duologue.data.rows import Example
from duologue.errors import DataError


def dataset(root: Path, path: str, **settings: Any) -> Dataset:
    config = DataConfig(sets=(DatasetConfig(path=path, **settings),), root=str(root))
    return open_datasets(config)[0]


def read(root: Path, path: str, split: str = "train", **settings: Any) -> list[Example]:
    return list(dataset(root, path, **settings).examples(split))


def write_rows(path: Path, *rows: Any) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def pair(source: str = "hi", target: str = "你好", **more: Any) -> dict[str, Any]:
    return {"source": source, "target": target, "src_lang": "en", "tgt_lang": "zh", **more}


def refused(root: Path, path: str, **settings: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(root, path, **settings)
    return caught.value


def error_of(root: Path, path: str) -> DataError | None:
    try:
        read(root, path)
    except DataError as error:
        return error
    return None


def test_gzip_gives_the_same_examples_as_plain(tmp_path: Path) -> None:
    rows = [pair(f"text {index}") for index in range(50)]
    write_rows(tmp_path / "a.jsonl", *rows)
    write_rows(tmp_path / "a.jsonl.gz", *rows)
    assert read(tmp_path, "a.jsonl") == read(tmp_path, "a.jsonl.gz")
    assert len(read(tmp_path, "a.jsonl")) == 50


def test_only_rows_of_the_asked_split_are_given(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", pair("one"), pair("two", split="valid"), pair("three"))
    found = [example.segments[0].text for example in read(tmp_path, "a.jsonl")]
    assert found == ["one", "three"]
    assert [example.line for example in read(tmp_path, "a.jsonl", "valid")] == [2]
    assert read(tmp_path, "a.jsonl", "test") == []


def test_limit_counts_rows_of_each_split(tmp_path: Path) -> None:
    rows = [pair(f"{index}", split=("train", "valid")[index % 2]) for index in range(20)]
    write_rows(tmp_path / "a.jsonl", *rows)
    assert len(read(tmp_path, "a.jsonl", limit=3)) == 3
    assert len(read(tmp_path, "a.jsonl", "valid", limit=3)) == 3


def test_split_in_the_path_reads_a_file_for_each_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        (tmp_path / f"{split}.en").write_text(f"{split} text\n")
        (tmp_path / f"{split}.de").write_text("Text\n")
    path = "{split}.en,{split}.de"
    assert read(tmp_path, path)[0].segments[0].text == "train text"
    assert read(tmp_path, path, "valid")[0].segments[0].text == "valid text"
    assert read(tmp_path, path, "test") == []


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", pair())
    with pytest.raises(DataError, match="no split 'dev'"):
        read(tmp_path, "a.jsonl", "dev")


def test_languages_of_the_set_fill_in_for_rows_without(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", {"source": "hi", "target": "hallo"})
    example = read(tmp_path, "a.jsonl", src_lang="en", tgt_lang="de")[0]
    assert (example.language, example.targets[0].language) == ("en", "de")


def test_byte_order_mark_and_windows_line_ends_are_taken_away(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"\xef\xbb\xbfgood\tpositive\r\nbad\tnegative\r\n")
    found = [(item.segments[0].text, item.labels) for item in read(tmp_path, "a.tsv")]
    assert found == [("good", ("positive",)), ("bad", ("negative",))]


def test_sets_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    paths = ["a/x.jsonl", "b/x.tsv", "b/y.en,b/y.zh", "c/{split}.jsonl", "d/z.jsonl", "d/z.tsv"]
    config = DataConfig(sets=tuple(DatasetConfig(path=path) for path in paths))
    names = [item.name for item in open_datasets(config)]
    assert names == ["a/x", "b/x", "y", "c", "d/z#1", "d/z#2"]


def test_dialogue_without_a_reply_trains_nothing(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", {"turns": [{"role": "agent", "text": "Hello?"}]})
    assert read(tmp_path, "a.jsonl")[0].targets == ()


def test_empty_turns_are_neither_segments_nor_replies(tmp_path: Path) -> None:
    turns = [("user", "Hi."), ("agent", "  "), ("user", "Hello?"), ("agent", "Yes.")]
    row = {"turns": [{"role": role, "text": text} for role, text in turns]}
    write_rows(tmp_path / "a.jsonl", row)
    example = read(tmp_path, "a.jsonl")[0]
    assert [turn.text for turn in example.segments] == ["Hi.", "Hello?", "Yes."]
    assert [(target.text, target.limit) for target in example.targets] == [("Yes.", 2)]


def test_knowledge_base_keeps_whole_entries_only(tmp_path: Path) -> None:
    table = [{"name": f"place {index}", "note": "x" * 90} for index in range(20)]
    turns = [{"role": "user", "text": "Hi."}, {"role": "agent", "text": "Yes."}]
    write_rows(tmp_path / "a.jsonl", {"kb": table, "turns": turns})
    text = read(tmp_path, "a.jsonl")[0].segments[0].text
    assert len(text) <= 800
    assert all(line.endswith("x" * 90) for line in text.split("\n")[1:])


def test_a_slot_is_spelled_as_the_text_says_it_or_left_out(tmp_path: Path) -> None:
    slots = [
        {"slot": "time", "value": "2 p.m ."},
        {"slot": "to_do", "value": "Call  mum"},
        {"slot": "state", "value": "open"},
    ]
    row = {"text": "remind me to call mum at 2 P.M.", "intent": "set_reminder", "slots": slots}
    write_rows(tmp_path / "a.jsonl", row, {**row, "slots": []})
    targets = [example.targets[-1] for example in read(tmp_path, "a.jsonl")]
    assert [target.task for target in targets] == ["command", "command"]
    assert targets[0].text == "set reminder; time: 2 P.M.; to do: call mum"
    assert targets[1].text == "set reminder"


BROKEN_ROWS: list[tuple[Any, str]] = [
    (["a", "list"], "a row is a JSON object"),
    ({}, "no kind of row"),
    ({"task": "speech", "text": "x"}, "task 'speech' cannot be trained on"),
    ({"task": ["x"]}, "cannot be trained on"),
    (pair(split="dev"), "split must be one of"),
    (pair(split=["train"]), "split must be one of"),
    (pair(source=None), "must be a text, not NoneType"),  # type: ignore[arg-type]
    (pair(source=" "), "'source' is empty"),
    (pair(source="a\x00b"), "NUL"),
    (pair(source="\ud800"), "half of a character"),
    (pair(tgt_lang="fr"), "tgt_lang must be one of en, zh, de"),
    ({"task": "translate", "source": "x"}, "src_lang"),
    ({"task": "sentiment", "text": "x"}, "'label' is missing"),
    ({"text": "x", "labels": []}, "'labels' is empty"),
    ({"text": "x", "labels": "joy"}, "must be a list"),
    ({"text": "x", "labels": [""]}, "holds an empty text"),
    ({"text": "x", "label": 3}, "must be a text, not int"),
    ({"text": "x", "lang": 3}, "'lang' must be a text"),
    ({"turns": []}, "'turns' must be a list"),
    ({"turns": [{"role": "robot", "text": "x"}]}, "a turn has a text and a role"),
    ({"turns": ["hi"]}, "a turn has a text and a role"),
    ({"turns": [{"role": ["user"], "text": "x"}]}, "a turn has a text and a role"),
    ({"turns": [{"role": "user"}]}, "must be a text"),
    ({"context": "x", "question": "y"}, "'answers' must be a list"),
    ({"contexts": [], "questions": [{"question": "y", "answers": []}]}, "a context and a question"),
    ({"contexts": ["x"], "questions": []}, "a context and a question"),
    ({"contexts": ["x"], "questions": ["y"]}, "'questions' must be a list of objects"),
    ({"contexts": ["x"], "questions": [{"question": "y"}]}, "'answers' must be a list"),
    ({"text": "x", "intent": "y", "slots": ["z"]}, "'slots' must be a list of objects"),
    ({"text": "x", "intent": "y", "slots": [{"slot": "z"}]}, "value of a slot"),
]


@pytest.mark.parametrize(("row", "problem"), BROKEN_ROWS)
def test_broken_row_is_named_with_file_and_line(row: Any, problem: str, tmp_path: Path) -> None:
    text = "\n".join(json.dumps(item) for item in [pair(), row]) + "\n"
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    error = refused(tmp_path, "a.jsonl")
    assert problem in str(error)
    assert (error.path, error.line) == (tmp_path / "a.jsonl", 2)


BROKEN_FILES: list[tuple[bytes, int | None, str]] = [
    (b'{"source": "x"', 1, "not valid JSON"),
    (b"\n\n{]\n", 3, "not valid JSON"),
    (b"[" * 100_000 + b"\n", 1, "too deep"),
    (b'{"text": ' + b"9" * 5000 + b"}\n", 1, "a number too long"),
    (b'{"text": "ok"}\n{"text": "\xff"}\n', 2, "not valid UTF-8 at byte 11"),
    (b'{"text": "ok"}\n{"text": "\x00"}\n', 2, "NUL"),
]


@pytest.mark.parametrize(("data", "line", "problem"), BROKEN_FILES)
def test_broken_file_is_named_with_the_line(
    data: bytes, line: int | None, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    error = refused(tmp_path, "a.jsonl")
    assert problem in str(error)
    assert error.line == line


def test_line_is_refused_from_one_byte_over_the_limit(tmp_path: Path) -> None:
    room = lines.MAX_LINE_BYTES
    (tmp_path / "a.txt").write_bytes(b"x" * (room - 1) + b"\n" + b"x" * room)
    assert [len(line) for _, line in lines.read_lines(tmp_path / "a.txt")] == [room - 1, room]
    (tmp_path / "b.txt").write_bytes(b"fine\n" + b"x" * room + b"\n")
    assert refused(tmp_path, "b.txt").line == 2


def test_gzip_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f'{{"text": "{index}"}}\n' for index in range(9999)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    error = refused(tmp_path, "a.jsonl.gz")
    assert "cut short" in str(error)
    assert error.line is not None
    assert error.line > 1


@pytest.mark.parametrize("cut", [b"plain text", b"\x1f\x8b\x08\x00garbage!", b""])
def test_file_that_is_no_gzip_is_refused(cut: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(cut)
    if cut:
        assert "not a gzip file" in str(refused(tmp_path, "a.jsonl.gz"))
    else:
        assert read(tmp_path, "a.jsonl.gz") == []  # gzip of nothing may be nothing


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").mkdir()
    assert "No such file" in str(refused(tmp_path, "a.jsonl"))
    assert "directory" in str(refused(tmp_path, "b.jsonl"))


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("a.csv", {}, "unknown kind of file"),
        ("a,b", {"format": "jsonl"}, "takes one file"),
        ("a,b,c", {}, "a text pair is two files"),
    ],
)
def test_path_that_fits_no_format_is_refused(
    name: str, settings: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    assert problem in str(refused(tmp_path, name, **settings))


@pytest.mark.parametrize("longer", ["en", "zh"])
def test_pair_of_unequal_files_names_the_first_line_too_many(longer: str, tmp_path: Path) -> None:
    for language in ("en", "zh"):
        (tmp_path / f"a.{language}").write_text("x\n" * (4 if language == longer else 3))
    error = refused(tmp_path, "a.en,a.zh")
    assert (error.path.name, error.line) == (f"a.{longer}", 4)


def test_pair_with_an_empty_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("x\n\n")
    (tmp_path / "a.zh").write_text("x\ny\n")
    assert "'source' is empty" in str(refused(tmp_path, "a.en,a.zh"))


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("good\tpositive\nbad\n", 2, "2 columns expected (text, label), 1 found"),
        ("sentence\tlabel\ngood\tpositive\n", 1, "looks like a header"),
        ("text\ttext\n", 1, "looks like a header"),
        ("text\n", 1, "looks like a header"),
        ("text\tintent\nhi\t\n", 2, "'intent' is empty"),
    ],
)
def test_broken_tsv_is_named_with_the_line(
    text: str, line: int, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "a.tsv").write_text(text)
    error = refused(tmp_path, "a.tsv")
    assert problem in str(error)
    assert error.line == line


@pytest.mark.parametrize("name", ["a.jsonl", "a.tsv", "a.txt", "a.jsonl.gz"])
@given(data=st.binary(max_size=200))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_with_a_data_error(
    name: str, data: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    error = error_of(tmp_path, name)
    assert error is None or error.path == tmp_path / name


json_texts = st.text(alphabet="a\x00 {早\ud800", max_size=4)
json_keys = st.sampled_from(["role", "text", "a"])
json_values = st.recursive(
    st.none() | st.integers() | json_texts | st.sampled_from(["user", "agent", "kb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_keys, inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    ["task", "text", "label", "labels", "turns", "source", "target", "kb", "answers", "context"]
)


@given(row=st.dictionaries(fields, json_values))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_row_is_read_or_refused_with_its_line(row: dict[str, Any], tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", row)
    error = error_of(tmp_path, "a.jsonl")
    assert error is None or error.line == 1


def test_reading_holds_no_more_than_a_line(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", pair("one"), pair("two"))
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"broken")
    examples = dataset(tmp_path, "a.jsonl").examples("train")
    assert [next(examples).line, next(examples).line] == [1, 2]  # the third is not read yet
    with pytest.raises(DataError):
        next(examples)


def test_examples_from_a_line_on_are_the_tail_of_all(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", *[pair(f"{index}") for index in range(9)])
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(f"{i}\tx\n" for i in range(9)))
    for name in ("a.jsonl", "a.tsv"):
        item = dataset(tmp_path, name)
        whole = list(item.examples("train"))
        assert list(item.examples_from("train", whole[4].line)) == whole[4:]
