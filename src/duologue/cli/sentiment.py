"""`duologue sentiment`."""

from __future__ import annotations

from duologue.cli.options import (
    DEFAULT_MODEL,
    JsonOption,
    ModelOption,
    PrecisionOption,
    TextsArgument,
    ThreadsOption,
    open_model,
)


def sentiment(
    texts: TextsArgument = None,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the sentiment of texts, or of stdin line by line.

    Each text gives one line: the label, a tab, its probability. --json gives the probability of
    every label. An empty line stays an empty line.

    \b
    Examples:
      duologue sentiment "The room was clean and quiet."
      duologue sentiment --json < reviews.txt
    """
    from duologue.cli.lines import answer

    loaded = open_model(model, precision, threads)
    answer(
        texts,
        lambda batch: [loaded.sentiment(text) for text in batch],
        lambda result: f"{result.text}\t{result.confidence:.3f}",
        as_json,
    )
