from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from duologue.api import Model, load
from duologue.apps.curve import points_of
from duologue.apps.sentiment import is_mixed
from duologue.config import ModelConfig, from_dict
from duologue.engine.sampling import log_softmax
from duologue.errors import ConfigError, InputError
from duologue.text.template import prefix_ids
from duologue.types import SentenceLabel, Span, Turn

TEXT = "this film was great"
BY_TEMPERATURE = {"this film was good for me": 0.5, "我不喜欢": 3.0, "Great food!": 8.0}


@pytest.fixture(scope="module", params=["transformer", "gru"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(request.param), threads=1)


@pytest.fixture
def calibrated_folder(tmp_path: Path, tiny_model_folder: Callable[..., Path]) -> Path:
    """A model with the temperatures of BY_TEMPERATURE; the last is of no language."""
    folder = tmp_path / "calibrated"
    shutil.copytree(tiny_model_folder(), folder)
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = {"sentiment": 8.0}
    config["calibration_by_language"] = {"sentiment": {"en": 0.5, "zh": 3.0}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_sentiment_is_the_likelier_of_two_labels(model: Model) -> None:
    result = model.sentiment(TEXT)
    assert set(result.probabilities) == {"negative", "positive"}
    assert sum(result.probabilities.values()) == pytest.approx(1)
    assert result.confidence == max(result.probabilities.values())
    assert result.probabilities[result.text] == result.confidence
    assert result.finish_reason == "stop"
    assert result.usage.encoded_tokens == len(model.encode(TEXT).segments[0].ids)


def test_sentiment_takes_other_labels(model: Model) -> None:
    labels = ("negative", "neutral", "positive")
    result = model.sentiment(TEXT, labels=labels)
    assert tuple(result.probabilities) == labels
    assert sum(result.probabilities.values()) == pytest.approx(1)


def test_intent_scores_every_label_of_the_set_as_the_decoder_does(model: Model) -> None:
    """Slow twin: token by token, softmax over what the labels allow at that place."""
    result = model.intent(TEXT, "bank")
    runtime, tokenizer = model._runtime, model.tokenizer
    labels = ("card_arrival", "card_lost", "balance")
    closed = [(*tokenizer.encode(x.replace("_", " ")), tokenizer.eos_id) for x in labels]
    for label, ids in zip(labels, closed, strict=True):
        logprob = 0.0
        state = runtime.forward.start(model.encode(TEXT))
        for position, idx in enumerate(ids):
            fed = ids[position - 1] if position else prefix_ids(tokenizer, "intent")[0]
            logits = runtime.forward.decode_step([state], [fed])[0]
            allowed = sorted({o[position] for o in closed if o[:position] == ids[:position]})
            logprob += log_softmax(logits[allowed])[allowed.index(idx)]
        assert result.probabilities[label] == pytest.approx(np.exp(logprob), abs=1e-5)


def test_evidence_is_given_as_offsets_into_the_text_as_it_came(model: Model) -> None:
    for text in (TEXT, f" \n {TEXT}  ", "  我想订一张两个人的桌子。"):
        result = model.sentiment(text)
        assert result.text == model.sentiment(text.strip()).text
        for span in result.evidence:
            assert text[span.start : span.end] == span.text
            assert 0 < span.score <= 1


def test_the_unread_rest_of_a_long_text_is_reported(model: Model) -> None:
    text = "  " + "the food was cold " * 30
    for result in (model.sentiment(text), model.intent(text, "bank")):
        (span,) = result.checks.source_truncated
        assert span.text == text[span.start : span.end]
        assert span.end == len(text.rstrip())
    assert model.sentiment(TEXT).checks.source_truncated == ()


def test_unknown_label_sets_are_refused_with_the_known_ones(model: Model) -> None:
    with pytest.raises(InputError, match="unknown label set 'shop'; this model knows bank, senti"):
        model.intent(TEXT, "shop")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "2 to 1000 labels, not 0"),
        (["one"], "2 to 1000 labels, not 1"),
        (["good"] * 1001, "not 1001"),
        (["good", ""], "a label is empty"),
        (["good", "_"], "a label is empty"),
        (["good", "bad", "good"], "'good' and 'good' are the same"),
        (["very good", "very_good"], "'very good' and 'very_good' are the same"),
        ("good", "a list of texts"),
        (["good", 7], "a list of texts"),
    ],
)
def test_labels_of_no_use_are_refused(model: Model, labels: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.sentiment(TEXT, labels=labels)


@pytest.mark.parametrize("text", ["", "  ", None])
def test_texts_of_no_use_are_refused(model: Model, text: str) -> None:
    with pytest.raises(InputError):
        model.sentiment(text)
    with pytest.raises(InputError):
        model.intent(text, "bank")


# --- several texts, label sets, calibration ------------------------------------------------------


def test_many_texts_get_what_each_gets_alone(model: Model) -> None:
    texts = [f"the food was cold {'and slow ' * n}" for n in range(20)]
    together = model.sentiment_batch(texts)
    for text, result in zip(texts, together, strict=True):
        alone = model.sentiment(text)
        assert result.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert [span.text for span in result.evidence] == [span.text for span in alone.evidence]
    assert model.intent_batch(texts[:2], "bank")[1].text == model.intent(texts[1], "bank").text
    with pytest.raises(InputError, match="text 2"):
        model.sentiment_batch(["fine", " "])


def test_label_sets_are_known_by_their_names(model: Model) -> None:
    three = model.sentiment(TEXT, label_set="sentiment3")
    assert tuple(three.probabilities) == ("negative", "neutral", "positive")
    assert "card_arrival" in model.sentiment(TEXT, label_set="bank").probabilities
    with pytest.raises(InputError, match="unknown label set 'x'; there are bank, sentiment, senti"):
        model.sentiment(TEXT, label_set="x")
    with pytest.raises(InputError, match="either labels or the name"):
        model.sentiment(TEXT, labels=("a", "b"), label_set="bank")


def test_a_calibrated_model_is_less_sure_of_the_same_label(
    tmp_path: Path, tiny_model_folder: Callable[..., Path]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder(), folder)
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = {"sentiment": 4.0, "bank": 2.0}
    (folder / "config.json").write_text(json.dumps(config))
    plain, calibrated = load(tiny_model_folder(), threads=1), load(folder, threads=1)
    assert plain.fingerprint == calibrated.fingerprint  # memories stay good
    for temperature, judge in (
        (4.0, lambda model: model.sentiment(TEXT)),
        (4.0, lambda model: model.sentiment(TEXT, labels=("positive", "negative"))),
        (2.0, lambda model: model.intent(TEXT, "bank")),
        (1.0, lambda model: model.sentiment(TEXT, label_set="sentiment3")),
    ):
        before, after = judge(plain), judge(calibrated)
        assert after.text == before.text
        powers = {name: p ** (1 / temperature) for name, p in before.probabilities.items()}
        expected = {name: power / sum(powers.values()) for name, power in powers.items()}
        assert after.probabilities == pytest.approx(expected, abs=1e-6)


def test_each_text_has_the_temperature_of_its_language_alone_and_among_others(
    calibrated_folder: Path, tiny_model_folder: Callable[..., Path]
) -> None:
    plain, calibrated = load(tiny_model_folder(), threads=1), load(calibrated_folder, threads=1)
    assert plain.fingerprint == calibrated.fingerprint
    together = calibrated.sentiment_batch(list(BY_TEMPERATURE))
    whole = calibrated.sentiment("\n".join(BY_TEMPERATURE), sentences=True)
    turns = [Turn("user", text) for text in BY_TEMPERATURE]
    curve = calibrated.sentiment_curve(turns)
    each = zip(BY_TEMPERATURE.items(), together, whole.sentences, curve, strict=True)
    for (text, temperature), of_many, of_sentence, point in each:
        before = plain.sentiment(text).probabilities
        powers = {label: p ** (1 / temperature) for label, p in before.items()}
        expected = {label: power / sum(powers.values()) for label, power in powers.items()}
        alone = calibrated.sentiment(text)
        assert alone.probabilities == pytest.approx(expected, abs=1e-6)
        assert alone.confidence == max(alone.probabilities.values())
        for other in (of_many, of_sentence, point):
            assert other.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_a_label_that_is_given_as_text_is_as_sure_as_when_it_was_judged(
    calibrated_folder: Path,
) -> None:
    model = load(calibrated_folder, threads=1)
    for text in BY_TEMPERATURE:
        judged = model.sentiment(text)
        labels = tuple(judged.probabilities)
        explained = model.explain(text, judged.text, "sentiment", labels=labels)
        assert explained.confidence == pytest.approx(judged.confidence, abs=1e-5)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_that_cannot_be_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="calibration must be positive"):
        from_dict(ModelConfig, {"vocab_size": 8, "calibration": {"bank": temperature}}, "x")


