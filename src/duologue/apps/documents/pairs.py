"""A document and its translation, segment by segment."""

from __future__ import annotations

from pathlib import Path

from duologue.apps.documents import format_of, read_document
from duologue.apps.documents.document import Document
from duologue.errors import InputError


def confirmed(source: Path, target: Path) -> list[tuple[str, str]]:
    """The texts of a document with their translations in another of the same format.

    Segments with mark-up in them, and those that are the same in both, are left out. Raises
    InputError for documents that cannot be read, or differ in what they are made of.
    """
    originals, translations = _read(source), _read(target)
    counts = len(originals.segments), len(translations.segments)
    if originals.format != translations.format or counts[0] != counts[1]:
        raise InputError(
            f"{target}: {counts[1]} segments of {translations.format}; {source} has {counts[0]} "
            f"of {originals.format}: it is not that document's translation"
        )
    pairs = [
        (one.text, other.text)
        for one, other in zip(originals.segments, translations.segments, strict=True)
        if not one.marks and not other.marks and one.text != other.text
    ]
    if not pairs:
        raise InputError(f"{target}: there is nothing to learn in it")
    return pairs


def _read(path: Path) -> Document:
    try:
        return read_document(path.read_bytes(), format_of(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except InputError as error:
        if str(error).startswith(str(path)):
            raise
        raise InputError(f"{path}: {error}") from None
