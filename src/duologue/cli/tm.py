"""`duologue tm`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from duologue.cli.lines import printable
from duologue.errors import InputError

if TYPE_CHECKING:
    from duologue.storage.translation_memory import Entry, TranslationMemory

Action = Literal["add", "learn", "search", "list", "remove", "import", "export"]


def tm(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    memory: Annotated[Path, typer.Argument(metavar="FILE.tm", help="The translation memory.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE",
            show_default=False,
            help="add: a text and its translation; learn: a file and its translation; search and "
            "remove: a text; import and export: a .tmx or .csv file.",
        ),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="LANGUAGE", help="The texts are in.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="The translations are in.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="search and list: write one JSON object a line.")
    ] = False,
) -> None:
    """Keep translations that somebody has confirmed, for `duologue translate --memory`.

    learn takes a document and its corrected translation, which must have as many segments. list
    and search write text and translation, separated by tabs; search writes how alike they are in
    front.

    \b
    Examples:
      duologue tm add work.tm "Sign in" "Anmelden" --from en --to de
      duologue tm learn work.tm guide.md guide.de.md --from en --to de
      duologue tm search work.tm "Sign in!" --to de
      duologue tm import work.tm agency.tmx
      duologue tm export work.tm backup.csv
    """
    from duologue.storage.translation_memory import TranslationMemory

    given = values or []
    _require(action, given)
    if action not in ("add", "learn", "import") and not memory.exists():
        raise InputError(f"{memory}: there is no such translation memory")
    with TranslationMemory(memory) as opened:
        match action:
            case "add" | "learn":
                entries = _entries(action, given, from_, to)
                print(f"duologue: {opened.add(entries)} added to {memory}", file=sys.stderr)
            case "search":
                _search(opened, given[0], from_, to, as_json)
            case "list":
                for entry in opened.entries():
                    _print(entry, as_json)
            case "remove":
                print(f"duologue: {opened.remove(given[0], to)} removed", file=sys.stderr)
            case "import" | "export":
                _exchange(opened, action, Path(given[0]))


_NUM_VALUES = {"add": 2, "learn": 2, "list": 0}


def _require(action: Action, values: Sequence[str]) -> None:
    needed = _NUM_VALUES.get(action, 1)
    if len(values) != needed:
        raise InputError(
            f"tm {action} needs {needed} values after the memory, there are {len(values)}; "
            "see duologue tm --help"
        )


def _entries(
    action: Action, values: Sequence[str], from_: str | None, to: str | None
) -> list[Entry]:
    from duologue.storage.translation_memory import Entry

    if from_ is None or to is None:
        raise InputError(f"tm {action} needs --from and --to")
    if action == "add":
        return [Entry(values[0], values[1], from_, to)]
    from duologue.apps.documents.pairs import confirmed

    pairs = confirmed(Path(values[0]), Path(values[1]))
    return [Entry(source, target, from_, to) for source, target in pairs]


def _search(
    memory: TranslationMemory, text: str, from_: str | None, to: str | None, as_json: bool
) -> None:
    if to is None:
        raise InputError("tm search needs --to")
    for match in memory.search(text, to, from_):
        if as_json:
            print(json.dumps(match.to_dict(), ensure_ascii=False))
        else:
            texts = (printable(value) for value in (match.source, match.target))
            print("\t".join((f"{match.score:.0%}", *texts)))


def _print(entry: Entry, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print(json.dumps(asdict(entry), ensure_ascii=False))
    else:
        fields = (entry.from_language, entry.to_language, entry.source, entry.target)
        print("\t".join(printable(field) for field in fields))


def _exchange(memory: TranslationMemory, action: Action, path: Path) -> None:
    from duologue.storage.translation_exchange import read_entries, write_entries

    if action == "import":
        print(f"duologue: {memory.add(read_entries(path))} imported", file=sys.stderr)
    else:
        if path.exists():
            raise InputError(f"{path}: there is such a file already")
        print(f"duologue: {write_entries(path, memory.entries())} exported", file=sys.stderr)
