"""What every benchmark writes down about where it ran, and the file it writes it to."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

# Variables that change how fast somebody is.
VARIABLES = ("DUOLOGUE_", "OMP_", "GOMP_", "CT2_", "MKL_", "DNNL_", "ONEDNN_")


def surroundings(packages: tuple[str, ...]) -> dict[str, Any]:
    """Machine, commit, versions and environment, as JSON-ready values.

    packages  those that are not installed are left out
    """
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "machine": {"cpu": _cpu(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]},
        "commit": commit,
        "versions": {"python": platform.python_version(), **_versions(packages)},
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)},
    }


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def write(name: str, values: dict[str, Any], folder: Path = RESULTS) -> None:
    """Write NAME.json into benchmarks/results, or into another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
