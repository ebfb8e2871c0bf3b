"""What the tokenizer files of imported families have in common, whatever their format.

Codec       how one published tokenizer reads texts, and what its tokens stand for
Folder      reads the files of a published folder, and knows which it has read
RESERVED    spelling of tokens that are control tokens although no file says so

A piece is the published spelling of a token. In SentencePiece (Kudo & Richardson 2018,
arXiv:1808.06226) a blank is U+2581 and a byte is `<0xNN>`. In byte-level BPE (Radford et al. 2019,
section 2.2) each byte is a printable character.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from duologue.errors import CheckpointError
from duologue.text.tokenizer import BLANK, BYTE_TOKENS

T = TypeVar("T")

SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")  # the second is asked first
_MAX_COUNT = 10_000

RESERVED = re.compile(
    r"""▁?< (?: pad | unk | extra_id_\d+ | unk_\d+ | unused_?\d+ | mask (?:_\d)? | 2[A-Za-z_]{2,}
          | (?:start|end)_of_(?:turn|image) | \|[^|]*\| ) >
      | >>[\w.-]+<<""",
    re.VERBOSE,
)
_BYTE_OF_TOKEN = {token: bytes([value]) for value, token in enumerate(BYTE_TOKENS)}


@dataclass(frozen=True, eq=False)
class Codec:
    """How a published tokenizer reads texts, and what its tokens stand for.

    encode     text -> ids as published, without special tokens around them; look-alikes of control
               tokens may have become control tokens
    tokens     token -> id, control tokens included
    controls   tokens that carry no text
    spell      piece -> the bytes it stands for
    around     ids that tokenizer.json puts in front of a text, and behind it
    unglued    control tokens that the published tokenizer takes out of a text before it looks at
               blanks; the others have the blank of a first word in front of them
    """

    encode: Callable[[str], list[int]]
    tokens: Mapping[str, int]
    controls: frozenset[str]
    spell: Callable[[str], bytes]
    around: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    unglued: frozenset[str] = field(default_factory=frozenset)


def spell_sentencepiece(piece: str) -> bytes:
    """The bytes of a SentencePiece piece, a byte piece included."""
    return _BYTE_OF_TOKEN.get(piece) or piece.replace(BLANK, " ").encode()


def spell_byte_level(piece: str) -> bytes:
    """The bytes of a piece of byte-level BPE; a token of other characters stands for itself."""
    try:
        return bytes(map(_BYTE_OF_CHAR.__getitem__, piece))
    except KeyError:
        return piece.encode()


def _byte_level_alphabet() -> dict[str, int]:
    """The printable character that each byte is written as: itself, or one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    alphabet = {chr(value): value for value in printable}
    return alphabet | {chr(256 + index): value for index, value in enumerate(others)}


_BYTE_OF_CHAR = _byte_level_alphabet()


class Folder:
    """Reads files of a model folder; every fault is a CheckpointError that names the file.

    names_read  (attribute) what was read, which is what a copy of the tokenizer needs
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names_read: list[str] = []

    def has(self, *names: str) -> bool:
        """Whether all of these files are there."""
        return all((self.path / name).is_file() for name in names)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{self.path / name}: cannot be read: {error.strerror}") from None
        if name not in self.names_read:
            self.names_read.append(name)
        return content

    def read_json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file."""
        try:
            values = json.loads(self.read(name))
        except (ValueError, RecursionError):
            raise self.damaged(name, "not valid JSON") from None
        if not isinstance(values, dict):
            raise self.damaged(name, "not a JSON object")
        return values

    def read_vocabulary(self, name: str) -> dict[str, int]:
        """A JSON file of token -> id."""
        values = self.read_json(name)
        if any(type(idx) is not int or idx < 0 for idx in values.values()):
            raise self.damaged(name, "an id is not a whole number")
        return values

    def damaged(self, name: str, problem: str) -> CheckpointError:
        """The error for a file with a problem."""
        return CheckpointError(f"{self.path / name}: damaged tokenizer: {problem}")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What tokenizer_config.json and special_tokens_map.json say; empty without them."""
        values: dict[str, Any] = {}
        for name in SETTINGS:
            if self.has(name):
                values |= self.read_json(name)
        return values

    def setting(self, name: str, default: T) -> T:
        """One of the settings; the default where it is missing or of another type."""
        value = self.settings.get(name)
        return value if type(value) is type(default) else default

    def count(self, name: str, default: int) -> int:
        """A setting that counts tokens; raises CheckpointError for more than any tokenizer has."""
        value = self.setting(name, default)
        if not 0 <= value <= _MAX_COUNT:
            raise CheckpointError(f"{self.path}: {SETTINGS[-1]} says {name} is {value}")
        return value

    @property
    def extra_tokens(self) -> list[str]:
        """The additional special tokens that the settings list, in their order."""
        names = ("additional_special_tokens", "extra_special_tokens")
        entries: list[Any] = next(filter(None, (self.setting(name, []) for name in names)), [])
        texts = [entry.get("content") if isinstance(entry, dict) else entry for entry in entries]
        return [text for text in texts if isinstance(text, str)]
