"""The data folder, and that all who keep something there agree on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from duologue.apps.assistant.assistant import AssistantOptions
from duologue.storage.folder import data_folder
from duologue.storage.knowledge import default_folder


@pytest.mark.parametrize(
    ("data_home", "folder"),
    [
        ("/somewhere", "/somewhere/duologue"),
        ("~/data", "/home/me/data/duologue"),
        ("", "/home/me/.local/share/duologue"),
        (None, "/home/me/.local/share/duologue"),
    ],
)
def test_data_lie_where_the_system_keeps_them(
    monkeypatch: pytest.MonkeyPatch, data_home: str | None, folder: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if data_home is not None:
        monkeypatch.setenv("XDG_DATA_HOME", data_home)
    assert data_folder() == Path(folder)
    assert default_folder() == Path(folder, "knowledge")
    assert AssistantOptions().store == Path(folder, "assistant.sqlite")
