"""Documents on the command line: where they go, how far they are, what is to be looked at.

files_of          the documents among the arguments
Files             documents and where each translation goes
opened_memory     a translation memory
translate_files   translates them, one after another
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duologue.cli.lines import printable
from duologue.errors import InputError
from duologue.files import new_file

if TYPE_CHECKING:
    from duologue.api import Model
    from duologue.apps.documents.translating import Progress, TranslatedDocument
    from duologue.apps.translate import Glossary
    from duologue.storage.translation_memory import TranslationMemory
    from duologue.types import Options

_SHOWN_CHARS = 60


def files_of(arguments: Sequence[str]) -> list[Path]:
    """The arguments as documents; none if they are texts.

    Raises InputError for documents among texts, and for the name of a document that is not there.
    """
    paths = [Path(argument) for argument in arguments]
    found = [path for path in paths if _looks_like_a_file(path)]
    if found and len(found) < len(paths):
        text = next(str(path) for path in paths if path not in found)
        raise InputError(f"{found[0]} is a document and {text!r} a text: translate them apart")
    for path in found:
        if not path.exists():
            raise InputError(f"{path}: there is no such file")
    return found


def _looks_like_a_file(path: Path) -> bool:
    # os.path says no, where pathlib raises: names that are too long, or hold a zero byte.
    if not path.suffix or " " in path.suffix:  # most texts: the formats need not be loaded
        return os.path.isfile(path)
    from duologue.apps.documents import format_of

    try:
        format_of(path)
    except InputError:
        return os.path.isfile(path)
    return os.path.exists(path) or " " not in str(path)


@dataclass(frozen=True)
class Files:
    """Documents and where their translations go; output, force and to are as on the command line.

    What exists as a folder, or has no ending, is a folder.

    Raises InputError for a format that is unknown, for targets that exist or are equal.
    """

    sources: list[Path]
    output: Path | None
    force: bool
    to: str | None

    def __post_init__(self) -> None:
        from duologue.apps.documents import format_of

        for source in self.sources:
            format_of(source)
        targets = self.targets
        for source, target in zip(self.sources, targets, strict=True):
            if target.is_dir():
                raise InputError(f"{target}: this is a folder")
            if target.exists() and not self.force:
                what = "the document itself" if _same(source, target) else "there already"
                raise InputError(f"{target}: this is {what}; --force overwrites it")
        if len({os.path.abspath(target) for target in targets}) < len(targets):
            raise InputError("two documents of the same name cannot go to the same folder")

    @property
    def targets(self) -> list[Path]:
        """Where each goes."""
        if self.output is None:
            language = self.to or "translated"
            return [path.with_name(f"{path.stem}.{language}{path.suffix}") for path in self.sources]
        is_folder = self.output.is_dir() or not self.output.suffix
        if is_folder or len(self.sources) > 1:
            return [self.output / path.name for path in self.sources]
        return [self.output]


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


@dataclass(frozen=True)
class DocumentsCall:
    """How documents are translated; memory is a translation memory, which must exist."""

    from_: str | None
    options: Options
    check: bool = True
    glossary: Glossary | None = None
    memory: Path | None = None
    as_json: bool = False


def translate_files(model: Model, files: Files, call: DocumentsCall) -> None:
    """Translate documents; each is written whole or not at all.

    One of several that cannot be translated is told on stderr, and the others go on; InputError at
    the end says how many there were.
    """
    problems: list[str] = []
    with opened_memory(call.memory) as opened:
        for source, target in zip(files.sources, files.targets, strict=True):
            try:
                _translate_file(model, source, target, files.to, call, opened)
            except InputError as error:
                if len(files.sources) == 1:
                    raise
                if str(error) not in problems:
                    print(f"duologue: warning: {printable(str(error))}", file=sys.stderr)
                problems.append(str(error))
    if problems:
        raise InputError(
            f"{len(problems)} of {len(files.sources)} documents could not be translated"
        )


def _translate_file(
    model: Model,
    source: Path,
    target: Path,
    to: str | None,
    call: DocumentsCall,
    memory: TranslationMemory | None,
) -> None:
    with _watched(source.name) as on_progress:
        document = model.translate_document(
            source,
            to,
            call.from_,
            on_progress=on_progress,
            options=call.options,
            check=call.check,
            glossary=call.glossary,
            memory=memory,
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with new_file(target, 0o666) as fresh:
        fresh.write_bytes(document.content)
    if call.as_json:
        report = {"file": str(source), "output": str(target), **document.to_dict()}
        print(json.dumps(report, ensure_ascii=False), flush=True)
    _summarize(source, target, document)


@contextmanager
def opened_memory(memory: Path | None) -> Iterator[TranslationMemory | None]:
    """A translation memory, which must exist; None for None."""
    from duologue.storage.translation_memory import TranslationMemory

    if memory is None:
        yield None
        return
    if not memory.exists():
        raise InputError(f"{memory}: there is no such translation memory; see duologue tm --help")
    with TranslationMemory(memory) as opened:
        yield opened


@contextmanager
def _watched(name: str) -> Iterator[Progress]:
    """A bar on stderr that shows how much of a document is done, if somebody looks."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summarize(source: Path, target: Path, document: TranslatedDocument) -> None:
    """Tell on stderr which segments somebody should look at."""
    for segment in document.flagged:
        text = segment.source if len(segment.source) <= _SHOWN_CHARS else (
            segment.source[: _SHOWN_CHARS - 1] + "…"
        )  # fmt: skip
        where = f"{source}, {segment.place}"
        problems = "; ".join(segment.problems)
        print(f"duologue: {where}: {printable(problems)}: {printable(text)}", file=sys.stderr)
    counts = document.to_dict()
    known = counts["num_from_memory"]
    print(
        f"duologue: {target}: {counts['num_segments']} segments, {counts['num_flagged']} to look at"
        + (f", {known} from the memory" if known else ""),
        file=sys.stderr,
    )
