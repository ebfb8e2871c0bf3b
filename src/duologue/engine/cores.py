"""How many cores there are for this process, and how many threads a model should use on them.

default_threads   for a model, if nobody says otherwise
usable_cores      all that there are
"""

from __future__ import annotations

import os
from pathlib import Path

# The layers of the models this engine is made for are too narrow to feed more.
MAX_DEFAULT_THREADS = 8

_SYS = Path("/sys")
_PROC = Path("/proc")


def default_threads() -> int:
    """How many threads a model should use here: usable_cores(), at most MAX_DEFAULT_THREADS."""
    return min(usable_cores(), MAX_DEFAULT_THREADS)


def usable_cores() -> int:
    """Physical cores that this process may use, at least 1.

    Respects the affinity mask and the CPU quota of control groups (containers); two hardware
    threads of one core count once, because they share the vector units.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = _physical_cores(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cpu_quota()
    if quota is not None:
        cores = min(cores, int(quota))
    return max(1, cores)


def _physical_cores(cpus: set[int]) -> int:
    cores = set()
    for cpu in cpus:
        siblings = _read(_SYS / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings or str(cpu))
    return len(cores)


def _cpu_quota() -> float | None:
    """CPUs' worth of time that control groups allow, or None without a limit."""
    root = _SYS / "fs/cgroup"
    quotas = []
    for line in (_read(_PROC / "self/cgroup") or "").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            base, files = root, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            base, files = root / "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        folder = base / name.lstrip("/")
        # A limit of any parent holds too; inside a container the own group is often the root.
        for group in (folder, *folder.parents):
            fields = " ".join(_read(group / file) or "" for file in files).split()
            if len(fields) == 2 and fields[0].isdigit() and int(fields[1]) > 0:
                quotas.append(int(fields[0]) / int(fields[1]))
            if group == base:
                break
    return min(quotas) if quotas else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
