"""The tokens with which a Whisper model is told what to do, and says when something was said.

Vocabulary   their ids, and the decoder's prefix that they make up
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from duologue.errors import CheckpointError, InputError
from duologue.runtime import Runtime
from duologue.text.language_codes import resolve_language

STEPS_PER_S = 50  # timestamp tokens, and positions of the encoder
_NUM_TIMES = 1501  # 0 to 30 s
_ENGLISH = "en"


@dataclass(frozen=True)
class Vocabulary:
    """Ids of one model; Radford et al. 2022 (arXiv:2212.04356, section 2.3, figure 1).

    All ids below `end` are text; timestamps are those from first_time on.

    languages  code -> id; empty for a model that knows English alone
    """

    size: int
    start: int
    end: int
    transcribe: int
    translate: int
    previous: int
    no_speech: int
    no_times: int
    languages: dict[str, int]

    @classmethod
    def of(cls, runtime: Runtime) -> Vocabulary:
        """The ids of a loaded model. Raises InputError for one that does not listen."""
        generation = runtime.config.generation
        if runtime.config.front_end != "mel" or generation is None:
            raise InputError(
                "this model reads text, not speech: transcribing needs a Whisper model"
            )
        find = runtime.tokenizer.control_id
        try:
            no_speech = find("<|nospeech|>")
        except CheckpointError:  # its name in the models before large-v3
            no_speech = find("<|nocaptions|>")
        return cls(
            size=runtime.config.vocab_size,
            start=find("<|startoftranscript|>"),
            end=find("<|endoftext|>"),
            transcribe=find("<|transcribe|>"),
            translate=find("<|translate|>"),
            previous=find("<|startofprev|>"),
            no_speech=no_speech,
            no_times=find("<|notimestamps|>"),
            languages=generation.languages,
        )

    @property
    def first_time(self) -> int:
        """The id of 0 s."""
        return self.no_times + 1

    def language(self, code: str | None, translate: bool) -> str | None:
        """The model's spelling of what is spoken; None stays None, unless there is no choice.

        Raises InputError for what the model has not learnt.
        """
        if self.languages:
            return None if code is None else resolve_language(code, tuple(self.languages))
        if code not in (None, _ENGLISH):
            raise InputError(f"this model knows English alone, not {code!r}")
        if translate:
            raise InputError("this model knows English alone and cannot translate")
        return _ENGLISH

    def is_time(self, idx: int) -> bool:
        """Whether an id is a timestamp."""
        return idx >= self.first_time

    def seconds(self, idx: int) -> float:
        """The time of a timestamp, from the beginning of its window."""
        return (idx - self.first_time) / STEPS_PER_S

    def task(self, language: str, translate: bool) -> list[int]:
        """What follows what was said before: begin, in this language, with this task."""
        if not self.languages:
            return [self.start]
        return [
            self.start,
            self.languages[language],
            self.translate if translate else self.transcribe,
        ]

    @cached_property
    def never(self) -> npt.NDArray[np.bool_]:
        """[V] True for ids that are neither text, end nor time."""
        mask = np.zeros(self.size, bool)
        mask[self.end + 1 : self.first_time] = True
        mask[self.first_time + _NUM_TIMES :] = True
        return mask
