"""Intents and slots learnt from a few examples, the model's share in them, and its own words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from duologue import api
from duologue.apps.assistant.declaration import Declaration, Example, Intent, Slot
from duologue.apps.assistant.patterns import matched
from duologue.apps.assistant.prior import Prior
from duologue.apps.assistant.tagger import Tagger
from duologue.apps.assistant.understand import Understanding, completed
from duologue.apps.assistant.utterance import Utterance, filled
from duologue.runtime import Runtime
from duologue.text.imported_template import Prefix

TODAY = date(2026, 3, 4)


def intent(name: str, slots: tuple[Slot, ...], *examples: str) -> Intent:
    marked = tuple(Example.marked(text, "en") for text in examples)
    return Intent(name, marked, {slot.name: slot for slot in slots})


TEXT, TIME, DATE = Slot("text", "text", required=True), Slot("time", "time"), Slot("date", "date")
REMIND = intent(
    "remind",
    (TEXT, TIME, DATE),
    "remind me to {text}",
    "remind me to {text} at {time}",
    "remind me {date} at {time} to {text}",
    "do not let me forget to {text} {date}",
)
PLAY = intent(
    "play", (Slot("song", "text"),), "play {song}", "put on the song {song}", "play music"
)
STOP = intent("stop", (), "stop the music", "be quiet", "silence please", "turn it off")
STRAYS = tuple(Example("en", text) for text in ("who are you", "tell me a joke", "order a pizza"))
DECLARATION = Declaration({i.name: i for i in (REMIND, PLAY, STOP)}, STRAYS)


@pytest.fixture(scope="module")
def runtime(tiny_model_folder: Callable[[], Path]) -> Runtime:
    return api.load(tiny_model_folder(), threads=1)._runtime


@pytest.fixture(scope="module")
def understanding(runtime: Runtime) -> Understanding:
    return Understanding(runtime, DECLARATION)


# --- intents -------------------------------------------------------------------------------------


def test_scores_without_an_example_are_those_of_a_fit_without_it() -> None:
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(12, 30)).astype(np.float32)
    targets = np.arange(12) % 3
    whole = Prior(rows, targets, 3)
    for left_out in range(12):
        kept = np.arange(12) != left_out
        part = Prior(rows[kept], targets[kept], 3)
        expected = part.scores(rows[left_out : left_out + 1])[0]
        np.testing.assert_allclose(whole.scores_without[left_out], expected, atol=2e-3)


def test_few_and_many_examples_are_fitted_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(20, 9)).astype(np.float32)
    targets = np.arange(20) % 4
    dual = Prior(rows, targets, 4)
    monkeypatch.setattr("duologue.apps.assistant.prior._MAX_DUAL", 0)
    primal = Prior(rows, targets, 4)
    np.testing.assert_allclose(dual.scores(rows), primal.scores(rows), atol=1e-3)
    np.testing.assert_allclose(dual.scores_without, primal.scores_without, atol=2e-3)
    assert dual.temperature == primal.temperature


def test_the_same_declaration_is_always_understood_in_the_same_way(
    runtime: Runtime, understanding: Understanding
) -> None:
    again = Understanding(runtime, DECLARATION)
    for text in ("play something nice", "remind me to eat at 7 pm", "hello"):
        first, second = (u.read(text, "en", TODAY) for u in (understanding, again))
        assert first.probabilities == second.probabilities
        assert first.segments == second.segments


def test_probabilities_leave_room_for_what_fits_nothing(understanding: Understanding) -> None:
    known = understanding.read("be quiet", "en", TODAY)
    stray = understanding.read("order a pizza with cheese", "en", TODAY)
    assert known.is_understood
    assert known.intent.name == "stop"
    assert not stray.is_understood
    assert sum(stray.probabilities.values()) < 0.6 < sum(known.probabilities.values()) <= 1.0001


def test_one_intent_alone_needs_no_model(runtime: Runtime) -> None:
    alone = Understanding(runtime, Declaration({"stop": STOP}, STRAYS))
    assert alone.model_share == 0
    assert alone.read("stop the music", "en", TODAY).is_understood


# --- slots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("remind me to feed the cat", {"text": "feed the cat"}),
        ("Remind me to feed the cat at 7 pm.", {"text": "feed the cat", "time": "19:00"}),
        (
            "remind me tomorrow at half past nine to feed the cat",
            {"text": "feed the cat", "date": "2026-03-05", "time": "09:30"},
        ),
        ("play Blue Suede Shoes", {"song": "Blue Suede Shoes"}),
        ("play music", {}),
    ],
)
def test_slots_are_found_with_typed_values(
    understanding: Understanding, text: str, slots: dict[str, str]
) -> None:
    understood = understanding.read(text, "en", TODAY)
    assert {s.slot: s.candidate.value for s in understood.segments} == slots
    for segment in understood.segments:
        assert text[segment.candidate.start : segment.candidate.end] == segment.text
        assert 0 <= segment.score <= 1


def test_a_typed_slot_that_nobody_took_is_filled_by_what_was_recognised() -> None:
    utterance = Utterance("something at 7 pm on friday", "en", TODAY)
    found = completed([], utterance, {"time": TIME, "date": DATE})
    assert {s.slot: s.candidate.value for s in found} == {"time": "19:00", "date": "2026-03-06"}
    two = {"from": Slot("from", "time"), "to": Slot("to", "time")}
    assert completed([], utterance, two) == []  # nobody knows which of them is meant


def test_the_closest_example_has_the_most_typed_slots() -> None:
    slots = dict(REMIND.slots)
    utterance = Utterance("remind me to go at 7 pm", "en", TODAY)
    found = matched(REMIND.examples, utterance, slots) or []
    assert {s.slot: s.candidate.value for s in found} == {"text": "go", "time": "19:00"}
    assert matched(REMIND.examples, Utterance("remind us to go", "en", TODAY), slots) is None
    assert matched(PLAY.examples, Utterance("Play music!", "en", TODAY), PLAY.slots) == []


def test_the_tagger_learns_its_examples_and_holds_typed_slots_to_what_is_recognised() -> None:
    examples = []
    for turn in range(9):
        made = filled(REMIND.examples[turn % 4], REMIND.slots, turn)
        examples.append((Utterance(made.text, "en", TODAY), made))
    tagger = Tagger(["text", "time", "date"], examples)
    for utterance, made in examples:
        found = {s.slot: s.text for s in tagger.segments(utterance, REMIND.slots)}
        assert found == {name: made.text[a:b] for name, a, b in made.places}
    purple = Utterance("remind me to go at purple", "en", TODAY)
    assert "time" not in {s.slot for s in tagger.segments(purple, REMIND.slots)}


# --- a model that has learnt commands ------------------------------------------------------------


class CommandTemplate:
    """The tiny model's template, as if `command` were a task that it has learnt."""

    def __init__(self, runtime: Runtime) -> None:
        self._template = runtime.template

    def alone(self, text: str) -> object:
        return self._template.alone(text)

    def prefix(self, task: str) -> Prefix:
        assert task == "command"
        return self._template.prefix("intent")


@pytest.fixture
def commanded(tiny_model_folder: Callable[[], Path]) -> Runtime:
    runtime = api.load(tiny_model_folder(), threads=1)._runtime
    runtime.template = CommandTemplate(runtime)  # type: ignore[assignment]
    runtime.config = replace(runtime.config, tasks=("command",))
    return runtime


def test_a_models_own_words_are_used_where_they_are_better(
    commanded: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Understanding(commanded, DECLARATION)
    assert not random.uses_model_slots  # random weights find nothing
    monkeypatch.setattr(Understanding, "_model_finds_more", lambda *_: True)
    trusted = Understanding(commanded, DECLARATION)
    assert trusted.uses_model_slots
    text = "remind me to feed the cat at 7 pm"
    memory, _ = trusted._encode(text)
    utterance = Utterance(text, "en", TODAY)
    for segment in trusted._model_segments(utterance, memory, REMIND):
        assert segment.text in text
        assert segment.slot != "time" or segment.candidate.value == "19:00"
    assert trusted.read(text, "en", TODAY).intent.name == "remind"
