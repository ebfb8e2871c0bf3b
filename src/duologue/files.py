"""Files that appear whole or not at all.

new_file  where a file is written before it takes its place
sync      what was written to a file, or changed in a folder, survives power loss
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file(path: Path, mode: int = 0o600, is_synced: bool = True) -> Iterator[Path]:
    """An empty file beside `path`, which takes its place when the block ends without an error.

    mode       permissions, less the umask, whatever those of an old file are; a writer that puts a
               file of its own in the place of the empty one decides on them itself
    is_synced  whether power loss leaves the old or the new content; else it may leave a damaged one

    On any failure what was there before is untouched and nothing half-written remains; when the
    process is killed, its hidden file does. Of several writers the last one to end wins. Raises
    OSError for a missing folder, a full disk, missing rights.
    """
    fresh = path.parent / f".{secrets.token_hex(8)}.new"  # fits wherever the name of `path` does
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield fresh
        if is_synced:
            sync(fresh)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
