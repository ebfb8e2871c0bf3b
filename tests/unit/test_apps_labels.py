from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from duologue.api import Model, load
from duologue.engine.sampling import log_softmax
from duologue.errors import InputError
from duologue.text.template import prefix_ids

TEXT = "this film was great"


@pytest.fixture(scope="module", params=["transformer", "gru"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(request.param), threads=1)


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
