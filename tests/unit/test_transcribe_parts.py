"""The parts of a transcription that need no model: rules, segments, words, alignment, writers."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.apps.transcribe.alignment import align, alignment_matrix, median, split_words, warp
from duologue.apps.transcribe.rules import SpeechRule
from duologue.apps.transcribe.transcriber import level_range_db, loudness_db, split
from duologue.apps.transcribe.values import Gap, Segment, TranscribeOptions, Transcript, Word
from duologue.apps.transcribe.vocabulary import Vocabulary
from duologue.apps.transcribe.writers import write
from duologue.errors import InputError

# Ten ids of text, the end, nine that say what to do, and 0 s to 1.98 s.
KNOWN = Vocabulary(
    size=120,
    start=11,
    end=10,
    transcribe=14,
    translate=15,
    previous=16,
    no_speech=17,
    no_times=19,
    languages={"en": 12, "zh": 13},
)
SECOND = 16_000


def time(seconds: float) -> int:
    return KNOWN.first_time + round(seconds / 0.02)


# --- rules ---------------------------------------------------------------------------------------


def produced(seed: int, with_times: bool, most: int, time_bias: float) -> list[int]:
    """What random scores give under the rule; the end included if it came."""
    random = np.random.default_rng(seed)
    rule = SpeechRule(KNOWN, with_times)
    ids: list[int] = []
    while len(ids) < most and KNOWN.end not in ids:
        logits = 3 * random.standard_normal(KNOWN.size, dtype=np.float32)
        logits[KNOWN.first_time :] += np.float32(time_bias)
        allowed = rule.apply(logits, tuple(ids))
        assert allowed.max() > -np.inf, "nothing may follow"
        ids.append(int(allowed.argmax()))
    return ids


@given(seed=st.integers(0, 10**6), most=st.integers(1, 40), bias=st.floats(-12, 6))
def test_with_times_every_result_is_text_between_times_that_never_go_back(
    seed: int, most: int, bias: float
) -> None:
    ids = produced(seed, True, most, bias)
    if ids[-1] == KNOWN.end:
        ids.pop()
    assert KNOWN.is_time(ids[0])
    assert KNOWN.seconds(ids[0]) <= 1
    assert all(idx < KNOWN.end or KNOWN.is_time(idx) for idx in ids)
    times = [idx for idx in ids if KNOWN.is_time(idx)]
    assert times == sorted(times)
    opened = None  # the time at which a segment began that has no end yet
    for before, idx in pairwise((None, *ids)):
        if not KNOWN.is_time(idx):
            assert opened is not None, "text between two segments"
        elif opened is None:
            opened = idx
        else:
            assert before is not None
            assert not KNOWN.is_time(before), "a segment without text"
            assert idx > opened, "a segment that does not last"
            opened = None


@given(seed=st.integers(0, 10**6), most=st.integers(1, 20))
def test_without_times_every_result_is_text(seed: int, most: int) -> None:
    ids = produced(seed, False, most, 6.0)
    assert all(idx <= KNOWN.end for idx in ids)


def test_a_time_comes_where_all_times_together_are_likelier_than_any_other_token() -> None:
    rule = SpeechRule(KNOWN, with_times=True)
    ids = (time(0), 1)
    logits = np.full(KNOWN.size, -20, np.float32)
    logits[2] = 0
    logits[time(0.5) : time(0.5) + 8] = -2.0
    assert KNOWN.is_time(int(rule.apply(logits.copy(), ids).argmax()))  # 8 * exp(-2) > 1
    logits[time(0.5) : time(0.5) + 8] = -2.2
    assert rule.apply(logits.copy(), ids).argmax() == 2


# --- segments ------------------------------------------------------------------------------------


def parts(*ids: int, seconds: float = 30) -> tuple[list[tuple[float, float, int]], float]:
    pieces, num_done = split(ids, KNOWN, round(seconds * SECOND))
    return [(piece.start, piece.end, len(piece.ids)) for piece in pieces], num_done / SECOND


def test_two_times_side_by_side_are_a_border_and_the_next_window_begins_there() -> None:
    ids = (time(0), 1, 2, time(1.2), time(1.4), 3, time(1.6), time(1.6))
    assert parts(*ids) == ([(0, 1.2, 4), (1.4, 1.6, 3)], 1.6)
    assert parts(*ids, 4, 5) == ([(0, 1.2, 4), (1.4, 1.6, 3)], 1.6)  # 4 and 5 will come again


def test_an_end_says_that_nothing_follows_in_the_window() -> None:
    assert parts(time(0), 1, time(1.2)) == ([(0, 1.2, 3)], 30)
    assert parts(time(0), 1, time(1.2), time(1.4), 2, time(1.8)) == (
        [(0, 1.2, 3), (1.4, 1.8, 3)],
        30,
    )


def test_what_has_no_end_lasts_as_long_as_the_window() -> None:
    assert parts(time(0.2), 1, 2) == ([(0.2, 30, 3)], 30)
    assert parts(1, 2, seconds=4) == ([(0, 4, 2)], 4)


def test_times_lie_in_the_sound_and_every_window_gets_on() -> None:
    assert parts(time(0), 1, time(1.8), seconds=1.5) == ([(0, 1.5, 3)], 1.5)
    assert parts(time(0), 1, time(0.1), time(0.1), 2) == ([(0, 0.1, 3)], 1)
    assert parts(time(0), 1, time(0.1), time(0.1), 2, seconds=0.5) == ([(0, 0.1, 3)], 0.5)


def test_loudness_is_that_of_the_loudest_tenth_of_a_second() -> None:
    samples = np.zeros(SECOND, np.float32)
    assert loudness_db(samples) == -np.inf
    samples[3200:4800] = 0.1
    assert loudness_db(samples) == pytest.approx(-20)
    assert loudness_db(np.full(100, 1e-3, np.float32)) < -60


def test_the_range_of_levels_tells_syllables_from_a_hum() -> None:
    time_s = np.arange(3 * SECOND, dtype=np.float32) / SECOND
    noise = 0.1 * np.random.default_rng(3).standard_normal(3 * SECOND).astype(np.float32)
    tone = 0.1 * np.sin(2 * np.pi * 440 * time_s)
    assert level_range_db(noise) < 1
    assert level_range_db(tone) < 0.1
    assert level_range_db(noise + tone) < 1
    syllables = np.abs(np.sin(2 * np.pi * 1.5 * time_s))
    assert level_range_db(noise * syllables) > 6
    assert level_range_db(noise + 0.7 * noise[::-1] * syllables) > 1.5, "speech in as loud a noise"
    assert level_range_db(noise[:SECOND]) == np.inf, "too short to tell"
    assert level_range_db(np.zeros(3 * SECOND, np.float32)) == np.inf


# --- alignment -----------------------------------------------------------------------------------


def cheapest(cost: np.ndarray) -> float:
    """Over all paths from corner to corner, one by one."""
    if cost.shape == (1, 1):
        return float(cost[0, 0])
    rest = []
    for down, right in ((1, 0), (0, 1), (1, 1)):
        if down < cost.shape[0] and right < cost.shape[1]:
            rest.append(cheapest(cost[down:, right:]))
    return float(cost[0, 0]) + min(rest)


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
@pytest.mark.parametrize("columns", [1, 2, 4, 6])
def test_warping_finds_the_cheapest_path(rows: int, columns: int) -> None:
    cost = np.random.default_rng(rows * 10 + columns).standard_normal((rows, columns))
    path = list(zip(*(part.tolist() for part in warp(cost)), strict=True))
    assert path[0] == (0, 0)
    assert path[-1] == (rows - 1, columns - 1)
    steps = {(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(path)}
    assert steps <= {(0, 1), (1, 0), (1, 1)}
    assert sum(cost[cell] for cell in path) == pytest.approx(cheapest(cost))


def test_median_is_of_seven_neighbours_mirrored_at_the_ends() -> None:
    values = np.random.default_rng(1).standard_normal((2, 3, 11))
    padded = np.concatenate([values[..., 3:0:-1], values, values[..., -2:-5:-1]], axis=-1)
    wanted = [np.median(padded[..., place : place + 7], axis=-1) for place in range(11)]
    np.testing.assert_allclose(median(values), np.stack(wanted, axis=-1))
    assert median(values[..., :1]).tolist() == values[..., :1].tolist()


def test_tokens_begin_where_attention_steps_on() -> None:
    """Two tokens given, three produced, then the end; the heads see 12 positions each."""
    attention = np.full((5, 2, 60), 0.01, np.float32)
    for row, (begin, end) in enumerate([(0, 5), (0, 10), (10, 25), (25, 30), (30, 60)]):
        attention[row, :, begin:end] = 1
    assert align(attention, 2).tolist() == [0, 10, 25, 30]


def test_positions_at_which_all_tokens_look_alike_count_for_nothing() -> None:
    attention = np.random.default_rng(3).random((4, 3, 20), dtype=np.float32)
    attention *= 0.2 / attention.sum(axis=2, keepdims=True)
    attention[:, :, 5:12] = 0.1  # seven neighbours with most of the weight
    attention[:, :, 12:] /= attention[:, :, 12:].sum(axis=2, keepdims=True)
    attention[:, :, 12:] *= (0.3 - attention[:, :, :5].sum(axis=2))[..., None]
    matrix = alignment_matrix(attention)
    np.testing.assert_allclose(matrix[:, 8], 0, atol=0.05)
    assert np.abs(matrix[:, [0, 19]]).min() > 1e-3


# --- words ---------------------------------------------------------------------------------------


def words_of(pieces: list[str | bytes], language: str = "en") -> list[str]:
    raw = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
    words = split_words(range(len(raw)), raw.__getitem__, language)
    assert [idx for word in words for idx in word.tokens] == list(range(len(raw)))
    assert "".join(word.text for word in words) == b"".join(raw).decode(errors="replace")
    return [word.text for word in words]


def test_words_begin_with_a_blank_and_keep_their_punctuation() -> None:
    pieces: list[str | bytes] = [" I", " don", "'t", " know", ",", ' "', "Mr", ".", " X", '"', "!"]
    assert words_of(pieces) == [" I", " don't", " know,", ' "Mr.', ' X"!']
    assert words_of(["(", "a", ")", " b"]) == ["(a)", " b"]
    assert words_of([" (", "a", ")", " - ", "b"]) == [" (a)", " - b"]


def test_languages_without_blanks_are_split_at_whole_characters() -> None:
    raw = "你好，世界。".encode()
    pieces: list[str | bytes] = [raw[:3], raw[3:5], raw[5:6], raw[6:9], raw[9:15], raw[15:]]
    assert words_of(pieces, "zh") == ["你", "好，", "世界。"]
    assert words_of(pieces[:4], "en") == ["你好，"]
    assert words_of(["「", "你", "」", "“", "好", "”"], "ja") == ["「你」", "“好”"]


def test_half_a_character_at_the_end_is_not_lost() -> None:
    assert words_of([" a", b"\xe4\xbd"]) == [" a\ufffd"]
    assert words_of([b"\xff", b"\xff", " a"]) == ["\ufffd\ufffd", " a"]


@given(
    st.lists(st.text(max_size=4).map(str.encode) | st.binary(max_size=2), max_size=8),
    st.sampled_from(["en", "ja"]),
)
def test_all_words_joined_are_the_text(pieces: list[bytes], language: str) -> None:
    words = split_words(range(len(pieces)), pieces.__getitem__, language)
    assert [idx for word in words for idx in word.tokens] == list(range(len(pieces)))


# --- writers -------------------------------------------------------------------------------------

WORDS = (Word(0.0, 0.5, " Tom", 0.9), Word(0.5, 1.25, " & Jo.", 0.8))


def segment(start: float, end: float, text: str, words: tuple[Word, ...] = ()) -> Segment:
    return Segment(start, end, text, (1, 2), -0.25, 0.01, 1.5, 0.0, words)


SAID = Transcript(
    segments=(
        segment(0.0, 1.25, " Tom & Jo.", WORDS),
        segment(3661.9996, 3663.0, " a --> <b>\n\n c\x1b[2J"),
        segment(3663.0, 3664.0, "  "),
    ),
    language="en",
    language_probability=0.75,
    duration_s=3700.0,
    gaps=(Gap(1.25, 3661.0, "silence"),),
)


def test_txt_is_one_line_a_segment() -> None:
    assert write(SAID, "txt") == "Tom & Jo.\na --> <b> c [2J\n"
    assert write(SAID, "txt", by_word=True) == write(SAID, "txt")


def test_srt_is_numbered_with_commas() -> None:
    assert write(SAID, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,250\nTom & Jo.\n"
        "\n2\n01:01:02,000 --> 01:01:03,000\na -> <b> c [2J\n"
    )
    assert write(SAID, "srt", by_word=True) == (
        "1\n00:00:00,000 --> 00:00:00,500\nTom\n\n2\n00:00:00,500 --> 00:00:01,250\n& Jo.\n"
    )


def test_vtt_has_a_header_and_escapes() -> None:
    assert write(SAID, "vtt") == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:00:01.250\nTom &amp; Jo.\n"
        "\n01:01:02.000 --> 01:01:03.000\na --&gt; &lt;b&gt; c [2J\n"
    )


def test_json_is_all_that_is_known_on_one_line() -> None:
    text = write(SAID, "json")
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    assert found["text"] == SAID.text
    assert found["language"] == "en"
    assert found["gaps"] == [{"start": 1.25, "end": 3661.0, "reason": "silence", "text": ""}]
    assert found["segments"][0]["words"][1] == {
        "start": 0.5,
        "end": 1.25,
        "text": " & Jo.",
        "probability": 0.8,
    }


def test_nothing_said_is_an_empty_file_of_its_format() -> None:
    nothing = replace(SAID, segments=())
    assert [write(nothing, name) for name in ("txt", "srt", "vtt")] == ["", "", "WEBVTT\n"]
    assert nothing.text == ""


# --- options -------------------------------------------------------------------------------------


def test_options_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(InputError, match="timestamps"):
        TranscribeOptions(timestamps="letter")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="temperatures"):
        TranscribeOptions(temperatures=())
