"""`duologue translate`."""

from __future__ import annotations

from typing import Annotated

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    BeamOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    TextsArgument,
    ThreadsOption,
    changed,
    open_model,
)


def translate(
    texts: TextsArgument = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGE", help="Translate into; may be left out if there is but one."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LANGUAGE",
            help="The texts are in. Never guessed: some models must be told, others check it.",
        ),
    ] = None,
    beam: BeamOption = None,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Translate texts, or stdin line by line.

    Each text gives one line, in the order of the input; an empty line stays an empty line.
    `duologue info` shows the languages of a model.

    \b
    Examples:
      duologue translate --to zh "Where is the station?" "Thank you."
      duologue translate --to en --from zh < chinese.txt > english.txt
      duologue translate --to zh --beam 1 --json "Good morning."
      duologue translate --model Helsinki-NLP/opus-mt-en-fr "Good morning."
    """
    from duologue.cli.lines import answer

    loaded = open_model(model, precision, threads)
    options = changed(loaded.options("translate"), beam_size=beam)
    answer(
        texts,
        lambda batch: loaded.translate_batch(batch, to, from_, options),
        lambda result: result.text,
        as_json,
    )
