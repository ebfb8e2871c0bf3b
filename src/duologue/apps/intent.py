"""What does a person want, of the intents in a label set?"""

from __future__ import annotations

from collections.abc import Sequence

from duologue.apps.batch import check_texts
from duologue.apps.labels import choices_of, classify_batch
from duologue.runtime import Runtime
from duologue.types import Result


def intent_batch(runtime: Runtime, texts: Sequence[str], name: str) -> list[Result]:
    """The likeliest label of the label set `name` for each text: see labels.classify_batch.

    Raises InputError, which lists the label sets there are, for an unknown one.
    """
    choice = choices_of(runtime, "intent", name)
    check_texts(texts)
    return classify_batch(runtime, texts, choice)
