"""`duologue translate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duologue.cli.options import (
    DEFAULT_MODEL,
    BeamOption,
    ExplainOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    changed,
    open_model,
)
from duologue.errors import InputError
from duologue.types import Result


def translate(  # noqa: PLR0913 - the options of a command are its parameters
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT|FILE",
            show_default=False,
            help="Texts, each answered by one line, or documents; without any, lines are read "
            "from stdin.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGE", help="Translate into; may be left out if there is but one."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LANGUAGE",
            help="The texts are in; auto guesses. Published models must be told, others check it.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="Where documents go; beside theirs, with the language in the name, if not given.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
    memory: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tm",
            help="Look up what is to be translated in a translation memory; see duologue tm.",
        ),
    ] = None,
    glossary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv", help="Terms, one source,target a line, that are to come out so."
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="Look for what is missing or too much, and translate that again.",
        ),
    ] = True,
    alternatives: Annotated[
        int,
        typer.Option(
            min=0, max=63, metavar="N", help="So many other translations of a text, after tabs."
        ),
    ] = 0,
    explain: ExplainOption = False,
    beam: BeamOption = None,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Translate texts, stdin line by line, or documents.

    Each text gives one line, in the order of the input; an empty line stays an empty line. A
    document is a file that ends in txt, md, html, srt, vtt, docx, json, yaml, po or properties;
    only its prose is translated. What somebody should look at is told on stderr, and with --json
    in a report for each document. `duologue info` shows the languages of a model.

    \b
    Examples:
      duologue translate --to zh "Where is the station?" "Thank you."
      duologue translate --to en --from zh < chinese.txt > english.txt
      duologue translate --to de guide.md slides.docx
      duologue translate --to zh --from auto --memory work.tm -o chinese/ *.html
      duologue translate --to de --memory work.tm < english.txt
      duologue translate --to zh --beam 1 --json "Good morning."
      duologue translate --to de --glossary terms.csv < english.txt
      duologue translate --to de --explain "Two dogs run across a field."
      duologue translate --model Helsinki-NLP/opus-mt-en-fr "Good morning."
    """
    from duologue.apps.translate import Glossary
    from duologue.apps.translate.remembered import with_remembered
    from duologue.cli.documents import (
        DocumentsCall,
        Files,
        files_of,
        opened_memory,
        translate_files,
    )
    from duologue.cli.lines import answer, with_influence

    paths = files_of(texts or [])
    if not paths and (output is not None or force):
        raise InputError("--output and --force are for documents: name a file")
    if paths and explain:
        raise InputError("--explain is for texts, not for documents")
    if memory is not None and to is None:
        raise InputError("--memory needs --to: it holds translations into several languages")
    files = Files(paths, output, force, to) if paths else None
    terms = None if glossary is None else Glossary.read(glossary)
    loaded = open_model(model, precision, threads)
    options = loaded.options("translate")
    options = changed(options, beam_size=beam)
    if alternatives:
        beam_size = max(options.beam_size, alternatives + 1)
        options = changed(options, beam_size=beam_size, num_hypotheses=alternatives + 1)
    if files is not None:
        call = DocumentsCall(from_, options, check, terms, memory, as_json)
        translate_files(loaded, files, call)
        return

    def made(batch: list[str]) -> list[Result]:
        results = loaded.translate_batch(batch, to, from_, options, check, terms)
        if not explain:
            return results
        pairs = zip(batch, results, strict=True)
        return [loaded.explain(text, one, "translate", to, from_) for text, one in pairs]

    def line(result: Result) -> str:
        fields = "\t".join([result.text, *(other.text for other in result.alternatives)])
        return with_influence(fields, result) if explain else fields

    with opened_memory(memory) as known:
        answer(texts, lambda batch: with_remembered(known, batch, to, from_, made), line, as_json)
