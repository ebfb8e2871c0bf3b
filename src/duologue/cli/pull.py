"""`duologue pull`."""

from __future__ import annotations

from typing import Annotated

import typer


def pull(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A published model.")],
    revision: Annotated[
        str | None,
        typer.Option(metavar="R", help="Branch, tag or commit; the newest if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Download a published model, or what has changed of it, and show where it is.

    Every command that takes a model takes OWNER/NAME too, and downloads it if need be. HF_HOME says
    where models are kept, HF_ENDPOINT where they come from, HF_TOKEN who asks; under
    HF_HUB_OFFLINE=1 nothing is asked for.

    \b
    Examples:
      duologue pull google/flan-t5-small
      duologue pull facebook/bart-base --revision main --json
    """
    import json

    from duologue.checkpoint import hub
    from duologue.checkpoint.card import License
    from duologue.checkpoint.store import load_config
    from duologue.cli.options import warn_of_license
    from duologue.errors import InputError

    repo_id = hub.repository(name)
    if repo_id is None:
        raise InputError(f"{name!r} names no published model; write owner/name")
    folder = hub.pull(repo_id, revision)
    config = load_config(folder)
    values = {
        "model": repo_id,
        "commit": folder.name,
        "folder": str(folder),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "family": config.family,
        "license": config.license,
        "non_commercial": License(config.license).is_non_commercial,
    }
    if as_json:
        print(json.dumps(values, ensure_ascii=False))
        return
    rows = {
        "model": repo_id,
        "folder": values["folder"],
        "size": f"{values['bytes']:,} bytes",
        "family": config.family,
        "licence": License(config.license),
    }
    for row, value in rows.items():
        print(f"{row:<8} {value}")
    warn_of_license(repo_id, config)
