"""What does a person want, of the intents in a label set?"""

from __future__ import annotations

from duologue.apps.labels import classify, label_set
from duologue.runtime import Runtime
from duologue.types import Result


def intent(runtime: Runtime, text: str, name: str) -> Result:
    """The likeliest label of the label set `name` of the model: see labels.classify.

    Raises InputError, which lists the label sets there are, for an unknown one.
    """
    return classify(runtime, text, "intent", label_set(runtime, name))
