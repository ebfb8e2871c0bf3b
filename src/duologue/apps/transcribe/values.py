"""What is asked of a transcription, and what comes back.

TranscribeOptions                    what goes in
Transcript, Segment, Word, Gap       what comes out; times are seconds from the beginning
Progress                             what there is after each window
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from duologue.errors import InputError
from duologue.media.audio import LIMITS, AudioLimits
from duologue.types import Timestamps

GapReason = Literal["silence", "noise", "repetition"]


@dataclass(frozen=True)
class TranscribeOptions:
    """How to transcribe. The defaults are those of Radford et al. 2022 (arXiv:2212.04356, 4.5).

    language              code of what is spoken; None: the model's guess from the first sound
    translate             write English, whatever is spoken
    timestamps            segment: the model says when each begins and ends; word: the same, and
                          when each word is spoken; none: one segment for each window of 30 s
    beam_size             at temperature 0; 1 is greedy
    num_samples           at higher temperatures: the likeliest of so many samples is taken
    temperatures          tried one after another until a result passes the next two thresholds
    max_compression       a text that zlib makes smaller by more than this factor repeats itself
    min_logprob           a mean log-probability of the tokens below this one is a bad guess
    max_no_speech         a window whose no-speech probability is higher, and whose result is below
                          min_logprob, is noise
    silence_db            a window whose loudest 100 ms are below this level is not decoded
    steady_db             nor is one of 2 s or more whose level stays within this range: a hum
    condition_on_previous what the last window said goes in front of the next one
    seed                  of the samples
    limits                of the audio
    """

    language: str | None = None
    translate: bool = False
    timestamps: Timestamps = "segment"
    beam_size: int = 5
    num_samples: int = 5
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    max_compression: float = 2.4
    min_logprob: float = -1.0
    max_no_speech: float = 0.6
    silence_db: float = -70.0
    steady_db: float = 1.5
    condition_on_previous: bool = True
    seed: int | None = 0
    limits: AudioLimits = LIMITS

    def __post_init__(self) -> None:
        if self.timestamps not in ("segment", "word", "none"):
            raise InputError(f"timestamps are segment, word or none, not {self.timestamps!r}")
        if not self.temperatures or min(self.temperatures) < 0:
            raise InputError("temperatures must name at least one, and none below 0")


@dataclass(frozen=True)
class Word:
    """One word with its punctuation; text begins with a blank where its language writes one.

    probability  mean of its tokens'
    """

    start: float
    end: float
    text: str
    probability: float


@dataclass(frozen=True)
class Segment:
    """What was said between two times: a sentence or a part of one.

    tokens             ids, those of its timestamps included
    mean_logprob       natural log, of the tokens of its window; the same in all of its segments, as
    no_speech          the probability that nobody speaks,
    compression        the length of the text over that of its zlib form, and
    temperature        what the window was decoded with
    words              empty unless they were asked for
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    mean_logprob: float
    no_speech: float
    compression: float
    temperature: float
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Gap:
    """A stretch of which nothing is in the transcript, and why.

    reason  silence: too quiet to hold speech; noise: too steady to be speech, or the model heard
            none; repetition: at every temperature the text ran in circles
    text    what was thrown away
    """

    start: float
    end: float
    reason: GapReason
    text: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a transcription has come: done_s of duration_s, and the segments that are new."""

    done_s: float
    duration_s: float
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Transcript:
    """All that was said.

    language              code; "" where all was silence and none was asked for
    language_probability  1 where the caller or the model leaves no choice
    duration_s            of the audio
    gaps                  what was left out, in order
    """

    segments: tuple[Segment, ...]
    language: str
    language_probability: float
    duration_s: float
    gaps: tuple[Gap, ...] = ()

    @property
    def text(self) -> str:
        """The text of all segments."""
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments; none unless they were asked for."""
        return tuple(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict[str, Any]:
        """The transcript as plain JSON-ready values."""
        return {"text": self.text, **asdict(self)}
