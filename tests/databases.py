"""Databases for tests: SQLite always, PostgreSQL where Debian's package is installed.

running_postgres  a PostgreSQL server of our own, as a folder with its socket
new_postgres      the URL of a new, empty database there
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KINDS = ("sqlite", "postgresql")

_numbers = itertools.count()


def postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps it out of the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@contextmanager
def running_postgres(programs: Path) -> Iterator[Path]:
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


@contextmanager
def new_postgres(folder: Path) -> Iterator[str]:
    import psycopg  # here: most tests need none

    name = f"test_{next(_numbers)}"
    with psycopg.connect(host=str(folder), user="postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"postgresql+psycopg://postgres@/{name}?host={folder}"
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
