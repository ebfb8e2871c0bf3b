"""Samples to the features that Whisper's encoder reads.

Radford et al. 2022 (arXiv:2212.04356, section 2.2): the logarithm of the power in 80 (later 128)
mel bands, 100 times a second. The mel scale is Slaney's: linear up to 1 kHz, then logarithmic.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from duologue.errors import AudioError
from duologue.media.audio import SAMPLE_RATE_HZ, Floats

WINDOW_S = 30
WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE_HZ
HOP = 160
WINDOW_FRAMES = WINDOW_SAMPLES // HOP

_FFT = 400
_BLOCK_FRAMES = 256  # whose spectra stay in the processor's cache
_LEAST_POWER = 1e-10
_MOST_RANGE = 8.0  # in powers of ten
_LINEAR_HZ = 1000.0  # up to here a mel is _HZ_PER_MEL, from here on a factor
_HZ_PER_MEL = 200 / 3
_LOG_STEP = np.log(6.4) / 27


def log_mel(samples: Floats, mel_bins: int = 80) -> Floats:
    """Features [WINDOW_FRAMES, mel_bins] float32 of one window of mono samples.

    samples  [n] float32 in [-1, 1] at SAMPLE_RATE_HZ; zeros follow it up to WINDOW_SAMPLES

    The loudest and the quietest value differ by at most 2. Scaled as in Radford et al. 2022, so
    that published weights fit; rows are time, theirs are bands. Raises AudioError for more samples
    than a window has.
    """
    if len(samples) > WINDOW_SAMPLES:
        raise AudioError(f"a window has {WINDOW_SAMPLES} samples, not {len(samples)}")
    half = _FFT // 2
    padded = np.zeros(WINDOW_SAMPLES + _FFT, np.float32)
    padded[half : half + len(samples)] = samples
    padded[:half] = padded[2 * half : half : -1]
    padded[-half:] = padded[-half - 2 : -2 * half - 2 : -1]
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::HOP]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)).astype(np.float32)
    filters = mel_filters(mel_bins)
    result = np.full((WINDOW_FRAMES, mel_bins), np.log10(_LEAST_POWER), np.float32)
    num_frames = min(WINDOW_FRAMES, (len(samples) + half) // HOP + 1)  # the others are silent
    for start in range(0, num_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, num_frames)
        spectrum = np.fft.rfft(windows[start:stop] * hann, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        result[start:stop] = np.log10(np.maximum(power @ filters, _LEAST_POWER))
    np.maximum(result, result.max() - _MOST_RANGE, out=result)
    result += 4
    result /= 4
    return result


@cache
def mel_filters(mel_bins: int) -> Floats:
    """Weights [201, mel_bins] float32 of frequencies in bands: triangles of equal area in Hz."""
    nyquist = SAMPLE_RATE_HZ / 2
    frequencies = np.linspace(0, nyquist, _FFT // 2 + 1)[:, None]
    edges = _hz(np.linspace(0, _mel(nyquist), mel_bins + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    weights: Floats = (triangles * 2 / (high - low)).astype(np.float32)
    return weights


def _mel(hz: float) -> float:
    """The mel of a frequency above _LINEAR_HZ."""
    return float(_LINEAR_HZ / _HZ_PER_MEL + np.log(hz / _LINEAR_HZ) / _LOG_STEP)


def _hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    border = _LINEAR_HZ / _HZ_PER_MEL
    above = _LINEAR_HZ * np.exp(_LOG_STEP * (mel - border))
    return np.where(mel < border, _HZ_PER_MEL * mel, above)
