"""`duologue sentiment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from duologue.errors import InputError

if TYPE_CHECKING:
    from duologue.types import Result


def sentiment(  # noqa: PLR0913 - the options of a command are its parameters
    texts: TextsArgument = None,
    label_set: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="sentiment3, which has a neutral label, or a set of the model; see `duologue "
            "info`. Negative and positive if not given.",
        ),
    ] = None,
    sentences: Annotated[
        bool, typer.Option("--sentences", help="Judge each sentence by itself as well.")
    ] = False,
    dialogue: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl", help="Judge the turns of a dialogue, and draw their curve."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Of a dialogue: write the curve there.")
    ] = None,
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
    """Judge the sentiment of texts, of a file or a dialogue, or of stdin line by line.

    Each text gives one line: the label, a tab, its probability. --json gives the probability of
    every label. An empty line stays an empty line. --sentences adds a line for each sentence,
    after two blanks, and says "mixed" where they disagree. A file in CSV, TSV or JSONL needs -o,
    which gets all its rows and columns with the labels beside them; --resume goes on after a stop.
    A dialogue has a turn on each line, {"role": "user", "text": ...}, or one line with "turns".

    \b
    Examples:
      duologue sentiment "The room was clean and quiet."
      duologue sentiment --sentences "The room was clean. Breakfast was awful."
      duologue sentiment --json < reviews.txt
      duologue sentiment reviews.csv --column review -o judged.csv
      duologue sentiment --dialogue call.jsonl --plot call.svg
    """
    from duologue.cli.curve import CurveCall, draw_curve
    from duologue.cli.tablejob import TableOptions, answer_or_label

    if dialogue is not None:
        if texts or output is not None or sentences:
            raise InputError("--dialogue is judged alone, without texts, -o and --sentences")
        call = CurveCall(dialogue, label_set, plot, as_json)
        draw_curve(call, lambda: open_model(model, precision, threads))
        return
    if plot is not None:
        raise InputError("--plot draws the curve of a --dialogue")
    loaded = open_model(model, precision, threads)
    table = TableOptions(column, output, into or "sentiment", encoding, resume, force)
    settings = {"label_set": label_set, "sentences": sentences, "precision": precision}

    def predict(batch: list[str]) -> list[Result]:
        return loaded.sentiment_batch(batch, label_set=label_set, sentences=sentences)

    answer_or_label(texts, table, loaded, settings, predict, as_json)
