"""What tests of knowledge bases share, and a process that changes one until it is killed.

support_bases.py FOLDER MODEL POINT   refreshes FOLDER/base and kills itself at POINT:
    encoding     when passages have been encoded, and nothing is changed yet
    transaction  in the middle of the change
    committed    after it, before what was removed is taken off the disk
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duologue import api
from duologue.apps.support import KnowledgeBase
from duologue.storage import knowledge
from duologue.storage.knowledge import KnowledgeStore

POINTS = ("encoding", "transaction", "committed")
OLD = {"a.md": "# Shop\n\nWe sell lamps.", "b.txt": "The chrysanthemum is yellow."}
NEW = {"a.md": "# Shop\n\nWe sell desks.", "c.txt": "The door is green.", "d.txt": "Call us."}


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Make a folder hold these files and no others."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def opened(folder: Path, model: Path | api.Model, memory_bytes: int = 2**30) -> KnowledgeBase:
    """The base in a folder."""
    loaded = api.load(model, threads=1) if isinstance(model, Path) else model
    return loaded.knowledge_base(KnowledgeStore(folder, memory_bytes))


def texts(base: KnowledgeBase) -> set[str]:
    """The texts of all passages."""
    with base.store.reading() as state:
        ids = [idx for idx, _ in state.embeddings(base.encoder.model)]
        return {passage.text for passage in state.passages(ids)}


def kill() -> None:
    """As power loss would."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, model: Path, point: str) -> None:
    base = opened(folder / "base", model)
    real: Callable[..., int] = knowledge._put
    num_put = 0

    def put(*arguments: Any) -> int:
        nonlocal num_put
        num_put += 1
        if num_put == 2:
            kill()
        return real(*arguments)

    def progress(done: int, total: int) -> None:
        if done == total and point == "encoding":
            kill()

    if point == "transaction":
        knowledge._put = put  # type: ignore[assignment]
    if point == "committed":
        KnowledgeStore.scrub = lambda self: kill()  # type: ignore[method-assign]
    base.refresh(progress)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
