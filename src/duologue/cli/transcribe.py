"""`duologue transcribe`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.cli.options import ModelOption, PrecisionOption, ThreadsOption, open_model
from duologue.errors import InputError
from duologue.files import new_file
from duologue.types import Timestamps, TranscriptFormat

if TYPE_CHECKING:
    from duologue.apps.transcribe import OnWindow, Progress, Transcript


def transcribe(  # noqa: PLR0913 - the options of a command are its parameters
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Sound files: wav, flac, ogg, mp3.")
    ],
    model: ModelOption,
    language: Annotated[
        str | None,
        typer.Option(metavar="LANGUAGE", help="What is spoken; the model guesses if not given."),
    ] = None,
    translate: Annotated[
        bool, typer.Option("--translate", help="Write English, whatever is spoken.")
    ] = False,
    timestamps: Annotated[
        Timestamps, typer.Option(help="What has times: words take longer; none is text alone.")
    ] = "segment",
    format: Annotated[TranscriptFormat, typer.Option(help="What to write.")] = "txt",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Write there, not to stdout; in a folder each FILE has a file of its name.",
        ),
    ] = None,
    beam: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Beam size; 1 is fastest.")
    ] = 5,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
) -> None:
    """Write down what is said in sound files, with a Whisper model.

    txt has one line for each segment, which is written as soon as it is known; srt and vtt are
    subtitles; json has one line for each file, with all that is known, and what was left out.

    \b
    Examples:
      duologue transcribe --model openai/whisper-base talk.mp3
      duologue transcribe --model whisper-small --language de --format srt --output subs *.wav
      duologue transcribe --model whisper-small --translate --timestamps word --format json a.ogg
    """
    from duologue.apps.transcribe import TranscribeOptions
    from duologue.apps.transcribe.writers import write
    from duologue.media.audio import check_file

    targets = _targets(files, output, format)
    if format in ("srt", "vtt") and timestamps == "none":
        raise InputError(f"{format} is made of times: --timestamps none leaves it none")
    options = TranscribeOptions(
        language=language, translate=translate, timestamps=timestamps, beam_size=beam
    )
    for file in files:
        check_file(file)
    loaded = open_model(model, precision, threads)
    is_live = format == "txt" and output is None
    for file, target in zip(files, targets, strict=True):
        with _watched(file.name, is_live) as on_window:
            transcript = loaded.transcribe(file, options, on_window)
        if not is_live:
            _put(write(transcript, format, by_word=timestamps == "word"), target)
        _warn(file, transcript)


def _targets(
    files: Sequence[Path], output: Path | None, format: TranscriptFormat
) -> list[Path | None]:
    """Where the transcript of each file goes; None is stdout."""
    if output is None:
        if len(files) > 1 and format in ("srt", "vtt"):
            raise InputError(f"several files as {format} need --output FOLDER")
        return [None] * len(files)
    if len(files) == 1 and output.suffix == f".{format}" and not output.is_dir():
        return [output]
    targets = [output / f"{file.stem}.{format}" for file in files]
    for number, target in enumerate(targets):
        if target in targets[:number]:
            first = files[targets.index(target)]
            raise InputError(f"{first} and {files[number]} would both be written to {target}")
    return list(targets)


@contextmanager
def _watched(name: str, is_live: bool) -> Iterator[OnWindow]:
    """Prints segments as they come if is_live; shows a progress bar where nobody sees them."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    from duologue.apps.transcribe.writers import line

    is_seen = is_live and sys.stdout.isatty()
    console = Console(stderr=True)
    hidden = is_seen or not sys.stderr.isatty()
    with Bar(console=console, disable=hidden, redirect_stdout=False, transient=True) as bar:
        task = bar.add_task(line(name), total=None)

        def on_window(progress: Progress) -> None:
            bar.update(task, completed=progress.done_s, total=progress.duration_s)
            if is_live:
                for segment in progress.segments:
                    print(line(segment.text), flush=True)

        yield on_window


def _put(text: str, target: Path | None) -> None:
    """Write a text to stdout, or to a file that appears whole or not at all."""
    if target is None:
        sys.stdout.write(text)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with new_file(target, 0o666) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _warn(file: Path, transcript: Transcript) -> None:
    """Tell on stderr what may be missed in a transcript."""
    for gap in transcript.gaps:
        if gap.reason == "repetition":
            problem = f"{gap.start:.1f} to {gap.end:.1f} s are left out: the text ran in circles"
            print(f"duologue: warning: {file}: {problem}", file=sys.stderr)
    if not transcript.segments:
        reasons = ", ".join(sorted({gap.reason for gap in transcript.gaps})) or "too short"
        print(f"duologue: warning: {file}: no speech was found ({reasons})", file=sys.stderr)
