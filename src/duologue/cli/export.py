"""`duologue export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="Model folder to read.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
) -> None:
    """Write a model of an imported family as others publish it, for the transformers library.

    FOLDER is what `duologue train --init` or `duologue quantize` has made of a published model.
    Names and layout of the weights become again those of its family, in float32, with its
    tokenizer. OUT may be there already if it was written by this command; it is then replaced.

    \b
    Example:
      duologue export runs/mine/model mine-published
    """
    from duologue.checkpoint.export import write_published
    from duologue.checkpoint.store import load_model, read_card
    from duologue.errors import CheckpointError
    from duologue.text.imported import ImportedTokenizer

    loaded = load_model(source, "f32")
    if not isinstance(loaded.tokenizer, ImportedTokenizer):
        raise CheckpointError(
            f"{source}: a model of family {loaded.config.family} has no other form; only those of "
            "imported families are exported"
        )
    write_published(target, loaded.config, loaded.weights, loaded.tokenizer, read_card(source))
    print(f"{target}: written as {loaded.config.family}")
