"""Text to text: what a model makes of a prompt that is given to it as it is."""

from __future__ import annotations

from collections.abc import Sequence

from duologue.apps.batch import answer_batch
from duologue.runtime import Runtime
from duologue.types import Options, Result

OPTIONS = Options(max_tokens=256)


def generate_batch(
    runtime: Runtime, texts: Sequence[str], options: Options | None = None
) -> list[Result]:
    """What the model makes of each prompt; see batch.answer_batch.

    options  None: as the model was published
    """
    return answer_batch(runtime, "generate", texts, options or runtime.options(OPTIONS))
