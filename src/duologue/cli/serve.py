"""`duologue serve`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    AllowOption,
    CommandsOption,
    HouseOption,
    OnlyOption,
    WeatherOption,
    ZoneOption,
    capped,
)
from duologue.errors import ConfigError, InputError
from duologue.types import Precision

DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        show_default=False,
        help="Where conversations and keys are kept; ~/.local/share/duologue if not given.",
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        show_default=False,
        help="Another database: postgresql+psycopg://USER:PASSWORD@HOST/NAME",
    ),
]


def serve(  # noqa: PLR0913 - the options of a command are its parameters
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Any but 127.0.0.1 needs a key: duologue keys."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="N", help="8000 if not given; 0: any.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            help=f"May be given often, the default one first; {DEFAULT_MODEL} if not given.",
        ),
    ] = None,
    data: DataOption = None,
    database: DatabaseOption = None,
    kb: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Documents to answer from; those of `duologue kb` if not given.",
        ),
    ] = None,
    glossary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FROM:TO=]FILE.csv",
            help="Terms that translations are to have, for two languages or for all; may be given "
            "often.",
        ),
    ] = None,
    handover_webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Told of questions that wait for a person."),
    ] = None,
    commands: CommandsOption = None,
    only: OnlyOption = False,
    allow: AllowOption = None,
    zone: ZoneOption = None,
    weather: WeatherOption = None,
    house: HouseOption = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Change a limit, such as max_tokens=256; may be given often.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A site whose pages may use this server."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="All of this, and more; options here go before."),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Weights to compute with; int8 if not given.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads to compute with.")
    ] = None,
) -> None:
    """Serve models over HTTP: a page to talk on, and an API for programs.

    Only this machine can reach it unless --host says otherwise. SIGTERM and Ctrl-C let running
    replies end, then stop. docs/protocol.md describes the API.

    \b
    Examples:
      duologue serve
      duologue serve --model ./my-model --port 8080 --limit max_streams=16
      duologue serve --glossary en:de=terms.csv --weather weather.json --commands lamp.yaml
      duologue keys create phone && duologue serve --host 0.0.0.0
    """
    server = needed("duologue.server.running")
    options = needed("duologue.server.options").read_options(
        config,
        host=host,
        port=port,
        models=tuple(model) if model else None,
        data=data,
        database=database,
        kb=kb,
        glossaries=tuple(glossary) if glossary else None,
        handover_webhook=handover_webhook,
        assistant={
            "commands": tuple(commands) if commands else None,
            "shipped": False if only else None,
            "allow": tuple(allow) if allow else None,
            "zone": zone,
            "weather": weather,
            "house": house,
        },
        limits=dict(map(_limit, limit or [])),
        allow_origins=tuple(allow_origin) if allow_origin else None,
        precision=precision,
        threads=capped(threads),
    )
    server.run(server.open_service(options), options, _tell)


def needed(module: str) -> Any:
    """A module of the server. Raises ConfigError, which names the extra, if its packages lack."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] == "duologue":
            raise
        raise ConfigError(
            f"serving needs {error.name}, which is not installed: pip install 'duologue[serve]'"
        ) from None


def _limit(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--limit {text}: NAME=VALUE is needed, such as max_tokens=256")
    return name.strip(), value.strip()


def _tell(address: str) -> None:
    print(f"duologue: listening on {address}", file=sys.stderr, flush=True)
