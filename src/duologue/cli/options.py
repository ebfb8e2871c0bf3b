"""Options that several commands share, and the model that they choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from duologue.types import Precision

if TYPE_CHECKING:
    from duologue.api import Model

DEFAULT_MODEL = "duo-s"

ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", metavar="NAME|FOLDER", help="Shipped model or model folder."),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="Weights to compute with; int4 keeps the encoder in int8."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Threads to compute with; what suits the machine if not given."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON object a line, with all that is known.")
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
    """Load the model that the shared options name."""
    from duologue import api

    return api.load(name, precision=precision, threads=threads)
