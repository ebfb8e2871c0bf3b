"""What readers of files are made of.

Section   text under a path of headings
Outline   collects sections as headings and paragraphs come
decoded   the text of a file
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from duologue.errors import DataError


@dataclass(frozen=True)
class Section:
    """Text under a heading.

    headings  from the outermost to its own; may be empty
    text      paragraphs, with an empty line between them
    """

    headings: tuple[str, ...]
    text: str


def decoded(path: Path, data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark; line ends are "\\n"."""
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(path, line, "not UTF-8; save it as UTF-8 first") from None
    if "\0" in text:
        raise DataError(path, None, "binary, not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Outline:
    """Collects sections as headings and paragraphs come, one after another."""

    def __init__(self) -> None:
        self._headings: list[tuple[int, str]] = []
        self._paragraphs: list[str] = []
        self._sections: list[Section] = []

    def heading(self, level: int, text: str) -> None:
        """A heading: 1 is the outermost level. Blank ones are none."""
        if text.strip():
            self._close()
            self._headings = [item for item in self._headings if item[0] < level]
            self._headings.append((level, " ".join(text.split())))

    def paragraph(self, text: str) -> None:
        """A paragraph, or nothing if it is blank."""
        if text.strip():
            self._paragraphs.append(text.strip())

    def sections(self) -> list[Section]:
        """All that came."""
        self._close()
        return self._sections

    def _close(self) -> None:
        if self._paragraphs:
            headings = tuple(text for _, text in self._headings)
            self._sections.append(Section(headings, "\n\n".join(self._paragraphs)))
            self._paragraphs = []
