"""`duologue ask`."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from duologue.cli.kb import BaseOption, base_folder, open_base
from duologue.cli.options import (
    DEFAULT_MODEL,
    ExplainOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    TextsArgument,
    ThreadsOption,
)
from duologue.types import Result


def ask(
    texts: TextsArgument = None,
    base: BaseOption = None,
    threshold: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="P", help="Answers less likely to be right are not given."
        ),
    ] = 0.5,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    explain: ExplainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer questions from the documents of `duologue kb`, or from stdin line by line.

    Each question gives one line: the answer, a tab, the document with its headings, a tab, the
    sentence that the answer comes from. Where the documents do not say, the line says so, and names
    the nearest passage. --json gives all citations and how likely the answer is right.

    \b
    Examples:
      duologue ask "How long is the guarantee?"
      duologue ask --json < questions.txt > answers.jsonl
      duologue ask --explain "How long is the guarantee?"
    """
    from duologue.cli.lines import answer, with_influence
    from duologue.storage.knowledge import KnowledgeStore

    with closing(KnowledgeStore(base_folder(base))) as store:
        opened = open_base(store, model, precision, threads)

        def reply(text: str) -> Result:
            result = opened.ask(text, threshold=threshold)
            return opened.explain(text, result) if explain else result

        answer(
            texts,
            lambda batch: [reply(text) for text in batch],
            lambda one: with_influence(_line(one), one) if explain else _line(one),
            as_json,
        )


def _line(result: Result) -> str:
    cited = result.citations[0]
    where = " › ".join(part for part in (cited.document, cited.heading) if part)
    fields = (result.text, where, cited.sentence)
    return "\t".join(" ".join(field.split()) for field in fields)
