"""Texts with mark-up in them.

Mark      mark-up inside of a text
Parts     prose and marks in order
text_of   what a reader sees of them
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """Mark-up inside of a text, which stays exactly once wherever its words go.

    raw    as a file spells it
    start  where it stands in the file's text, which tells it from others
    pair   two marks of the same number belong together, and so does what stands between them;
           None: it stands alone
    shown  what a reader sees in its place and nobody translates, such as code; "": nothing
    """

    raw: str
    start: int = 0
    pair: int | None = None
    shown: str = ""


Part = str | Mark
Parts = tuple[Part, ...]


def text_of(parts: Parts) -> str:
    """What a reader sees."""
    return "".join(part if isinstance(part, str) else part.shown for part in parts)
