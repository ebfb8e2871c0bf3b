"""Databases, assistants and published tokenizers.

database_url  URL of a new, empty database; tests that use it run once for each kind
database      that database, opened
home          an assistant to whom nobody has said anything yet
tokenizers    the files of each kind of published tokenizer, made once for each module
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import databases
import pytest

from duologue.storage.database import Database, open_database, sqlite_url

if TYPE_CHECKING:
    from assistant_home import Home
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
def inhabited_home(
    tiny_model_folder: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Home]:
    from assistant_home import make_home  # here: few tests need a whole model

    from duologue.api import load

    home = make_home(load(tiny_model_folder(), threads=1), tmp_path_factory.mktemp("home"))
    yield home
    home.assistant.close()


@pytest.fixture
def home(inhabited_home: Home) -> Home:
    inhabited_home.assistant._states.clear()
    inhabited_home.assistant._store.erase("anna")
    return inhabited_home


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Published:
    from published_tokenizers import Published  # here: transformers takes seconds to import

    return Published(tmp_path_factory.mktemp("tokenizers"))
