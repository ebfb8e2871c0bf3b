"""Databases and published tokenizers.

database_url  URL of a new, empty database; tests that use it run once for each kind
database      that database, opened
tokenizers    the files of each kind of published tokenizer, made once for each module
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import databases
import pytest

from duologue.storage.database import Database, open_database, sqlite_url

if TYPE_CHECKING:
    from published_tokenizers import Published


@pytest.fixture(params=databases.KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "data")
        return
    with databases.new_postgres(request.getfixturevalue("postgres_folder")) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Published:
    from published_tokenizers import Published  # here: transformers takes seconds to import

    return Published(tmp_path_factory.mktemp("tokenizers"))
