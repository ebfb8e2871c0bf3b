"""CSV, TSV and JSONL files row by row: what was read comes out again as it was, and more beside it.

table_of     CsvTable or JsonlTable, by the name of a file
Row          one row, with the text that is to be looked at, or what is wrong with it
Added        what is put beside a row

A bad row is not lost: it is written as it was read, with its problem. A quote that is not closed
costs one line, not the rest of the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from duologue.errors import DataError, InputError
from duologue.runtime import check_text

MAX_ROW_CHARS = 4 << 20
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_SHOWN_CHARS = 1000  # of a line that is too long
_DELIMITERS = ",;\t|"
_TOO_LONG = f"longer than {MAX_ROW_CHARS:,} characters, so that it was not read"
_BAD_BYTES = "duologue.bytes"


@dataclass(frozen=True)
class Row:
    """One row of a file.

    line     where it begins, from 1
    written  what of it is written: the cells of a CSV file, or the line of a JSONL file
    text     what is to be looked at; "" if there is a problem
    """

    line: int
    written: tuple[str, ...]
    text: str
    problem: str = ""


@dataclass(frozen=True)
class Added:
    """What is put beside a row: a label, its probability and all that is known, or a problem."""

    label: str = ""
    probability: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


class CsvTable:
    """A CSV or TSV file with a header.

    column    name of the one with the texts
    into      name of the columns that are added: into, into_probability, into_error
    encoding  None: UTF-16 if the file begins with its mark, else UTF-8

    Raises DataError for a file without such a header, InputError where `into` is taken.
    """

    def __init__(self, path: Path, column: str, into: str, encoding: str | None) -> None:
        self._path, self._encoding = path, encoding
        first = next(_lines(path, encoding), None)
        text = first.text if first is not None else ""
        is_tsv = path.suffix.lower() == ".tsv"
        self._delimiter = "\t" if is_tsv else max(_DELIMITERS, key=text.count)
        header = next(_records(_lines(path, encoding), self._delimiter), None)
        if header is None:
            raise DataError(path, 1, "is empty: it has no header")
        if problem := header.problem or _bytes_problem(tuple(header.cells)):
            raise DataError(path, 1, problem)
        self._names = header.cells
        if column not in self._names:
            raise DataError(path, 1, f"no column {column!r}; there are {', '.join(self._names)}")
        self._place = self._names.index(column)
        self._added = (into, f"{into}_probability", f"{into}_error")
        if taken := [name for name in self._added if name in self._names]:
            raise InputError(f"{path}: has a column {taken[0]!r} already; --into names another")

    def rows(self) -> Iterator[Row]:
        """All rows after the header; blank lines are none."""
        records = _records(_lines(self._path, self._encoding), self._delimiter)
        next(records)
        wanted = len(self._names)
        for number, cells, raw, problem in records:
            if problem:
                kept = (raw.rstrip("\r\n"), *[""] * (wanted - 1))
            else:
                kept = (*cells[:wanted], *[""] * (wanted - len(cells)))
                if len(cells) != wanted:
                    problem = f"{len(cells)} cells where the header has {wanted}"
                if surplus := cells[wanted:]:
                    problem += f"; too many: {json.dumps(surplus, ensure_ascii=False)}"
            text = kept[self._place]
            problem = problem or _bytes_problem(kept) or _text_problem(text)
            written = tuple(map(_readable, kept))
            yield Row(number, written, "" if problem else text, _readable(problem))

    @property
    def header(self) -> str:
        """What the output begins with."""
        return self._line((*self._names, *self._added))

    def line(self, row: Row, added: Added) -> str:
        """A row of the output."""
        probability = "" if added.probability is None else f"{added.probability:.4f}"
        return self._line((*row.written, added.label, probability, added.problem))

    def records(self, file: BinaryIO) -> Iterator[tuple[tuple[str, ...], int]]:
        """Complete rows of an output, after its header, and where in the file each ends."""
        end = file.seek(len(self.header.encode()))
        for record in _records(_decoded(file), self._delimiter):
            if record.problem or not record.raw.endswith("\n"):
                return
            end += len(record.raw.encode())
            yield tuple(record.cells), end

    def is_of(self, record: tuple[str, ...], row: Row) -> bool:
        """Whether a row of an output was made from a row."""
        return record[: -len(self._added)] == row.written

    def _line(self, cells: tuple[str, ...]) -> str:
        made = io.StringIO(newline="")
        # A writer quotes cells with the characters that end a line: both of them, whatever we use.
        csv.writer(made, delimiter=self._delimiter, lineterminator="\r\n").writerow(cells)
        return made.getvalue().removesuffix("\r\n") + "\n"


class JsonlTable:
    """A JSON object on each line; arguments as of CsvTable. `into` becomes a key of each."""

    header = ""

    def __init__(self, path: Path, column: str, into: str, encoding: str | None) -> None:
        self._path, self._column, self._into, self._encoding = path, column, into, encoding

    def rows(self) -> Iterator[Row]:
        """All rows; blank lines are none. Raises DataError where `into` is taken."""
        for number, text, is_cut in _lines(self._path, self._encoding):
            line = text.strip()
            if not line:
                continue
            found, problem = self._text_of(number, line) if not is_cut else ("", _TOO_LONG)
            problem = _bytes_problem((line,)) or problem
            yield Row(number, (_readable(line),), "" if problem else found, problem)

    def line(self, row: Row, added: Added) -> str:
        """A row of the output: the object as it was spelled, with one key more at its end."""
        value = {"error": added.problem} if added.problem else added.details
        more = f"{json.dumps(self._into)}: {json.dumps(value, ensure_ascii=False)}}}\n"
        return self._begun(row) + more

    def records(self, file: BinaryIO) -> Iterator[tuple[tuple[str, ...], int]]:
        """Complete rows of an output, and where in the file each ends."""
        end = file.seek(0)
        for line in _decoded(file):
            if not line.text.endswith("\n"):
                return
            end += len(line.text.encode())
            yield (line.text,), end

    def is_of(self, record: tuple[str, ...], row: Row) -> bool:
        """Whether a row of an output was made from a row."""
        return record[0].startswith(f"{self._begun(row)}{json.dumps(self._into)}: ")

    def _begun(self, row: Row) -> str:
        try:
            value = json.loads(row.written[0])
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            return f'{{"unreadable": {json.dumps(row.written[0], ensure_ascii=False)}, '
        inside = row.written[0][:-1].rstrip()
        return f"{inside}, " if value else inside

    def _text_of(self, number: int, line: str) -> tuple[str, str]:
        """The text of a line, and what is wrong with it."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return "", "no valid JSON"
        if not isinstance(value, dict):
            return "", "no JSON object"
        if self._into in value:
            problem = f"has {self._into!r} already; --into names another"
            raise DataError(self._path, number, problem)
        text = value.get(self._column)
        if not isinstance(text, str):
            return "", f"no text in {self._column!r}"
        return text, _text_problem(text)