# --- sentences -----------------------------------------------------------------------------------


def test_sentences_are_judged_by_themselves_and_the_text_as_a_whole(model: Model) -> None:
    text = " The food was cold.  I liked the film!\n\n你好。火车几点出发？ "
    result = model.sentiment(text, sentences=True)
    assert result.probabilities == pytest.approx(model.sentiment(text).probabilities)
    parts = ["The food was cold.", "I liked the film!", "你好。", "火车几点出发？"]
    assert [one.span.text for one in result.sentences] == parts
    for one in result.sentences:
        assert text[one.span.start : one.span.end] == one.span.text
        alone = model.sentiment(one.span.text)
        assert one.label == alone.text
        assert one.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert one.span.score == one.probabilities[one.label]
    assert result.usage.encoded_tokens > model.sentiment(text).usage.encoded_tokens


def test_the_only_sentence_is_the_whole_and_costs_nothing_more(model: Model) -> None:
    result = model.sentiment(TEXT, sentences=True)
    (one,) = result.sentences
    assert one.probabilities == result.probabilities
    assert not result.mixed
    assert result.usage.encoded_tokens == model.sentiment(TEXT).usage.encoded_tokens
    assert model.sentiment(TEXT).sentences == ()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([("negative", 0.9), ("positive", 0.8)], True),
        ([("negative", 0.9), ("positive", 0.6)], False),
        ([("negative", 0.9), ("neutral", 0.9)], False),
        ([("negative", 0.9), ("negative", 0.9)], False),
        ([], False),
    ],
)
def test_a_text_is_mixed_where_sentences_clearly_disagree(labels: list, expected: bool) -> None:
    found = [SentenceLabel(Span(0, 0, 1, "x", p), label, {label: p}) for label, p in labels]
    assert is_mixed(found) is expected


