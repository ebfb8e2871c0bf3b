"""`duologue train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from duologue.config import Recipe


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="What to train, on what.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            show_default=False,
            help="Change one setting of the recipe; may be given often.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Model to start from, one of ours or as published; the same as `init` there.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M", help="Stop after M minutes in all; replaces the recipe's max_steps."
        ),
    ] = None,
) -> None:
    """Train a model from a recipe.

    The run's folder (`output` in the recipe) gets checkpoints, metrics.jsonl, plots, and at the
    end a model folder. Ctrl-C ends the current update and keeps everything that --resume needs.
    Several GPUs or machines: torchrun -m duologue.cli train ...

    \b
    Examples:
      duologue train recipes/tiny.yaml
      duologue train recipes/tiny.yaml --set training.max_steps=500 --set output=runs/short
      duologue train recipes/tiny.yaml --resume
      duologue train mine.yaml --init ./opus-mt-en-de
    """
    import json
    import os

    # Threads that wait for others spin only briefly, then sleep: beside another busy process this
    # doubles the speed, alone it costs 3 %. Read when PyTorch is loaded (docs/how-to/train.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

    overrides = list(set_ or [])
    if max_minutes is not None:
        overrides.append(f"training.max_minutes={max_minutes}")
    if init is not None:
        overrides.append(f"init={json.dumps(init)}")
    loaded = _read(recipe, tuple(overrides))
    _require_extra(loaded)
    from duologue.training import trainer

    outcome = trainer.train(loaded, resume)
    if outcome.signal:
        raise typer.Exit(128 + outcome.signal)


def _read(path: Path, overrides: tuple[str, ...]) -> Recipe:
    """The recipe, with the folder of the model that it starts from."""
    from duologue.api import model_folder
    from duologue.config import load_recipe, replace

    recipe = load_recipe(path, overrides)
    return replace(recipe, init=str(model_folder(recipe.init))) if recipe.init else recipe


def _require_extra(recipe: Recipe) -> None:
    """Raise TrainingError if a package is missing: now, not after an hour."""
    from duologue.errors import TrainingError

    try:
        import matplotlib  # noqa: F401  (for the plots)
        import torch  # noqa: F401

        if recipe.training.lora is not None:
            import peft  # noqa: F401
    except ImportError as error:
        raise TrainingError(f"training needs {error.name}: pip install 'duologue[train]'") from None
