"""`duologue evaluate`."""

from __future__ import annotations

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
    progress_bar,
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
        typer.Option(metavar="SET", help="Label set; of intents that of the data if not given."),
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
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg", help="Of labels: draw how often they are right by confidence."
        ),
    ] = None,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Score a model on the rows of a data file.

    Translations and replies get BLEU, chrF and the perplexity of the reference; labels get
    accuracy, macro F1 and the expected calibration error of their probabilities. Scores carry
    the signature that makes them comparable.

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
    from duologue.cli.plots import reliability_svg, write_svg
    from duologue.cli.predictor import ModelPredictor
    from duologue.evaluation import evaluate as evaluation
    from duologue.evaluation.cases import LABEL_TASKS, Selection, read_cases
    from duologue.evaluation.report import Report
    from duologue.runtime import Runtime

    selection = Selection(data, split, task, direction, part, limit)
    cases = read_cases(selection)
    if plot is not None and cases.task not in LABEL_TASKS:
        raise ConfigError(f"--plot draws the confidence of labels; {cases.task} has none")
    folder = model_folder(model)
    runtime = Runtime(load_model(folder, precision, is_lazy=True), capped(threads))
    show_license(model, runtime.config)
    options = _options(runtime, cases, beam)
    predictor = ModelPredictor(runtime, cases, options, labels)
    with progress_bar("evaluating", len(cases.items)) as progress:
        done = evaluation.evaluate(predictor, cases, progress)
    settings: dict[str, Any] = {"precision": precision, "threads": runtime.forward.threads}
    if cases.task in LABEL_TASKS:
        settings |= predictor.settings
    else:
        settings |= asdict(options)
    report = Report(model_info(folder), selection, settings, cases, done)
    if output is not None:
        report.save(output)
    if plot is not None:
        write_svg(plot, reliability_svg(f"{cases.set}, {cases.task}", done.reliability))
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
