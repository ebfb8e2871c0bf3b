"""How fast the chat is ready, how much memory things take, and how much room an install takes.

    python benchmarks/footprint.py [--rounds 11] [--quick]

Installs the package into an environment of its own, as a user would, without the training tools;
measures the size of its site-packages without pip (P8); starts `duologue chat` there at a
pseudo-terminal until it prompts, and answers two lines through a pipe to see the peak memory;
translates one sentence as a whole process (P7); and lets 16 users decode together, each with a
memory of 256 tokens and a reply of 64, by a model of 29 M parameters with random weights in int8
(footprint_users.py), for the peak memory of that process (P9). --quick installs nothing, looks at
this environment and takes a tiny model. Writes benchmarks/results/footprint.json.
"""

from __future__ import annotations

import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import harness
from report import ROOT
from shapes import TINY, random_weights

import duologue
from duologue.checkpoint.store import load_model, save_model, weight_spec
from duologue.config import ModelConfig, replace

PROMPT = b"you> "
NOT_OURS = ("pip", "pip-")
USERS, SOURCE_TOKENS, REPLY_TOKENS = 16, 256, 64
DEFAULT_MODEL = Path(duologue.__file__).parent / "pretrained" / "duo-s"
# vocab_size is that of the default tokenizer, which the folder gets.
USERS_MODEL = ModelConfig(
    vocab_size=10_000,
    d_model=384,
    d_ff=1152,
    num_heads=6,
    num_encoder_layers=8,
    num_decoder_layers=4,
)
# A process of its own: the largest child of this one may be pip.
PEAK = (
    "import resource, subprocess, sys; "
    "subprocess.run(sys.argv[1:], input=sys.stdin.read(), text=True, capture_output=True, "
    "check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


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


def seconds_to_prompt(duologue_command: Path) -> float:
    """From the start of the process to the first prompt at a terminal."""
    begin = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.execv(duologue_command, [str(duologue_command), "chat"])
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


def peak_mb(command: list[str], typed: str = "") -> float:
    """Largest resident memory of a process, in megabytes."""
    whole = [sys.executable, "-c", PEAK, *command]
    done = subprocess.run(whole, input=typed, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024 / 1e6


def users_mb(python: Path, config: ModelConfig, folder: Path) -> float:
    """Peak megabytes of a process in which all users decode together; writes the model first."""
    tokenizer = load_model(DEFAULT_MODEL).tokenizer
    save_model(folder, config, random_weights(config), tokenizer, "Random weights.", "int8")
    script = ROOT / "benchmarks" / "footprint_users.py"
    sizes = [str(size) for size in (USERS, SOURCE_TOKENS, REPLY_TOKENS)]
    return peak_mb([str(python), str(script), str(folder), *sizes])


def main() -> None:
    arguments = harness.options(__doc__, rounds=11).parse_args()
    config = USERS_MODEL
    if arguments.quick:
        config = replace(TINY, vocab_size=USERS_MODEL.vocab_size)
    settings = {
        "rounds": arguments.rounds,
        "users": USERS,
        "source_tokens": SOURCE_TOKENS,
        "reply_tokens": REPLY_TOKENS,
        "users_model": asdict(config),
    }
    report = harness.Report("footprint", harness.output_folder(arguments), settings)
    with tempfile.TemporaryDirectory() as folder:
        binaries = Path(sys.executable).parent
        if not arguments.quick:
            harness.log("installing")
            binaries = install(Path(folder) / "environment")
        command = binaries / "duologue"
        seconds_to_prompt(command)  # fills the file cache
        starts = [seconds_to_prompt(command) for _ in range(arguments.rounds)]
        translate = [str(command), "translate", "--to", "de"]
        sentence = "Two dogs are playing in the snow.\n"
        translations = [seconds_of(translate, sentence) for _ in range(arguments.rounds)]
        harness.log("memory")
        figures = {
            "chat_start_to_prompt_s": statistics.median(starts),
            "chat_start_to_prompt_min_s": min(starts),
            "translate_one_sentence_s": statistics.median(translations),
            "chat_peak_memory_mb": peak_mb([str(command), "chat"], "Hello!\nI need a taxi.\n"),
            "users_parameters_m": sum(map(_size, weight_spec(config).values())) / 1e6,
            "users_peak_memory_mb": users_mb(binaries / "python", config, Path(folder) / "model"),
        }
        if not arguments.quick:
            figures["installed_mb"] = installed_mb(binaries)
            report.goals["P8"] = figures["installed_mb"]
    report.goals["P7"] = figures["translate_one_sentence_s"]
    report.goals["P9"] = figures["users_peak_memory_mb"]
    report.extra["figures"] = figures
    for name, value in figures.items():
        print(f"{name:30} {value:8.2f}")
    report.finish()


def _size(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) == 2 else 1)


if __name__ == "__main__":
    main()