# --- a dialogue ----------------------------------------------------------------------------------


def test_a_curve_has_a_point_for_each_turn_that_says_something(model: Model) -> None:
    turns = [
        Turn("system", "be kind"),
        Turn("user", "the food was cold"),
        Turn("agent", "how are you"),
        Turn("user", "   "),
        Turn("user", TEXT),
    ]
    points = model.sentiment_curve(turns, smoothing=0.25)
    assert [(point.turn, point.speaker) for point in points] == [
        (1, "user"),
        (2, "agent"),
        (4, "user"),
    ]
    for point in points:
        expected = model.sentiment(turns[point.turn].text)
        assert point.label == expected.text
        difference = expected.probabilities["positive"] - expected.probabilities["negative"]
        assert point.value == pytest.approx(difference, abs=1e-5)
    assert [point.level for point in points[:2]] == [point.value for point in points[:2]]
    assert points[2].level == pytest.approx(0.25 * points[2].value + 0.75 * points[0].value)
    assert model.sentiment_curve([]) == []


def test_labels_between_the_worst_and_the_best_stand_at_equal_distances() -> None:
    judged = [(0, "user", {"bad": 0.2, "so-so": 0.5, "good": 0.3})]
    (point,) = points_of(judged)
    assert point.value == pytest.approx(0.1)
    assert point.label == "so-so"


@pytest.mark.parametrize("smoothing", [0, -0.1, 1.1, float("nan")])
def test_a_smoothing_of_no_use_is_refused(model: Model, smoothing: float) -> None:
    with pytest.raises(InputError, match="smoothing"):
        model.sentiment_curve([Turn("user", TEXT)], smoothing=smoothing)
