"""From window to window: where the next one begins, what it is told, and what is left out.

transcribe   a file or samples to a Transcript

Radford et al. 2022 (arXiv:2212.04356, section 4.5): a window begins where the last whole segment of
the one before ended, and is told what was said before it, unless that was guesswork. We differ:
what is too quiet is not decoded at all, and a text that runs in circles at every temperature is
left out, with a word about it in Transcript.gaps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from duologue.apps.transcribe.values import (
    Gap,
    GapReason,
    Progress,
    Segment,
    TranscribeOptions,
    Transcript,
)
from duologue.apps.transcribe.vocabulary import Vocabulary
from duologue.apps.transcribe.window import Decoded, Heard, WindowDecoder
from duologue.media.audio import SAMPLE_RATE_HZ, Audio, Floats, from_samples, open_audio
from duologue.media.features import WINDOW_SAMPLES
from duologue.runtime import Runtime

OnWindow = Callable[[Progress], None]

_MOST_CONFIDENT_GUESS = 0.5  # the highest temperature whose text the next window is told
_LEAST_STEP_S = 1.0  # or a model that says little would read the same sound again and again
_SHORTEST_S = 0.1  # a shorter rest holds no word
_BLOCK = SAMPLE_RATE_HZ // 10
_STEADY_BLOCKS = 20


def transcribe(
    runtime: Runtime,
    source: str | os.PathLike[str] | npt.ArrayLike,
    options: TranscribeOptions | None = None,
    on_window: OnWindow | None = None,
) -> Transcript:
    """What is said in a file, or in mono samples [n] of floats at 16 kHz.

    on_window  is called after each window

    Raises InputError for a model that does not listen, and a language or task that it has not
    learnt; AudioError for what is no sound.
    """
    options = options or TranscribeOptions()
    decoder = WindowDecoder(runtime, options)
    if isinstance(source, str | os.PathLike):
        with open_audio(source, options.limits) as audio:
            return _Transcriber(decoder, options, audio).run(on_window)
    audio = from_samples(source, options.limits)
    return _Transcriber(decoder, options, audio).run(on_window)


class _Transcriber:
    """One transcription on its way."""

    def __init__(self, decoder: WindowDecoder, options: TranscribeOptions, audio: Audio) -> None:
        self._decoder = decoder
        self._options = options
        self._audio = audio
        self._language = decoder.language or ""
        self._language_probability = 1.0 if self._language else 0.0
        self._said: list[int] = []  # ids that the next window is told
        self._segments: list[Segment] = []
        self._gaps: list[Gap] = []

    def run(self, on_window: OnWindow | None) -> Transcript:
        start = 0
        while True:
            samples = self._audio.read(start, WINDOW_SAMPLES)
            if len(samples) < _SHORTEST_S * SAMPLE_RATE_HZ:
                break
            num_before = len(self._segments)
            start += self._window(samples, start / SAMPLE_RATE_HZ)
            if on_window is not None:
                duration_s = self._audio.duration_s
                done_s = min(start / SAMPLE_RATE_HZ, duration_s)
                on_window(Progress(done_s, duration_s, tuple(self._segments[num_before:])))
        return Transcript(
            tuple(self._segments),
            self._language,
            self._language_probability,
            self._audio.duration_s,
            tuple(self._gaps),
        )

    def _window(self, samples: Floats, start_s: float) -> int:
        """Transcribe one window; how many samples are done with."""
        if loudness_db(samples) < self._options.silence_db:
            return self._leave_out(samples, start_s, "silence")
        if level_range_db(samples) < self._options.steady_db:
            return self._leave_out(samples, start_s, "noise")
        heard = self._decoder.listen(samples)
        if not self._language:
            self._language = max(heard.languages, key=heard.languages.__getitem__)
            self._language_probability = heard.languages[self._language]
        decoded = self._decoder.decode(heard, self._language, self._said)
        if self._decoder.is_noise(heard, decoded) or not decoded.text.strip():
            return self._leave_out(samples, start_s, "noise", decoded.text)
        if self._decoder.is_loop(decoded):
            self._said = []
            return self._leave_out(samples, start_s, "repetition", decoded.text)
        pieces, num_done = split(decoded.ids, self._decoder.vocabulary, len(samples))
        segments = self._segments_of(heard, decoded, pieces)
        self._remember(decoded, segments)
        self._segments += [_later(segment, start_s) for segment in segments]
        return num_done

    def _segments_of(
        self, heard: Heard, decoded: Decoded, pieces: Sequence[Piece]
    ) -> list[Segment]:
        """Segments with times from the beginning of the window; those without text are dropped."""
        texts = [(piece, self._decoder.text(piece.ids)) for piece in pieces]
        segments = [
            Segment(
                start=piece.start,
                end=piece.end,
                text=text,
                tokens=piece.ids,
                mean_logprob=decoded.mean_logprob,
                no_speech=heard.no_speech,
                compression=decoded.compression,
                temperature=decoded.temperature,
            )
            for piece, text in texts
            if text.strip()
        ]
        if self._options.timestamps != "word":
            return segments
        words = self._decoder.words(heard, self._language, [item.tokens for item in segments])
        return [replace(item, words=own) for item, own in zip(segments, words, strict=True)]

    def _remember(self, decoded: Decoded, segments: list[Segment]) -> None:
        is_guess = decoded.temperature > _MOST_CONFIDENT_GUESS
        if is_guess or not self._options.condition_on_previous:
            self._said = []
        else:
            self._said += [idx for segment in segments for idx in segment.tokens]

    def _leave_out(self, samples: Floats, start_s: float, reason: GapReason, text: str = "") -> int:
        """Note the gap, as one with the last if it goes on, and be done with all samples."""
        gap = Gap(start_s, start_s + len(samples) / SAMPLE_RATE_HZ, reason, text)
        last = self._gaps[-1] if self._gaps else None
        if last is not None and (last.end, last.reason, last.text) == (start_s, reason, text):
            gap = replace(self._gaps.pop(), end=gap.end)
        self._gaps.append(gap)
        return len(samples)


def loudness_db(samples: Floats) -> float:
    """The level of the loudest 100 ms of samples [n], in dB below full scale; -inf for nothing."""
    power = _powers(samples).max()
    return float(10 * np.log10(power)) if power > 0 else -np.inf


def level_range_db(samples: Floats) -> float:
    """How far the levels of its 100 ms lie apart, the loudest and quietest tenths left out.

    Syllables rise and fall by many dB several times a second; the hum of a fan or a tone does not.
    inf for less than 2 s, or where a tenth is silent.
    """
    powers = _powers(samples)[: len(samples) // _BLOCK]
    if len(powers) < _STEADY_BLOCKS:
        return np.inf
    low, high = np.quantile(powers, (0.1, 0.9))
    return float(10 * np.log10(high / low)) if low > 0 else np.inf


def _powers(samples: Floats) -> npt.NDArray[np.float64]:
    """Mean square of each 100 ms; what is missing of the last counts as silence."""
    squares = np.square(samples, dtype=np.float64)
    sums: npt.NDArray[np.float64] = np.add.reduceat(squares, np.arange(0, len(samples), _BLOCK))
    return sums / _BLOCK


@dataclass(frozen=True)
class Piece:
    """The ids of one segment; times are seconds from the beginning of the window."""

    start: float
    end: float
    ids: tuple[int, ...]


def split(ids: Sequence[int], vocabulary: Vocabulary, num_samples: int) -> tuple[list[Piece], int]:
    """What was decoded of a window of num_samples, in segments, and how many samples are done with.

    Two times side by side are a border. What follows the last border has no end: the model did not
    get to it, and the next window begins there. With an end, or without any border, the whole
    window is done with.
    """
    ids = tuple(ids)
    length_s = num_samples / SAMPLE_RATE_HZ
    is_time = [vocabulary.is_time(idx) for idx in ids]
    borders = [place for place in range(1, len(ids)) if is_time[place - 1] and is_time[place]]
    is_ended = len(ids) >= 2 and is_time[-1] and not is_time[-2]
    if not borders:
        times = [vocabulary.seconds(idx) for idx in ids if vocabulary.is_time(idx)]
        start = times[0] if times and is_time[0] else 0.0
        end = times[-1] if is_ended and times[-1] > start else length_s
        return [Piece(min(start, length_s), min(end, length_s), ids)], num_samples
    if is_ended:
        borders.append(len(ids))
    pieces = []
    for begin, stop in zip([0, *borders], borders, strict=False):
        part = ids[begin:stop]
        start, end = (min(vocabulary.seconds(part[place]), length_s) for place in (0, -1))
        pieces.append(Piece(start, end, part))
    if is_ended:
        return pieces, num_samples
    step_s = max(vocabulary.seconds(ids[borders[-1] - 1]), _LEAST_STEP_S)
    return pieces, min(round(step_s * SAMPLE_RATE_HZ), num_samples)


def _later(segment: Segment, seconds: float) -> Segment:
    """A segment with its words, moved in time; to the millisecond."""

    def moved(time_s: float) -> float:
        return round(time_s + seconds, 3)

    words = tuple(
        replace(word, start=moved(word.start), end=moved(word.end)) for word in segment.words
    )
    return replace(segment, start=moved(segment.start), end=moved(segment.end), words=words)
