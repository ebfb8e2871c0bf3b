"""bench: figures of a model for people and for programs; which they are, never how large."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import COMMAND, RunCli, assert_refused, environment, lines_of

Folders = Callable[..., Path]


@pytest.mark.parametrize(("cell", "precision"), [("transformer", "int8"), ("gru", "f32")])
def test_json_has_every_figure(
    run_cli: RunCli, tiny_model_folder: Folders, cell: str, precision: str
) -> None:
    folder = str(tiny_model_folder(cell))
    options = ["--threads", "1", "--users", "3", "--precision", precision, "--json"]
    done = run_cli("bench", "--model", folder, *options)
    (line,) = lines_of(done)
    found = json.loads(line)
    assert done.stderr == b""
    assert found["model"] == folder
    assert (found["cell"], found["precision"], found["threads"]) == (cell, precision, 1)
    assert found["input"] == "random token ids"
    assert found.keys() == {
        *("model", "cell", "precision", "threads", "isa", "input"),
        *("one_user", "many_users", "encoding", "reading"),
        *("bytes_per_token", "peak_process_bytes"),
    }
    assert [found[part]["users"] for part in ("one_user", "many_users")] == [1, 3]
    assert found["one_user"].keys() >= {"ms_per_token", "tokens_per_s", "reply"}
    assert found["one_user"]["reply"].keys() == {"median_ms", "min_ms", "max_ms", "runs"}
    assert [item["new_tokens"] for item in found["encoding"]] == [32, 64, 20]
    assert found["reading"].keys() >= {"bytes_per_step", "memory_gb_per_s", "share"}


def test_table_is_for_people(run_cli: RunCli, tiny_model_folder: Folders) -> None:
    done = run_cli("bench", "--threads", "1", "--users", "2", "--model", tiny_model_folder())
    text = "\n".join(lines_of(done))
    for words in ("random token ids", "1 user: ms a token", "2 users: tokens/s", "share of that"):
        assert words in text
    assert "read 20 tokens after 44: ms" in text
    assert done.stderr == b""


def test_what_cannot_be_measured_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    assert_refused(run_cli("bench", "--model", tmp_path / "nowhere"), "nowhere")
    assert_refused(run_cli("bench", "--users", "0"), "--users")
    assert_refused(run_cli("bench", "--threads", "1000"), "threads", "256")


def test_ctrl_c_leaves_with_130(tiny_model_folder: Folders) -> None:
    terminal, its_end = os.openpty()
    arguments = [*COMMAND, "bench", "--model", str(tiny_model_folder()), "--users", "1024"]
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=its_end,
        env=environment() | {"TERM": "xterm"},
    ) as process:
        os.close(its_end)
        seen = b""
        while b"1024 users" not in seen:  # that takes seconds
            seen += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(terminal, 4096):
                seen += chunk
        except OSError:  # how Linux tells that the other side is closed
            pass
        assert process.wait(timeout=60) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(terminal)
    assert b"Traceback" not in seen
