"""`duologue translate`."""

from __future__ import annotations

from dataclasses import replace
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


def translate(
    to: Annotated[str, typer.Option(metavar="LANGUAGE", help="Translate into: en, zh, de.")],
    texts: TextsArgument = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="LANGUAGE", help="The texts are in; checked, not guessed."),
    ] = None,
    beam: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Beam size; 1 is fastest.")
    ] = 4,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Translate texts, or stdin line by line.

    Each text gives one line, in the order of the input; an empty line stays an empty line.

    \b
    Examples:
      duologue translate --to zh "Where is the station?" "Thank you."
      duologue translate --to en --from zh < chinese.txt > english.txt
      duologue translate --to zh --beam 1 --json "Good morning."
    """
    from duologue.apps.translate import OPTIONS
    from duologue.cli.lines import answer

    options = replace(OPTIONS, beam_size=beam)
    loaded = open_model(model, precision, threads)
    answer(
        texts,
        lambda batch: loaded.translate_batch(batch, to, from_, options),
        lambda result: result.text,
        as_json,
    )
