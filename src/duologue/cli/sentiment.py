"""`duologue sentiment`."""

from __future__ import annotations

from duologue.cli.options import (
    DEFAULT_MODEL,
    ExplainOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    TextsArgument,
    ThreadsOption,
    open_model,
)
from duologue.types import Result


def sentiment(
    texts: TextsArgument = None,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    explain: ExplainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Judge the sentiment of texts, or of stdin line by line.

    Each text gives one line: the label, a tab, its probability. --json gives the probability of
    every label. An empty line stays an empty line.

    \b
    Examples:
      duologue sentiment "The room was clean and quiet."
      duologue sentiment --json < reviews.txt
      duologue sentiment --explain "The room was clean, but breakfast was awful."
    """
    from duologue.cli.lines import answer, with_influence

    loaded = open_model(model, precision, threads)

    def judge(text: str) -> Result:
        result = loaded.sentiment(text)
        return loaded.explain(text, result, "sentiment") if explain else result

    def line(result: Result) -> str:
        fields = f"{result.text}\t{result.confidence:.3f}"
        return with_influence(fields, result) if explain else fields

    answer(texts, lambda batch: [judge(text) for text in batch], line, as_json)
