"""Databases for tests: SQLite always, PostgreSQL where Debian's package is installed. Tokenizers.

tokenizers       the files of each kind of published tokenizer, made once for each module
postgres_folder  folder of the socket of a PostgreSQL server of our own; skips where there is none
database_url     URL of a new, empty database; tests that use it run once for each kind
database         that database, opened
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from duologue.storage.database import Database, open_database, sqlite_url

if TYPE_CHECKING:
    from published_tokenizers import Published

_numbers = itertools.count()


def _postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps it out of the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="duologue-postgres-"))

    def run(*command: str) -> None:
        subprocess.run(
            command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120
        )

    try:
        if user is not None:
            shutil.chown(folder, user)
        data = str(folder / "data")
        run(str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        # Nothing here has to survive power loss.
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        pg_ctl = str(programs / "pg_ctl")
        run(pg_ctl, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield folder
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "data")
        return
    folder = request.getfixturevalue("postgres_folder")
    name = f"test_{next(_numbers)}"
    with psycopg.connect(host=str(folder), user="postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"postgresql+psycopg://postgres@/{name}?host={folder}"
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Published:
    from published_tokenizers import Published  # here: transformers takes seconds to import

    return Published(tmp_path_factory.mktemp("tokenizers"))
