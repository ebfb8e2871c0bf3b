"""Translation memories as files that other programs read: TMX 1.4b and CSV.

read_entries    entries from a .tmx or .csv file
write_entries   entries into one, whole or not at all

CSV has a first line with the names source, target, from, to. Of TMX the text of segments is read,
without the mark-up in them; of a language code the language alone: en-US is en.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from duologue.errors import DataError
from duologue.files import new_file
from duologue.storage.translation_memory import MAX_TEXT_CHARS, Entry

MAX_BYTES = 256 * 2**20
FORMATS = (".tmx", ".csv")
_COLUMNS = ("source", "target", "from", "to")
# What is inside of these is code of the program that wrote the file.
_SILENT = frozenset(("bpt", "ept", "ph", "it", "ut"))


def read_entries(path: Path) -> list[Entry]:
    """The entries of a file. Raises DataError, with the line, for what cannot be read."""
    _check_format(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(path, None, f"the file is larger than {MAX_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, None, error.strerror or str(error)) from None
    entries = [*(_Tmx(path).read(data) if path.suffix.lower() == ".tmx" else _csv(path, data))]
    if not entries:
        raise DataError(path, None, "there is no translation in it")
    return entries


def write_entries(path: Path, entries: Iterable[Entry]) -> int:
    """Write entries; returns how many. Raises DataError if the file cannot be written."""
    _check_format(path)
    lines = _as_tmx(entries) if path.suffix.lower() == ".tmx" else _as_csv(entries)
    count = 0
    try:
        with new_file(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
            for line, is_entry in lines:
                file.write(line)
                count += is_entry
    except OSError as error:
        raise DataError(path, None, error.strerror or str(error)) from None
    return count


def _check_format(path: Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise DataError(path, None, f"the format is unknown; there are {', '.join(FORMATS)}")


def _checked(path: Path, line: int, entry: Entry) -> Entry:
    for text in (entry.source, entry.target):
        if len(text) > MAX_TEXT_CHARS:
            raise DataError(path, line, f"a text has more than {MAX_TEXT_CHARS:,} characters")
    return entry


# --- CSV ---------------------------------------------------------------------------------------


def _csv(path: Path, data: bytes) -> Iterator[Entry]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, None, f"it is not UTF-8 (byte {error.start + 1})") from None
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise DataError(path, 1, f"the first line must name {', '.join(missing)}")
    try:
        for row in rows:
            values = [row[name] for name in _COLUMNS]
            if not all(values):
                raise DataError(path, rows.line_num, "a value is missing")
            yield _checked(path, rows.line_num, Entry(*values))
    except csv.Error as error:
        raise DataError(path, rows.line_num, str(error)) from None


def _as_csv(entries: Iterable[Entry]) -> Iterator[tuple[str, bool]]:
    def line(values: Iterable[str]) -> str:
        target = io.StringIO()
        csv.writer(target, lineterminator="\n").writerow(values)
        return target.getvalue()

    yield line(_COLUMNS), False
    for entry in entries:
        yield line((entry.source, entry.target, entry.from_language, entry.to_language)), True


# --- TMX ---------------------------------------------------------------------------------------


class _Tmx:
    """Reads a file from its first byte to its last; nothing is kept but the entries."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: list[Entry] = []
        self._source_language = ""
        self._texts: list[tuple[str, str]] = []
        self._language = ""
        self._said: list[str] | None = None
        self._silent = 0
        self._parser = expat.ParserCreate()
        self._parser.EntityDeclHandler = self._refuse
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._say

    def read(self, data: bytes) -> list[Entry]:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise DataError(self._path, error.lineno, f"it is no TMX: {error}") from None
        return self._entries

    def _refuse(self, *_: object) -> None:
        line = self._parser.CurrentLineNumber
        raise DataError(self._path, line, "it declares entities, which are not read")

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if name == "header":
            self._source_language = _language(attributes.get("srclang", ""))
        elif name == "tu":
            self._texts = []
        elif name == "tuv":
            self._language = _language(attributes.get("xml:lang") or attributes.get("lang") or "")
        elif name == "seg":
            self._said, self._silent = [], 0
        elif name in _SILENT:
            self._silent += 1

    def _say(self, text: str) -> None:
        if self._said is not None and not self._silent:
            self._said.append(text)

    def _end(self, name: str) -> None:
        if name in _SILENT:
            self._silent -= 1
        elif name == "seg" and self._said is not None:
            self._texts.append((self._language, "".join(self._said)))
            self._said = None
        elif name == "tu":
            self._add()

    def _add(self) -> None:
        """The translations of one text into each of the other languages."""
        texts = [(language, text) for language, text in self._texts if language and text.strip()]
        source = next((item for item in texts if item[0] == self._source_language), None)
        source = source or next(iter(texts), None)
        for item in texts:
            if source is not None and item is not source:
                entry = Entry(source[1], item[1], source[0], item[0])
                self._entries.append(_checked(self._path, self._parser.CurrentLineNumber, entry))


def _language(code: str) -> str:
    return code.split("-")[0].lower()


def _as_tmx(entries: Iterable[Entry]) -> Iterator[tuple[str, bool]]:
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
        '<header creationtool="duologue" creationtoolversion="1" segtype="sentence" '
        'o-tmf="duologue" adminlang="en" srclang="*all*" datatype="plaintext"/>\n<body>\n',
        False,
    )
    for entry in entries:
        sides = ((entry.from_language, entry.source), (entry.to_language, entry.target))
        inside = "".join(
            f"<tuv xml:lang={quoteattr(code)}><seg>{escape(text)}</seg></tuv>"
            for code, text in sides
        )
        yield f"<tu>{inside}</tu>\n", True
    yield "</body>\n</tmx>\n", False