def table_of(path: Path, column: str, into: str, encoding: str | None) -> CsvTable | JsonlTable:
    """A file as a table. Raises DataError for what cannot be read, InputError for other names."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: rows are read from {', '.join(SUFFIXES)}")
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise InputError(f"unknown encoding {encoding!r}; try utf-8, gb18030, cp1252") from None
    kind = CsvTable if suffix in (".csv", ".tsv") else JsonlTable
    return kind(path, column, into, encoding)


# --- lines -------------------------------------------------------------------------------------


class _Line(NamedTuple):
    number: int
    text: str
    is_cut: bool = False


def _lines(path: Path, encoding: str | None) -> Iterator[_Line]:
    """Lines with their ends; of one that is too long only a beginning. Bytes that are not of the
    encoding come as lone surrogates, which no text can hold."""
    try:
        with path.open("rb") as file:
            if encoding is None:
                is_utf16 = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
                encoding = "utf-16" if is_utf16 else "utf-8-sig"
            lines = io.TextIOWrapper(file, encoding, errors=_BAD_BYTES, newline="")
            number = 0
            while text := lines.readline(MAX_ROW_CHARS + 1):
                number += 1
                is_cut = len(text) > MAX_ROW_CHARS
                yield _Line(number, text[:_SHOWN_CHARS] if is_cut else text, is_cut)
                while is_cut and text and text[-1] not in "\r\n":
                    text = lines.readline(MAX_ROW_CHARS + 1)
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror or error}") from None
    except UnicodeError as error:
        raise DataError(path, None, f"is not {encoding}: {error}") from None


def _decoded(file: BinaryIO) -> Iterator[_Line]:
    """Lines of an output, as far as they are UTF-8."""
    for number, raw in enumerate(file, 1):
        try:
            yield _Line(number, raw.decode())
        except UnicodeDecodeError:
            return


def _as_surrogates(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in wrong), error.end


codecs.register_error(_BAD_BYTES, _as_surrogates)


def _text_problem(text: str) -> str:
    try:
        check_text(text)
    except InputError as error:
        return str(error)
    return ""


def _bytes_problem(cells: tuple[str, ...]) -> str:
    wrong = sum("\udc00" <= char <= "\udcff" for cell in cells for char in cell)
    return f"{wrong} bytes are not of the encoding; --encoding names another" if wrong else ""


def _readable(cell: str) -> str:
    """A cell that can be written: wrong bytes as \\xNN."""
    if cell.isascii():
        return cell
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc00" <= c <= "\udcff" else c for c in cell)


# --- CSV ---------------------------------------------------------------------------------------


class _Record(NamedTuple):
    number: int
    cells: list[str]
    raw: str
    problem: str


class _Feed:
    """Lines for a csv.reader; those after the first can be given back."""

    def __init__(self, lines: Iterator[_Line]) -> None:
        self._lines = lines
        self._given_back: deque[_Line] = deque()
        self.taken: list[_Line] = []
        self._num_chars = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._lines)
        self.taken.append(line)
        self._num_chars += len(line.text)
        if line.is_cut or self._num_chars > MAX_ROW_CHARS:
            raise csv.Error(_TOO_LONG)
        return line.text

    def begin(self) -> None:
        """What is taken from here on is another row."""
        self.taken, self._num_chars = [], 0

    def keep_first(self) -> None:
        """Give back all but the first line that was taken."""
        self._given_back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def _records(lines: Iterator[_Line], delimiter: str) -> Iterator[_Record]:
    """Rows of a CSV file, those that are none with their first line alone."""
    csv.field_size_limit(MAX_ROW_CHARS + 1)
    feed = _Feed(lines)
    while True:
        feed.begin()
        cells: list[str] = []
        problem = ""
        try:
            cells = next(csv.reader(feed, delimiter=delimiter, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            if not feed.taken[0].is_cut and len(feed.taken) > 1:
                problem = "a quote is not closed, or stands inside of a cell"
            else:
                problem = str(error)
            feed.keep_first()
        first = feed.taken[0]
        if cells or problem:
            yield _Record(first.number, cells, "".join(one.text for one in feed.taken), problem)
