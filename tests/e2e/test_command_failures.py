"""Signals, closed pipes, full disks and bad model folders end quietly, with the right code."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import COMMAND, RunCli, assert_refused, environment, lines_of

Folders = Callable[..., Path]
FOLDER = "MODEL"
COMMANDS = {
    "chat": ["chat", "--model", FOLDER],
    "translate": ["translate", "--to", "zh", "--model", FOLDER, "hello"],
    "sentiment": ["sentiment", "--model", FOLDER, "hello"],
    "intent": ["intent", "--labels", "bank", "--model", FOLDER, "hello"],
    "info": ["info", FOLDER],
    "quantize": ["quantize", FOLDER, "out"],
}


def with_folder(arguments: list[str], folder: Path) -> list[str]:
    return [str(folder) if argument == FOLDER else argument for argument in arguments]


@pytest.fixture
def damaged(tiny_model_folder: Folders, tmp_path: Path) -> Path:
    """A private model folder to damage."""
    return Path(shutil.copytree(tiny_model_folder(), tmp_path / "model"))


@pytest.fixture
def running(tiny_model_folder: Folders) -> Iterator[subprocess.Popen[bytes]]:
    """`duologue sentiment` that has answered one line and waits for the next."""
    arguments = [*COMMAND, *with_folder(COMMANDS["sentiment"][:-1], tiny_model_folder())]
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")
        yield process
        process.kill()


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_model_is_named(run_cli: RunCli, name: str, tmp_path: Path) -> None:
    done = run_cli(*with_folder(COMMANDS[name], tmp_path / "nowhere"))
    assert_refused(done, "nowhere")
    assert done.stdout == b""


@pytest.mark.parametrize("name", ["translate", "quantize"])
def test_truncated_model_is_refused(run_cli: RunCli, name: str, damaged: Path) -> None:
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = run_cli(*with_folder(COMMANDS[name], damaged))
    assert_refused(done, "model.safetensors", "damaged or cut short")


@pytest.mark.parametrize("name", ["chat", "info"])
def test_foreign_folder_is_refused(run_cli: RunCli, name: str, damaged: Path) -> None:
    (damaged / "config.json").write_text('{"architectures": ["BertModel"], "hidden_size": 768}')
    done = run_cli(*with_folder(COMMANDS[name], damaged))
    assert_refused(done, "config.json", "architectures")


def test_folder_without_rights_is_refused(run_cli: RunCli, damaged: Path) -> None:
    (damaged / "config.json").unlink()
    (damaged / "config.json").symlink_to("/proc/self/mem")  # not readable, even for root
    assert_refused(run_cli("info", damaged), "config.json")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_signal_ends_a_waiting_command_quietly(
    running: subprocess.Popen[bytes], number: int, code: int
) -> None:
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (code, b"", b"")


def test_reader_that_leaves_ends_the_command_quietly(running: subprocess.Popen[bytes]) -> None:
    assert running.stdin is not None
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    running.stdin.write(b"hello\n" * 200)
    running.stdin.close()
    assert running.stderr.read() == b""
    assert running.wait(timeout=60) == 141


def test_output_that_cannot_be_written_is_told(tiny_model_folder: Folders) -> None:
    arguments = [*COMMAND, *with_folder(COMMANDS["sentiment"], tiny_model_folder())]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            arguments, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert done.returncode == 2
    assert done.stderr.decode() == "duologue: No space left on device\n"


def limit_file_size() -> None:
    """What a full disk looks like to the child: no file can grow beyond 8 KiB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def test_full_disk_while_quantizing_leaves_nothing(
    run_cli: RunCli, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    folder = tiny_model_folder(precision="f32")
    assert_refused(run_cli("quantize", folder, "out", before=limit_file_size), "out", "written")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_quantizing_keeps_the_older_model(run_cli: RunCli, damaged: Path) -> None:
    before = {path.name: path.read_bytes() for path in damaged.iterdir()}
    done = run_cli("quantize", "--precision", "f32", damaged, damaged, before=limit_file_size)
    assert_refused(done, "nothing was changed")
    assert {path.name: path.read_bytes() for path in damaged.iterdir()} == before
    assert [path.name for path in damaged.parent.iterdir()] == ["model"]


def test_full_disk_while_saving_a_conversation_leaves_nothing_half_written(
    run_cli: RunCli, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    lines = b"hello\n/save talk\n/load talk\n"
    chat = with_folder(COMMANDS["chat"], tiny_model_folder())
    done = run_cli(*chat, stdin=lines, before=limit_file_size)
    assert_refused(done, "written")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert_refused(run_cli(*chat, stdin=b"/load talk\n"), "talk")
    assert len(lines_of(run_cli(*chat, stdin=lines))) == 3
