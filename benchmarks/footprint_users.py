"""Many users of one model folder decode together, and that is all; footprint.py watches.

python benchmarks/footprint_users.py FOLDER USERS SOURCE_TOKENS REPLY_TOKENS
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duologue.checkpoint.store import load_model
from duologue.engine.memory import Memory
from duologue.runtime import Runtime
from duologue.types import Options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the model")
    parser.add_argument("users", type=int, help="how many decode together")
    parser.add_argument("source_tokens", type=int, help="tokens of each memory")
    parser.add_argument("reply_tokens", type=int, help="most tokens of each reply")
    arguments = parser.parse_args()
    runtime = Runtime(load_model(arguments.folder, is_lazy=True))
    memories = [
        runtime.forward.encode([5 + user] * arguments.source_tokens, Memory.empty())
        for user in range(arguments.users)
    ]
    options = Options(max_tokens=arguments.reply_tokens)
    pairs = [(memory, [5]) for memory in memories]
    finished = runtime.engine.generate_batch(pairs, options)
    print(sum(len(item.best.ids) for item in finished), "tokens")


if __name__ == "__main__":
    main()
