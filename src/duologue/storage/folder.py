"""Where data of a person lie unless somebody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """$XDG_DATA_HOME/duologue; ~/.local/share/duologue if that is not set, or empty.

        duologue.db, memories/   conversations, keys and encoded turns of `duologue serve`
        knowledge/               documents of `duologue kb`, which the server uses too
        assistant.sqlite         preferences, notes and alarms of the assistant

    It need not exist: whoever keeps something there makes it. A translation memory is a file that
    is named each time.
    """
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "duologue"
