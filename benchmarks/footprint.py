"""How fast the chat is ready, how much memory it takes, and how much room an install takes.

    python benchmarks/footprint.py [--rounds 11]

Installs the package into an environment of its own, as a user would, without the training tools;
measures the size of its site-packages without pip; starts `duologue chat` there at a
pseudo-terminal until it prompts, and answers one line through a pipe to see the peak memory; and
translates one sentence as a whole process. Writes benchmarks/results/footprint.json.
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import ROOT, surroundings, write

PROMPT = b"you> "
NOT_OURS = ("pip", "pip-")


def install(folder: Path) -> Path:
    """A fresh environment with the serving install; returns its bin folder."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", ROOT], check=True)
    return folder / "bin"


def installed_mb(binaries: Path) -> float:
    """Megabytes of site-packages, pip excluded."""
    (packages,) = (binaries.parent / "lib").glob("python*/site-packages")
    files = (
        path
        for entry in packages.iterdir()
        if not entry.name.startswith(NOT_OURS)
        for path in (entry.rglob("*") if entry.is_dir() else [entry])
    )
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def seconds_to_prompt(duologue: Path) -> float:
    """From the start of the process to the first prompt at a terminal."""
    begin = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.execv(duologue, [str(duologue), "chat"])
    seen = b""
    while PROMPT not in seen:
        seen += os.read(terminal, 4096)
    elapsed = time.perf_counter() - begin
    os.write(terminal, b"\x04")
    os.close(terminal)
    os.waitpid(process, 0)
    return elapsed


def seconds_of(command: list[str], typed: str) -> float:
    """A whole process."""
    begin = time.perf_counter()
    subprocess.run(command, input=typed, text=True, capture_output=True, check=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="timed starts of each command")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        binaries = install(Path(folder) / "environment")
        duologue = binaries / "duologue"
        seconds_to_prompt(duologue)  # fills the file cache
        starts = [seconds_to_prompt(duologue) for _ in range(arguments.rounds)]
        translate = [str(duologue), "translate", "--to", "de"]
        sentence = "Two dogs are playing in the snow.\n"
        translations = [seconds_of(translate, sentence) for _ in range(arguments.rounds)]
        # The largest child so far was pip; a process of its own measures the chat alone.
        measure = (
            "import resource, subprocess, sys; "
            "subprocess.run(sys.argv[1:], input='Hello!\\nI need a taxi.\\n', text=True, "
            "capture_output=True, check=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [sys.executable, "-c", measure, str(duologue), "chat"]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        figures = {
            "chat_start_to_prompt_s": statistics.median(starts),
            "chat_start_to_prompt_min_s": min(starts),
            "translate_one_sentence_s": statistics.median(translations),
            "chat_peak_memory_mb": peak * 1024 / 1e6,
            "installed_mb": installed_mb(binaries),
        }
    goals = {
        "P7": {"value": figures["translate_one_sentence_s"], "goal": 0.5},
        "P8": {"value": figures["installed_mb"], "goal": 180},
    }
    for goal in goals.values():
        goal["met"] = goal["value"] <= goal["goal"]
    for name, value in figures.items():
        print(f"{name:30} {value:8.2f}")
    write("footprint", surroundings(("duologue",)) | {"figures": figures, "goals": goals})


if __name__ == "__main__":
    main()
