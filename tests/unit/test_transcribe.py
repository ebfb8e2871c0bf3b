"""From window to window with a scripted model: what is decoded, told, tried again and left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_whisper import CONTROLS, FIRST_TIME, FakeWhisper, Says, Window, spell

from duologue.apps.transcribe import TranscribeOptions, Transcript, transcribe
from duologue.errors import EngineError, InputError

ENGLISH = TranscribeOptions(language="en")
EN, DE, START, TASK, TRANSLATE, PREVIOUS, NO_TIMES = (
    CONTROLS[f"<|{name}|>"]
    for name in (
        "en",
        "de",
        "startoftranscript",
        "transcribe",
        "translate",
        "startofprev",
        "notimestamps",
    )
)
BEGIN = [START, EN, TASK]


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(2).uniform(-0.1, 0.1, round(16_000 * seconds)).astype(np.float32)


def sound(seconds: float) -> np.ndarray:
    """Noise that rises and falls as syllables do."""
    samples = noise(seconds)
    return samples * np.abs(np.sin(np.arange(len(samples)) * 3e-4)).astype(np.float32)


def run(
    model: FakeWhisper, samples: np.ndarray, options: TranscribeOptions = ENGLISH
) -> Transcript:
    return transcribe(model, samples, options)  # type: ignore[arg-type]


def saying(*texts: str, **values: float) -> FakeWhisper:
    return FakeWhisper([Window([Says(text)], **values) for text in texts])


# --- windows -------------------------------------------------------------------------------------


def test_a_window_begins_where_the_last_whole_segment_ended() -> None:
    model = saying("<0> one<4><5> two<20><20> thr", "<0> three<7.5>")
    result = run(model, sound(40))
    assert [(s.start, s.end, s.text) for s in result.segments] == [
        (0, 4, " one"),
        (5, 20, " two"),
        (20, 27.5, " three"),
    ]
    assert result.text == "one two three"
    assert result.duration_s == 40
    assert result.gaps == ()
    assert list(result.segments[0].tokens) == spell("<0> one<4>")


def test_every_window_is_told_what_was_said_before() -> None:
    model = saying("<0> one<30><30>", "<0> two<30><30>", "<0> three<30>")
    run(model, sound(90))
    said = [spell("<0> one<30>"), spell("<0> two<30>")]
    assert [call.prefix for call in model.calls] == [
        BEGIN,
        [PREVIOUS, *said[0], *BEGIN],
        [PREVIOUS, *said[0], *said[1], *BEGIN],
    ]


def test_what_was_said_before_takes_half_of_the_positions_at_most() -> None:
    text = " the quick brown fox jumps"
    model = saying(f"<0>{text}<30><30>", "<0> e<30>")
    model = replace(model, target_positions=32)
    run(model, sound(60))
    first, second = model.calls
    assert second.prefix == [PREVIOUS, *spell(f"{text}<30>")[-15:], *BEGIN]
    assert first.options.max_tokens == 16
    assert second.options.max_tokens == 32 - 19


def test_guesswork_is_not_told_to_the_next_window() -> None:
    guess = Window([Says("<0> bad<30>", -2), Says("<0> guess<30><30>", -0.3, 0.6)])
    model = FakeWhisper([guess, *saying("<0> b<30><30>", "<0> c<30>").windows])
    result = run(model, sound(90))
    assert result.segments[0].temperature == 0.6
    assert model.calls[-2].prefix == BEGIN
    assert model.calls[-1].prefix == [PREVIOUS, *spell("<0> b<30>"), *BEGIN]


def test_windows_that_are_not_to_be_conditioned_are_told_nothing() -> None:
    model = saying("<0> a<30><30>", "<0> b<30>")
    run(model, sound(60), replace(ENGLISH, condition_on_previous=False))
    assert [call.prefix for call in model.calls] == [BEGIN, BEGIN]


def test_without_times_each_window_is_one_segment() -> None:
    model = saying(" one two", " three")
    result = run(model, sound(33), replace(ENGLISH, timestamps="none"))
    assert model.calls[0].prefix == [*BEGIN, NO_TIMES]
    assert [(s.start, s.end, s.text) for s in result.segments] == [
        (0, 30, " one two"),
        (30, 33, " three"),
    ]


def test_a_rest_too_short_for_a_word_is_not_decoded() -> None:
    assert len(run(saying("<0> one<1><1>"), sound(1.05)).segments) == 1


def test_progress_tells_the_seconds_that_are_done_and_the_new_segments() -> None:
    seen = []
    model = saying("<0> one<4><4>", "<0> two<26>")
    transcribe(
        model,  # type: ignore[arg-type]
        sound(34),
        ENGLISH,
        lambda p: seen.append((p.done_s, p.duration_s, [s.text for s in p.segments])),
    )
    assert seen == [(4, 34, [" one"]), (34, 34, [" two"])]


def test_files_are_read_as_samples_are(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(34), 16_000, subtype="FLOAT")
    models = [saying("<0> one<4><4>", "<0> two<26>") for _ in range(2)]
    found = transcribe(models[0], tmp_path / "a.wav", ENGLISH)  # type: ignore[arg-type]
    assert found == run(models[1], sound(34))
    for one, other in zip(models[0].frames, models[1].frames, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# --- trying again --------------------------------------------------------------------------------


def test_a_good_result_is_not_tried_again() -> None:
    model = saying("<0> one<4>")
    segment = run(model, sound(5)).segments[0]
    assert [call.options.temperature for call in model.calls] == [0]
    assert (model.calls[0].options.beam_size, model.calls[0].options.num_hypotheses) == (5, 1)
    assert (segment.temperature, segment.mean_logprob) == (0, pytest.approx(-0.2))
    assert segment.no_speech == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("bad", "temperatures"),
    [(Says("<0> one<4>", -1.1), [0, 0.2, 0.4]), (Says("<0>" + " so" * 40 + "<4>"), [0, 0.2, 0.4])],
    ids=["unlikely", "repetitive"],
)
def test_a_poor_result_is_tried_again_with_samples(bad: Says, temperatures: list[float]) -> None:
    model = FakeWhisper([Window([bad, Says("<0> two<4>", -0.5, 0.4)])])
    segment = run(model, sound(5)).segments[0]
    assert [call.options.temperature for call in model.calls] == temperatures
    sampled = model.calls[-1].options
    assert (sampled.beam_size, sampled.num_hypotheses, sampled.seed) == (1, 5, 0)
    assert (segment.text, segment.temperature) == (" two", 0.4)
    assert segment.mean_logprob == pytest.approx(-0.5)  # the likeliest sample, not the first


def test_the_last_result_is_taken_where_none_is_good() -> None:
    model = FakeWhisper([Window([Says("<0> one<4>", -1.1), Says("<0> two<4>", -1.2, 1.0)])])
    assert run(model, sound(5)).text == "two"
    assert len(model.calls) == len(ENGLISH.temperatures)


def test_a_request_that_was_ended_from_outside_is_an_error() -> None:
    model = saying("<0> one<4>")
    model.finish_reason = "abort"
    with pytest.raises(EngineError):
        run(model, sound(5))


# --- what is left out ----------------------------------------------------------------------------


def test_silence_is_not_decoded_and_noted_as_one_gap() -> None:
    samples = np.concatenate([np.zeros(16_000 * 60, np.float32), sound(30)])
    model = saying("<0> one<4>")
    result = run(model, samples)
    assert [(gap.start, gap.end, gap.reason) for gap in result.gaps] == [(0, 60, "silence")]
    assert [segment.start for segment in result.segments] == [60]
    assert len(model.frames) == 1


def test_all_silence_is_an_empty_transcript_that_says_why() -> None:
    result = run(saying(), 1e-5 * sound(45), TranscribeOptions())
    assert result.text == ""
    assert (result.language, result.language_probability) == ("", 0)
    assert [(gap.start, gap.end, gap.reason) for gap in result.gaps] == [(0, 45, "silence")]


def test_what_is_as_steady_as_a_fan_is_not_decoded() -> None:
    model = saying("you")
    result = run(model, noise(5))
    assert (result.text, [gap.reason for gap in result.gaps], model.calls) == ("", ["noise"], [])
    result = run(model, noise(5), replace(ENGLISH, steady_db=0.0))
    assert result.text == "you"


def test_noise_is_what_the_model_doubts_and_says_is_no_speech() -> None:
    def result(no_speech: float, mean_logprob: float, text: str = "<0> you<4>") -> Transcript:
        model = FakeWhisper([Window([Says(text, mean_logprob)], no_speech)])
        found = run(model, sound(5))
        assert len(model.calls) == 1 or no_speech < 0.6, "noise need not be tried again"
        return found

    assert [(gap.reason, gap.text) for gap in result(0.7, -1.1).gaps] == [("noise", " you")]
    assert result(0.7, -0.9).text == "you"
    assert result(0.5, -1.1).text == "you"
    assert [(gap.reason, gap.text) for gap in result(0.1, -0.2, "<0><4>").gaps] == [("noise", "")]


def test_a_text_that_runs_in_circles_at_every_temperature_is_left_out() -> None:
    loop = "<0>" + " so" * 40 + "<30><30>"
    model = saying("<0> one<30><30>", loop, "<0> two<30>")
    result = run(model, sound(90))
    assert result.text == "one two"
    assert [(gap.start, gap.end, gap.reason) for gap in result.gaps] == [(30, 60, "repetition")]
    assert result.gaps[0].text == " so" * 40
    assert model.calls[-1].prefix == BEGIN  # nothing of it is told on


# --- languages -----------------------------------------------------------------------------------


def test_the_language_is_that_of_the_first_sound() -> None:
    model = saying("<0> one<30><30>", "<0> two<30>", german=0.8)
    model.windows[1].german = 0.1
    result = run(model, sound(60), TranscribeOptions())
    assert (result.language, result.language_probability) == ("de", pytest.approx(0.8))
    assert [call.prefix[-3:] for call in model.calls] == [[START, DE, TASK]] * 2


def test_a_language_that_was_asked_for_is_not_guessed() -> None:
    model = saying("<0> one<4>", german=0.8)
    result = run(model, sound(5), TranscribeOptions(language="en", translate=True))
    assert (result.language, result.language_probability) == ("en", 1)
    assert model.calls[0].prefix == [START, EN, TRANSLATE]


def test_a_model_of_english_alone_is_told_no_language() -> None:
    for language in (None, "en"):
        model = replace(saying("<0> one<4>"), is_multilingual=False)
        result = run(model, sound(5), TranscribeOptions(language=language))
        assert model.calls[0].prefix == [START]
        assert (result.language, result.language_probability) == ("en", 1)


@pytest.mark.parametrize(
    ("is_multilingual", "options", "words"),
    [
        (True, TranscribeOptions(language="xx"), "'xx'.*en, de"),
        (False, TranscribeOptions(language="de"), "English alone.*'de'"),
        (False, TranscribeOptions(translate=True), "cannot translate"),
    ],
)
def test_what_the_model_has_not_learnt_is_refused(
    is_multilingual: bool, options: TranscribeOptions, words: str
) -> None:
    model = replace(saying("<0> one<4>"), is_multilingual=is_multilingual)
    with pytest.raises(InputError, match=words):
        run(model, sound(5), options)
    assert model.frames == []


def test_a_model_that_reads_text_is_refused() -> None:
    model = saying()
    model.config.front_end = "tokens"
    with pytest.raises(InputError, match="reads text"):
        run(model, sound(5))


# --- words ---------------------------------------------------------------------------------------


def test_words_have_times_and_probabilities_and_stay_in_their_segment() -> None:
    model = saying("<0> ab, c<10><20> aa.<25><25>", "<0> d<5>")
    result = run(model, sound(30), replace(ENGLISH, timestamps="word"))
    first, second, last = (segment.words for segment in result.segments)
    # Each letter takes half a second, the blank included, from the beginning of the window.
    assert [(w.text, w.start, w.end) for w in first] == [(" ab,", 0, 2), (" c", 2, 3)]
    assert [(w.text, w.start, w.end) for w in second] == [(" aa.", 3, 5)]
    assert [(w.text, w.start, w.end) for w in last] == [(" d", 25, 26)]
    other = 1 / 63  # of each letter but "a", which has the probability of 32 of them
    assert first[1].probability == pytest.approx(other)
    assert second[0].probability == pytest.approx((2 * 32 + 2) / 4 * other)
    assert result.words == first + second + last
    for one, other in pairwise(result.words):
        assert one.end <= other.start
    assert model.fed[:4] == [*BEGIN, NO_TIMES]
    assert all(idx < FIRST_TIME for idx in model.fed)


def test_words_take_the_heads_that_follow_speech() -> None:
    options = replace(ENGLISH, timestamps="word")
    asked = []

    class Watched(FakeWhisper):
        def start(self, memory, recorded_heads=()):
            asked.append(recorded_heads)
            return super().start(memory, recorded_heads)

    model = Watched([Window([Says("<0> a<4>")])])
    run(model, sound(5), options)
    model = Watched([Window([Says("<0> a<4>")])])
    model.config.generation = replace(model.config.generation, alignment_heads=((0, 0), (1, 0)))
    run(model, sound(5), options)
    assert [heads for heads in asked if heads] == [((1, 0),), ((0, 0), (1, 0))]
