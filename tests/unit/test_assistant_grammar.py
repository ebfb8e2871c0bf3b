"""No invalid command can come out, whatever the model would rather say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue import api
from duologue.apps.assistant.declaration import Slot
from duologue.apps.assistant.grammar import CommandRule, Vocabulary
from duologue.apps.assistant.utterance import Utterance
from duologue.engine.engine import Constraints
from duologue.text.template import label_text
from duologue.text.tokenizer import Tokenizer
from duologue.types import Options

TODAY = date(2026, 3, 4)
SLOTS = {
    "time": Slot("time", "time"),
    "date": Slot("date", "date"),
    "who": Slot("who", "text"),
    "room": Slot("room", "choice", choices={"kitchen": {"en": ("kitchen", "the kitchen")}}),
}


@pytest.fixture(scope="module")
def vocabulary(tiny_tokenizer: Tokenizer) -> Vocabulary:
    pieces = [tiny_tokenizer.token_bytes(idx) for idx in range(tiny_tokenizer.vocab_size)]
    return Vocabulary(pieces, tiny_tokenizer.eos_id)


def spelled(text: str, utterance: Utterance, intent: str) -> dict[str, str]:
    """The slots that a text of the grammar spells, read by hand."""
    name, *parts = text.split("; ")
    assert name == label_text(intent)
    return dict(part.split(": ", 1) for part in parts)


@given(
    st.sampled_from(
        [
            "wake Bob at half past three tomorrow in the kitchen",
            "at 7 am or 8 am",
            "明天下午三点叫我起床",
            "hello",
            "kitchen: who; time",
        ]
    ),
    st.integers(0, 2**32 - 1),
)
def test_whatever_a_model_likes_it_says_what_was_declared_and_said(
    vocabulary: Vocabulary, tiny_tokenizer: Tokenizer, text: str, seed: int
) -> None:
    language = "zh" if text[0] > "z" else "en"
    utterance = Utterance(text, language, TODAY)
    rule = CommandRule(vocabulary, utterance, "set_alarm", SLOTS)
    likes = np.random.default_rng(seed)
    ids: tuple[int, ...] = ()
    for _ in range(400):
        logits = likes.normal(0, 3, tiny_tokenizer.vocab_size).astype(np.float32)
        allowed = rule.apply(logits, ids)
        assert allowed.max() > -np.inf  # there is always a way on, or the end
        idx = int(allowed.argmax())
        if idx == tiny_tokenizer.eos_id:
            break
        ids = (*ids, idx)
    else:
        pytest.fail("a command must end")
    said = tiny_tokenizer.decode(list(ids))
    assert said.startswith("set alarm")
    found = rule.slots(ids)
    for name, candidate in found.items():
        stretch = text[candidate.start : candidate.end]
        assert f"; {name}: {stretch}" in said
        if SLOTS[name].kind != "text":
            assert candidate.value in {c.value for c in utterance.candidates(SLOTS[name])}
    if ";" not in text:
        assert set(spelled(said, utterance, "set_alarm")) == set(found)


def test_an_unfinished_command_keeps_the_slots_that_are_whole(
    vocabulary: Vocabulary, tiny_tokenizer: Tokenizer
) -> None:
    rule = CommandRule(vocabulary, Utterance("at 7 am tomorrow", "en", TODAY), "wake", SLOTS)
    ids = tuple(tiny_tokenizer.encode("wake; time: 7 am; date: tomor"))
    assert {name: c.value for name, c in rule.slots(ids).items()} == {"time": "07:00"}
    ids = tuple(tiny_tokenizer.encode("wake; time: 7 am; date: tomorrow"))
    values = {name: c.value for name, c in rule.slots(ids).items()}
    assert values == {"time": "07:00", "date": "2026-03-05"}


def test_a_slot_may_be_called_as_its_intent(
    vocabulary: Vocabulary, tiny_tokenizer: Tokenizer
) -> None:
    rule = CommandRule(vocabulary, Utterance("at 7 am", "en", TODAY), "time", SLOTS)
    ids = tuple(tiny_tokenizer.encode("time; time: 7 am"))
    assert rule.slots(ids)["time"].value == "07:00"


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_engine_is_held_to_it(
    tiny_model_folder: Callable[[], Path], vocabulary: Vocabulary, beam_size: int
) -> None:
    model = api.load(tiny_model_folder())
    text = "wake Bob at 7 am"
    memory = model.encode(text)
    rule = CommandRule(vocabulary, Utterance(text, "en", TODAY), "set_alarm", SLOTS)
    runtime = model._runtime
    prefix = runtime.template.prefix("intent")
    options = runtime.fit(Options(max_tokens=40, beam_size=beam_size), prefix)
    finished = runtime.engine.generate(
        memory, prefix.ids, options, constraints=Constraints(prefix.forced, rule)
    )
    said = model.tokenizer.decode(list(finished.best.ids))
    assert said.startswith("set alarm")
    for name, candidate in rule.slots(finished.best.ids).items():
        assert f"; {name}: {text[candidate.start : candidate.end]}" in said
