"""The gist of a text, asked for with the prompt that the model was published with."""

from __future__ import annotations

from collections.abc import Sequence

from duologue.apps.batch import answer_batch
from duologue.runtime import Runtime
from duologue.types import Options, Result

OPTIONS = Options(max_tokens=256, beam_size=4, no_repeat_ngram_size=3)


def summarize_batch(
    runtime: Runtime, texts: Sequence[str], options: Options | None = None
) -> list[Result]:
    """A summary of each text; see batch.answer_batch.

    options  None: as the model was published
    """
    return answer_batch(runtime, "summarize", texts, options or runtime.options(OPTIONS))
