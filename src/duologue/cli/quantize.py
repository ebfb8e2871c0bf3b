"""`duologue quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duologue.types import Precision


def quantize(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Model folder, or OWNER/NAME, to read.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Model folder to write.")],
    precision: Annotated[Precision, typer.Option(help="How to store the weights.")] = "int8",
) -> None:
    """Write a model folder with its weights in another precision.

    bf16 takes half the space of f32. int8 takes a quarter, and is what is computed with by
    default anyway. int4 takes about a sixth for the decoder and the output; the encoder is in
    int8. Start from f32: what one rounding took, the next cannot give back.
    OUT may be a model folder already; it is then replaced, in one step.

    \b
    Examples:
      duologue quantize runs/mine/model mine-int8
      duologue quantize --precision int4 runs/mine/model mine-int4
    """
    from duologue.api import model_folder
    from duologue.checkpoint.store import load_model, model_info, read_card, save_model
    from duologue.cli.options import show_license

    folder = model_folder(source)
    loaded = load_model(folder, precision)
    show_license(source, loaded.config)
    card = read_card(folder)
    save_model(target, loaded.config, loaded.weights, loaded.tokenizer, card, precision)
    before, after = model_info(folder), model_info(target)
    print(f"{target}: {after.bytes:,} bytes, {after.precision} (before: {before.bytes:,})")
