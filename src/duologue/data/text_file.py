"""Text files that people wrote: read whole, within bounds.

read_text  the text of a file
decoded    the text of its content
"""

from __future__ import annotations

import codecs
from pathlib import Path

from duologue.errors import DataError


def read_text(path: Path, max_bytes: int) -> str:
    """The text of a file; raises what decoded raises, and DataError for what is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise DataError(path, None, f"larger than {max_bytes:,} bytes")
    return decoded(path, data)


def decoded(path: Path, data: bytes) -> str:
    """The text of a file's content: UTF-8, or UTF-16 with a byte order mark; line ends are "\\n".

    Raises DataError, with the line, for what is encoded in another way, or is no text.
    """
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(path, line, "not UTF-8; save it as UTF-8 first") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(path, line, "binary, not text: it has zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")
