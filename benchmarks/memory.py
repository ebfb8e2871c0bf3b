"""How the memory of keys and values grows: with the tokens of a source, and with the users.

    python benchmarks/memory.py [--plot] [--quick]

On the shape of FLAN-T5-small and on that of the default model, with random weights in int8: bytes
of the cache's pages after one source of 16 to 4,096 tokens was encoded, and after 1 to 128 users,
each with a source of 32 tokens of its own, got 64. Exact counts, no times. Writes
benchmarks/results/memory.json.
"""

from __future__ import annotations

from pathlib import Path

import harness
from ours import Ours
from plots import IMAGES, plot
from report import RESULTS, surroundings, write
from shapes import QUICK_SHAPES, SHAPES, START_ID, random_ids, random_weights

from duologue.engine.memory import Memory

SOURCE_TOKENS, TOKENS = 32, 64
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
QUICK_LENGTHS, QUICK_ROWS = (16, 32), (1, 2)


def of_tokens(ours: Ours, lengths: tuple[int, ...]) -> list[float]:
    """Megabytes that the memory of one source takes, for each length."""
    found = []
    for length in lengths:
        memory = ours.encode(random_ids(ours.config, length))
        found.append(ours.forward.pool.used_bytes / 1e6)
        assert memory.num_bytes == ours.forward.pool.used_bytes
    return found


def of_rows(ours: Ours, rows: tuple[int, ...]) -> list[float]:
    """Megabytes while so many users have got TOKENS tokens each."""
    found = []
    for count in rows:
        memories = [
            ours.encode(random_ids(ours.config, SOURCE_TOKENS, seed), Memory.empty())
            for seed in range(count)
        ]
        states = [ours.forward.start(memory) for memory in memories]
        for _ in range(TOKENS):
            ours.forward.decode_step(states, [START_ID] * count)
        found.append(ours.forward.pool.used_bytes / 1e6)
        del memories, states
    return found


def main() -> None:
    parser = harness.options(__doc__, rounds=1)
    parser.add_argument("--plot", action="store_true", help="draw the growth curves")
    arguments = parser.parse_args()
    shapes = QUICK_SHAPES if arguments.quick else SHAPES
    lengths, rows = (QUICK_LENGTHS, QUICK_ROWS) if arguments.quick else (LENGTHS, ROWS)
    tokens, users = {}, {}
    for name, config in shapes.items():
        ours = Ours(config, random_weights(config), "int8", arguments.threads)
        tokens[name] = of_tokens(ours, lengths)
        users[name] = of_rows(ours, rows)
        print(name, dict(zip(lengths, tokens[name], strict=True)))
        print(name, dict(zip(rows, users[name], strict=True)))
    folder: Path | None = harness.output_folder(arguments, IMAGES) if arguments.plot else None
    for title, xs, found, label in (
        ("memory-tokens", lengths, tokens, "tokens of the source"),
        ("memory-rows", rows, users, f"users, {SOURCE_TOKENS} tokens read and {TOKENS} made each"),
    ):
        series = {name: (xs, values) for name, values in found.items()}
        plot(title, series, (label, "MB of keys and values"), folder)
    results = harness.output_folder(arguments, RESULTS)
    if results is not None:
        values = {"lengths": lengths, "tokens_mb": tokens, "rows": rows, "rows_mb": users}
        write("memory", surroundings(("duologue", "numpy")) | values, results)


if __name__ == "__main__":
    main()
