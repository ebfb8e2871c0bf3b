"""`duologue keys`."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from duologue.cli.lines import printable
from duologue.cli.serve import DatabaseOption, DataOption, needed
from duologue.errors import InputError

Action = Literal["create", "list", "revoke"]


def keys(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|ID", help="create: a name for it; revoke: its id."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="What it opens: chat, translate, admin; may be given often. "
            "chat and translate if not given.",
        ),
    ] = None,
    data: DataOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make, list and revoke the keys of a server.

    While there are keys, a server demands one with every request; one that already runs without
    keys does so within a second of the first. create writes the new key to stdout, once: it cannot
    be shown again. list writes id, name, scopes, when it was made,
    last used and revoked, separated by tabs.

    \b
    Examples:
      duologue keys create phone
      duologue keys create monitoring --scope admin
      duologue keys revoke 0123456789abcdef
    """
    opened = needed("duologue.server.running").open_store(data, database)
    store = needed("duologue.storage.keys").Keys(opened)
    with closing(opened):
        match action:
            case "create":
                is_first = not store.has_any()
                key_id, secret = store.create(_given(name, "a name"), scope or _DEFAULT_SCOPES)
                if is_first:
                    print(f"duologue: {_FIRST}", file=sys.stderr)
                print(f"duologue: key {key_id}; it is shown this once:", file=sys.stderr)
                print(secret)
            case "list":
                for key in store.list():
                    print(_line(key))
            case "revoke":
                store.revoke(_given(name, "the id"))


_FIRST = (
    "this is the first key: from now on the server demands one, and what was said without a key is "
    "out of reach while there is any"
)
_DEFAULT_SCOPES = ("chat", "translate")


def _given(name: str | None, what: str) -> str:
    if name is None:
        raise InputError(f"{what} of the key is needed")
    return name


def _line(key: Any) -> str:
    times = (key.created_ms, key.last_used_ms, key.revoked_ms)
    fields = (key.id, printable(key.name), ",".join(sorted(key.scopes)), *map(_when, times))
    return "\t".join(fields)


def _when(time_ms: int | None) -> str:
    if time_ms is None:
        return "-"
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
