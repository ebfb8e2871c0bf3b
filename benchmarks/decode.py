"""Milliseconds a token and to encode a turn: the native engine beside its torch twin.

    python benchmarks/decode.py [--rounds 15] [--threads 1 2] [--clock wall]

One model of the default shape with random weights; what it says does not matter for its speed.
The contenders run in turn in one process (A B C A B C ...), so that all see the same noise; the
ratio to torch is the median of the ratios within a round. Tokenisation and search are not
included, loading is not included. On a machine that is busy with something else, `--clock cpu
--threads 1` counts the processor time of this process instead of the time on the wall.
Writes benchmarks/results/decode.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from report import surroundings, write

from duologue.checkpoint.weights import Weights, quantize_weights
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Source

SHAPE = ModelConfig(
    vocab_size=12_000,
    d_model=256,
    d_ff=768,
    num_heads=4,
    num_encoder_layers=4,
    num_decoder_layers=2,
)
SOURCE_TOKENS, DECODED_TOKENS, BATCH = 64, 48, 16
PEER = "torch f32"

# One task: run it once, and how many units (tokens, calls) that was.
Task = tuple[Callable[[], object], int]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Figure:
    """Times of one contender at one task, in ms a unit.

    speedup  torch's time over this one's, median over the rounds
    """

    task: str
    contender: str
    threads: int
    median_ms: float
    min_ms: float
    max_ms: float
    speedup: float


def native_tasks(weights: Weights, threads: int, ids: list[int]) -> dict[str, Task]:
    forward = Forward(SHAPE, weights, threads)
    memory = forward.encode(ids, Memory.empty())

    def decode(rows: int) -> None:
        states = [forward.start(memory) for _ in range(rows)]
        for step in range(DECODED_TOKENS):
            forward.decode_step(states, [ids[step]] * rows)

    return {
        "encode 64 tokens": (lambda: forward.encode(ids, Memory.empty()), 1),
        "a step of 1 row": (lambda: decode(1), DECODED_TOKENS),
        f"a step of {BATCH} rows": (lambda: decode(BATCH), DECODED_TOKENS),
    }


def torch_tasks(model: Seq2Seq, threads: int, ids: list[int]) -> dict[str, Task]:
    def source(rows: int) -> Source:
        tokens = torch.tensor([ids] * rows)
        position = torch.arange(len(ids)).expand_as(tokens)
        return Source(tokens, torch.zeros_like(tokens), position, torch.zeros_like(tokens).bool())

    memories = {rows: model.encode(source(rows)) for rows in (1, BATCH)}

    def encode() -> None:
        torch.set_num_threads(threads)
        model.encode(source(1))

    def decode(rows: int) -> None:
        torch.set_num_threads(threads)
        state = model.start(memories[rows])
        for step in range(DECODED_TOKENS):
            _, state = model.decode_step(state, torch.full((rows,), ids[step]))

    return {
        "encode 64 tokens": (encode, 1),
        "a step of 1 row": (lambda: decode(1), DECODED_TOKENS),
        f"a step of {BATCH} rows": (lambda: decode(BATCH), DECODED_TOKENS),
    }


def measure(
    contenders: dict[str, dict[str, Task]], threads: int, rounds: int, clock: Callable[[], float]
) -> list[Figure]:
    """Every contender at every task, in turn; the first round warms up and does not count."""
    figures = []
    for task in contenders[PEER]:
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, tasks in contenders.items():
                run, units = tasks[task]
                begin = clock()
                run()
                if turn > 0:
                    times[name].append((clock() - begin) * 1e3 / units)
        for name, values in times.items():
            ratio = float(np.median(np.array(times[PEER]) / values))
            spread = float(np.median(values)), min(values), max(values)
            figures.append(Figure(task, name, threads, *spread, ratio))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="timed runs of each task")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads != [1]:
        parser.error("the times of several threads add up: --clock cpu needs --threads 1")

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    model = Seq2Seq(SHAPE).eval()
    weights: Weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    ids = np.random.default_rng(0).integers(0, SHAPE.vocab_size, SOURCE_TOKENS).tolist()

    figures, clock = [], CLOCKS[arguments.clock]
    for threads in arguments.threads:
        contenders = {
            "native int8": native_tasks(quantize_weights(weights), threads, ids),
            "native f32": native_tasks(weights, threads, ids),
            PEER: torch_tasks(model, threads, ids),
        }
        figures += measure(contenders, threads, arguments.rounds, clock)

    print(f"{'':22} {'':12} threads   median ms      min      max   x torch")
    for figure in figures:
        times = f"{figure.median_ms:9.3f} {figure.min_ms:8.3f} {figure.max_ms:8.3f}"
        print(
            f"{figure.task:22} {figure.contender:12} {figure.threads:7}   {times} "
            f"{figure.speedup:8.1f}"
        )
    settings = {
        "isa": Forward(SHAPE, weights, 1).isa,
        "shape": asdict(SHAPE),
        "source_tokens": SOURCE_TOKENS,
        "decoded_tokens": DECODED_TOKENS,
        "rounds": arguments.rounds,
        "clock": arguments.clock,
    }
    results = {"figures": [asdict(figure) for figure in figures]}
    write("decode", surroundings(("duologue", "numpy", "torch")) | settings | results)


if __name__ == "__main__":
    main()
