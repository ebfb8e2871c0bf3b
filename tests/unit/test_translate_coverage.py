"""Coverage of translations: what is seen for nothing, what is asked, what comes of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.api import Model, load
from duologue.apps.batch import (
    Ask,
    Decoded,
    Ended,
    Plan,
    advance,
    run_plan,
    score_ask,
    scores_of,
)
from duologue.apps.translate import TranslateOptions, coverage, repair, translation
from duologue.apps.translate.coverage import Comparison, Report, plain_report
from duologue.apps.translate.pieces import clauses, num_words, sentences, starts
from duologue.apps.translate.repair import Draft, Task, drafted, repaired, reported
from duologue.apps.translate.signs import Look, repeats, signs
from duologue.engine.memory import Memory
from duologue.engine.search import Finished, Hypothesis
from duologue.errors import InputError
from duologue.evaluation.evaluate import Forced, force_decode
from duologue.text.language import is_foreign
from duologue.types import Options, Usage

GREEDY = Options(max_tokens=8)
EVERYTHING = (coverage.Weights(0, 0, 0, 0, 0, 100.0),) * 3
PARTS = st.lists(
    st.sampled_from(
        [
            "hello how are you",
            ", ",
            ". ",
            "! ",
            "。",
            "，",
            "你好吗今天",
            " - ",
            "; ",
            "3,5 ",
            "  ",
            "a",
            "😀",
            '"',
        ]
    ),
    max_size=14,
).map("".join)


@pytest.fixture(scope="module")
def model(tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder("transformer"), threads=1)


@pytest.fixture(scope="module")
def task(model: Model) -> Task:
    runtime = model._runtime
    prefix = runtime.template.prefix("translate", None, "zh")
    return Task(runtime, "zh", "en", prefix, GREEDY)


def answers_of(asks: Sequence[Ask]) -> Plan[Sequence[Decoded]]:
    return (yield asks)


# --- parts ---------------------------------------------------------------------------------------


@given(text=PARTS)
def test_parts_together_are_all_of_the_text(text: str) -> None:
    for parts in (sentences(text), clauses(text)):
        assert "".join(text[start:end] for start, end in parts) == text
        assert all(start < end for start, end in parts) or not text


@given(text=PARTS)
def test_clauses_have_three_words_where_there_are_several(text: str) -> None:
    found = clauses(text)
    if len(found) > 1:
        assert all(num_words(text[start:end]) >= 3 for start, end in found)


def test_signs_inside_of_numbers_and_words_part_nothing() -> None:
    text = "it costs about 3,500.50 dollars at well-known shops, but not at the other one"
    assert [text[a:b] for a, b in clauses(text)] == [
        "it costs about 3,500.50 dollars at well-known shops, ",
        "but not at the other one",
    ]


def test_length_is_counted_alike_in_both_scripts() -> None:
    assert num_words("the train leaves at 9") == 5
    assert num_words("火车九点出发。") == pytest.approx(6 / 1.6)


# --- for nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "translation", "stretch"),
    [
        ("A dog runs. A cat sleeps.", "Ein Hund rennt. Ein Hund rennt.", "Ein Hund rennt."),
        ("He waits for the bus.", "Er wartet auf den auf den Bus.", "auf den"),
        ("I like it.", "我喜欢它我喜欢它。", "我喜欢它"),
        ("A dog runs.", "Ein Hund rennt.", None),
        ("No, no, no, no!", "Nein, nein, nein, nein!", None),
        ("It is very, very big.", "Es ist sehr, sehr groß.", None),
    ],
)
def test_what_is_said_twice_is_found_unless_the_source_says_it_twice(
    source: str, translation: str, stretch: str | None
) -> None:
    found = [translation[start:end].strip() for start, end in repeats(source, translation)]
    assert found == ([] if stretch is None else [stretch])


@given(text=PARTS)
def test_repeated_stretches_are_in_the_text_in_order_and_apart(text: str) -> None:
    found = repeats("hello", text)
    assert all(0 <= start < end <= len(text) for start, end in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(found))


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("The house is big and the garden is small.", "de", True),
        ("Das Haus ist groß und der Garten nicht.", "en", True),
        ("Das Haus ist groß und der Garten nicht.", "de", False),
        ("Tom", "de", False),
        ("der Tom", "en", False),
        ("Berlin, Paris, London", "zh", False),
        ("the train leaves at nine", "zh", True),
        ("火车九点出发。", "en", True),
        ("火车九点出发。", "zh", False),
        ("我用 Microsoft Word 写信", "zh", False),
        ("le train part à neuf heures", "fr", False),
    ],
)
def test_only_what_is_plainly_another_language_is_called_so(
    text: str, code: str, expected: bool
) -> None:
    assert is_foreign(text, code) is expected


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("A man sleeps. A dog runs in the park.", "Ein Mann schläft."),
        ("A man sleeps. A dog runs in the park.", "Ein Mann schläft und ein Hund rennt im Park."),
        ("A man sleeps in a green room.", "Ein Mann."),
        ("A man sleeps.", "Ein Mann schläft und ein großer Hund rennt durch den Park."),
        ("There are 12 dogs here.", "Es gibt 11 Hunde hier."),
        ("A man sleeps in a room.", "Ein Mann schläft in einem"),
        ("A man sleeps in a room.", "A man is sleeping in the room."),
        ("A man sleeps in a room.", ""),
    ],
)
def test_what_is_odd_is_seen(source: str, translation: str) -> None:
    assert signs(source, translation, "en", "de")


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("A man sleeps. A dog runs in the park.", "Ein Mann schläft. Ein Hund rennt im Park."),
        ("There are 12 dogs here.", "Es gibt hier 12 Hunde."),
        ("Hello!", "Hallo!"),
    ],
)
def test_what_is_not_odd_costs_nothing(source: str, translation: str) -> None:
    assert not signs(source, translation, "en", "de")


def test_an_unlikely_part_an_unseen_part_and_a_missing_end_are_odd() -> None:
    source, translation = "A man sleeps. A dog runs.", "Ein Mann schläft. Ein Hund rennt."
    logprobs = [((0, 17), -0.5), ((18, 33), -0.5)]
    shares = [((0, 13), 1.0), ((14, 25), 1.0)]
    look = Look(logprobs, shares, True)
    assert not signs(source, translation, "en", "de", look)
    for odd in (
        replace(look, logprobs=[logprobs[0], ((18, 33), -4.0)]),
        replace(look, shares=[((0, 13), 1.9), ((14, 25), 0.1)]),
        replace(look, is_finished=False),
    ):
        assert signs(source, translation, "en", "de", odd)


# --- scores --------------------------------------------------------------------------------------


def test_forced_scores_are_those_of_decoding_token_by_token(model: Model) -> None:
    runtime = model._runtime
    prefix = runtime.template.prefix("translate", None, "zh")
    texts = ["hello how are you", "你好", "what time does the train leave", "x"]
    sources = [runtime.source(text, "translate") for text in texts[:3]]
    targets = [tuple(runtime.tokenizer.encode(text)) for text in reversed(texts)]
    asks = [score_ask(source, prefix, ids) for source in (*sources, None) for ids in targets]
    answers = run_plan(runtime, answers_of(asks))
    absent = [idx for idx in runtime.special.absent_ids if idx not in runtime.special.eos_ids]

    class Plain:
        def start(self, memory: Memory) -> object:
            return runtime.forward.start(memory)

        def decode_step(self, states: list, ids: list[int]) -> np.ndarray:
            logits = runtime.forward.decode_step(states, ids)
            logits[:, absent] = -np.inf
            return logits

    memories = [runtime.read(source).memory for source in sources] + [Memory.empty()]
    eos_id = runtime.tokenizer.eos_id
    items = [Forced(memory, prefix.ids, (*ids, eos_id)) for memory in memories for ids in targets]
    expected = force_decode(Plain(), items)
    for ask, answer, scores in zip(asks, answers, expected, strict=True):
        assert ask.rule is not None
        assert scores_of(answer, len(scores) - 1) == pytest.approx(scores, abs=1e-4)


def test_scores_of_what_was_cut_are_filled_up() -> None:
    hypothesis = Hypothesis((5,), -1.0, (-1.0,), "length")
    decoded = Decoded(Finished((hypothesis,)), (), Usage())
    assert scores_of(decoded, 2).tolist() == [-1.0, 0.0, -30.0]


def test_parts_belong_together_as_two_scores_say(task: Task) -> None:
    runtime = task.runtime
    source, translation = "hello how are you, what time is it", "你好今天天气，火车几点出发。"
    back = runtime.template.prefix("translate", None, "en")
    one = Comparison(runtime, source, translation, ("en", "zh"), (task.prefix, back))
    measures = one.measures(run_plan(runtime, answers_of(one.asks())))
    assert measures.belongs.shape == (2, 2)

    def logprobs(read: str | None, prefix, said: str) -> np.ndarray:
        ids = runtime.tokenizer.encode(said)
        made = None if read is None else runtime.source(read, "translate")
        (answer,) = run_plan(runtime, answers_of([score_ask(made, prefix, ids)]))
        return scores_of(answer, len(ids))

    ours, theirs = (
        [text[start:end].strip() for start, end in bounds]
        for text, bounds in zip((source, translation), one.parts, strict=True)
    )
    for i, our in enumerate(ours):
        for j, their in enumerate(theirs):
            there = logprobs(our, task.prefix, their) - logprobs(None, task.prefix, their)
            again = logprobs(their, back, our) - logprobs(None, back, our)
            assert measures.belongs[i, j] == pytest.approx(
                there[:-1].mean() + again[:-1].mean(), abs=1e-4
            )
    forward = logprobs(source, task.prefix, translation)
    assert measures.end_logprob == pytest.approx(forward[-1], abs=1e-4)
    for side, (texts, way) in enumerate(((ours, task.prefix), (theirs, back))):
        whole, said = (source, translation) if side == 0 else (translation, source)
        for part, text in enumerate(texts):
            without = whole.replace(text, "").strip()
            gain = logprobs(whole, way, said).sum() - logprobs(without, way, said).sum()
            expected = gain / len(runtime.tokenizer.encode(text))
            assert measures.needed[side][part] == pytest.approx(expected, abs=1e-4)


def test_many_parts_are_compared_with_those_at_about_the_same_place(task: Task) -> None:
    source = " ".join(f"hello number {n}." for n in range(10, 30))
    translation = "".join(f"你好今天好{n}。" for n in range(10, 30))
    back = task.runtime.template.prefix("translate", None, "en")
    one = Comparison(task.runtime, source, translation, ("en", "zh"), (task.prefix, back))
    assert [len(bounds) for bounds in one.parts] == [20, 20]
    asks = one.asks()
    assert 82 + 2 * coverage.MAX_PAIRS <= len(asks) < 82 + 3 * coverage.MAX_PAIRS
    belongs = one.measures(run_plan(task.runtime, answers_of(asks))).belongs
    assert belongs[0, 19] == belongs[19, 0] == -2.0


def report_of(task: Task, source: str, translation: str, belongs: list[list[float]], end: float):
    back = task.runtime.template.prefix("translate", None, "en")
    one = Comparison(task.runtime, source, translation, ("en", "zh"), (task.prefix, back))
    table = np.array(belongs)
    needed = table.max(axis=1) / 2, table.max(axis=0) / 2
    return one._report(coverage.Measures(table, needed, end))


@given(st.lists(st.lists(st.integers(-3, 6), min_size=3, max_size=3), min_size=1, max_size=4))
def test_parts_are_matched_as_trying_all_ways_would(table: list[list[int]]) -> None:
    belongs = np.array(table, dtype=np.float64)

    def best(i: int, j: int) -> float:
        if i == len(table) or j == 3:
            return 0.0
        return max(best(i + 1, j), best(i, j + 1), belongs[i, j] + best(i + 1, j + 1))

    pairs = coverage.matched(belongs)
    assert sum(belongs[pair] for pair in pairs) == best(0, 0)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))


def test_a_part_that_belongs_to_nothing_is_told_on_its_side(task: Task) -> None:
    source, translation = "hello my friend. what time is it?", "你好我的朋友。火车几点出发？"
    good = report_of(task, source, translation, [[6, -1], [-1, 6]], -0.1)
    assert good.is_clean
    bad = report_of(task, source, translation, [[6, -1], [-1, -1]], -0.1)
    assert [source[f.start : f.end] for f in bad.uncovered] == ["what time is it?"]
    assert [translation[f.start : f.end] for f in bad.invented] == ["火车几点出发？"]
    assert bad.num_wrong > good.num_wrong + 3
    everything = report_of(task, source, translation, [[-1, -1], [-1, -1]], -0.1)
    assert [(f.start, f.end) for f in everything.uncovered] == [(0, len(source))]


def test_a_translation_that_should_not_end_there_lacks_the_last_part(task: Task) -> None:
    source, translation = "hello my friend. what time is it?", "你好我的朋友。火车几点"
    cut = report_of(task, source, translation, [[6, -1], [-1, 6]], -3.5)
    assert [source[f.start : f.end] for f in cut.uncovered] == ["what time is it?"]
    signed = report_of(task, source, translation + "？", [[6, -1], [-1, 6]], -3.5)
    assert signed.is_clean
    assert not report_of(task, source, translation + "？", [[6, -1], [-1, 6]], -9.0).is_clean


# --- again ---------------------------------------------------------------------------------------


def decoded(task: Task, text: str, reason: str = "stop", logprob: float = -0.1) -> Decoded:
    ids = tuple(task.runtime.tokenizer.encode(text))
    scores = tuple(logprob for _ in ids)
    hypothesis = Hypothesis(ids, sum(scores) + logprob, scores, reason)  # type: ignore[arg-type]
    return Decoded(Finished((hypothesis,)), (), Usage(encoded_tokens=1, decode_ms=1.0))


def scored(task: Task, ask: Ask, logprob: float) -> Decoded:
    ids = ask.rule.ids  # type: ignore[union-attr]
    scores = tuple(logprob for _ in ids)
    return Decoded(Finished((Hypothesis(ids, sum(scores), scores, "stop"),)), (), Usage())


def test_what_is_not_odd_is_not_asked_about(task: Task) -> None:
    drafts = [drafted(task, "hello how are you today", decoded(task, "你好吗今天"))]
    ended = advance(repaired(task, drafts))
    assert isinstance(ended, Ended)
    assert ended.value == drafts


def drive(task: Task, source: str, first: str, parts: dict[str, str], whole: str) -> Draft:
    """Runs a repair in which a part belongs to its translation alone, as `parts` has it."""
    drafts = [drafted(task, source, decoded(task, first))]
    plan = repaired(task, drafts)
    asked = advance(plan)
    while not isinstance(asked, Ended):
        answers = []
        for ask in asked:
            read = None if ask.source is None else ask.source.text
            if ask.rule is None:
                assert read is not None
                said = whole if read == source else parts[read]
                answers.append(decoded(task, said))
                continue
            said = task.runtime.tokenizer.decode(list(ask.rule.ids))  # type: ignore[attr-defined]
            fits = read is not None and (
                parts.get(read) == said or parts.get(said) == read or read == source
            )
            # What does not belong together is less likely together than alone.
            answers.append(scored(task, ask, -0.2 if fits else -4.0 if read is None else -4.8))
        asked = advance(plan, answers)
    return asked.value[0]


ONE, TWO = "hello how are you today.", "what time does the train leave?"
ZH_ONE, ZH_TWO = "你好吗今天你好吗。", "火车几点出发你好？"


def test_a_lost_sentence_comes_back_by_translating_part_by_part(task: Task) -> None:
    parts = {ONE: ZH_ONE, TWO: ZH_TWO}
    draft = drive(task, f"{ONE} {TWO}", ZH_ONE, parts, whole=ZH_ONE)
    assert draft.text == ZH_ONE + ZH_TWO
    assert draft.report is not None
    assert draft.report.is_clean
    assert len(draft.hypotheses) == 2
    assert draft.usage.produced_tokens == sum(len(h.ids) for h in draft.hypotheses)
    assert draft.usage.encoded_tokens == 3  # the first, and two parts


def test_what_cannot_be_repaired_is_kept_and_told(task: Task) -> None:
    source = f"{ONE} {TWO}"
    draft = drive(task, source, ZH_ONE, {ONE: ZH_ONE, TWO: ""}, whole=ZH_ONE)
    assert draft.text == ZH_ONE
    assert draft.report is not None
    assert [source[f.start : f.end] for f in draft.report.uncovered] == [TWO]


def test_a_draft_is_kept_unless_the_other_is_better_or_as_good_and_whole() -> None:
    def draft(num_wrong: float, text: str) -> Draft:
        hypothesis = Hypothesis((7,), -1.0, (-1.0,), "length")
        report = Report(num_wrong=num_wrong)
        return Draft(f"{ONE} {TWO}", text, None, (hypothesis,), report=report)

    short, whole = draft(1.0, ZH_ONE), draft(1.2, ZH_ONE + ZH_TWO)
    assert repair._best(short, whole) is whole
    for first, other, best in (
        (whole, short, whole),
        (short, draft(2.0, ZH_ONE + ZH_TWO), short),
        (whole, draft(0.1, ZH_ONE), draft(0.1, ZH_ONE)),
        (whole, draft(1.0, ZH_TWO + ZH_ONE), whole),
    ):
        assert repair._best(first, other).text == best.text


def test_what_repeated_itself_may_not_do_so_again(task: Task) -> None:
    report = plain_report(ONE, "a a b a b", "zh")
    asked = advance(repair._again(task, [Draft(ONE, "a b a b", report=report), Draft(TWO, "x")]))
    assert not isinstance(asked, Ended)
    assert [ask.options.no_repeat_ngram_size for ask in asked] == [3, 0]
    assert {ask.options.beam_size for ask in asked} == {8}


def test_translations_begin_after_what_stands_between_them() -> None:
    assert starts(["", " ", "\n"], [" ab ", "c", "d"]) == [0, 3, 5]


def test_an_empty_translation_is_a_finding_without_asking(task: Task) -> None:
    ended = advance(reported(task, [Draft(ONE, "")]))
    assert isinstance(ended, Ended)
    (draft,) = ended.value
    assert draft.report == plain_report(ONE, "", "zh")
    assert [(f.start, f.end) for f in draft.report.uncovered] == [(0, len(ONE))]


def test_pauses_of_the_source_are_pauses_of_what_is_sewn() -> None:
    source = "a man is sleeping, a dog is running."
    cut = clauses(source)
    texts = ["Ein Mann schläft.", "Ein Hund rennt."]
    assert repair._sewn(source, cut, texts, "de") == "Ein Mann schläft, Ein Hund rennt."
    assert repair._sewn(source, cut, ["人。", "狗。"], "zh") == "人，狗。"


# --- all of it -----------------------------------------------------------------------------------


def test_spans_are_offsets_into_the_whole_texts(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "UNCOVERED", EVERYTHING)
    monkeypatch.setattr(coverage, "INVENTED", EVERYTHING)
    text = "\n  hello how are you.\n\nwhat time? the card has not arrived yet \n"
    result = model.translate(text, to="zh", options=GREEDY)
    for spans, whole in ((result.checks.uncovered, text), (result.checks.invented, result.text)):
        assert spans
        for span in spans:
            assert whole[span.start : span.end] == span.text == span.text.strip()
        assert "".join("".join(span.text for span in spans).split()) == "".join(whole.split())


def test_without_the_check_there_is_one_round_and_no_finding(model: Model) -> None:
    how = TranslateOptions("zh", options=GREEDY, check=False)
    plan = translation(model._runtime, ["hello. what time?"], how)
    asked = advance(plan)
    assert not isinstance(asked, Ended)
    assert not asked[0].record_attention
    ended = advance(plan, run_plan(model._runtime, answers_of(asked)))
    assert isinstance(ended, Ended)
    checks = ended.value[0].checks
    assert checks.uncovered == checks.invented == checks.wrong_language == ()


def test_a_translation_from_elsewhere_is_checked_line_by_line(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "UNCOVERED", EVERYTHING)
    source, translated = "hello how\n\n what time\n", "你好\n the train leaves at\n"
    checks = model.check_translation(source, translated, "zh", "en")
    assert [span.text for span in checks.uncovered] == ["hello how", "what time"]
    assert [span.text for span in checks.wrong_language] == ["the train leaves at"]
    for span in (*checks.uncovered, *checks.wrong_language):
        whole = translated if span in checks.wrong_language else source
        assert whole[span.start : span.end] == span.text
    with pytest.raises(InputError):
        model.check_translation("", "x", "zh")
    with pytest.raises(InputError):
        model.check_translation("x", "x", "fr")
