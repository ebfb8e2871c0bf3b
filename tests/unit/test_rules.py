from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from fake_forward import FakeForward, FakeMemory

from duologue.engine.engine import Constraints, Engine, Finished, SpecialIds
from duologue.engine.rules import FREE, TokenFilter
from duologue.engine.sampling import Floats, Scores, log_softmax
from duologue.errors import EngineError, InputError
from duologue.types import Options

EOS, OTHER_EOS = 1, 2
VOCAB = 8
WAYS = [
    Options(max_tokens=6),
    Options(max_tokens=6, temperature=1.5, num_hypotheses=3, seed=4),
    Options(max_tokens=6, beam_size=3, num_hypotheses=3),
    Options(max_tokens=6, beam_size=3, num_hypotheses=3, early_stopping=False),
]
SOURCES = [FakeMemory((number,)) for number in range(6)]


class Alternate:
    """Even and odd ids take turns, an odd one first; an end may come at any time."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def apply(self, logits: Floats, ids: tuple[int, ...]) -> Floats:
        self.seen.append(ids)
        end = logits[EOS]
        logits[len(ids) % 2 :: 2] = -np.inf
        logits[EOS] = end
        return logits


class Nothing:
    def apply(self, logits: Floats, ids: tuple[int, ...]) -> Floats:
        return np.full_like(logits, -np.inf)


def run(
    special: SpecialIds, options: Options, memory: FakeMemory, constraints: Constraints = FREE
) -> Finished:
    engine = Engine(FakeForward(VOCAB), special)  # type: ignore[arg-type]
    return engine.generate(memory, (0,), options, record_attention=True, constraints=constraints)


# --- what one filter does ------------------------------------------------------------------------


def test_a_filter_acts_only_where_there_is_something_to_do() -> None:
    special = SpecialIds((EOS,), first_suppressed_ids=(3,))
    plain = TokenFilter(Options(), SpecialIds((EOS,)), FREE)
    assert not any(plain.acts_on(num_ids) for num_ids in range(3))
    first = TokenFilter(Options(), special, FREE)
    assert [first.acts_on(num_ids) for num_ids in range(3)] == [True, False, False]
    least = TokenFilter(Options(min_tokens=2), SpecialIds((EOS,)), FREE)
    assert [least.acts_on(num_ids) for num_ids in range(4)] == [True, True, False, False]
    for options, constraints in (
        (Options(no_repeat_ngram_size=2), FREE),
        (Options(), Constraints(rule=Alternate())),
    ):
        assert TokenFilter(options, SpecialIds((EOS,)), constraints).acts_on(9)


def test_a_filter_changes_a_copy_and_the_rule_comes_last() -> None:
    logits = np.arange(VOCAB, dtype=np.float32)
    special = SpecialIds((EOS, OTHER_EOS), first_suppressed_ids=(7,))
    rule = Alternate()
    token_filter = TokenFilter(Options(min_tokens=1), special, Constraints(rule=rule))
    assert np.isneginf(token_filter.apply(logits, [])).tolist() == [
        *(True, True, True, False, True, False, True, True)
    ]
    assert logits.tolist() == list(range(VOCAB))
    assert np.isneginf(token_filter.apply(logits, [5])).tolist() == [
        *(False, False, False, True, False, True, False, True)
    ]
    assert rule.seen == [(), (5,)]


def test_where_nothing_is_left_an_end_comes() -> None:
    token_filter = TokenFilter(
        Options(min_tokens=9), SpecialIds((EOS, OTHER_EOS)), Constraints(rule=Nothing())
    )
    left = token_filter.apply(np.ones(VOCAB, np.float32), [3])
    assert np.flatnonzero(left > -np.inf).tolist() == [EOS, OTHER_EOS]
    for options in WAYS:
        for hypothesis in run(
            SpecialIds((EOS,)), options, SOURCES[0], Constraints(rule=Nothing())
        ).hypotheses:
            assert (hypothesis.ids, hypothesis.finish_reason) == ((), "stop")


def test_ids_without_which_scores_go_on_take_no_share_from_the_others() -> None:
    logits = np.random.default_rng(1).standard_normal((3, VOCAB), dtype=np.float32)
    before = Scores.of(logits.copy(), ())
    after = Scores.of(logits.copy(), ()).without(before.best[:1])
    assert after.log_norm == before.log_norm
    assert after.logits[:, before.best[0]].tolist() == [-np.inf] * 3
    assert after.best == after.logits.argmax(axis=1).tolist()
    assert before.without(()) is before


# --- in every kind of search ---------------------------------------------------------------------


@pytest.mark.parametrize("options", WAYS)
def test_a_rule_holds_in_every_hypothesis_and_log_probabilities_stay_the_models(
    options: Options,
) -> None:
    for memory in SOURCES:
        found = run(SpecialIds((EOS,)), options, memory, Constraints(rule=Alternate()))
        for hypothesis in found.hypotheses:
            assert all(idx % 2 != place % 2 for place, idx in enumerate(hypothesis.ids))
            fed = [0]
            for idx, logprob in zip(hypothesis.ids, hypothesis.token_logprobs, strict=True):
                row = log_softmax(FakeForward(VOCAB).logits_after(memory, fed))
                assert logprob == pytest.approx(float(row[idx]), abs=1e-4)
                fed.append(idx)


@pytest.mark.parametrize("options", WAYS)
def test_each_end_id_ends_and_none_comes_too_early(options: Options) -> None:
    special = SpecialIds((EOS, OTHER_EOS))
    lengths = set()
    for memory in SOURCES:
        for hypothesis in run(special, replace(options, min_tokens=2), memory).hypotheses:
            assert not {EOS, OTHER_EOS} & set(hypothesis.ids)
            lengths.add(len(hypothesis.ids))
    assert min(lengths) == 2


@pytest.mark.parametrize("options", WAYS)
def test_suppressed_ids_never_come_and_first_ones_not_first(options: Options) -> None:
    special = SpecialIds((EOS,), suppressed_ids=(5,), first_suppressed_ids=(EOS, 3, 4))
    later: set[int] = set()
    for memory in SOURCES:
        for hypothesis in run(special, options, memory).hypotheses:
            assert 5 not in hypothesis.ids
            assert hypothesis.ids[0] not in (3, 4)
            later |= set(hypothesis.ids)
    assert {3, 4} <= later


def test_suppressed_ids_keep_their_share_and_absent_ones_give_it_away() -> None:
    row = FakeForward(VOCAB).logits_after(SOURCES[0], [0])
    gone = int(row.argmax())
    options = Options(max_tokens=1)
    kept = run(SpecialIds((EOS,), suppressed_ids=(gone,)), options, SOURCES[0]).best
    given = run(SpecialIds((EOS,), absent_ids=(gone,)), options, SOURCES[0]).best
    assert kept.ids == given.ids != (gone,)
    share = math.exp(float(log_softmax(row)[gone]))
    assert kept.logprob == pytest.approx(given.logprob + math.log(1 - share), abs=1e-4)


@pytest.mark.parametrize("options", WAYS)
def test_forced_ids_are_fed_like_a_prefix_and_belong_to_no_hypothesis(options: Options) -> None:
    special = SpecialIds((EOS,))
    for memory in SOURCES:
        engine = Engine(FakeForward(VOCAB), special)  # type: ignore[arg-type]
        flat = replace(options, length_penalty=0)  # forced ids count in lengths, a prefix does not
        prefixed = engine.generate(memory, (0, 6, 3), flat, record_attention=True)
        forced = run(special, flat, memory, Constraints((6, 3)))
        assert forced.hypotheses == prefixed.hypotheses
        assert forced.attention is not None
        assert forced.attention.tolist() == prefixed.attention.tolist()  # type: ignore[union-attr]


def test_forced_ids_are_not_repeated_where_options_forbid_it() -> None:
    options = Options(max_tokens=6, no_repeat_ngram_size=1)
    for memory in SOURCES:
        assert not {6, 3} & set(
            run(SpecialIds((EOS,)), options, memory, Constraints((6, 3))).best.ids
        )


def test_a_batch_has_one_constraint_for_all() -> None:
    engine = Engine(FakeForward(VOCAB), SpecialIds((EOS,)))  # type: ignore[arg-type]
    constraints = Constraints((4,), Alternate())
    pairs = [(memory, (0,)) for memory in SOURCES]
    batch = engine.generate_batch(pairs, WAYS[0], constraints)  # type: ignore[arg-type]
    for memory, finished in zip(SOURCES, batch, strict=True):
        alone = run(SpecialIds((EOS,)), WAYS[0], memory, constraints)
        assert finished.hypotheses == alone.hypotheses


def test_forced_ids_take_positions_and_must_exist() -> None:
    engine = Engine(FakeForward(VOCAB, max_positions=8), SpecialIds((EOS,)))  # type: ignore[arg-type]
    for constraints, message in (
        (Constraints((3, 3, 3)), "prefix of 4 tokens and max_tokens 6 are more than .* 8"),
        (Constraints((VOCAB,)), "outside of the vocabulary"),
    ):
        with pytest.raises(EngineError, match=message):
            engine.add(SOURCES[0], (0,), WAYS[0], constraints=constraints)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="min_tokens"):
        Options(min_tokens=-1)
