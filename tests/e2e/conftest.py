"""run_cli(*arguments, stdin=b"", before=None, **environment): one finished run of `duologue`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import COMMAND, Finished, RunCli, environment


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    def run(
        *arguments: str | bytes | os.PathLike[str],
        stdin: bytes = b"",
        before: Callable[[], None] | None = None,
        **extra: str,
    ) -> Finished:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment() | extra,
            preexec_fn=before,
            timeout=120,
            check=False,
        )

    return run
