"""Documents: segments to translate, and the same file with translations in their place.

read_document   a file as a document
FORMATS         what can be read, by the ending of the file's name
document        Document, Segment, Mark; begin here
translating     translates one

One module for each format: plain, markdown, html_text, subtitles, json_values, yaml_values, po,
properties, docx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from duologue.apps.documents import (
    docx,
    html_text,
    json_values,
    markdown,
    plain,
    po,
    properties,
    subtitles,
    yaml_values,
)
from duologue.apps.documents.document import Document, Segment, Spliced
from duologue.apps.documents.encoding import decoded
from duologue.apps.documents.tokens import Lines
from duologue.apps.translate.parts import Mark, Parts, text_of
from duologue.errors import InputError

__all__ = [
    "FORMATS",
    "Document",
    "Mark",
    "Parts",
    "Segment",
    "format_of",
    "read_document",
    "text_of",
]

_TEXTS: dict[str, Callable[[str], Iterator[Segment]]] = {
    "txt": plain.segments,
    "md": markdown.segments,
    "html": html_text.segments,
    "srt": subtitles.segments,
    "vtt": subtitles.segments,
    "json": json_values.segments,
    "yaml": yaml_values.segments,
    "po": po.segments,
    "properties": properties.segments,
}
_ENDINGS = {
    "text": "txt",
    "markdown": "md",
    "htm": "html",
    "xhtml": "html",
    "yml": "yaml",
    "pot": "po",
}
FORMATS = (*_TEXTS, "docx")


def format_of(path: Path) -> str:
    """The format that the ending of a file's name tells. Raises InputError for any other."""
    ending = path.suffix.lower().removeprefix(".")
    format = _ENDINGS.get(ending, ending)
    if format not in FORMATS:
        raise InputError(f"{path}: the format is unknown; there are {', '.join(FORMATS)}")
    return format


def read_document(data: bytes, format: str) -> Document:
    """A file as a document.

    format  one of FORMATS

    Raises InputError for an unknown format, and for a file that is empty, too large, binary,
    encoded in an unknown way, damaged or harmful.
    """
    if not data:
        raise InputError("it is empty")
    if format == "docx":
        return docx.read(data)
    if format not in _TEXTS:
        raise InputError(f"the format {format!r} is unknown; there are {', '.join(FORMATS)}")
    text, encoding = decoded(data)
    spliced = Spliced(text, tuple(_TEXTS[format](text)))

    def write(translations: Sequence[Parts | None]) -> bytes:
        return encoding.encode(spliced.write(translations))

    lines = Lines(text)
    places = tuple(f"line {lines.number(segment.start)}" for segment in spliced.segments)
    return Document(format, spliced.segments, places, write)
