"""Audio files to samples, and samples to features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from duologue.errors import AudioError
from duologue.media.audio import SAMPLE_RATE_HZ, Audio, AudioLimits, from_samples, open_audio
from duologue.media.features import WINDOW_FRAMES, WINDOW_SAMPLES, log_mel

TIMES_S = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE_HZ
RANDOM = np.random.default_rng(5)
NOISE = RANDOM.standard_normal(WINDOW_SAMPLES)
SOUNDS = {
    "tone": 0.5 * np.sin(2 * np.pi * 440 * TIMES_S),
    "chirp": 0.8 * np.sin(2 * np.pi * (50 + 130 * TIMES_S) * TIMES_S),
    "loud to the end": np.sign(np.sin(2 * np.pi * 300 * TIMES_S)),
    "noise": 0.1 * NOISE,
    "quiet and short": 1e-3 * NOISE[:48_001],
    "syllables": 0.2 * NOISE[:300_000] * np.abs(np.sin(2 * np.pi * 3 * TIMES_S[:300_000])),
    "silence": np.zeros(100_000),
    "one sample": np.ones(1),
    "nothing": np.zeros(0),
}


def tone(seconds: float, rate: int = SAMPLE_RATE_HZ, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def read_all(path: Path, **limits: float) -> np.ndarray:
    with open_audio(path, AudioLimits(**limits)) as audio:
        return audio.read(0, 10**9)


# --- features ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mel_bins", [80, 128])
@pytest.mark.parametrize("name", SOUNDS)
def test_features_are_those_of_the_published_models(name: str, mel_bins: int) -> None:
    samples = SOUNDS[name].astype(np.float32)
    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    padded = np.pad(samples, (0, WINDOW_SAMPLES - len(samples)))
    wanted = extractor(padded, sampling_rate=SAMPLE_RATE_HZ)["input_features"][0].T
    found = log_mel(samples, mel_bins)
    assert found.dtype == np.float32
    assert found.shape == (WINDOW_FRAMES, mel_bins)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_more_than_a_window_is_refused() -> None:
    with pytest.raises(AudioError, match="480000"):
        log_mel(np.zeros(WINDOW_SAMPLES + 1, np.float32))


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.1), ("mp3", 0.1)]
)
def test_files_are_read_whatever_their_format(
    tmp_path: Path, suffix: str, tolerance: float
) -> None:
    wanted = tone(1.5)
    soundfile.write(tmp_path / f"tone.{suffix}", wanted, SAMPLE_RATE_HZ)
    found = read_all(tmp_path / f"tone.{suffix}")
    assert found.dtype == np.float32
    assert len(found) == pytest.approx(len(wanted), abs=1200)
    middle = slice(2000, 22_000)
    assert np.sqrt(np.mean((found[middle] - wanted[middle]) ** 2)) < tolerance


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_sample_rates_become_16_khz(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(20, rate), rate, subtype="FLOAT")
    found = read_all(tmp_path / "a.wav")
    wanted = tone(20)
    assert len(found) == len(wanted)
    np.testing.assert_allclose(found[4000:-4000], wanted[4000:-4000], atol=1e-3)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(0.5), tone(0.5, hz=660)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), SAMPLE_RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(read_all(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_samples_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 4 * tone(0.5), SAMPLE_RATE_HZ, subtype="FLOAT")
    assert np.abs(read_all(tmp_path / "a.wav")).max() == 1
    assert np.abs(from_samples(4 * tone(0.5)).read(0, 10**6)).max() == 1


@given(
    lengths=st.lists(st.integers(0, 9), max_size=8),
    reads=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 20)), max_size=8),
)
def test_reading_forward_gives_what_lies_there(
    lengths: list[int], reads: list[tuple[int, int]]
) -> None:
    samples = np.arange(sum(lengths), dtype=np.float32)
    audio = Audio(iter(np.split(samples, np.cumsum(lengths)[:-1])), 1.0)
    start = 0
    for step, count in reads:
        start += step
        assert audio.read(start, count).tolist() == samples[start : start + count].tolist()


def test_a_long_file_is_not_held_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile(tone(60), 10), SAMPLE_RATE_HZ)
    with open_audio(tmp_path / "a.wav") as audio:
        assert audio.duration_s == 600
        for start in range(0, 600 * SAMPLE_RATE_HZ, WINDOW_SAMPLES):
            assert len(audio.read(start, WINDOW_SAMPLES)) == WINDOW_SAMPLES
            assert len(audio._held) < 2 * WINDOW_SAMPLES
        assert len(audio.read(600 * SAMPLE_RATE_HZ, 100)) == 0


# --- what is refused -----------------------------------------------------------------------------


def refused(path: Path, *words: str, **limits: float) -> None:
    with pytest.raises(AudioError) as caught:
        read_all(path, **limits)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_what_is_no_audio_is_refused_with_its_name(tmp_path: Path) -> None:
    refused(tmp_path / "missing.wav", "no such file")
    refused(tmp_path, "not file")
    (tmp_path / "empty.wav").touch()
    refused(tmp_path / "empty.wav", "empty")
    for name in ("text.wav", "text.mp3", "text.raw"):
        (tmp_path / name).write_text("this is not a sound\n" * 50)
        refused(tmp_path / name, "no audio")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), SAMPLE_RATE_HZ)
    refused(tmp_path / "none.wav", "no sound")


def test_what_is_too_long_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(2.5), SAMPLE_RATE_HZ)
    refused(path, "2.5 s", "1.0 s", max_duration_s=1)
    refused(path, "bytes", max_bytes=1000)
    assert len(read_all(path, max_duration_s=2.5)) == 40_000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    samples = tone(1)
    samples[7000] = value
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE_HZ, subtype="DOUBLE")
    refused(tmp_path / "a.wav", "finite")
    with pytest.raises(AudioError, match="finite"):
        from_samples(samples)


@pytest.mark.parametrize("rate", [10, 2_000_000])
def test_sample_rates_that_nobody_records_at_are_refused(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), rate)
    refused(tmp_path / "a.wav", f"{rate} Hz")


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 9)), np.zeros(9, np.int16), [], ["a"], 0.5], ids=repr
)
def test_arrays_that_are_no_samples_are_refused(samples: Any) -> None:
    with pytest.raises(AudioError, match="samples"):
        from_samples(samples)


def test_a_file_that_breaks_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, RANDOM.uniform(-1, 1, 200_000), SAMPLE_RATE_HZ)
    path.write_bytes(path.read_bytes()[:150_000])
    refused(path, "damaged")
