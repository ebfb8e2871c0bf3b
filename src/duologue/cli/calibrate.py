"""`duologue calibrate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
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
    from duologue.evaluation.calibration import Floats, Temperatures
    from duologue.evaluation.cases import Case
    from duologue.runtime import Runtime

ALL, UNKNOWN = "all", "unknown"  # in place of a language


@dataclass(frozen=True)
class Fit:
    """How well temperatures fit the rows of a language.

    language     its code, ALL, or UNKNOWN: it cannot be told
    temperature  that rows in it get; of ALL: the one that other languages get
    error_before, error_after  the calibration error; of ALL each row is at its own temperature
    """

    language: str
    rows: int
    temperature: float
    error_before: float
    error_after: float


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
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Make the probabilities of a label set mean what they say.

    Fits a temperature to rows whose labels are known (Guo et al. 2017), and another one to those of
    each language with at least 400 rows, and writes the model with them; the weights and the
    likeliest labels stay what they are. What the rows of --data are about is what the probabilities
    will be right for. Training forgets it: calibrate last. FOLDER may be the model itself; it is
    then replaced, in one step.

    \b
    Examples:
      duologue calibrate --label-set sentiment --data reviews.jsonl --data shops.jsonl -o mine
      duologue calibrate --model mine --label-set banking77 --data banking77.jsonl.gz -o mine
    """
    from duologue.api import model_folder
    from duologue.checkpoint.store import load_model
    from duologue.evaluation.calibration import fit_temperatures
    from duologue.runtime import Runtime

    folder = model_folder(model)
    runtime = Runtime(load_model(folder, precision, is_lazy=True), capped(threads))
    show_license(model, runtime.config)
    choice, cases = _read(runtime, data, split, label_set)
    texts, expected = [case.segments[0].text for case, _ in cases], [place for _, place in cases]
    probabilities = _judged(runtime, choice, texts)
    fitted = fit_temperatures(probabilities, expected, texts)
    store(folder, {label_set: fitted}, output)
    _show(label_set, list(_fits(fitted, probabilities, expected, texts)), as_json)


def store(folder: Path, fitted: Mapping[str, Temperatures], output: Path) -> None:
    """Write the model of a folder with temperatures of label sets; see save_model."""
    from duologue.checkpoint.store import load_model, open_model, read_card, save_model
    from duologue.evaluation.calibration import calibrated

    stored = open_model(folder).precision
    loaded = load_model(folder, stored)
    config = loaded.config
    for label_set, temperatures in fitted.items():
        config = calibrated(config, label_set, temperatures)
    save_model(output, config, loaded.weights, loaded.tokenizer, read_card(folder), stored)


def _fits(
    fitted: Temperatures, probabilities: Floats, expected: Sequence[int], texts: Sequence[str]
) -> Iterator[Fit]:
    """Of all rows, then of those of each language, most rows first."""
    import numpy as np

    from duologue.evaluation.calibration import label_error, language_of

    languages = [language_of(text) for text in texts]
    right, after = np.array(expected), fitted.applied(probabilities, texts)

    def fit(name: str, rows: Sequence[bool], temperature: float) -> Fit:
        chosen = np.array(rows)
        labels = right[chosen].tolist()
        errors = (label_error(found[chosen], labels) for found in (probabilities, after))
        return Fit(name, len(labels), temperature, *errors)

    yield fit(ALL, [True] * len(texts), fitted.common)
    for language, _ in Counter(languages).most_common():
        rows = [one == language for one in languages]
        yield fit(language or UNKNOWN, rows, fitted.of(language))


def _show(label_set: str, fits: Sequence[Fit], as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps({"label_set": label_set, "fits": [asdict(one) for one in fits]}))
        return
    print(f"{label_set}: calibration error of {fits[0].rows:,} rows")
    print(f"{'language':8} {'rows':>8} {'temperature':>12} {'before':>7} {'now':>7}")
    for one in fits:
        errors = f"{one.error_before:7.3f} {one.error_after:7.3f}"
        print(f"{one.language:8} {one.rows:8,} {one.temperature:12.4f} {errors}")


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
    from duologue.evaluation.calibration import Temperatures
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
        choice = replace(found, temperatures=Temperatures())
        places = {label_text(label): place for place, label in enumerate(choice.labels)}
        fitting = [(c, places[c.expected]) for c in cases.items if c.expected in places]
        if len(fitting) < len(cases.items):
            problem = f"{len(cases.items) - len(fitting)} rows have a label that is not in {name}"
            print(f"duologue: warning: {path}: {problem}", file=sys.stderr)
        kept += fitting
    if choice is None or not kept:
        raise InputError(f"no row has a label of {name}")
    return choice, kept


def _judged(runtime: Runtime, choice: Choice, texts: Sequence[str]) -> Floats:
    """Probabilities [num_texts, num_labels]."""
    import numpy as np

    from duologue.apps.labels import BATCH_TEXTS, classify_batch
    from duologue.cli.options import progress_bar

    rows: list[list[float]] = []
    with progress_bar("judging", len(texts)) as progress:
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = texts[start : start + BATCH_TEXTS]
            results = classify_batch(runtime, batch, choice, has_evidence=False)
            rows += [list(result.probabilities.values()) for result in results]
            progress(len(rows))
    return np.array(rows)
