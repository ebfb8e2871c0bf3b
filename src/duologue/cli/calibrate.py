"""`duologue calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    capped,
    show_license,
)
from duologue.errors import InputError

if TYPE_CHECKING:
    from duologue.apps.labels import Choice
    from duologue.evaluation.calibration import Floats
    from duologue.evaluation.cases import Case
    from duologue.runtime import Runtime


def calibrate(
    data: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="JSONL or TSV with labels; may be given several times."),
    ],
    label_set: Annotated[
        str,
        typer.Option(
            metavar="SET",
            help="sentiment, sentiment3, or a label set of the model; see `duologue info`.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Model folder to write."),
    ],
    model: ModelOption = DEFAULT_MODEL,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="Rows to fit to; never those of a test.")
    ] = "valid",
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
) -> None:
    """Make the probabilities of a label set mean what they say.

    Fits one temperature to rows whose labels are known (Guo et al. 2017), and writes the model
    with it; the weights and the likeliest labels stay what they are. What the rows of --data are
    about is what the probabilities will be right for. Training forgets it: calibrate last.
    FOLDER may be the model itself; it is then replaced, in one step.

    \b
    Examples:
      duologue calibrate --label-set sentiment --data reviews.jsonl --data shops.jsonl -o mine
      duologue calibrate --model mine --label-set banking77 --data banking77.jsonl.gz -o mine
    """
    from duologue.api import model_folder
    from duologue.checkpoint.store import load_model, open_model, read_card, save_model
    from duologue.config import replace
    from duologue.evaluation.calibration import calibration_error, fit_temperature, tempered
    from duologue.runtime import Runtime

    folder = model_folder(model)
    runtime = Runtime(load_model(folder, precision, is_lazy=True), capped(threads))
    show_license(model, runtime.config)
    choice, cases = _read(runtime, data, split, label_set)
    probabilities, expected = _judged(runtime, choice, cases)
    temperature = round(fit_temperature(probabilities, expected), 4)
    stored = open_model(folder).precision
    loaded = load_model(folder, stored)
    config = replace(
        loaded.config, calibration={**loaded.config.calibration, label_set: temperature}
    )
    save_model(output, config, loaded.weights, loaded.tokenizer, read_card(folder), stored)
    errors = []
    for found in (probabilities, tempered(probabilities, temperature)):
        is_right = (found.argmax(axis=1) == expected).tolist()
        errors.append(calibration_error(found.max(axis=1).tolist(), is_right))
    print(f"{label_set}: temperature {temperature}, fitted to {len(expected):,} rows")
    print(f"calibration error on them: {errors[0]:.3f} before, {errors[1]:.3f} now")


def _read(
    runtime: Runtime, paths: list[Path], split: str, name: str
) -> tuple[Choice, list[tuple[Case, int]]]:
    """What to choose from, uncalibrated, and cases with the index of the right label.

    Rows whose label is not in the set are left out, and told of on stderr.
    """
    import sys
    from dataclasses import replace

    from duologue.apps import sentiment
    from duologue.apps.labels import choices_of
    from duologue.evaluation.cases import Selection, read_cases
    from duologue.text.template import label_text

    kept: list[tuple[Case, int]] = []
    choice: Choice | None = None
    for path in paths:
        cases = read_cases(Selection(path, split))
        if cases.task not in ("sentiment", "intent"):
            raise InputError(f"{path}: its rows are for {cases.task!r}, which has no labels")
        if cases.task == "intent":
            found = choices_of(runtime, "intent", name)
        else:
            found = sentiment.choice(runtime, name=name)
        if choice is not None and choice.task != found.task:
            raise InputError("some files are for sentiment and some for intent; take one kind")
        choice = replace(found, temperature=1.0)
        places = {label_text(label): place for place, label in enumerate(choice.labels)}
        fitting = [(c, places[c.expected]) for c in cases.items if c.expected in places]
        if len(fitting) < len(cases.items):
            problem = f"{len(cases.items) - len(fitting)} rows have a label that is not in {name}"
            print(f"duologue: warning: {path}: {problem}", file=sys.stderr)
        kept += fitting
    if choice is None or not kept:
        raise InputError(f"no row has a label of {name}")
    return choice, kept


def _judged(
    runtime: Runtime, choice: Choice, cases: list[tuple[Case, int]]
) -> tuple[Floats, list[int]]:
    """Probabilities [num_rows, num_labels], and the right labels."""
    import numpy as np

    from duologue.apps.labels import BATCH_TEXTS, classify_batch
    from duologue.cli.options import progress_bar

    rows: list[list[float]] = []
    with progress_bar("judging", len(cases)) as progress:
        for start in range(0, len(cases), BATCH_TEXTS):
            texts = [case.segments[0].text for case, _ in cases[start : start + BATCH_TEXTS]]
            results = classify_batch(runtime, texts, choice, has_evidence=False)
            rows += [list(result.probabilities.values()) for result in results]
            progress(len(rows))
    return np.array(rows), [place for _, place in cases]
