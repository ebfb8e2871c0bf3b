"""Options that several commands share, and the model that they choose."""

from __future__ import annotations

import sys
from dataclasses import replace
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
