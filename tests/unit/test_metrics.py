"""Scores against values computed by hand or by slower, plainer code."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.errors import InputError
from duologue.evaluation import metrics

LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1)


def bleu_by_formula(hypothesis: list[str], reference: list[str]) -> float:
    """BLEU of one tokenized pair without smoothing: every precision must be above 0."""
    logs = []
    for n in range(1, 5):
        grams = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
        known = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
        logs.append(math.log((grams & known).total() / grams.total()))
    brevity = min(0.0, 1 - len(reference) / len(hypothesis))
    return 100 * math.exp(sum(logs) / 4 + brevity)


def test_bleu_of_words_equals_the_formula() -> None:
    hypothesis = "the cat sat on the red mat today"
    reference = "the cat sat on the mat today again now"
    score = metrics.bleu([hypothesis], [reference], "en")
    assert score.value == pytest.approx(bleu_by_formula(hypothesis.split(), reference.split()))
    assert "tok:13a" in score.signature


def test_bleu_of_chinese_compares_characters() -> None:
    hypothesis, reference = "今天天气很好我们去公园", "今天天气很好他们去公园吧"
    score = metrics.bleu([hypothesis], [reference], "zh")
    assert score.value == pytest.approx(bleu_by_formula(list(hypothesis), list(reference)))
    assert "tok:zh" in score.signature


def test_bleu_and_chrf_of_the_reference_itself_are_100() -> None:
    texts = ["A man rides a horse.", "Two dogs run on the beach."]
    assert metrics.bleu(texts, texts, "en").value == pytest.approx(100)
    score = metrics.chrf(texts, texts)
    assert score.value == pytest.approx(100)
    assert "nc:6" in score.signature


def test_chrf_of_unrelated_texts_is_0() -> None:
    assert metrics.chrf(["xxxx"], ["yyyy"]).value == 0


def test_accuracy_of_three_right_in_four() -> None:
    assert metrics.accuracy(["a", "b", "c", "c"], ["a", "b", "c", "d"]) == 0.75


def test_macro_f1_counts_rare_labels_as_much_as_common_ones() -> None:
    predicted = ["a", "a", "a", "a"]
    expected = ["a", "a", "a", "b"]
    assert metrics.macro_f1(predicted, expected) == pytest.approx((6 / 7 + 0) / 2)


@given(LABELS)
def test_macro_f1_equals_precision_and_recall_by_hand(pairs: list[tuple[str, str]]) -> None:
    scores = []
    for label in {name for pair in pairs for name in pair}:
        hits = sum(p == e == label for p, e in pairs)
        predicted = sum(p == label for p, _ in pairs)
        expected = sum(e == label for _, e in pairs)
        precision = hits / predicted if predicted else 0
        recall = hits / expected if expected else 0
        scores.append(2 * precision * recall / (precision + recall) if hits else 0)
    fast = metrics.macro_f1([p for p, _ in pairs], [e for _, e in pairs])
    assert fast == pytest.approx(sum(scores) / len(scores))


def test_intent_scores_separate_rows_that_are_out_of_scope() -> None:
    expected = ["pay", "pay", "book", "oos", "oos", "oos", "oos"]
    predicted = ["pay", "book", "book", "oos", "pay", "pay", "pay"]
    scores = metrics.intent_scores(predicted, expected)
    assert scores["accuracy"] == pytest.approx(3 / 7)
    assert scores["in_scope_accuracy"] == pytest.approx(2 / 3)
    assert scores["oos_recall"] == 0.25


def test_intent_scores_without_out_of_scope_rows_have_no_such_scores() -> None:
    assert metrics.intent_scores(["pay"], ["pay"]) == {"accuracy": 1.0, "macro_f1": 1.0}


def test_perplexity_of_uniform_guesses_is_the_number_of_choices() -> None:
    assert metrics.perplexity([[math.log(1 / 50)] * 3, [math.log(1 / 50)]]) == pytest.approx(50)


def test_perplexity_weighs_tokens_not_texts() -> None:
    rows = [[-1.0, -1.0, -1.0], [-5.0]]
    assert metrics.perplexity(rows) == pytest.approx(math.exp(2))


def test_perplexity_of_an_impossible_token_is_infinite() -> None:
    assert metrics.perplexity([[-math.inf, -1.0]]) == math.inf


def test_words_split_chinese_by_character_and_keep_punctuation() -> None:
    assert metrics.words("Hello, abc你好！3rd") == ["hello", ",", "abc", "你", "好", "！", "3rd"]


def test_distinct_n_counts_over_all_texts() -> None:
    texts = ["i do not know", "i do not care"]
    assert metrics.distinct_n(texts, 1) == 5 / 8
    assert metrics.distinct_n(texts, 2) == 4 / 6
    assert metrics.distinct_n(["hi"], 2) == 0


def test_repetition_rate_is_the_mean_over_texts() -> None:
    texts = ["a b a b a", "a b c"]  # bigrams: ab ba ab ba, so 2 of 4 repeat; none of 2
    assert metrics.repetition_rate(texts, 2) == 0.25


@pytest.mark.parametrize("score", [metrics.accuracy, metrics.macro_f1, metrics.chrf])
def test_scores_refuse_lists_of_different_lengths(score: object) -> None:
    with pytest.raises(InputError, match="got 1 and 2"):
        score(["a"], ["a", "b"])  # type: ignore[operator]


def test_scores_of_nothing_are_refused() -> None:
    with pytest.raises(InputError):
        metrics.accuracy([], [])
    with pytest.raises(InputError):
        metrics.perplexity([])
    with pytest.raises(InputError):
        metrics.repetition_rate([])


# --- short answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "references", "f1", "longest"),
    [
        ("thirty days", ["Thirty days."], 1, 1),
        ("in thirty days", ["thirty days", "a month"], 0.8, 0.8),
        ("days thirty", ["thirty days"], 1, 0.5),
        ("十元", ["是十元。"], 0.8, 0.8),
        ("nothing", ["thirty days"], 0, 0),
        ("", ["thirty days"], 0, 0),
        ("", [], 1, 1),
        ("something", [], 0, 0),
    ],
)
def test_answers_are_compared_by_their_words_and_by_their_order(
    answer: str, references: list[str], f1: float, longest: float
) -> None:
    assert metrics.token_f1(answer, references) == pytest.approx(f1)
    assert metrics.rouge_l(answer, references) == pytest.approx(longest)
