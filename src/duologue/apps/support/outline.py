"""What readers of files are made of.

Section   text under a path of headings
Outline   collects sections as headings and paragraphs come
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """Text under a heading.

    headings  from the outermost to its own; may be empty
    text      paragraphs, with an empty line between them
    """

    headings: tuple[str, ...]
    text: str


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
