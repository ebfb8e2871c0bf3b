"""Is a text positive or negative?"""

from __future__ import annotations

from collections.abc import Sequence

from duologue.apps.labels import classify
from duologue.runtime import Runtime
from duologue.types import Result

LABELS = ("negative", "positive")


def sentiment(runtime: Runtime, text: str, labels: Sequence[str] | None = None) -> Result:
    """The likelier of LABELS, or of other labels: see labels.classify.

    For a third way out give labels=("negative", "neutral", "positive").
    """
    return classify(runtime, text, "sentiment", LABELS if labels is None else labels)
