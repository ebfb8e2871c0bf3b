"""Transcribing with a Whisper of random weights gives what transformers gives for one window.

Later windows are not compared: transformers fills what is missing of the last one with zeros of the
features, we with silence, as in training.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_whisper
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_whisper import CONTROLS, ID_OF, TIMES
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

import duologue
from duologue.api import Model
from duologue.apps.transcribe import Segment, TranscribeOptions
from duologue.apps.transcribe.rules import SpeechRule
from duologue.apps.transcribe.vocabulary import Vocabulary
from duologue.apps.transcribe.window import WindowDecoder
from duologue.media.features import WINDOW_SAMPLES, log_mel

FIRST_TIME = ID_OF[TIMES[0]]
# What is compared is what comes first; nothing is tried again.
ONCE = TranscribeOptions(
    language="en", temperatures=(0.0,), max_compression=1e9, min_logprob=-1e9, silence_db=-999
)
# Parts of transformers warn of each other when they generate.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Model]:
    folder: Path = tmp_path_factory.mktemp("whisper")
    theirs = tiny_whisper.publish(folder)
    return theirs, duologue.load(folder, precision="f32", threads=1)


def sound(seed: int) -> np.ndarray:
    noise = 0.1 * np.random.default_rng(seed).standard_normal(WINDOW_SAMPLES)
    syllables = np.abs(np.sin(np.arange(WINDOW_SAMPLES) * (seed + 1) / 3000))
    return (noise * syllables).astype(np.float32)


def generated(theirs: Any, samples: np.ndarray, with_times: bool, beam_size: int) -> list[int]:
    """What transformers generates, without what comes before and behind."""
    suppressed = list(theirs.generation_config.suppress_tokens)
    if not with_times:  # we never write times then; transformers trusts the model
        suppressed += range(FIRST_TIME, FIRST_TIME + len(TIMES))
    ids = theirs.generate(
        torch.tensor(log_mel(samples).T[None]),
        language="en",
        task="transcribe",
        return_timestamps=with_times,
        max_new_tokens=32,
        num_beams=beam_size,
        early_stopping=True,
        suppress_tokens=suppressed,
    )
    return ids[0].tolist()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("timestamps", ["none", "segment"])
def test_the_first_window_has_the_same_ids(
    pair: tuple[Any, Model], seed: int, beam_size: int, timestamps: Any
) -> None:
    theirs, ours = pair
    samples = sound(seed)
    options = duologue.config.replace(ONCE, beam_size=beam_size, timestamps=timestamps)
    windows: list[tuple[Segment, ...]] = []
    ours.transcribe(samples, options, lambda progress: windows.append(progress.segments))
    found = [idx for segment in windows[0] for idx in segment.tokens]
    wanted = generated(theirs, samples, timestamps != "none", beam_size)
    assert len(found) >= 15
    assert found == wanted[: len(found)]
    assert timestamps != "none" or len(found) == len(wanted)


def test_language_and_speech_have_the_same_probabilities(pair: tuple[Any, Model]) -> None:
    theirs, ours = pair
    samples = sound(3)
    heard = WindowDecoder(ours._runtime, ONCE).listen(samples)
    start = torch.tensor([[ID_OF["<|startoftranscript|>"]]])
    with torch.no_grad():
        logits = theirs(torch.tensor(log_mel(samples).T[None]), decoder_input_ids=start).logits[
            0, 0
        ]
    languages = [ID_OF[f"<|{code}|>"] for code in heard.languages]
    np.testing.assert_allclose(
        list(heard.languages.values()), torch.softmax(logits[languages], 0), atol=1e-5
    )
    assert heard.no_speech == pytest.approx(
        float(torch.softmax(logits, 0)[ID_OF["<|nospeech|>"]]), abs=1e-6
    )


def test_the_attention_that_words_are_timed_by_is_the_same(pair: tuple[Any, Model]) -> None:
    theirs, ours = pair
    samples = sound(4)
    heads = ((1, 0), (1, 1), (0, 1))
    fed = [*(ID_OF[f"<|{name}|>"] for name in ("startoftranscript", "en", "transcribe")), 5, 6, 7]
    forward = ours._runtime.forward
    state = forward.start(forward.encode_frames(log_mel(samples)), recorded_heads=heads)
    for idx in fed:
        forward.decode_step([state], [idx])
    with torch.no_grad():
        attention = theirs(
            torch.tensor(log_mel(samples).T[None]),
            decoder_input_ids=torch.tensor([fed]),
            output_attentions=True,
        ).cross_attentions
    wanted = np.stack([attention[layer][0, head].numpy() for layer, head in heads], axis=1)
    np.testing.assert_allclose(state.head_attention(), wanted, atol=1e-6)
    assert ours.config.generation is not None
    assert ours.config.generation.alignment_heads == heads


def test_words_of_the_model_lie_in_their_window_in_order(pair: tuple[Any, Model]) -> None:
    _, ours = pair
    options = duologue.config.replace(ONCE, timestamps="word")
    result = ours.transcribe(sound(1)[: 16_000 * 7], options)
    assert result.words
    assert "".join(word.text for word in result.words).strip() == result.text
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 7
    assert all(0 < word.probability < 1 for word in result.words)


@given(seed=st.integers(0, 10**6), bias=st.floats(-12, 6))
def test_the_rule_allows_what_that_of_transformers_allows(seed: int, bias: float) -> None:
    known = Vocabulary(
        size=len(ID_OF),
        start=ID_OF["<|startoftranscript|>"],
        end=ID_OF["<|endoftext|>"],
        transcribe=ID_OF["<|transcribe|>"],
        translate=ID_OF["<|translate|>"],
        previous=ID_OF["<|startofprev|>"],
        no_speech=ID_OF["<|nospeech|>"],
        no_times=ID_OF["<|notimestamps|>"],
        languages={},
    )
    settings = SimpleNamespace(
        no_timestamps_token_id=known.no_times,
        eos_token_id=known.end,
        bos_token_id=known.end,
        max_initial_timestamp_index=50,
    )
    theirs = WhisperTimeStampLogitsProcessor(settings, begin_index=1)
    ours = SpeechRule(known, with_times=True)
    random = np.random.default_rng(seed)
    ids: list[int] = []
    for _ in range(12):
        logits = 3 * random.standard_normal(known.size, dtype=np.float32)
        logits[FIRST_TIME:] += np.float32(bias)
        logits[[ID_OF[token] for token in CONTROLS[1:]]] = -np.inf  # suppressed, wherever published
        wanted = theirs(torch.tensor([[known.start, *ids]]), torch.tensor(logits[None]))[0].numpy()
        found = ours.apply(logits.copy(), tuple(ids))
        np.testing.assert_array_equal(found, wanted)
        ids.append(int(found.argmax()))
        if ids[-1] == known.end:
            break
