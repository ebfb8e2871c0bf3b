"""`duologue kb`."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from duologue.cli.lines import printable
from duologue.cli.options import (
    DEFAULT_MODEL,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    open_model,
)
from duologue.errors import InputError
from duologue.types import Precision

if TYPE_CHECKING:
    from duologue.apps.support import Changes, Hit, KnowledgeBase
    from duologue.storage.knowledge import KnowledgeStore

Action = Literal["add", "list", "search", "remove", "refresh"]

BaseOption = Annotated[
    Path | None,
    typer.Option(
        "--base",
        metavar="FOLDER",
        show_default=False,
        help="The knowledge base; ~/.local/share/duologue/knowledge if not given.",
    ),
]
_MIB = 2**20


def kb(  # noqa: PLR0913 - the options of a command are its parameters
    action: Annotated[Action, typer.Argument(help="What to do.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH|QUESTION",
            show_default=False,
            help="add and remove: files and folders; search: a question.",
        ),
    ] = None,
    base: BaseOption = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="search: passages to show.")
    ] = 5,
    memory_mb: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Most MiB of encoded passages on disk; others are encoded when they are needed.",
        ),
    ] = 4096,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a knowledge base of documents, which `duologue ask` answers from.

    add reads files and folders: .md, .html, .txt, .csv with columns question and answer, .docx and
    .pdf. refresh reads again what has changed, and lets go of files that are gone. remove takes
    text, index and encoded passages off the disk. A file that cannot be read is told, and the
    others go on.

    list writes path, passages and bytes; search writes score, document, heading and text; all are
    separated by tabs.

    \b
    Examples:
      duologue kb add manual.pdf faq.csv website/
      duologue kb search "How long is the guarantee?"
      duologue kb refresh
      duologue kb remove faq.csv
    """
    from duologue.storage.knowledge import KnowledgeStore

    given = texts or []
    if bool(given) != (action in ("add", "remove", "search")):
        needed = "no paths" if given else "a question" if action == "search" else "paths"
        raise InputError(f"kb {action} takes {needed}")
    with closing(KnowledgeStore(base_folder(base), memory_mb * _MIB)) as store:
        match action:
            case "list":
                _list(store, as_json)
            case "remove":
                _remove(store, given, as_json)
            case _:
                opened = open_base(store, model, precision, threads)
                _with_model(action, opened, given, limit, as_json)


def base_folder(folder: Path | None) -> Path:
    """Where the knowledge base is."""
    from duologue.storage.knowledge import default_folder

    return default_folder() if folder is None else folder.expanduser()


def open_base(
    store: KnowledgeStore, model: str, precision: Precision, threads: int | None
) -> KnowledgeBase:
    """A knowledge base, as the model that the shared options name reads it."""
    return open_model(model, precision, threads).knowledge_base(store)


def _with_model(
    action: Action, base: KnowledgeBase, given: list[str], limit: int, as_json: bool
) -> None:
    match action:
        case "add":
            _tell(base.add(given, _progress()), as_json)
        case "refresh":
            _tell(base.refresh(_progress()), as_json)
        case "search":
            for hit in base.search(" ".join(given), limit):
                print(_json(asdict(hit)) if as_json else _hit_line(hit))


def _list(store: KnowledgeStore, as_json: bool) -> None:
    for item in store.documents():
        fields = (printable(item.path), str(item.num_passages), str(item.num_bytes))
        print(_json(asdict(item)) if as_json else "\t".join(fields))


def _remove(store: KnowledgeStore, given: list[str], as_json: bool) -> None:
    from duologue.apps.support import absolute

    for path in given:
        for document in store.remove(str(absolute(path))):
            print(_json({"removed": document}) if as_json else printable(document))


def _tell(changes: Changes, as_json: bool) -> None:
    """What became of the files: on stdout in numbers, on stderr those that could not be read."""
    if as_json:
        print(_json(asdict(changes)))
    else:
        parts = [
            f"{len(paths)} {what}"
            for what in ("added", "changed", "removed", "unchanged")
            if (paths := getattr(changes, what))
        ]
        print(", ".join(parts) or "nothing changed")
    for failure in changes.failed:
        path = printable(failure.path)
        print(f"duologue: warning: {path}: {printable(failure.problem)}", file=sys.stderr)
    if changes.failed and not (changes.added or changes.changed or changes.unchanged):
        raise InputError("none of the files could be read")


def _progress() -> Any:
    """Shows on a terminal how many passages have been encoded."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\r{done:,} of {total:,} passages", end=end, file=sys.stderr, flush=True)

    return show


def _hit_line(hit: Hit) -> str:
    passage = hit.passage
    fields = (f"{hit.score:.3f}", passage.document, passage.heading, passage.text)
    return "\t".join(printable(field) for field in fields)


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)
