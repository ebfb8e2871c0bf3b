"""What a model is called, and what its card says in its front matter.

Front matter is the YAML between two lines `---` at the beginning of a card.

front_matter   the YAML as a dictionary
read_license   the licence of the model in a folder
model_name     what the model in a folder is called

A card is written by hand by whoever published the model: what cannot be read counts as not said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.checkpoint.folder import CARD

MAX_BYTES = 64 * 2**10
MAX_NAME = 100
# What PyYAML lets out for values that are not of the type that they are tagged with.
_WRONG_VALUES = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.S | re.M)
_NOT_COMMERCIAL = re.compile(
    r"\b(nc|non ?commercial|non ?production|research|academic|amlr|mnpl|mrl)\b"
)


@dataclass(frozen=True)
class License:
    """A licence as its publisher names it; an empty name is one that is not stated."""

    name: str = ""

    @property
    def is_non_commercial(self) -> bool:
        """Whether the name says that commercial use is not allowed. A name is not the text."""
        words = re.sub(r"[\W_]+", " ", self.name.lower())
        return _NOT_COMMERCIAL.search(words) is not None

    def __str__(self) -> str:
        return self.name or "not stated"


def read_license(folder: Path) -> License:
    """`license` of the card in a folder; `license_name` where it is `other` or missing."""
    try:
        with (folder / CARD).open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return License()
    values = front_matter(text)
    name, other = _name(values.get("license")), _name(values.get("license_name"))
    if other and name in ("", "other"):
        return License(other)
    return License(name)


def model_name(folder: Path) -> str:
    """The name of the folder, but the publisher's name of a model in the cache of hub.py."""
    folder = folder.resolve()
    repository = folder.parent.parent.name  # models--owner--name/snapshots/commit
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.split("--")[-1]
    return folder.name


def front_matter(text: str) -> dict[str, Any]:
    """Empty if there is none, or none that is a YAML mapping within the first MAX_BYTES."""
    found = _FRONT_MATTER.match(text[:MAX_BYTES])
    if found is None:
        return {}
    import yaml  # here, because most models never need it

    try:
        values = yaml.safe_load(found[1])
    except (yaml.YAMLError, *_WRONG_VALUES):
        return {}
    return values if isinstance(values, dict) else {}


def _name(value: Any) -> str:
    """A name that a terminal can print: some cards have a list, and anyone can write one."""
    names = value if isinstance(value, list) else [value]
    text = ", ".join(name for name in names if isinstance(name, str))
    return "".join(char if char.isprintable() else " " for char in text).strip()[:MAX_NAME]
