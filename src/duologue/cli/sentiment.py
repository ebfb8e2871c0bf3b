"""`duologue sentiment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    ColumnOption,
    EncodingOption,
    ExplainOption,
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
    explain: ExplainOption = False,
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
    after two blanks, and says "mixed" where they disagree; --explain one with the words that the
    label needed most. A file in CSV, TSV or JSONL needs -o,
    which gets all its rows and columns with the labels beside them; --resume goes on after a stop.
    A dialogue has a turn on each line, {"role": "user", "text": ...}, or one line with "turns".

    \b
    Examples:
      duologue sentiment "The room was clean and quiet."
      duologue sentiment --sentences "The room was clean. Breakfast was awful."
      duologue sentiment --json < reviews.txt
      duologue sentiment --explain "The room was clean, but breakfast was awful."
      duologue sentiment reviews.csv --column review -o judged.csv
      duologue sentiment --dialogue call.jsonl --plot call.svg
    """
    from duologue.cli.curve import CurveCall, draw_curve
    from duologue.cli.tablejob import TableOptions, answer_or_label

    if dialogue is not None:
        if texts or output is not None or sentences or explain:
            problem = "--dialogue is judged alone, without texts, -o, --sentences and --explain"
            raise InputError(problem)
        call = CurveCall(dialogue, label_set, plot, as_json)
        draw_curve(call, lambda: open_model(model, precision, threads))
        return
    if plot is not None:
        raise InputError("--plot draws the curve of a --dialogue")
    loaded = open_model(model, precision, threads)
    table = TableOptions(column, output, into or "sentiment", encoding, resume, force)
    asked = {"label_set": label_set, "sentences": sentences, "explain": explain}

    def predict(batch: list[str]) -> list[Result]:
        results = loaded.sentiment_batch(batch, label_set=label_set, sentences=sentences)
        if not explain:
            return results
        pairs = zip(batch, results, strict=True)
        return [loaded.explain(text, result, "sentiment") for text, result in pairs]

    settings = asked | {"precision": precision}
    answer_or_label(texts, table, loaded, settings, predict, as_json)
