"""The state of lights and devices: in memory, or in a JSON file that other programs may read.

House  what is on, and how bright or warm; room -> device -> {"on": bool, "level": number}
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from duologue.errors import DataError, StorageError
from duologue.files import new_file

MAX_FILE_BYTES = 2**20


class House:
    """For any thread. path: a JSON file, written after each change; None: in memory alone."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._changing = threading.Lock()
        self._rooms: dict[str, dict[str, dict[str, Any]]] = {}
        if path is not None and path.exists():
            self._rooms = _read(path)

    def state(self, room: str, device: str) -> dict[str, Any]:
        """What is known of a device; empty if nothing is."""
        return dict(self._rooms.get(room, {}).get(device, {}))

    def change(self, room: str, device: str, **settings: Any) -> dict[str, Any]:
        """Set some of its state, None takes one away; returns what the changed settings were.

        Raises StorageError if the file cannot be written; then nothing is changed.
        """
        with self._changing:
            before = self.state(room, device)
            after = {k: v for k, v in {**before, **settings}.items() if v is not None}
            rooms = {**self._rooms, room: {**self._rooms.get(room, {}), device: after}}
            if self._path is not None:
                _write(self._path, rooms)
            self._rooms = rooms
        return {name: before.get(name) for name in settings}


def _read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    rooms = read_json(path)
    is_house = isinstance(rooms, dict) and all(
        isinstance(devices, dict) and all(isinstance(state, dict) for state in devices.values())
        for devices in rooms.values()
    )
    if not is_house:
        raise DataError(path, None, "must be {room: {device: {name: value}}}")
    return dict(rooms)


def read_json(path: Path) -> Any:
    """A small JSON file; raises DataError, with the line, for one that is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise DataError(path, None, f"has more than {MAX_FILE_BYTES:,} bytes")
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise DataError(path, error.lineno, f"is no JSON: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError):
        raise DataError(path, None, "is no JSON") from None


def _write(path: Path, rooms: dict[str, Any]) -> None:
    try:
        with new_file(path) as fresh:
            fresh.write_text(json.dumps(rooms, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
