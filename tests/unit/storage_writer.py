"""A process that uses a database until it is told, or killed.

migrate URL  says "ready", waits for a line, opens the database, says "migrated"
write URL    threads that converse without end, and say what was acknowledged:
             said|begun|done CONVERSATION MESSAGE HASH
"""

from __future__ import annotations

import itertools
import sys
import threading

from duologue.storage.conversations import Conversations
from duologue.storage.database import open_database
from duologue.storage.records import StoredMessage

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


def main() -> None:
    task, url = sys.argv[1:]
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
