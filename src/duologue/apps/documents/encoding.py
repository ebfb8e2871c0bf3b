"""Bytes of a text file as text, and back to the very same bytes.

decoded   the text of a file
Encoding  how it was encoded
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from duologue.errors import InputError

MAX_TEXT_BYTES = 32 * 2**20
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
         (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file; bom is what it begins with, or nothing."""

    name: str
    bom: bytes = b""

    def encode(self, text: str) -> bytes:
        """The bytes of a text."""
        return self.bom + text.encode(self.name)


def decoded(data: bytes) -> tuple[str, Encoding]:
    """The text of a file, and how to encode it: UTF-8, or what its byte order mark says.

    Raises InputError for what is empty, too large, binary, or encoded in another way.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise InputError(f"it has {len(data):,} bytes; at most {MAX_TEXT_BYTES:,} are read")
    bom, name = next((item for item in _BOMS if data.startswith(item[0])), (b"", "utf-8"))
    try:
        text = data[len(bom) :].decode(name)
    except UnicodeDecodeError as error:
        place = len(bom) + error.start + 1
        kind = "binary" if b"\0" in data[:4096] and not bom else f"not {name.upper()}"
        raise InputError(
            f"it is {kind} (byte {place}); texts must be UTF-8, or UTF-16 with a byte order mark"
        ) from None
    if "\0" in text:
        raise InputError("it is binary: it holds NUL characters")
    if not text.strip():
        raise InputError("it is empty")
    return text, Encoding(name, bom)
