"""Where the parity tests write down what they found."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from families_table import ParityTable


@pytest.fixture(scope="session")
def parity_table() -> Iterator[ParityTable]:
    table = ParityTable()
    yield table
    if os.environ.get("DUOLOGUE_WRITE_TABLES") == "1":
        table.write()
