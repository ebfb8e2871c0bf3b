"""Every outcome of a command becomes an exit code and at most one line on stderr."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer

from duologue import cli
from duologue.errors import CheckpointError, DataError


@pytest.fixture(autouse=True)
def keep_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def invoke(_: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "invoke", invoke)
    monkeypatch.setattr(cli, "_discard_output", lambda: None)
    return cli.run(["info"])


def test_ctrl_c_pressed_twice_leaves_as_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_raising(KeyboardInterrupt(), monkeypatch) == 130
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CheckpointError("m: gone"), 2, "duologue: m: gone\n"),
        (DataError("rows.jsonl", 3, "odd"), 2, "duologue: rows.jsonl, line 3: odd\n"),
        (CheckpointError("two\n  lines"), 2, "duologue: two lines\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Abort(), 130, ""),
        (typer.Exit(5), 5, ""),
        (BrokenPipeError(), 141, ""),
        (OSError(errno.ENOSPC, "No space left", "/x"), 2, "duologue: /x: No space left\n"),
    ],
)
def test_expected_ends_have_their_codes_and_messages(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_raising(error, monkeypatch) == code
    assert capsys.readouterr() == ("", message)


def test_a_bug_is_called_a_bug_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DUOLOGUE_DEBUG", raising=False)
    assert run_raising(KeyError("oops"), monkeypatch) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "KeyError" in message
    assert "bug in Duologue" in message
    assert "DUOLOGUE_DEBUG" in message


def test_tracebacks_are_shown_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUOLOGUE_DEBUG", "1")
    run_raising(KeyError("oops"), monkeypatch)
    assert "Traceback" in capsys.readouterr().err


def test_sigterm_unwinds_the_stack_so_that_files_are_cleaned_up(tmp_path: os.PathLike[str]) -> None:
    code = (
        "import os, signal\n"
        "from duologue import cli\n"
        "def invoke(_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally:\n"
        "        open('cleaned', 'w').close()\n"
        "cli.invoke = invoke\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 143
    assert os.listdir(tmp_path) == ["cleaned"]
