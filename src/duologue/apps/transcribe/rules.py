"""Which token may come next, so that every result is text between times that never go back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duologue.apps.transcribe.vocabulary import STEPS_PER_S, Vocabulary
from duologue.engine.sampling import Floats

_LATEST_START_S = 1


@dataclass(frozen=True)
class SpeechRule:
    """A token rule of the engine for one window; Radford et al. 2022, section 4.5.

    With times, what is produced is a row of segments `<begin> text <end>`:

    - It begins with a time, of at most 1 s. Times come in pairs: the end of a segment and the
      beginning of the next, or the end of all; only text may follow a beginning.
    - A time is never before the last one, and a segment lasts.
    - Where all times together are likelier than every other token, it is a time.

    Without times there are none.
    """

    vocabulary: Vocabulary
    with_times: bool

    def apply(self, logits: Floats, ids: tuple[int, ...]) -> Floats:
        """The logits [V], changed: what may not follow `ids`, so far produced, is -inf."""
        known = self.vocabulary
        logits[known.never] = -np.inf
        if self.with_times:
            self._keep_pairs(logits, ids)
            self._prefer_times(logits)
        else:
            logits[known.first_time :] = -np.inf
        return logits

    def _keep_pairs(self, logits: Floats, ids: tuple[int, ...]) -> None:
        known = self.vocabulary
        first, end = known.first_time, known.end
        if not ids:
            logits[:first] = -np.inf
            logits[first + _LATEST_START_S * STEPS_PER_S + 1 :] = -np.inf
            return
        times = [idx for idx in ids if known.is_time(idx)]
        if not known.is_time(ids[-1]):
            earliest = times[-1] + 1 if times else first
        elif len(ids) == 1 or known.is_time(ids[-2]):  # a beginning
            earliest = len(logits)
        else:
            earliest = times[-1]
            logits[:end] = -np.inf
        logits[first:earliest] = -np.inf

    def _prefer_times(self, logits: Floats) -> None:
        first = self.vocabulary.first_time
        others, times = logits[:first], logits[first:]
        highest = times.max(initial=-np.inf)
        if highest == -np.inf:
            return
        mass = highest + np.log(np.exp(times - highest).sum())
        if mass > others.max():
            others[:] = -np.inf
