"""How likely is it that the decoder says just this? Forced decoding, many at a time.

scoring     the prompt that asks so
scores_of   what its end answers
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from duologue.engine.rules import Constraints, Only
from duologue.engine.search import Finished, Prompt
from duologue.types import Options

_LEAST_LOGPROB = -30.0  # of an id that the engine never produces


def scoring(
    prefix_ids: Sequence[int],
    forced_ids: Sequence[int],
    ids: Sequence[int],
    record_attention: bool = False,
) -> Prompt:
    """Asks how likely it is that the decoder says `ids`, and then nothing more.

    prefix_ids, forced_ids  what it is told first; see Prompt and Constraints
    """
    options = Options(max_tokens=len(ids) + 1)
    constraints = Constraints(tuple(forced_ids), Only(tuple(ids)))
    return Prompt(tuple(prefix_ids), options, record_attention, constraints)


def scores_of(finished: Finished, num_ids: int) -> npt.NDArray[np.float64]:
    """[num_ids + 1] natural-log probabilities that were asked for; the last is the end's."""
    best = finished.best
    end = best.logprob - sum(best.token_logprobs)
    found = [*best.token_logprobs, end][: num_ids + 1]
    found += [_LEAST_LOGPROB] * (num_ids + 1 - len(found))
    return np.array([max(value, _LEAST_LOGPROB) for value in found])
