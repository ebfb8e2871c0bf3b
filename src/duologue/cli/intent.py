"""`duologue intent`."""

from __future__ import annotations

from typing import Annotated

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    ColumnOption,
    EncodingOption,
    ForceOption,
    IntoOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ResumeOption,
    TableOption,
    TextsArgument,
    ThreadsOption,
    open_model,
)


def intent(  # noqa: PLR0913 - the options of a command are its parameters
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            "--label-set",
            metavar="SET",
            help="Label set of the model; `duologue info` lists them.",
        ),
    ],
    texts: TextsArgument = None,
    column: ColumnOption = "text",
    output: TableOption = None,
    into: IntoOption = None,
    encoding: EncodingOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the intent of texts, of a file, or of stdin line by line, out of a set of labels.

    Each text gives one line: the label, a tab, its probability. --json gives the probability of
    every label. An empty line stays an empty line. A file in CSV, TSV or JSONL needs -o, which
    gets all its rows and columns with the labels beside them; --resume goes on after a stop.

    \b
    Examples:
      duologue intent --labels banking77 "My card has not arrived yet."
      duologue intent --labels clinc150 --json < requests.txt
      duologue intent --labels clinc150 requests.csv --column request -o labelled.csv
    """
    from duologue.cli.tablejob import TableOptions, answer_or_label

    loaded = open_model(model, precision, threads)
    table = TableOptions(column, output, into or "intent", encoding, resume, force)
    settings = {"labels": labels, "precision": precision}
    answer_or_label(
        texts, table, loaded, settings, lambda batch: loaded.intent_batch(batch, labels), as_json
    )
