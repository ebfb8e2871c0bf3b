"""`duologue quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.types import Precision

if TYPE_CHECKING:
    from duologue.cli.agreement import Agreement


def quantize(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Model folder, or OWNER/NAME, to read.")
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Model folder to write.")],
    precision: Annotated[Precision, typer.Option(help="How to store the weights.")] = "int8",
) -> None:
    """Write a model folder with its weights in another precision.

    A published model becomes one of ours, which is smaller and loads faster.
    bf16 takes half the space of f32. int8 takes a quarter, and is what is computed with by
    default anyway. int4 takes about a sixth for the decoder and the output; the encoder is in
    int8. Start from f32: what one rounding took, the next cannot give back.
    OUT may be a model folder already; it is then replaced, in one step. Before that, what was
    written is compared with the original, and refused if it computes something else.

    \b
    Examples:
      duologue quantize runs/mine/model mine-int8
      duologue quantize --precision int4 runs/mine/model mine-int4
    """
    from duologue.api import model_folder
    from duologue.checkpoint.store import load_model, open_model, read_card, save_model
    from duologue.cli.agreement import check_agreement
    from duologue.cli.options import show_license

    folder = model_folder(source)
    loaded = load_model(folder, precision)
    show_license(source, loaded.config)
    card = read_card(folder)
    found: list[Agreement] = []

    def check(written: Path) -> None:
        found.append(check_agreement(folder, written, precision))

    save_model(target, loaded.config, loaded.weights, loaded.tokenizer, card, precision, check)
    before, after = open_model(folder), open_model(target)
    print(f"{target}: {after.bytes:,} bytes, {after.precision} (before: {before.bytes:,})")
    print(_words(found[0]))


def _words(agreement: Agreement) -> str:
    if agreement.logit_error is None or agreement.same_choices is None:
        return f"weights within {agreement.weight_error:.1%}; too large to compare what it says"
    return (
        f"logits within {agreement.logit_error:.1%} of the original, "
        f"{agreement.same_choices:.0%} of first choices the same"
    )
