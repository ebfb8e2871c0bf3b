"""Lines of a text file, plain or gzip, checked and one at a time.

Knows files, bytes and UTF-8; knows nothing of what a line means.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from duologue.errors import DataError

MAX_LINE_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


def read_lines(path: Path, first: int = 1) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines without their ends; lines before `first` are not decoded.

    A name that ends in .gz is unpacked on the way. One line is held in memory, never the file.

    Raises DataError, with the line, for a file that is missing, cut short or not gzip, and for a
    line that is not UTF-8, holds a NUL, or is longer than MAX_LINE_BYTES.
    """
    line_no = 0
    try:
        with _open(path) as file:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                line_no += 1
                if len(raw) > MAX_LINE_BYTES:
                    raise DataError(path, line_no, f"longer than {MAX_LINE_BYTES} bytes")
                if line_no >= first:
                    yield line_no, _decoded(path, line_no, raw)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        if line_no == 0:
            raise DataError(path, None, "not a gzip file, or a damaged one") from None
        raise DataError(path, line_no + 1, "the gzip file is cut short or damaged") from None
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror or error}") from None


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _decoded(path: Path, line_no: int, raw: bytes) -> str:
    if line_no == 1:
        raw = raw.removeprefix(_BOM)
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, line_no, f"not valid UTF-8 at byte {error.start + 1}") from None
    if "\x00" in line:
        raise DataError(path, line_no, "holds a NUL character")
    return line.rstrip("\r\n")
