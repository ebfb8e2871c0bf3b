"""Data sets on disk to examples: JSONL, TSV and text files, one row at a time.

Dataset            one data set: where it lies, what it is called, its examples
open_datasets      the data sets of a mix, with names that tell them apart

The formats are described, with examples that a test runs, in docs/reference/data.md.
Knows nothing of tokens. What a row of each kind becomes is in rows.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from duologue.config import DataConfig, DatasetConfig
from duologue.data.lines import read_lines
from duologue.data.rows import SPLITS, Example, Row, example_of, split_of
from duologue.errors import DataError
from duologue.text.template import LANGUAGES

_COLUMNS = frozenset(
    ("source", "target", "text", "label", "intent", "split", "src_lang", "tgt_lang", "lang")
)


@dataclass(frozen=True)
class Dataset:
    """One data set of a mix, not read before it is asked for.

    name       what reports call it
    config     its settings
    root       folder that the configured path starts from
    languages  that translations may be between; None: any
    """

    name: str
    config: DatasetConfig
    root: Path
    languages: tuple[str, ...] | None = LANGUAGES

    def examples(self, split: str = "train") -> Iterator[Example]:
        """The examples of one split in the order of the file, at most `config.limit` of them.

        Raises DataError, with file and line, for what the format does not allow.
        """
        return islice(self.examples_from(split, 1), self.config.limit)

    def examples_from(self, split: str, first: int) -> Iterator[Example]:
        """The examples of one split from line `first` of the file on, without a limit."""
        if split not in SPLITS:
            raise DataError(self.path, None, f"no split {split!r}; splits are {', '.join(SPLITS)}")
        paths = self._paths(split)
        if "{split}" in self.config.path and split != "train" and not paths[0].exists():
            return
        for row in self._reader()(paths, first):
            if split_of(row, default=split if "{split}" in self.config.path else "train") == split:
                yield example_of(row, self.name, self.config, self.languages)

    @property
    def path(self) -> Path:
        """The (first) file, as errors name it."""
        return self._paths("train")[0]

    def _paths(self, split: str) -> list[Path]:
        path = self.config.path.replace("{split}", split)
        return [self.root / Path(part.strip()).expanduser() for part in path.split(",")]

    def _reader(self) -> Callable[[list[Path], int], Iterator[Row]]:
        kind: str = self.config.format
        if kind == "auto":
            kind = _kind_by_name(self.config.path, self.path)
        if kind == "text":
            return self._text_rows
        if "," in self.config.path:
            raise DataError(
                self.path, None, f"format {kind} takes one file, not {self.config.path}"
            )
        return self._jsonl_rows if kind == "jsonl" else self._tsv_rows

    def _jsonl_rows(self, paths: list[Path], first: int) -> Iterator[Row]:
        for line_no, line in read_lines(paths[0], first):
            if line.strip():
                yield Row(paths[0], line_no, _parsed(paths[0], line_no, line))

    def _tsv_rows(self, paths: list[Path], first: int) -> Iterator[Row]:
        path = paths[0]
        head = next(read_lines(path), (1, ""))[1].split("\t")
        has_header = _is_header(path, head)
        columns = head if has_header else self._default_columns()
        for line_no, line in read_lines(path, max(first, 2 if has_header else 1)):
            if not line.strip():
                continue
            fields = line.split("\t")
            if len(fields) != len(columns):
                problem = f"{len(columns)} columns expected ({', '.join(columns)})"
                raise DataError(path, line_no, f"{problem}, {len(fields)} found")
            yield Row(path, line_no, dict(zip(columns, fields, strict=True)))

    def _default_columns(self) -> list[str]:
        return ["source", "target"] if self.config.tgt_lang else ["text", "label"]

    def _text_rows(self, paths: list[Path], first: int) -> Iterator[Row]:
        if len(paths) == 1:
            for line_no, line in read_lines(paths[0], first):
                if line.strip():
                    yield Row(paths[0], line_no, {"text": line})
        elif len(paths) == 2:
            yield from self._pairs(paths[0], paths[1], first)
        else:
            raise DataError(paths[0], None, "a text pair is two files, written `A,B`")

    def _pairs(self, source: Path, target: Path, first: int) -> Iterator[Row]:
        languages = {
            "src_lang": self.config.src_lang or _language_by_name(source),
            "tgt_lang": self.config.tgt_lang or _language_by_name(target),
        }
        for left, right in zip_longest(read_lines(source, first), read_lines(target, first)):
            if left is None or right is None:
                longer, shorter = (source, target) if right is None else (target, source)
                line_no = (left or right)[0]
                raise DataError(longer, line_no, f"no such line in the other file, {shorter}")
            yield Row(source, left[0], {"source": left[1], "target": right[1], **languages})


def _is_header(path: Path, head: list[str]) -> bool:
    """Whether the first line of a TSV names its columns."""
    known = [column for column in head if column in _COLUMNS]
    if known and (len(known) < len(head) or len(set(head)) < len(head) or len(head) < 2):
        columns = ", ".join(sorted(_COLUMNS))
        raise DataError(
            path, 1, f"looks like a header; its columns must be two or more of {columns}"
        )
    return bool(known)


def _language_by_name(path: Path) -> str:
    """`talks.en` and `talks.en.gz` are in `en`."""
    return Path(path.name.removesuffix(".gz")).suffix.removeprefix(".")


def _parsed(path: Path, line_no: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            path, line_no, f"not valid JSON: {error.msg}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError):
        raise DataError(
            path, line_no, "not usable JSON: a number too long or lists too deep"
        ) from None
    if not isinstance(row, dict):
        raise DataError(path, line_no, "a row is a JSON object in braces")
    return row


def _kind_by_name(pattern: str, path: Path) -> str:
    name = pattern.removesuffix(".gz")
    if "," in pattern or name.endswith(".txt"):
        return "text"
    for kind in ("jsonl", "tsv"):
        if name.endswith(f".{kind}"):
            return kind
    raise DataError(
        path, None, "unknown kind of file: end its name in .jsonl, .tsv or .txt, or set format"
    )


def open_datasets(
    config: DataConfig, languages: tuple[str, ...] | None = LANGUAGES
) -> tuple[Dataset, ...]:
    """The data sets of a mix. Nothing is read; errors come when rows are asked for.

    languages  that translations may be between; None: any

    A set is called after its file (`mt/pydocs.jsonl.gz` is `pydocs`); where two sets would share
    a name, the folder is put in front (`mt/tiny`, `dialogue/tiny`), and then a number behind.
    """
    root = Path(config.root).expanduser()
    names = [_short_name(item.path) for item in config.sets]
    counts = Counter(names)
    names = [
        f"{Path(item.path.split(',')[0]).parent.name}/{name}" if counts[name] > 1 else name
        for name, item in zip(names, config.sets, strict=True)
    ]
    return tuple(
        Dataset(name, item, root, languages)
        for name, item in zip(_numbered(names), config.sets, strict=True)
    )


def _short_name(path: str) -> str:
    first = Path(path.split(",")[0])
    name = first.name.replace("{split}", "").strip("._-")
    for suffix in (".gz", ".jsonl", ".tsv", ".txt"):
        name = name.removesuffix(suffix)
    if "," in path:
        name = name.rsplit(".", 1)[0]
    plain = ("", "gz", "jsonl", "tsv", "txt", "jsonl.gz", "tsv.gz", "txt.gz")
    return first.parent.name or "data" if name in plain else name


def _numbered(names: Sequence[str]) -> list[str]:
    counts = Counter(names)
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(f"{name}#{seen[name]}" if counts[name] > 1 else name)
    return unique
