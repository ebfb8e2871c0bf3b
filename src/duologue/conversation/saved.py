"""The file that lists the turns of a saved conversation; its memory lies beside it.

Saved, SavedTurn    the content of conversation.json
read_saved, write   from and to the file
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from duologue.config import from_dict
from duologue.errors import CheckpointError, ConfigError
from duologue.files import new_file
from duologue.types import Role

FORMAT: Literal["duologue.conversation.v1"] = "duologue.conversation.v1"
TURNS = "conversation.json"
MAX_TURNS_BYTES = 64 * 2**20


@dataclass(frozen=True)
class SavedTurn:
    """num_tokens  how many of the turn's tokens are in the memory; 0: it has left it."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    role: Role
    text: str
    num_tokens: int


@dataclass(frozen=True)
class Saved:
    """The content of conversation.json."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    format: Literal["duologue.conversation.v1"]
    fingerprint: str
    memory: str
    turns: tuple[SavedTurn, ...]


def read_saved(path: Path) -> Saved:
    """Read it again. Raises CheckpointError if it is missing, damaged or too large."""
    try:
        if path.stat().st_size > MAX_TURNS_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_TURNS_BYTES} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent}: no saved conversation here") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: damaged (not valid JSON)") from None
    try:
        return from_dict(Saved, values, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def write(path: Path, saved: Saved) -> None:
    """Replace a file at once; its owner alone may read it. Raises OSError."""
    with new_file(path) as fresh:
        fresh.write_text(json.dumps(asdict(saved), ensure_ascii=False, indent=1), encoding="utf-8")
