"""How one server is run: one dataclass, from a YAML file and the command line.

ServeOptions   everything
read_options   from a file
kb_folder      where the documents of `duologue kb` are, if there are any
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from duologue.apps.assistant import AssistantFiles
from duologue.checkpoint.store import Precision
from duologue.config import from_dict
from duologue.config.values import STRICT, require
from duologue.errors import ConfigError
from duologue.server.limits import Limits
from duologue.storage.folder import data_folder
from duologue.storage.knowledge import default_folder

_MAX_FILE_BYTES = 2**20
_SECTIONS = ("limits", "assistant")


def kb_folder() -> Path | None:
    """The folder that `duologue kb` uses by itself; None if it was never used."""
    folder = default_folder()
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class ServeOptions:
    """host            address to bind to
    port            0: any that is free
    models          names or folders, as for api.load; the first is used where none is asked for
    data            folder of the database and of encoded memories; made if it is not there
    database        URL of another database; None: SQLite in `data`
    kb              folder of the knowledge base, made if it is not there; None: there is none
    assistant       what the assistant can do, and of what
    glossaries      files of terms for translations whose request has none; see Glossaries.read
    handover_webhook  address that is told of questions for a person; None: nobody is told
    cache_bytes     most that encoded memories take on disk; 0: none are kept there
    precision, threads, two_stage  see api.load
    allow_origins   of other sites whose pages may use this server, such as https://example.org
    keep_alive_s    a stream without events gets a comment so often
    grace_s         how long replies may go on when the server is told to stop
    limits          see Limits
    """

    __pydantic_config__ = STRICT

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ("duo-s",)
    data: Path = field(default_factory=data_folder)
    database: str | None = None
    kb: Path | None = field(default_factory=kb_folder)
    assistant: AssistantFiles = field(default_factory=AssistantFiles)
    glossaries: tuple[str, ...] = ()
    handover_webhook: str | None = None
    cache_bytes: int = 2**30
    precision: Precision = "int8"
    threads: int | None = None
    two_stage: bool = False
    allow_origins: tuple[str, ...] = ()
    keep_alive_s: float = 15.0
    grace_s: float = 10.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        require(bool(self.host), "host is empty")
        require(0 <= self.port < 2**16, "port must be between 0 and 65535")
        require(bool(self.models), "models: at least one is needed")
        is_address = (self.handover_webhook or "https://").startswith(("https://", "http://"))
        require(is_address, "handover_webhook must begin with http:// or https://")
        require(self.cache_bytes >= 0, "cache_bytes must not be negative")
        require(self.keep_alive_s > 0, "keep_alive_s must be positive")
        require(self.grace_s >= 0, "grace_s must not be negative")


def read_options(path: Path | None, **changes: Any) -> ServeOptions:
    """The options in a YAML file, with some changed; those that are None stay.

    path  None: the defaults
    limits, assistant  of changes: values by name, which change those of the file one by one

    Raises ConfigError, which names file and key, for what cannot be read or used.
    """
    values = {} if path is None else _read(path)
    where = "options" if path is None else str(path)
    for name in _SECTIONS:
        values[name] = {**(values.get(name) or {}), **_given(changes.pop(name, None) or {})}
    return from_dict(ServeOptions, {**values, **_given(changes)}, where)


def _given(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    try:
        values = yaml.safe_load(content) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    sections = [values.get(name) or {} for name in _SECTIONS] if isinstance(values, dict) else []
    if not sections or not all(isinstance(section, dict) for section in sections):
        under = " and ".join(_SECTIONS)
        raise ConfigError(f"{path}: keys with values are needed, and under {under} too")
    return values
