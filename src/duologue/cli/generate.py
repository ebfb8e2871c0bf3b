"""`duologue generate`."""

from __future__ import annotations

from typing import Annotated

import typer

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


def generate(  # noqa: PLR0913 - the options of a command are its parameters
    model: ModelOption,
    texts: TextsArgument = None,
    beam: BeamOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="T", help="Sample; 0 always says the most likely."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Sample among the K likeliest; 0: all.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="P", help="Sample among the likeliest that together reach P."),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Makes samples repeatable.")] = None,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer texts as they are, or stdin line by line.

    What a text-to-text model is to do is said in the text. Each text gives one line, in the order
    of the input; an empty line stays an empty line. What is not given here is decoded as the model
    was published.

    \b
    Examples:
      duologue generate --model google/flan-t5-small "Is the sky green? Answer yes or no."
      duologue generate --model google/flan-t5-small --temperature 0.8 --seed 1 < prompts.txt
    """
    from duologue.cli.lines import answer

    loaded = open_model(model, precision, threads)
    options = changed(
        loaded.options("generate"),
        beam_size=1 if temperature and beam is None else beam,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    answer(
        texts,
        lambda batch: loaded.generate_batch(batch, options),
        lambda result: result.text,
        as_json,
    )
