"""A table is labelled row by row: safely interrupted, and resumed.

answer_or_label  a table, or texts line by line: what sentiment and intent have in common
TableCall        which table, where it goes
label_table      reads, labels, writes

What is done is in OUT.partial, which takes the place of OUT when all is done; OUT.partial.json says
with which settings it was begun. However a run ends, a later one with --resume goes on at the first
row that is missing: an incomplete row at the end is cut off, and those before are compared with the
rows of the input.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from duologue.cli.lines import answer, printable, with_influence
from duologue.cli.tables import SUFFIXES, Added, CsvTable, JsonlTable, Row, table_of
from duologue.errors import InputError
from duologue.types import Result

if TYPE_CHECKING:
    from duologue.api import Model

BATCH_ROWS = 64
_MAX_TOLD = 20  # bad rows that are named one by one
Predict = Callable[[list[str]], list[Result]]


@dataclass(frozen=True)
class TableOptions:
    """What the shared options of commands say of a table; output None: there is none."""

    column: str
    output: Path | None
    into: str
    encoding: str | None
    resume: bool
    force: bool


@dataclass(frozen=True)
class TableCall:
    """settings: all that decides on what is written beside a row, as plain values."""

    source: Path
    target: Path
    options: TableOptions
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        source, target = self.source, self.target
        if target.suffix.lower() != source.suffix.lower():
            raise InputError(f"{target}: must end in {source.suffix}, as {source} does")
        if target.exists() and target.samefile(source):
            raise InputError(f"{target}: is the input itself; name another file")
        if self.options.resume and self.options.force:
            raise InputError("--resume goes on, --force begins anew: choose one of them")

    @property
    def partial(self) -> Path:
        """Where the rows are until all are done."""
        return self.target.with_name(f"{self.target.name}.partial")

    @property
    def begun_with(self) -> dict[str, Any]:
        """What a run that resumes must have in common with the one before."""
        options = self.options
        names = {"column": options.column, "into": options.into, "encoding": options.encoding}
        return names | self.settings


def answer_or_label(
    texts: Sequence[str] | None,
    options: TableOptions,
    model: Model,
    settings: dict[str, Any],
    predict: Predict,
    as_json: bool,
) -> None:
    """Label a table if one is named, and else texts or lines, as commands with labels do.

    settings  what decides on the labels, besides the model
    """
    if is_table(texts) and texts:
        if options.output is None:
            raise InputError(f"{texts[0]}: is a file; say where its rows go, with -o")
        if as_json:
            raise InputError("--json is for lines; a .jsonl file has everything that is known")
        config = model.config
        known = {
            "model": model.fingerprint,
            "calibration": config.calibration,
            "calibration_by_language": config.calibration_by_language,
        }
        source = Path(texts[0])
        label_table(TableCall(source, options.output, options, known | settings), predict)
    elif options.output is not None or options.resume or options.force:
        raise InputError(f"-o, --resume and --force need one file, in {', '.join(SUFFIXES)}")
    else:
        answer(texts, predict, _line_of, as_json, _below)


def _line_of(result: Result) -> str:
    mixed = "\tmixed" if result.mixed else ""
    line = f"{result.text}\t{result.confidence:.3f}{mixed}"
    return with_influence(line, result) if result.influence else line


def _below(result: Result) -> list[str]:
    """Lines for the sentences, if they were asked for."""
    return [
        f"  {one.label}\t{one.span.score:.3f}\t{printable(one.span.text)}"
        for one in result.sentences
    ]


def is_table(texts: Sequence[str] | None) -> bool:
    """Whether the arguments of a command are one file with rows."""
    if not texts or len(texts) > 1 or "\n" in texts[0] or len(texts[0]) > 4096:
        return False
    path = Path(texts[0])
    return path.suffix.lower() in SUFFIXES and path.is_file()


def label_table(call: TableCall, predict: Predict) -> None:
    """Label all rows, or those that are missing; bad rows are told of on stderr.

    Raises InputError and DataError for files that cannot be used, and for rows that were written
    from another input or with other settings.
    """
    options = call.options
    table = table_of(call.source, options.column, options.into, options.encoding)
    if call.options.resume and call.target.exists() and not call.partial.exists():
        print(f"duologue: {call.target} is complete already", file=sys.stderr)
        return
    num_bad = num_rows = 0
    with _opened(call) as file, _bar(call.source) as progress:
        rows = table.rows()
        num_rows = _resume(call, table, rows, file)
        progress(num_rows, None)
        try:
            while batch := list(islice(rows, BATCH_ROWS)):
                added = _labelled(batch, predict)
                lines = (table.line(*pair) for pair in zip(batch, added, strict=True))
                file.write("".join(lines).encode())
                file.flush()
                for row in batch:
                    num_bad += bool(row.problem)
                    if row.problem and num_bad <= _MAX_TOLD:
                        _tell(f"{call.source}, line {row.line}: {row.problem}")
                num_rows += len(batch)
                progress(num_rows, batch[-1].line)
        except BaseException:
            _tell(f"{num_rows:,} rows are in {call.partial}; --resume goes on with the next")
            raise
        os.fsync(file.fileno())
        os.replace(call.partial, call.target)
    _settings_of(call).unlink(missing_ok=True)
    if num_bad:
        _tell(f"{num_bad:,} of these rows could not be read; {call.target} says why")
    print(f"{call.target}: {num_rows:,} rows", file=sys.stderr)


def _labelled(batch: Sequence[Row], predict: Predict) -> list[Added]:
    texts = [row.text for row in batch if not row.problem]
    results = iter(predict(texts) if texts else [])
    return [Added(problem=row.problem) if row.problem else _added(next(results)) for row in batch]


def _added(result: Result) -> Added:
    details: dict[str, Any] = {
        "label": result.text,
        "probability": result.confidence,
        "probabilities": result.probabilities,
    }
    if result.sentences:
        sentences = [asdict(one) for one in result.sentences]
        details |= {"mixed": result.mixed, "sentences": sentences}
    if result.influence:
        details["influence"] = [asdict(span) for span in result.influence]
    if spans := result.checks.source_truncated:
        details["unread_chars"] = sum(span.end - span.start for span in spans)
    return Added(result.text, result.confidence, details)


# --- what an earlier run left -----------------------------------------------------------------


@contextmanager
def _opened(call: TableCall) -> Iterator[BinaryIO]:
    """The partial file, new or to be resumed, which no other process writes."""
    partial, settings = call.partial, _settings_of(call)
    is_begun = partial.exists()
    if not call.options.force:
        if is_begun and not call.options.resume:
            raise InputError(
                f"{partial}: an earlier run was interrupted; --resume goes on, --force begins anew"
            )
        if call.target.exists():
            raise InputError(f"{call.target}: exists already; --force overwrites it")
    try:
        with partial.open("r+b" if is_begun else "xb+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{partial}: another run writes it just now") from None
            if call.options.force or not is_begun:
                file.truncate(0)
            if is_begun and not call.options.force:
                _check_settings(call)
            else:
                settings.write_text(json.dumps(call.begun_with), encoding="utf-8")
            yield file
    except OSError as error:
        raise InputError(f"{partial}: cannot be written: {error.strerror or error}") from None


def _resume(
    call: TableCall, table: CsvTable | JsonlTable, rows: Iterator[Row], file: BinaryIO
) -> int:
    """Read on in `rows` to the first that is missing; how many are there. The file stands at its
    end, which is that of the last complete row."""
    header = table.header.encode()
    if file.seek(0) or file.read(len(header)) != header:
        file.seek(0)
        file.truncate()
        file.write(header)
        file.flush()
        return 0
    num_rows, end = 0, len(header)
    for record, record_end in table.records(file):
        row = next(rows, None)
        if row is None or not table.is_of(record, row):
            raise InputError(
                f"{call.partial}: row {num_rows + 1} was not made from this input; "
                "--force begins anew"
            )
        num_rows, end = num_rows + 1, record_end
    file.seek(end)
    file.truncate()
    return num_rows


def _check_settings(call: TableCall) -> None:
    path = _settings_of(call)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    now = json.loads(json.dumps(call.begun_with))
    if before is None and not call.partial.stat().st_size:
        path.write_text(json.dumps(now), encoding="utf-8")
    elif not isinstance(before, dict) or before != now:
        changed = [name for name in now if not before or before.get(name) != now[name]]
        raise InputError(
            f"{call.partial}: was begun with another {' and '.join(changed) or 'program'}; "
            "--force begins anew"
        )


def _settings_of(call: TableCall) -> Path:
    return call.partial.with_name(f"{call.partial.name}.json")


# --- telling -----------------------------------------------------------------------------------


def _tell(problem: str) -> None:
    print(f"duologue: warning: {printable(problem)}", file=sys.stderr)


@contextmanager
def _bar(source: Path) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr, if someone looks at it, by lines of the input."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    total = 0
    is_shown = sys.stderr.isatty()
    if is_shown:
        with source.open("rb") as file:
            total = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("lines"))
    with Progress(*columns, console=Console(stderr=True), disable=not is_shown) as bar:
        task = bar.add_task("labelling", total=total)

        def progress(num_rows: int, line: int | None) -> None:
            done = num_rows if line is None else line
            bar.update(task, completed=done, description=f"labelling, {num_rows:,} rows")

        yield progress
