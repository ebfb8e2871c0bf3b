"""How sentiment runs over a conversation, for each speaker.

CurvePoint       one turn on the curve of its speaker
sentiment_curve  turns to points; plotting does it a bounded piece at a time

Each turn is judged by itself. Its value is between -1 and 1: the mean of the places of the labels,
weighed with their probabilities, where the worst label is at -1, the best at 1, and the others lie
between at equal distances. The level is the speaker's values so far under exponential smoothing
(Brown 1959): level = smoothing * value + (1 - smoothing) * level before; the first is the value.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from duologue.apps.labels import classifying
from duologue.apps.sentiment import LABELS, choice
from duologue.errors import InputError
from duologue.explain.erasure import finished
from duologue.runtime import Runtime
from duologue.types import Turn

SMOOTHING = 0.5
SPEAKERS = ("user", "agent")  # turns of other roles say nothing of anyone's mood


@dataclass(frozen=True)
class CurvePoint:
    """One turn.

    turn     its number in the dialogue, from 0
    speaker  its role
    value    of this turn, -1..1
    level    of the speaker so far, -1..1
    """

    turn: int
    speaker: str
    label: str
    probabilities: dict[str, float]
    value: float
    level: float

    def to_dict(self) -> dict[str, Any]:
        """The point as plain JSON-ready values."""
        return asdict(self)


def sentiment_curve(
    runtime: Runtime,
    turns: Sequence[Turn],
    labels: Sequence[str] | None = None,
    smoothing: float = SMOOTHING,
) -> list[CurvePoint]:
    """The points of all turns of SPEAKERS that say something, in order.

    labels     from the worst to the best; None: LABELS
    smoothing  weight of the newest turn, above 0 and at most 1; 1 smooths nothing

    Raises InputError for a smoothing or turns of no use, and what labels.classify_batch raises.
    """
    return finished(plotting(runtime, turns, labels, smoothing))


def plotting(
    runtime: Runtime,
    turns: Sequence[Turn],
    labels: Sequence[str] | None = None,
    smoothing: float = SMOOTHING,
) -> Generator[None, None, list[CurvePoint]]:
    """What sentiment_curve gives; yields between pieces of its work."""
    if not all(isinstance(turn, Turn) for turn in turns):
        raise InputError("a list of Turn is needed")
    wanted = choice(runtime, LABELS if labels is None else labels)
    spoken = [
        (number, turn)
        for number, turn in enumerate(turns)
        if turn.role in SPEAKERS and turn.text.strip()
    ]
    texts = [turn.text for _, turn in spoken]
    results = yield from classifying(runtime, texts, wanted, has_evidence=False)
    judged = [
        (number, turn.role, result.probabilities)
        for (number, turn), result in zip(spoken, results, strict=True)
    ]
    return points_of(judged, smoothing)


def points_of(
    judged: Sequence[tuple[int, str, dict[str, float]]], smoothing: float = SMOOTHING
) -> list[CurvePoint]:
    """The points of turns that are judged already.

    judged  number, speaker, and the probabilities of the labels from the worst to the best
    """
    if not 0 < smoothing <= 1:
        raise InputError("smoothing must be above 0 and at most 1")
    levels: dict[str, float] = {}
    points = []
    for number, speaker, probabilities in judged:
        label = max(probabilities, key=probabilities.__getitem__)
        steps = len(probabilities) - 1
        places = (2 * place / steps - 1 for place in range(steps + 1))
        value = sum(p * place for p, place in zip(probabilities.values(), places, strict=True))
        before = levels.get(speaker, value)
        levels[speaker] = smoothing * value + (1 - smoothing) * before
        points.append(CurvePoint(number, speaker, label, probabilities, value, levels[speaker]))
    return points
