"""Which sentences and words of the documents made an answer what it is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from duologue.apps.support.answer import PASSAGES, read_together
from duologue.apps.support.passages import Passage
from duologue.explain.erasure import Context, ErasureOptions, influence
from duologue.runtime import check_text
from duologue.types import Result

if TYPE_CHECKING:
    from duologue.apps.support.base import KnowledgeBase


def explaining(
    base: KnowledgeBase, question: str, result: Result, options: ErasureOptions
) -> Generator[None, None, Result]:
    """The result of a question with `influence`; yields between pieces of its work.

    Segments count the nearest passages, which are read with their headings. Where a part is left
    out, its passage alone is encoded again. A declined result, and one of a model that has not
    learnt to answer, stay as they are: their citations say all.
    """
    if result.declined or not base.encoder.can_answer:
        return result
    read = base.encoder.question(check_text(question).strip())
    found = base.find(read, PASSAGES + 1)[:PASSAGES]
    passages = [Passage(hit.passage.heading, hit.passage.text) for hit in found]
    memory, num_read = read_together(base, read, passages)
    yield
    runtime = base.runtime
    sources = [*map(base.encoder.source, passages[:num_read]), read.source]
    alone = [True] * num_read + [False]
    prefix = runtime.template.prefix("answer")
    ids = runtime.answer_ids(result.text, prefix)
    context = Context(runtime.forward, memory, sources, alone)
    effects = yield from runtime.effects(context, prefix, ids, options, range(num_read))
    return replace(result, influence=influence(effects, sources))
