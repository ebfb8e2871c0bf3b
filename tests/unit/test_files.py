"""New files: whole or not at all, whoever fails, writes beside, or is killed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from duologue.files import new_file, sync

OLD, NEW = "old " * 1000, "new"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "kept.txt"
    path.write_text(OLD)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_takes_the_place_of_the_old_one_at_the_end(path: Path) -> None:
    with new_file(path) as fresh:
        fresh.write_text(NEW)
        assert path.read_text() == OLD
        assert fresh.parent == path.parent
    assert path.read_text() == NEW
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_is_interrupted_leaves_the_old_file_and_nothing_else(
    path: Path, error: type[BaseException]
) -> None:
    def interrupted(fresh: Path) -> None:
        fresh.write_text(NEW)
        raise error

    with pytest.raises(error), new_file(path) as fresh:
        interrupted(fresh)
    assert path.read_text() == OLD
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_what_fails_at_the_end_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(OSError, match="No space left"), new_file(path) as fresh:
            fresh.write_text(NEW)
    assert path.read_text() == OLD
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_the_old_file(path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from duologue.files import new_file\n"
        "with new_file(Path(sys.argv[1])) as fresh:\n"
        "    fresh.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert path.read_text() == OLD
    with new_file(path) as fresh:  # what it left is in nobody's way
        fresh.write_text(NEW)
    assert path.read_text() == NEW


def test_of_several_writers_each_writes_its_own_file_and_one_is_left_whole(path: Path) -> None:
    contents = [str(number) * 100_000 for number in range(8)]
    all_write = threading.Barrier(len(contents))

    def write(content: str) -> None:
        with new_file(path) as fresh:
            fresh.write_text(content[:-1])
            all_write.wait()
            with fresh.open("a") as file:
                file.write(content[-1])
            all_write.wait()

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in contents
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("target", ["none/kept.txt", "kept.txt/inside.txt", "folder", "."])
def test_a_place_where_no_file_can_be_is_an_os_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(path.parent)
    Path("folder").mkdir()
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(OSError), new_file(Path(target)) as fresh:  # noqa: PT011
        fresh.write_text(NEW)
    assert sorted(path.parent.rglob("*")) == before


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    with new_file(path) as fresh:
        fresh.write_text(NEW)
    assert path.read_text() == NEW


def test_permissions_are_those_that_are_asked_for_less_the_umask(path: Path) -> None:
    path.chmod(0o644)
    with new_file(path) as fresh:
        assert mode_of(fresh) == 0o600
    assert mode_of(path) == 0o600
    before = os.umask(0o027)
    try:
        with new_file(path, 0o666):
            pass
    finally:
        os.umask(before)
    assert mode_of(path) == 0o640


def test_content_is_on_the_disk_before_it_takes_the_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        done.append(target)
        real(source, target)

    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "replace", replace)
    with new_file(path) as fresh:
        fresh.unlink()
        fresh.write_text(NEW)  # as writers do that replace files themselves
    assert done == [path.stat().st_ino, path]
    with new_file(path, is_synced=False):
        done.clear()
    assert done == [path]
    sync(path.parent)
    assert done == [path, path.parent.stat().st_ino]
