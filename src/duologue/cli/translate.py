"""`duologue translate`."""

from __future__ import annotations

from pathlib import Path
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


def translate(  # noqa: PLR0913 - the options of a command are its parameters
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
    glossary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Terms, one source,target a line, that are to come out so."
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="Look for what is missing or too much, and translate that again.",
        ),
    ] = True,
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
      duologue translate --to de --glossary terms.csv < english.txt
      duologue translate --model Helsinki-NLP/opus-mt-en-fr "Good morning."
    """
    from duologue.apps.translate import Glossary
    from duologue.cli.lines import answer

    terms = None if glossary is None else Glossary.read(glossary)
    loaded = open_model(model, precision, threads)
    options = changed(loaded.options("translate"), beam_size=beam)
    answer(
        texts,
        lambda batch: loaded.translate_batch(batch, to, from_, options, check, terms),
        lambda result: result.text,
        as_json,
    )
