"""Scores of texts, labels and probabilities. Pure functions; nothing here knows a model.

bleu, chrf                     translations, with the sacrebleu signature that makes them comparable
accuracy, macro_f1             labels
intent_scores                  labels with an out-of-scope class
token_f1, rouge_l              short answers against references
perplexity                     natural-log probabilities of reference tokens
distinct_n, repetition_rate    how varied replies are, how much each repeats itself

Whether a reply got stuck in a loop, its result says itself (types.Checks.repetition).
Shares are between 0 and 1; BLEU and chrF are between 0 and 100, as everywhere else.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import sacrebleu

from duologue.errors import InputError
from duologue.text.tokenizer import FIRST_CJK

OUT_OF_SCOPE = "oos"
_CJK = rf"{FIRST_CJK}-\U0010ffff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")


@dataclass(frozen=True)
class Score:
    """A number, and how it was computed (empty where the name says it all)."""

    value: float
    signature: str = ""


def bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Score:
    """Corpus BLEU, one reference each; Papineni et al. 2002, as in Post 2018 (arXiv:1804.08771).

    language  of the references: zh is compared by character (sacrebleu's zh tokenizer), else 13a
    """
    _check_pairs(hypotheses, references)
    tokenize = "zh" if language == "zh" else "13a"
    metric = sacrebleu.BLEU(tokenize=tokenize)
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(value, str(metric.get_signature()))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF2, one reference each; Popovic 2015 (WMT, W15-3049)."""
    _check_pairs(hypotheses, references)
    metric = sacrebleu.CHRF()
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(value, str(metric.get_signature()))


def accuracy(predicted: Sequence[str], expected: Sequence[str]) -> float:
    """Share of the rows whose label is right."""
    _check_pairs(predicted, expected)
    return sum(p == e for p, e in zip(predicted, expected, strict=True)) / len(expected)


def macro_f1(predicted: Sequence[str], expected: Sequence[str]) -> float:
    """Mean F1 over all labels that were predicted or expected; rare ones count as much as others.

    F1 of a label is 2 hits / (times predicted + times expected).
    """
    _check_pairs(predicted, expected)
    hits = Counter(p for p, e in zip(predicted, expected, strict=True) if p == e)
    totals = Counter(predicted) + Counter(expected)
    return sum(2 * hits[label] / total for label, total in totals.items()) / len(totals)


def intent_scores(predicted: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """Accuracy and macro F1; with out-of-scope rows also in-scope accuracy and their recall."""
    scores = {"accuracy": accuracy(predicted, expected), "macro_f1": macro_f1(predicted, expected)}
    pairs = list(zip(predicted, expected, strict=True))
    inside = [(p, e) for p, e in pairs if e != OUT_OF_SCOPE]
    outside = [p for p, e in pairs if e == OUT_OF_SCOPE]
    if inside and outside:
        scores["in_scope_accuracy"] = sum(p == e for p, e in inside) / len(inside)
        scores["oos_recall"] = outside.count(OUT_OF_SCOPE) / len(outside)
    return scores


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of words, of the best reference; no references: none.

    Rajpurkar et al. 2016 (arXiv:1606.05250, section 6.1). Punctuation does not count.
    """
    return max((_f1(answer, reference) for reference in references), default=float(not answer))


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """The same of the longest common subsequence of words; Lin 2004 (ACL, W04-1013)."""
    return max((_lcs_f1(answer, reference) for reference in references), default=float(not answer))


def _f1(answer: str, reference: str) -> float:
    left, right = _spoken(answer), _spoken(reference)
    return _harmonic((Counter(left) & Counter(right)).total(), len(left), len(right))


def _lcs_f1(answer: str, reference: str) -> float:
    left, right = _spoken(answer), _spoken(reference)
    row = [0] * (len(right) + 1)
    for word in left:
        before = row
        row = [0]
        for place, other in enumerate(right):
            longest = before[place] + 1 if word == other else max(row[-1], before[place + 1])
            row.append(longest)
    return _harmonic(row[-1], len(left), len(right))


def _harmonic(common: int, num_left: int, num_right: int) -> float:
    return 2 * common / (num_left + num_right) if common else float(num_left == num_right == 0)


def _spoken(text: str) -> list[str]:
    return [word for word in words(text) if word[0].isalnum()]


def perplexity(logprobs: Iterable[Iterable[float]]) -> float:
    """exp of the mean negative log-probability per token; every token counts the same.

    logprobs  for each text the natural log of the probability of each token, end token included
    """
    values = [value for row in logprobs for value in row]
    if not values:
        raise InputError("perplexity needs at least one token")
    mean = -math.fsum(values) / len(values)
    return math.exp(mean) if mean < 700 else math.inf  # exp(710) is beyond a double


def words(text: str) -> list[str]:
    """Words and punctuation marks; a Chinese character is a word."""
    return _WORD.findall(text.lower())


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Different n-grams / n-grams over all texts; Li et al. 2016 (arXiv:1510.03055)."""
    grams = [gram for text in texts for gram in _ngrams(words(text), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition_rate(texts: Sequence[str], n: int = 4) -> float:
    """Mean over texts of the share of n-grams that the same text had before.

    The seq-rep-n of Welleck et al. 2020 (arXiv:1908.04319). A text shorter than
    n words repeats nothing.
    """
    if not texts:
        raise InputError("repetition_rate needs at least one text")
    rates = []
    for text in texts:
        grams = list(_ngrams(words(text), n))
        rates.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return math.fsum(rates) / len(rates)


def _ngrams(tokens: list[str], n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def _check_pairs(left: Sequence[str], right: Sequence[str]) -> None:
    if not left or len(left) != len(right):
        raise InputError(
            f"a score needs as many predictions as references, at least one of each; "
            f"got {len(left)} and {len(right)}"
        )
