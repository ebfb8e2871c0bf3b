"""`duologue evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    capped,
    show_license,
)
from duologue.errors import ConfigError

if TYPE_CHECKING:
    from duologue.evaluation.cases import Cases
    from duologue.evaluation.report import Report
    from duologue.runtime import Runtime
    from duologue.types import Options


def evaluate(  # noqa: PLR0913 - the options of a command are its parameters
    data: Annotated[Path, typer.Option(metavar="FILE", help="JSONL or TSV, plain or .gz.")],
    model: ModelOption = DEFAULT_MODEL,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="translate, reply, sentiment or intent; of the first row if not given.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="train, valid or test.")] = "test",
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="FROM-TO", help="Translate en-zh, say; rows stored as zh-en are swapped."
        ),
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only rows whose field 'part' says so.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="SET", help="Label set for intents; that of the data if not given."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use the first N rows only.")
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option(min=1, max=64, metavar="N", help="Beam size; that of the task if not given."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write report.json, report.md and predictions.jsonl there."
        ),
    ] = None,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Score a model on the rows of a data file.

    Translations and replies get BLEU, chrF and the perplexity of the reference; labels get
    accuracy and macro F1. Scores carry the signature that makes them comparable.

    \b
    Examples:
      duologue evaluate --data mt/tatoeba_enzh.jsonl.gz --direction zh-en
      duologue evaluate --data intent/clinc150.jsonl.gz --output reports/clinc150
      duologue evaluate --model runs/mine/model --data dialogue/woz2.jsonl.gz --limit 100
    """
    import json

    try:
        import sacrebleu  # noqa: F401  (the scores need it: found out now, not at the end)
    except ImportError as error:
        raise ConfigError(
            f"evaluating needs {error.name}: pip install 'duologue[evaluate]'"
        ) from None
    from duologue.api import model_folder
    from duologue.checkpoint.store import load_model, model_info
    from duologue.cli.predictor import ModelPredictor
    from duologue.evaluation import evaluate as evaluation
    from duologue.evaluation.cases import Selection, read_cases
    from duologue.evaluation.report import Report
    from duologue.runtime import Runtime

    selection = Selection(data, split, task, direction, part, limit)
    cases = read_cases(selection)
    folder = model_folder(model)
    runtime = Runtime(load_model(folder, precision, is_lazy=True), capped(threads))
    show_license(model, runtime.config)
    options = _options(runtime, cases, beam)
    predictor = ModelPredictor(runtime, cases, options, labels or cases.set)
    with _progress(len(cases.items)) as progress:
        done = evaluation.evaluate(predictor, cases, progress)
    settings: dict[str, Any] = {"precision": precision, "threads": runtime.forward.threads}
    if cases.task == "intent":
        settings["labels"] = labels or cases.set
    elif cases.task != "sentiment":
        settings |= asdict(options)
    report = Report(model_info(folder), selection, settings, cases, done)
    if output is not None:
        report.save(output)
    print(json.dumps(report.to_dict(), ensure_ascii=False) if as_json else _summary(report))


def _options(runtime: Runtime, cases: Cases, beam: int | None) -> Options:
    """What a person gets who does not say otherwise."""
    from duologue.apps.translate import OPTIONS
    from duologue.conversation import Conversation

    is_reply = cases.task != "translate"
    options = Conversation.REPLY_OPTIONS if is_reply else runtime.options(OPTIONS)
    return options if beam is None else replace(options, beam_size=beam)


def _summary(report: Report) -> str:
    from duologue.evaluation.report import format_score

    done = report.evaluation
    rows = {
        name: f"{format_score(name, score.value)}  {score.signature}".rstrip()
        for name, score in done.scores.items()
    }
    rows["cases"] = str(len(report.cases.items))
    rows |= {f"left out {why}": str(count) for why, count in report.cases.left_out.items()}
    rows |= {name: str(count) for name, count in done.warnings.items() if count}
    rows["speed"] = (
        f"{done.speed.predictions_per_s:.1f} predictions/s, {done.speed.tokens_per_s:.0f} tokens/s"
    )
    return "\n".join(f"{name:<20} {value}" for name, value in rows.items())


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if someone looks at it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("evaluating", total=total)
        yield lambda done: bar.update(task, completed=done)
