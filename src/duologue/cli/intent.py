"""`duologue intent`."""

from __future__ import annotations

from typing import Annotated

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    JsonOption,
    ModelOption,
    PrecisionOption,
    TextsArgument,
    ThreadsOption,
    open_model,
)


def intent(
    labels: Annotated[
        str,
        typer.Option(metavar="SET", help="Label set of the model; `duologue info` lists them."),
    ],
    texts: TextsArgument = None,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the intent of texts, out of a set of labels.

    Each text gives one line: the label, a tab, its probability. --json gives the probability of
    every label. An empty line stays an empty line.

    \b
    Examples:
      duologue intent --labels banking77 "My card has not arrived yet."
      duologue intent --labels clinc150 --json < requests.txt
    """
    from duologue.cli.lines import answer

    loaded = open_model(model, precision, threads)
    answer(
        texts,
        lambda batch: [loaded.intent(text, labels) for text in batch],
        lambda result: f"{result.text}\t{result.confidence:.3f}",
        as_json,
    )
