"""How many threads a model uses by default, and that the type stub tells the truth."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import duologue
from duologue import _native
from duologue.engine import cores
from duologue.engine.cores import MAX_DEFAULT_THREADS, default_threads, usable_cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 4 cores with 2 hardware threads each, without a CPU quota."""
    monkeypatch.setattr(cores, "_SYS", tmp_path / "sys")
    monkeypatch.setattr(cores, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for cpu in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_default_threads_counts_cores_not_hardware_threads(machine: Path) -> None:
    assert default_threads() == 4


def test_default_threads_respects_the_affinity_mask(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 4, 5})
    assert default_threads() == 2


@pytest.mark.parametrize(
    ("quota", "threads"), [("300000 100000", 3), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_default_threads_respects_the_quota_of_a_parent_group(
    machine: Path, quota: str, threads: int
) -> None:
    write(machine / "proc/self/cgroup", "0::/outer/inner\n")
    write(machine / "sys/fs/cgroup/outer/cpu.max", f"{quota}\n")
    write(machine / "sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n")
    assert default_threads() == threads


def test_default_threads_respects_an_old_quota(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "5:memory:/box\n4:cpu,cpuacct:/box\n")
    write(machine / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n")
    write(machine / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert default_threads() == 2


def test_default_threads_without_an_old_quota_is_all_cores(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "4:cpu:/\n")
    write(machine / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(machine / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert default_threads() == 4


def test_default_threads_stops_where_more_do_not_help(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(100, 200)))
    assert default_threads() == MAX_DEFAULT_THREADS
    assert usable_cores() == 100


def public(names: object) -> set[str]:
    return {name for name in dir(names) if not name.startswith("_")}


def test_the_type_stub_names_what_the_native_module_has() -> None:
    stub = Path(duologue.__file__).parent / "_native.pyi"
    described: dict[str, set[str]] = {}
    functions = set()
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            members = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            described[node.name] = {name for name in members if not name.startswith("_")}
        elif isinstance(node, ast.FunctionDef):
            functions.add(node.name)
    assert public(_native) == functions | described.keys()
    for name, members in described.items():
        inherited = public(MemoryError) if name == "CacheFullError" else set()
        assert public(getattr(_native, name)) - inherited == members, name
