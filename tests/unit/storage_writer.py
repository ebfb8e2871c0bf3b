"""A process that uses a database, or a folder of cached memories, until it is told, or killed.

migrate URL  says "ready", waits for a line, opens the database, says "migrated"
write URL    threads that converse without end, and say what was acknowledged:
             said|begun|done CONVERSATION MESSAGE HASH
cache FOLDER SEED   saves and loads paths without end, and says "saved" each time
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from duologue.storage.conversations import Conversations
from duologue.storage.database import open_database
from duologue.storage.memory_cache import CachedTurn, MemoryCache
from duologue.storage.records import StoredMessage, chain_hash, chain_root

NUM_THREADS = 3


def tell(kind: str, message: StoredMessage) -> None:
    line = f"{kind} {message.conversation} {message.id} {message.hash}\n"
    sys.stdout.write(line)
    sys.stdout.flush()


def converse(store: Conversations, told: threading.Lock) -> None:
    conversation = store.create("local", "duo-s").id
    head = None
    for number in itertools.count():
        question, reply = store.ask("local", conversation, head, f"问题 {number}" * 20)
        with told:
            tell("said", question)
            tell("begun", reply)
        done = store.complete("local", conversation, reply.id, f"answer {number}", "stop")
        with told:
            tell("done", done)
        head = done.id


@dataclass(frozen=True)
class Part:
    """A memory of num_tokens bytes."""

    num_tokens: int

    def save(self, path: Path, fingerprint: str) -> None:
        path.write_bytes(b"x" * self.num_tokens)


def use_cache(folder: Path, seed: int) -> None:
    chosen, cache = random.Random(seed), MemoryCache(folder, 200_000)
    while True:
        hashes = [chain_root("local")]
        for _ in range(4):
            hashes.append(chain_hash(hashes[-1], "user", chosen.choice("ab")))
        cache.load("m", hashes[1:], lambda path: Part(path.stat().st_size))
        cache.save("m", [CachedTurn(name, Part(10_000)) for name in hashes[1:]])
        print("saved", flush=True)


def main() -> None:
    task, url, *seed = sys.argv[1:]
    if task == "cache":
        use_cache(Path(url), int(seed[0]))
    if task == "migrate":
        print("ready", flush=True)
        sys.stdin.readline()
        open_database(url).close()
        print("migrated", flush=True)
        return
    store, told = Conversations(open_database(url)), threading.Lock()
    for _ in range(NUM_THREADS):
        threading.Thread(target=converse, args=(store, told)).start()


if __name__ == "__main__":
    main()
