"""Audio files to mono samples at 16 kHz, read forward so that a long file is never held whole.

Audio         samples that are read window by window
open_audio    of a file that libsndfile can read: wav, flac, ogg, mp3 and more
from_samples  of an array
check_file    whether a file is worth opening
AudioLimits   what is refused before it costs anything

Files need the packages soundfile and soxr, which are imported when the first one is opened.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duologue.errors import AudioError

Floats = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
_BLOCK_VALUES = 1 << 18  # values of all channels that are read at once
_RATES_HZ = (1_000, 768_000)


@dataclass(frozen=True)
class AudioLimits:
    """What is read at most; max_bytes is the size of the file."""

    max_bytes: int = 8 * 2**30
    max_duration_s: float = 4 * 3600.0


LIMITS = AudioLimits()


class Audio:
    """Mono samples at SAMPLE_RATE_HZ, float32 in [-1, 1], that are read forward.

    blocks      the samples, in order, in arrays [n] of any length
    duration_s  how long it lasts
    """

    def __init__(self, blocks: Iterator[Floats], duration_s: float) -> None:
        self.duration_s = duration_s
        self._blocks = blocks
        self._first = 0  # the index of the first sample that is still held
        self._held = np.zeros(0, np.float32)

    def read(self, start: int, count: int) -> Floats:
        """Samples [n] from index start, n = count, or fewer at the end.

        start  not less than at the last call: earlier samples are gone
        Raises AudioError when the file turns out to be damaged, not finite, or too long.
        """
        assert start >= self._first, "audio is read forward"
        while self._first + len(self._held) < start + count:
            block = next(self._blocks, None)
            if block is None:
                break
            num_gone = min(start - self._first, len(self._held))
            self._held = np.concatenate((self._held[num_gone:], block))
            self._first += num_gone
        place = start - self._first
        return self._held[place : place + count]


def from_samples(samples: npt.ArrayLike, limits: AudioLimits = LIMITS) -> Audio:
    """An array [n] of mono samples at SAMPLE_RATE_HZ as Audio; values beyond [-1, 1] are clipped.

    Raises AudioError for an array that is empty, too long, of another rank, of other values than
    floats (integers have no one scale), or holds a value that is not finite.
    """
    array = np.asarray(samples)
    if array.ndim != 1 or array.dtype.kind != "f":
        raise AudioError(
            f"samples must be a one-dimensional array of floats at {SAMPLE_RATE_HZ} Hz, "
            f"not {array.dtype} of shape {list(array.shape)}"
        )
    duration_s = len(array) / SAMPLE_RATE_HZ
    _require_length("the samples", duration_s, limits)
    return Audio(iter([_finite("the samples", array.astype(np.float32))]), duration_s)


@contextmanager
def open_audio(
    path: str | os.PathLike[str], limits: AudioLimits = LIMITS
) -> Generator[Audio, None, None]:
    """The sound of a file while the context is open: channels averaged, resampled with soxr.

    Raises AudioError, which names the file: missing, empty, too large, too long, damaged, or
    no audio that libsndfile knows.
    """
    import soundfile
    import soxr

    path = Path(path)
    check_file(path, limits)
    try:
        file = soundfile.SoundFile(os.fspath(path))
    # TypeError: a name that ends in .raw, for which the library asks what is inside.
    except (soundfile.LibsndfileError, TypeError) as error:
        raise AudioError(f"{path}: no audio that can be read: {_reason(error)}") from None
    with file:
        least, most = _RATES_HZ
        if not least <= file.samplerate <= most:
            raise AudioError(f"{path}: a sample rate of {file.samplerate} Hz; {least} to {most}")
        duration_s = file.frames / file.samplerate
        _require_length(str(path), duration_s, limits)
        mono = _mono_blocks(path, file, soundfile.LibsndfileError)
        if file.samplerate != SAMPLE_RATE_HZ:
            resampler = soxr.ResampleStream(file.samplerate, SAMPLE_RATE_HZ, 1, dtype="float32")
            mono = _resampled(mono, resampler)
        yield Audio(_limited(path, mono, limits), duration_s)


def check_file(path: Path, limits: AudioLimits = LIMITS) -> None:
    """Raise AudioError for a file that need not be opened to see that it cannot be read."""
    if not path.is_file():
        raise AudioError(f"{path}: {'not' if path.exists() else 'no such'} file")
    num_bytes = path.stat().st_size
    if num_bytes == 0:
        raise AudioError(f"{path}: the file is empty")
    if num_bytes > limits.max_bytes:
        raise AudioError(f"{path}: {num_bytes:,} bytes; at most {limits.max_bytes:,} are read")


def _require_length(name: str, duration_s: float, limits: AudioLimits) -> None:
    if duration_s == 0:
        raise AudioError(f"{name}: no sound in it")
    if duration_s > limits.max_duration_s:
        raise AudioError(
            f"{name}: {duration_s:,.1f} s of sound; at most {limits.max_duration_s:,.1f} s are "
            "read: cut it in parts"
        )


def _mono_blocks(path: Path, file: Any, damage: type[Exception]) -> Iterator[Floats]:
    """Blocks [n] of a file at its own sample rate; the mean of its channels."""
    num_frames = max(1, _BLOCK_VALUES // file.channels)
    while True:
        try:
            block: Floats = file.read(num_frames, dtype="float32", always_2d=True)
        except damage as error:
            raise AudioError(f"{path}: the audio is damaged: {_reason(error)}") from None
        if not len(block):
            return
        yield _finite(str(path), block.mean(axis=1, dtype=np.float32))


def _finite(name: str, samples: Floats) -> Floats:
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: holds values that are no finite numbers")
    return samples.clip(-1, 1)


def _resampled(blocks: Iterator[Floats], resampler: Any) -> Iterator[Floats]:
    """What soxr makes of the blocks; near steep edges it may overshoot what it was given."""
    for block in blocks:
        yield resampler.resample_chunk(block).clip(-1, 1)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True).clip(-1, 1)


def _limited(path: Path, blocks: Iterator[Floats], limits: AudioLimits) -> Iterator[Floats]:
    """The blocks, as long as they are no more than the header of the file promised to be."""
    num_samples = 0
    for block in blocks:
        num_samples += len(block)
        _require_length(str(path), (num_samples - 1) / SAMPLE_RATE_HZ, limits)
        yield block


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".")
