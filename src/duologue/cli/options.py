"""Options that several commands share, the model that they choose, and a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duologue.types import Options, Precision

if TYPE_CHECKING:
    from duologue.api import Model
    from duologue.config import ModelConfig

DEFAULT_MODEL = "duo-s"

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FOLDER",
        help="Shipped model, OWNER/NAME of a published one, or model folder.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="Weights to compute with; int4 keeps the encoder in int8."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Threads to compute with, at most one a core; what suits the machine if not given.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON object a line, with all that is known.")
]
ExplainOption = Annotated[
    bool,
    typer.Option(
        "--explain", help="Find out which parts of the text the answer needs: one field more."
    ),
]
BeamOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=64, metavar="N", help="Beam size; 1 is fastest. The model's own if not given."
    ),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Longest answer, in tokens; the model's own if not given."
    ),
]
TextsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TEXT",
        show_default=False,
        help="Texts, each answered by one line; without any, lines are read from stdin.",
    ),
]

ColumnOption = Annotated[
    str, typer.Option(metavar="NAME", help="Of a file: the column, or key, with the texts.")
]
TableOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Where the rows of a file go, with their labels."
    ),
]
IntoOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a file: name of what is added; the command's own name."),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a file, such as gb18030; UTF-8 or UTF-16 if not given."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with a file where a run was interrupted.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]

# What an assistant can do, and of what: for duologue assistant and duologue serve.
CommandsOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE.yaml", help="More commands; may be given often."),
]
OnlyOption = Annotated[
    bool, typer.Option("--only", help="Leave out the commands that come with Duologue.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Python code that --commands may run; may be given often.",
    ),
]
ZoneOption = Annotated[
    str | None,
    typer.Option(
        metavar="ZONE",
        help="Of commands, such as Europe/Berlin; this machine's if not given.",
    ),
]
WeatherOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="The weather, day by day.")
]
HouseOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="The state of lights and devices.")
]


def open_model(name: str, precision: Precision, threads: int | None) -> Model:
    """Load the model that the shared options name; others' models show their licence."""
    from duologue import api

    model = api.load(name, precision=precision, threads=capped(threads))
    show_license(name, model.config)
    return model


def changed(options: Options, **settings: Any) -> Options:
    """The options with other settings; None leaves one as it is."""
    given = {name: value for name, value in settings.items() if value is not None}
    return replace(options, **given)


def show_license(name: str, config: ModelConfig) -> None:
    """Tell on stderr under which licence an imported model may be used, and warn if need be."""
    from duologue.checkpoint.card import License

    if not warn_of_license(name, config) and config.family != "duo":
        print(f"duologue: {name}: licence {License(config.license)}", file=sys.stderr)


def warn_of_license(name: str, config: ModelConfig) -> bool:
    """Warn on stderr of a licence whose name forbids commercial use; whether it does."""
    from duologue.checkpoint.card import License

    license = License(config.license)
    if license.is_non_commercial:
        problem = f"{name}: its licence, {license}, does not allow commercial use"
        print(f"duologue: warning: {problem}", file=sys.stderr)
    return license.is_non_commercial


def capped(threads: int | None) -> int | None:
    """The threads asked for, or as many as there are cores for, with a warning: more only wait."""
    from duologue.engine.cores import usable_cores

    if threads is None or threads <= (most := usable_cores()):
        return threads
    problem = f"--threads {threads}: this process may use {most} cores, so it takes {most} threads"
    print(f"duologue: {problem}", file=sys.stderr)
    return most


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if someone looks at it; it is called with how much of `total` is done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
