"""`duologue summarize`."""

from __future__ import annotations

from duologue.cli.options import (
    BeamOption,
    JsonOption,
    MaxTokensOption,
    ModelOption,
    PrecisionOption,
    TextsArgument,
    ThreadsOption,
    changed,
    open_model,
)


def summarize(
    model: ModelOption,
    texts: TextsArgument = None,
    beam: BeamOption = None,
    max_tokens: MaxTokensOption = None,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Summarize texts, or stdin line by line.

    Each text gives one line, in the order of the input; an empty line stays an empty line. What of
    a text is beyond the model's length is not read, and stderr says so. What is not given here is
    decoded as the model was published.

    \b
    Examples:
      duologue summarize --model facebook/bart-large-cnn "$(cat article.txt)"
      duologue summarize --model google/pegasus-xsum --json < articles.txt
    """
    from duologue.cli.lines import answer

    loaded = open_model(model, precision, threads)
    options = changed(loaded.options("summarize"), beam_size=beam, max_tokens=max_tokens)
    answer(
        texts,
        lambda batch: loaded.summarize_batch(batch, options),
        lambda result: result.text,
        as_json,
    )
