"""The exceptions that Duologue raises on purpose; each tells what was wrong, where, and what to do.

    DuologueError
    ├── InputError          a text, option, language, task or label that cannot be used
    │   └── AudioError      a sound that cannot be read
    ├── ConfigError         a setting or recipe with unknown, missing or contradictory keys
    ├── DataError           a data file that cannot be read: names the file and the line
    ├── CheckpointError     a model folder or checkpoint that is missing, damaged or foreign
    ├── TrainingError       a run that cannot go on (non-finite losses, nothing to train on)
    ├── StorageError        a database that cannot be opened, read or written
    ├── NotFoundError       a conversation, message or key that its owner does not have
    ├── RemoteError         a server that cannot be reached, is not ours, or refuses
    ├── WebhookError        an address that was to be told of something did not take it
    └── EngineError         an inference request that cannot be served
        └── OverloadedError     not now: tells when to try again

Every class has a stable `code` (for programs) and an `exit_code` (for the command line).
Anything else that escapes is a bug in Duologue.
"""

from __future__ import annotations

from pathlib import Path


class DuologueError(Exception):
    """Base of all expected failures; the message is one sentence a user can act on."""

    code = "error"
    exit_code = 2


class InputError(DuologueError):
    """The caller's text or option cannot be used."""

    code = "invalid_input"


class AudioError(InputError):
    """A sound cannot be read: it is missing, empty, too long, damaged, or no audio at all."""

    code = "invalid_audio"


class ConfigError(DuologueError):
    """A setting is unknown, missing, of the wrong type, or contradicts another."""

    code = "invalid_config"


class DataError(DuologueError):
    """A data file cannot be read or holds a broken row.

    path  the file
    line  1-based line number, or None when the whole file is at fault
    """

    code = "invalid_data"

    def __init__(self, path: Path | str, line: int | None, problem: str) -> None:
        self.path = Path(path)
        self.line = line
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"{where}: {problem}")


class CheckpointError(DuologueError):
    """A model folder or training checkpoint is missing, damaged, or not ours."""

    code = "invalid_checkpoint"


class TrainingError(DuologueError):
    """Training cannot go on."""

    code = "training_failed"


class StorageError(DuologueError):
    """The database cannot be opened, read or written."""

    code = "storage_error"


class NotFoundError(DuologueError):
    """There is no such thing, or it belongs to someone else, which must look the same."""

    code = "not_found"


class RemoteError(DuologueError):
    """A server cannot be reached, does not answer as ours do, or refuses what it was asked for.

    refused_as  the `code` of the server's own error; None: the server said nothing of the kind
    """

    code = "remote_error"

    def __init__(self, message: str, refused_as: str | None = None) -> None:
        self.refused_as = refused_as
        super().__init__(message)


class WebhookError(DuologueError):
    """An address could not be told of something, or did not understand it."""

    code = "webhook_failed"


class EngineError(DuologueError):
    """The engine cannot serve this request."""

    code = "engine_error"


class OverloadedError(EngineError):
    """Too many requests wait already; this one was not taken.

    retry_after_s  when there is likely to be room again: an estimate from how fast requests ended
    """

    code = "overloaded"

    def __init__(self, problem: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{problem}; try again in about {retry_after_s:.1f} s")
