"""Files to text with headings: what a knowledge base is made of.

SUFFIXES    the kinds of files that can be read
read_file   the sections of a file
find_files  the readable files of a folder

.md, .txt and .csv are read here; .html, .docx and .pdf in markup.py. Whatever a file holds, reading
it takes bounded memory, and what cannot be read raises DataError, which names the file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from duologue.apps.support.markup import read_docx, read_html, read_pdf
from duologue.apps.support.outline import Outline, Section
from duologue.data.text_file import decoded
from duologue.errors import DataError

MAX_FILE_BYTES = 32 * 2**20
MAX_TEXT_CHARS = 16 * 2**20
MAX_FILES = 100_000
MAX_HEADING_CHARS = 200
MAX_FIELD_CHARS = 2**20

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*\)")
_COLUMNS = {
    "question": ("question", "questions", "frage", "问题", "q"),
    "answer": ("answer", "answers", "antwort", "答案", "回答", "a"),
}


def find_files(folder: Path) -> list[Path]:
    """The files of a folder and the folders in it that can be read, in order of their paths.

    What begins with a dot is left out, and links to folders are not followed. Raises DataError for
    more than MAX_FILES.
    """
    found: list[Path] = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts):
            if path.is_file():
                found.append(path)
            if len(found) > MAX_FILES:
                raise DataError(folder, None, f"more than {MAX_FILES:,} files")
    return sorted(found)


def read_file(path: Path, data: bytes) -> list[Section]:
    """The sections of a file, in order; none of them is blank.

    path  tells the kind, and is named in errors
    data  its content

    Raises DataError for an unknown kind, for what is empty, too large, damaged, binary, or not in
    UTF-8 (or UTF-16 with a mark), and for a PDF without text.
    """
    read = SUFFIXES.get(path.suffix.lower())
    if read is None:
        raise DataError(path, None, f"unknown kind of file; there are {', '.join(SUFFIXES)}")
    if len(data) > MAX_FILE_BYTES:
        raise DataError(path, None, f"{len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read")
    sections = [
        Section(tuple(_short(name) for name in section.headings), section.text.strip())
        for section in read(path, data)
        if section.text.strip()
    ]
    if not sections:
        raise DataError(path, None, "holds no text")
    if sum(len(section.text) for section in sections) > MAX_TEXT_CHARS:
        raise DataError(path, None, f"more than {MAX_TEXT_CHARS:,} characters of text")
    return sections


def _short(heading: str) -> str:
    if len(heading) <= MAX_HEADING_CHARS:
        return heading
    return heading[: MAX_HEADING_CHARS - 1].rstrip() + "…"


# --- plain text, Markdown ------------------------------------------------------------------------


def _read_text(path: Path, data: bytes) -> list[Section]:
    return [Section((), "\n\n".join(_paragraphs(decoded(path, data).split("\n"))))]


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Stretches of lines that are not blank."""
    kept: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            kept.append(line.rstrip())
        elif kept:
            yield "\n".join(kept)
            kept = []


def _read_markdown(path: Path, data: bytes) -> list[Section]:
    outline = Outline()
    text = _FRONT_MATTER.sub("", decoded(path, data), count=1)
    pending: list[str] = []
    fence = ""

    def flush() -> None:
        for paragraph in _paragraphs(pending):
            outline.paragraph(_LINK.sub(r"\1", paragraph))
        pending.clear()

    for line in text.split("\n"):
        marker = _FENCE.match(line)
        if fence:
            if marker is not None and marker[1].startswith(fence):
                fence = ""
            else:
                pending.append(line)
        elif marker is not None:
            fence = marker[1]
        elif (heading := _HEADING.fullmatch(line)) is not None:
            flush()
            outline.heading(len(heading[1]), _LINK.sub(r"\1", heading[2] or ""))
        elif pending and pending[-1].strip() and (under := _UNDERLINE.fullmatch(line)):
            title = pending.pop()
            flush()
            outline.heading(1 if under[1][0] == "=" else 2, _LINK.sub(r"\1", title))
        else:
            pending.append(line)
    flush()
    return outline.sections()


# --- FAQ -----------------------------------------------------------------------------------------


def _read_csv(path: Path, data: bytes) -> list[Section]:
    """A section for each row: the question is its heading, the answer its text."""
    text = decoded(path, data)
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    csv.field_size_limit(MAX_FIELD_CHARS)
    sections: list[Section] = []
    columns: tuple[int, int] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if columns is None:
                columns = _columns(path, row)
                continue
            question, answer = (row[place] if place < len(row) else "" for place in columns)
            if not question.strip() or not answer.strip():
                raise DataError(path, reader.line_num, "a question or its answer is missing")
            sections.append(Section((" ".join(question.split()),), answer.strip()))
    except csv.Error as error:
        raise DataError(path, reader.line_num, f"not a CSV row: {error}") from None
    return sections


def _columns(path: Path, header: list[str]) -> tuple[int, int]:
    names = [cell.strip().casefold() for cell in header]
    places = []
    for column, spellings in _COLUMNS.items():
        found = [place for place, name in enumerate(names) if name in spellings]
        if len(found) != 1:
            raise DataError(path, 1, f"one column called {column!r} is needed in the first row")
        places.append(found[0])
    return places[0], places[1]


SUFFIXES: dict[str, Callable[[Path, bytes], list[Section]]] = {
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".txt": _read_text,
    ".csv": _read_csv,
    ".docx": read_docx,
    ".pdf": read_pdf,
}
