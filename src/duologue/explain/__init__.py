"""What a result leaned on, how sure it is, and what is wrong with it.

offsets.py      where tokens stand in a text; what of a text was not read
attention.py    source spans that the decoder looked at most
erasure.py      what the answer would be less likely without; units.py: what is left out
confidence.py   how sure a result is, and whether it repeats itself
"""

from duologue.explain.attention import MAX_EVIDENCE, evidence
from duologue.explain.confidence import Explanation, confidence, has_loop, token_confidences
from duologue.explain.offsets import Source, shifted, token_spans, unread_span

__all__ = [
    "MAX_EVIDENCE",
    "Explanation",
    "Source",
    "confidence",
    "evidence",
    "has_loop",
    "shifted",
    "token_confidences",
    "token_spans",
    "unread_span",
]
