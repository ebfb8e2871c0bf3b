"""What no translation may change: found, kept exactly once, or told to be lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.api import Model, load
from duologue.apps.batch import Plan, run_plan
from duologue.apps.translate.alignment import Alignment, alignment_ask, alignment_of
from duologue.apps.translate.parts import Mark, Parts, text_of
from duologue.apps.translate.placeholders import find, lost, tags
from duologue.apps.translate.placing import placed
from duologue.apps.translate.protected import parts_plan
from duologue.apps.translate.protected_text import Languages, Translated
from duologue.types import Alternative, Checks, Result, Span, Usage

KINDS = {
    "url": ["https://example.org/a?b=1#c", "http://x.y", "www.example.org/a"],
    "email": ["anna.b+c@example.co.uk"],
    "braces": [
        "{name}",
        "{0}",
        "{{user.name}}",
        "${x}",
        "{n, plural, one {# a} other {# b}}",
        "#{y}",
    ],
    "percent": ["%s", "%d", "%(count)d", "%1$s", "%.2f", "%%", "%NAME%", "%@"],
    "shell": ["$HOME"],
    "emoji": [":smile:", ":+1:".replace("+1", "thumbs_up")],
    "path": ["/etc/hosts", "~/notes.txt", "src/a.py", "C:\\Users\\x", "../up/one"],
    "code": ["AB-1234", "RTX4090", "snake_case", "--force"],
    "tag": ["<b>", "</b>", "<br/>", '<a href="x y">'],
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in KINDS.items() for text in texts]
)
def test_placeholders_of_each_kind_are_found_in_any_script(kind: str, text: str) -> None:
    for around in ("Say {} now.", "请看{}。", "{}", "({}), yes"):
        found = [(item.kind, item.text) for item in find(around.replace("{}", text))]
        if kind in ("path", "shell") and around == "请看{}。" and text.startswith(("src", "C:")):
            continue  # their first letter may follow any other
        assert found == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        "50% of all",
        "a and/or b",
        "10:30",
        "2024-05-01",
        "5 km",
        "AC/DC",
        "e.g. this",
        "I'm",
        "3D",
        "100K",
        "a < b",
        "x > y",
        "c'est ça: non",
        "Die 50-Jährige",
        "Mr. X-Ray",
    ],
)
def test_prose_holds_no_placeholder(text: str) -> None:
    assert [*find(text)] == []


def test_tags_are_paired() -> None:
    parts = tags("a <b>c <br> d</b> </i>")
    assert text_of(parts) == "a c  d "
    pairs = [part.pair for part in parts if isinstance(part, Mark)]
    assert pairs[0] == pairs[2] is not None
    assert pairs[1] is pairs[3] is None


# --- numbers ------------------------------------------------------------------------------------

SAME_NUMBERS = [
    ("1,000.5 units", "1.000,5 Einheiten"),
    ("120000 people", "12万人"),
    ("1.2 billion", "12亿"),
    ("3 dogs", "drei Hunde"),
    ("3 dogs", "三只狗"),
    ("at 3 p.m.", "um 15 Uhr"),
    ("3:30pm", "15:30 Uhr"),
    ("at 5:00 pm", "下午5点"),
    ("7月26日", "July 26"),
    ("50%", "百分之50"),
    ("5 km", "5公里"),
    ("$30", "30 Dollar"),
    ("2 million", "2 Millionen"),
    ("20 people", "二十人"),
    ("in 1999", "1999年"),
    ("5'000", "5 000"),
    ("1.5 kg", "1,5 kg"),
    ("20%", "两成"),
    ("16：00", "1600"),
    ("{0} and %1$s", "{0} und %1$s"),
    ("no number", "keine Zahl"),
]


@pytest.mark.parametrize(("source", "translation"), SAME_NUMBERS)
def test_numbers_are_the_same_however_they_are_written(source: str, translation: str) -> None:
    assert lost(source, translation) == ()


@pytest.mark.parametrize(
    ("source", "translation", "missing"),
    [
        ("3 dogs and 4 cats", "3 Hunde", ("4",)),
        ("in 1999", "1998年", ("1999",)),
        ("5 km", "5 Meilen", ("5 km",)),
        ("2 of 2", "2", ("2",)),
        ("1,000", "100", ("1,000",)),
        ("Hello {name}", "Hallo", ("{name}",)),
        ("Hello {name}", "{name} {name}", ("{name}",)),
        ("See http://x.y", "Siehe http://x.z", ("http://x.y",)),
        ("%s of %s", "%s", ("%s",)),
        ("<b>x</b>", "<b>x", ("</b>",)),
        ("${x} {x}", "${x} {x}", ()),
    ],
)
def test_what_is_lost_or_repeated_is_told(
    source: str, translation: str, missing: tuple[str, ...]
) -> None:
    assert lost(source, translation) == missing


@given(st.text(max_size=60))
def test_nothing_of_a_text_is_lost_in_itself(text: str) -> None:
    assert lost(text, text) == ()


# --- placing ------------------------------------------------------------------------------------


def aligned(source: str, translation: str, links: dict[str, str]) -> Alignment:
    """An alignment in which each word of the translation looks at one of the source alone."""

    def words(text: str) -> list[tuple[int, int]]:
        spans, at = [], 0
        for word in text.split():
            start = text.index(word, at)
            at = start + len(word)
            spans.append((start, at))
        return spans

    tokens, targets = words(source), words(translation)
    shares = np.zeros((len(targets), len(tokens)), np.float32)
    for row, (start, end) in enumerate(targets):
        column = source.split().index(links[translation[start:end]])
        shares[row, column] = 1
    return Alignment(shares, targets, tokens)


def marked(text: str, marks: list[tuple[int, Mark]]) -> str:
    for place, mark in reversed(marks):
        text = text[:place] + mark.raw + text[place:]
    return text


def test_a_pair_goes_around_the_words_that_its_words_became() -> None:
    alignment = aligned(
        "the red dog ran",
        "lief der rote Hund",
        {"lief": "ran", "der": "the", "rote": "red", "Hund": "dog"},
    )
    marks = [
        (4, Mark("<b>", 0, 0)),
        (11, Mark("</b>", 1, 0)),
        (12, Mark("<i>", 2, 1)),
        (15, Mark("</i>", 3, 1)),
    ]
    found = placed("the red dog ran", marks, "lief der rote Hund", alignment)
    assert marked("lief der rote Hund", found) == "<i>lief</i> der <b>rote Hund</b>"


def test_pairs_stay_nested_and_apart() -> None:
    alignment = aligned("a b c", "x y z", {"x": "a", "y": "b", "z": "c"})
    marks = [
        (0, Mark("<o>", 0, 0)),
        (0, Mark("<i>", 1, 1)),
        (1, Mark("</i>", 2, 1)),
        (5, Mark("</o>", 3, 0)),
    ]
    assert marked("x y z", placed("a b c", marks, "x y z", alignment)) == "<o><i>x</i> y z</o>"


def test_a_mark_that_stands_alone_follows_its_word() -> None:
    alignment = aligned(
        "one two three", "drei zwei eins", {"drei": "three", "zwei": "two", "eins": "one"}
    )
    marks = [(0, Mark("^", 0)), (7, Mark("[1]", 1)), (13, Mark("$", 2))]
    found = placed("one two three", marks, "drei zwei eins", alignment)
    assert marked("drei zwei eins", found) == "^drei zwei[1] eins$"


MARKS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=4)


@given(
    MARKS,
    st.lists(st.integers(0, 11), max_size=3),
    st.text("ab ", min_size=0, max_size=14),
    st.booleans(),
)
def test_each_mark_comes_out_once_and_pairs_are_closed_in_order(
    pairs: list[tuple[int, int]], alone: list[int], translation: str, has_alignment: bool
) -> None:
    text = "ab cd ef gh"
    opened: list[tuple[int, Mark]] = []
    for number, (one, other) in enumerate(pairs):
        start, end = sorted((one, other))
        if all(
            end <= a or start >= b or (a <= start and end <= b) or (start <= a and b <= end)
            for a, b in (sorted(pair) for pair in pairs[:number])
        ):
            opened += [(start, Mark(f"<{number}>", 2 * number, number))]
            opened += [(end, Mark(f"</{number}>", 2 * number + 1, number))]
    marks = sorted(
        [*opened, *((p, Mark("*", 100 + n)) for n, p in enumerate(alone))], key=lambda m: m[0]
    )
    words = translation.split()
    alignment = None
    if has_alignment and words:
        generator = np.random.default_rng(len(translation))
        spans = aligned(text, translation, dict.fromkeys(words, "ab"))
        alignment = Alignment(
            generator.random((len(words), 4)).astype(np.float32), spans.words, spans.tokens
        )
    found = placed(text, marks, translation, alignment)
    assert sorted(m.start for _, m in found) == sorted(m.start for _, m in marks)
    places = [place for place, _ in found]
    assert places == sorted(places)
    assert all(0 <= place <= len(translation) for place in places)


# --- translating around what stays --------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(), threads=1)


class Translator:
    """Translates word by word as it is told, and remembers what it was asked."""

    def __init__(self, change: Callable[[str], str]) -> None:
        self.change = change
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Plan[list[Result]]:
        yield from ()
        self.asked += texts
        return [
            Result(
                self.change(text),
                "stop",
                0.5,
                checks=Checks(source_split=(Span(0, 0, 3, text[:3], 0.0),)),
                alternatives=(Alternative(self.change(text).lower(), -1.0),),
                usage=Usage(produced_tokens=1),
            )
            for text in texts
        ]


def translated(model: Model, parts: Parts, translate: Translator) -> Translated:
    plan = parts_plan(model._runtime, [parts], Languages("zh"), translate)
    (done,) = run_plan(model._runtime, plan)
    return done


def upper_but_names(text: str) -> str:
    words = [
        word if word.strip(".,?") in ("Tom", "Mary", "John") else word.upper()
        for word in text.split(" ")
    ]
    return " ".join(words)


def test_a_name_stands_for_a_placeholder(model: Model) -> None:
    translate = Translator(upper_but_names)
    done = translated(model, ("say {x} to %s now",), translate)
    assert translate.asked == ["say Tom to Mary now"]
    assert done.result.text == "SAY {x} TO %s NOW"
    assert done.result.checks.lost == ()
    assert done.result.alternatives == ()  # they have lost a name
    assert done.parts == ("SAY {x} TO %s NOW",)


def test_names_of_the_text_stand_for_nothing(model: Model) -> None:
    translate = Translator(upper_but_names)
    translated(model, ("tell Tom of {x}",), translate)
    assert translate.asked == ["tell Tom of Mary"]


def test_numbers_stand_where_numbers_will_be_and_are_tried_where_names_fail(model: Model) -> None:
    translate = Translator(str.upper)  # no name survives, numbers do
    done = translated(model, ("%d of {x}",), translate)
    assert translate.asked[:2] == ["42 of Tom", "Tom of 42"]
    assert done.result.text == "%d OF {x}"


def test_a_text_is_cut_at_placeholders_where_no_stand_in_survives(model: Model) -> None:
    def change(text: str) -> str:
        return text.upper().replace("TOM", "X").replace("42", "Y") + "."

    translate = Translator(change)
    done = translated(model, ("see, {x} runs (fast): {y}!",), translate)
    assert translate.asked[-2:] == ["see", "runs (fast"]
    assert done.result.text == "SEE, {x} RUNS (FAST): {y}!"


def test_marks_and_what_they_show_stay_once(model: Model) -> None:
    parts: Parts = (
        "run ",
        Mark("<c>", 0, None, "code()"),
        " and ",
        Mark("<b>", 1, 1),
        "stop",
        Mark("</b>", 2, 1),
    )
    done = translated(model, parts, Translator(upper_but_names))
    assert done.result.text == "RUN code() AND STOP"
    marks = [part for part in done.parts if isinstance(part, Mark)]
    assert sorted(mark.start for mark in marks) == [0, 1, 2]


def test_tags_in_prose_are_prose_again(model: Model) -> None:
    done = translated(model, ("a <b>dog</b> <br/> ran",), Translator(str.upper))
    assert all(isinstance(part, str) for part in done.parts)
    assert done.result.checks.lost == ()
    assert done.result.text.count("<b>") == done.result.text.count("</b>") == 1


def test_spans_are_those_of_the_text_as_given(model: Model) -> None:
    done = translated(model, ("  see {name} and {x} now",), Translator(upper_but_names))
    (span,) = done.result.checks.source_split
    assert (span.start, span.text) == (2, "see")


def test_what_has_no_words_is_not_translated(model: Model) -> None:
    translate = Translator(str.upper)
    for text in ("12", "{x}", "http://x.y $HOME", "..."):
        assert translated(model, (text,), translate).result.text == text
    assert translate.asked == []


WORDS = st.sampled_from(
    ["dog", "Tom", "42", "{x}", "%s", "<b>", "</b>", "http://x.y", "a.", "\n", "你好", "5 km"]
)


@given(
    st.lists(WORDS, min_size=1, max_size=12).map(" ".join),
    st.sampled_from([str.upper, str.lower, lambda t: "", lambda t: t + t, upper_but_names]),
)
def test_placeholders_are_there_exactly_once_whatever_the_model_does(
    text: str, change: Callable[[str], str]
) -> None:
    from collections import Counter

    done = translated(MODEL[0], (text,), Translator(change))
    assert Counter(i.text for i in find(done.result.text)) == Counter(i.text for i in find(text))


MODEL: list[Model] = []


@pytest.fixture(autouse=True, scope="module")
def _model(model: Model) -> None:
    MODEL[:] = [model]


def aligned_by(model: Model, text: str, translation: str) -> Alignment | None:
    runtime = model._runtime
    ask = alignment_ask(runtime, text, translation, "en")
    if ask is None:
        return None

    def plan() -> Plan[Alignment | None]:
        (answer,) = yield [ask]
        return alignment_of(runtime, ask, answer, translation)

    return run_plan(runtime, plan())


def test_the_attention_of_a_model_aligns_words(model: Model) -> None:
    alignment = aligned_by(model, "hello how are you", "what time")
    assert alignment is not None
    assert alignment.shares.shape == (2, len(alignment.tokens))
    np.testing.assert_allclose(alignment.shares.sum(axis=1), 1, atol=1e-5)
    assert aligned_by(model, "hello " * 100, "what") is None
    assert aligned_by(model, "hello", "what " * 100) is None
    assert aligned_by(model, "hello", "...") is None


def test_texts_of_several_languages_are_guessed(model: Model) -> None:
    results = model.translate_batch(["hello how are you", "你好，今天", "12"], "zh", "auto")
    assert len(results) == 3
    assert results[2].text == "12"
