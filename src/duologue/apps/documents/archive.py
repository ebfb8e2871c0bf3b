"""A zip archive in which some members get other content.

read      the members that are asked for, within bounds
replaced  the archive with other content for some members; the content of all others stays
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from copy import copy

from duologue.errors import InputError

MAX_ARCHIVE_BYTES = 128 * 2**20
MAX_UNPACKED_BYTES = 512 * 2**20
MAX_MEMBER_BYTES = 64 * 2**20
MAX_MEMBERS = 10_000


def read(data: bytes, is_wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The content of some members, by name.

    Raises InputError for what is no archive, is damaged, encrypted, or unpacks to too much.
    """
    if len(data) > MAX_ARCHIVE_BYTES:
        raise InputError(f"it has {len(data):,} bytes; at most {MAX_ARCHIVE_BYTES:,} are read")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check(members)
            return {
                member.filename: _content(archive, member)
                for member in members
                if is_wanted(member.filename)
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise InputError(f"it is no zip archive that can be read: {error}") from None


def _check(members: list[zipfile.ZipInfo]) -> None:
    names = {member.filename for member in members}
    if len(members) > MAX_MEMBERS or len(names) < len(members):
        raise InputError("its archive has too many members, or two of the same name")
    if any(member.flag_bits & 1 for member in members):
        raise InputError("it is protected by a password: save it without one")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES:
        raise InputError(
            f"it unpacks to {unpacked:,} bytes; at most {MAX_UNPACKED_BYTES:,} are read"
        )


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """One member; no more is unpacked than it says of itself, whatever is in it."""
    if member.file_size > MAX_MEMBER_BYTES:
        raise InputError(
            f"{member.filename} in it has {member.file_size:,} bytes; "
            f"at most {MAX_MEMBER_BYTES:,} are read"
        )
    with archive.open(member) as file:
        return file.read(MAX_MEMBER_BYTES)


def replaced(data: bytes, contents: Mapping[str, bytes]) -> bytes:
    """The archive with other contents; members keep their order, dates and compression."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        new.comment = old.comment
        for member in old.infolist():
            content = contents.get(member.filename)
            new.writestr(
                copy(member),
                old.read(member) if content is None else content,
                compress_type=member.compress_type,
            )
    return target.getvalue()
