"""Word documents (.docx): paragraphs of the text, headers, footers and notes are segments.

read       a document
xml_parts  the XML in a document, checked

Everything else in the file stays. Archives that unpack to too much, document types and entities
are refused. How a paragraph is read is in docx_paragraphs.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.parsers import expat

from duologue.apps.documents import archive
from duologue.apps.documents.document import Document, Spliced
from duologue.apps.documents.docx_paragraphs import segments
from duologue.apps.translate.parts import Parts
from duologue.errors import InputError

_PARTS = re.compile(r"word/(document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml")
_NAMES = {"document": "text", "footnotes": "footnote", "endnotes": "endnote", "comments": "comment"}
MAIN_PART = "word/document.xml"
MAX_DEPTH = 256


def read(data: bytes) -> Document:
    """The paragraphs of a document. Raises InputError for what is none, or is harmful."""
    members = xml_parts(data, lambda name: _PARTS.fullmatch(name) is not None)
    texts = {name: _text(name, content) for name, content in members.items()}
    spliced = {name: Spliced(text, tuple(segments(text))) for name, text in texts.items()}

    def write(translations: Sequence[Parts | None]) -> bytes:
        left = list(translations)
        changed: dict[str, bytes] = {}
        for name, part in spliced.items():
            own, left = left[: len(part.segments)], left[len(part.segments) :]
            text = part.write(own)
            if text != part.text:
                changed[name] = text.encode()
        return archive.replaced(data, changed) if changed else data

    places = [
        f"{_place(name)}, paragraph {number}"
        for name, part in spliced.items()
        for number in range(1, len(part.segments) + 1)
    ]
    found = tuple(segment for part in spliced.values() for segment in part.segments)
    return Document("docx", found, tuple(places), write)


def _place(name: str) -> str:
    found = _PARTS.fullmatch(name)
    assert found is not None
    return _NAMES.get(found[1], found[1])


def xml_parts(data: bytes, is_wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Some of the XML in a document, by name: well-formed, not too deep, without entities.

    Raises InputError for what is no document, is damaged, or is harmful.
    """
    members = archive.read(data, is_wanted)
    if MAIN_PART not in members:
        raise InputError(f"it is no Word document: it has no {MAIN_PART} in it")
    for name, content in members.items():
        _check(name, content)
    return members


def _check(name: str, content: bytes) -> None:
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*_: object) -> None:
        raise InputError(f"{name} in it declares a document type, which is not read")

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise InputError(f"{name} in it is nested more than {MAX_DEPTH} deep")

    def end(*_: object) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise InputError(f"{name} in it is damaged: {error}") from None


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InputError(f"{name} in it is not UTF-8") from None
