"""`duologue bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    show_license,
)

if TYPE_CHECKING:
    from duologue.benchmark import Decoding, Figures, Times


def bench(
    model: ModelOption = DEFAULT_MODEL,
    users: Annotated[
        int, typer.Option(min=1, max=1024, metavar="N", help="How many decode together.")
    ] = 16,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure how fast a model runs on this machine, in less than a minute.

    Shows the time of a token and tokens a second, for one user and for many who decode together;
    the time to read a source, and a turn after an earlier conversation; memory; and how much of the
    speed of this machine's memory a token reaches. Texts are random token ids, because the time
    does not depend on what is said. Figures are medians; leave the machine alone meanwhile.

    \b
    Examples:
      duologue bench
      duologue bench --users 32 --threads 1
      duologue bench --model runs/mine/model --precision f32 --json
    """
    import json
    from dataclasses import asdict

    from duologue.api import model_folder
    from duologue.benchmark import measure
    from duologue.checkpoint.store import load_model
    from duologue.engine.forward import Forward

    loaded = load_model(model_folder(model), precision)
    show_license(model, loaded.config)
    forward = Forward(loaded.config, loaded.weights, threads)
    with _progress() as progress:
        figures = measure(forward, loaded.weights, loaded.tokenizer.eos_id, users, progress)
    settings: dict[str, Any] = {
        "model": model,
        "cell": loaded.config.cell,
        "precision": precision,
        "threads": forward.threads,
        "isa": forward.isa,
        "input": "random token ids",
    }
    if as_json:
        print(json.dumps(settings | asdict(figures), ensure_ascii=False))
    else:
        print(_heading(settings), _table(figures), *_notes(figures), sep="\n\n")


def _heading(settings: dict[str, Any]) -> str:
    threads = settings["threads"]
    return (
        f"{settings['model']}: {settings['cell']}, {settings['precision']}, "
        f"{threads} {'thread' if threads == 1 else 'threads'}, {settings['isa']}; "
        f"{settings['input']}"
    )


def _table(figures: Figures) -> str:
    """Name, median, least and most, number of runs: a line each."""
    rows = [("", "median", "min", "max", "runs")]
    for decoding in dict.fromkeys((figures.one_user, figures.many_users)):
        rows += _decoding_rows(decoding)
    for encoding in figures.encoding:
        after = f" after {encoding.remembered_tokens}" if encoding.remembered_tokens else ""
        if encoding.remembered_tokens and not encoding.reused_tokens:
            after += ", all read again"
        rows.append(_row(f"read {encoding.new_tokens} tokens{after}: ms", encoding.times))
    reading = figures.reading
    plain = {
        "remembering: bytes a token": figures.bytes_per_token,
        "process at most: MB": figures.peak_process_bytes / 1e6,
        "weights of a step: MB": reading.bytes_per_step / 1e6,
        "they are read at: GB/s": reading.step_gb_per_s,
        "memory can be read at: GB/s": reading.memory_gb_per_s,
        "share of that: %": 100 * reading.share,
        "so many bytes, again and again: GB/s": reading.same_bytes_gb_per_s,
    }
    rows += [(name, _number(value), "", "", "") for name, value in plain.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _decoding_rows(decoding: Decoding) -> list[tuple[str, str, str, str, str]]:
    who = "1 user" if decoding.users == 1 else f"{decoding.users} users"
    count = decoding.produced_tokens
    return [
        _row(f"{who}: ms a token", decoding.reply, lambda ms: ms / count),
        _row(f"{who}: tokens/s", decoding.reply, lambda ms: 1e3 * count * decoding.users / ms),
    ]


def _row(
    name: str, times: Times, convert: Callable[[float], float] = lambda ms: ms
) -> tuple[str, str, str, str, str]:
    least, most = sorted((convert(times.min_ms), convert(times.max_ms)))
    middle = _number(convert(times.median_ms))
    return name, middle, _number(least), _number(most), str(times.runs)


def _number(value: float) -> str:
    """Three digits that count, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"


def _notes(figures: Figures) -> Iterator[str]:
    """What a reader might take for a mistake."""
    decoding, reading = figures.one_user, figures.reading
    source, produced = decoding.source_tokens, decoding.produced_tokens
    yield (
        f"Sources of {source} tokens, replies of {produced}, greedy. The speed of memory is the\n"
        "best of several passes over far more than the caches hold; the rest are medians."
    )
    if reading.same_bytes_gb_per_s > 1.2 * reading.memory_gb_per_s:
        yield (
            "The weights of a step fit into a cache, which is faster than memory:\n"
            "the share may be above 100 %."
        )


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is measured, on stderr, if someone looks at it."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, disable=not sys.stderr.isatty(), transient=True
    ) as bar:
        task = bar.add_task("loading")
        yield lambda what: bar.update(task, description=what)
