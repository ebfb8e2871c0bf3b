"""Conversations with the shipped commands: questions, corrections, confirmation, undo."""

from __future__ import annotations

from datetime import date

import pytest
from assistant_home import Home

from duologue.apps.assistant.dialogue import Dialogue, State, Surroundings
from duologue.apps.assistant.phrases import correction, hears
from duologue.errors import InputError

# --- one text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "intent", "slots"),
    [
        ("set a timer for ten minutes", "timer_set", {"duration": 600}),
        ("stell einen Timer auf anderthalb Stunden", "timer_set", {"duration": 5400}),
        ("定时十分钟", "timer_set", {"duration": 600}),
        (
            "wake me up at half past seven tomorrow",
            "alarm_set",
            {"time": "07:30", "date": "2026-03-05"},
        ),
        ("明天下午三点叫我起床", "alarm_set", {"time": "15:00", "date": "2026-03-05"}),
        (
            "remind me to water the roses tomorrow at 5 pm",
            "reminder_set",
            {"text": "water the roses", "time": "17:00", "date": "2026-03-05"},
        ),
        ("turn on the light in the kitchen", "device_on", {"device": "light", "room": "kitchen"}),
        ("关掉客厅的空调", "device_off", {"device": "air_conditioning", "room": "living_room"}),
        ("note that the key is under the mat", "note_add", {"text": "the key is under the mat"}),
        ("wie spät ist es in Tokio", "time_in", {"place": "Tokio"}),
    ],
)
def test_a_command_is_understood_with_its_slots(
    home: Home, text: str, intent: str, slots: dict[str, object]
) -> None:
    result = home.say(text)
    assert result.command is not None
    assert (result.command.intent, result.command.slots) == (intent, slots)
    assert result.command.status == "done"
    assert not result.declined
    assert result.confidence == result.probabilities[intent]
    assert sum(result.probabilities.values()) == pytest.approx(1)
    for name, span in result.command.spans.items():
        assert text[span.start : span.end] == span.text, name


@pytest.mark.parametrize("text", ["order me a pizza", "xyzzy plugh", "我想订一张桌子", "!?", "你"])
def test_what_fits_nothing_is_said_to_be_not_understood(home: Home, text: str) -> None:
    result = home.say(text)
    assert result.declined
    assert result.command is None
    assert "not understand" in result.text or "没听懂" in result.text


def test_help_lists_everything_in_the_language_of_the_last_text(home: Home) -> None:
    assert "set a timer; tell how long timers run" in home.say("help").text
    home.say("wie spät ist es")
    assert home.say("Hilfe!").text.startswith("Ich kann: ")


@pytest.mark.parametrize("text", ["", "   ", "half \ud800"])
def test_what_nobody_can_read_is_refused(home: Home, text: str) -> None:
    with pytest.raises(InputError):
        home.say(text)


def test_a_very_long_text_is_no_command(home: Home) -> None:
    assert home.say("set a timer " * 1000).text == "That is too long for a command."


# --- several texts -------------------------------------------------------------------------------


def test_what_is_missing_is_asked_for_and_filled(home: Home) -> None:
    asked = home.say("set a timer")
    assert asked.text == "For how long?"
    assert asked.command is not None
    assert asked.command.status == "asking"
    done = home.say("for an hour and a half, please")
    assert done.text == "The timer runs for 1 hour and 30 minutes."
    assert done.command is not None
    span = done.command.spans["duration"]
    assert (span.segment, span.text) == (1, "an hour and a half")


def test_an_answer_that_does_not_fit_is_asked_for_again_and_then_given_up(home: Home) -> None:
    home.say("set a timer")
    assert [home.say("purple").text for _ in range(3)] == [
        "For how long?",
        "For how long?",
        "I did not get that, so I leave it.",
    ]
    assert home.say("purple").command is None  # nothing waits for it any more


def test_a_new_command_while_asking_is_understood(home: Home) -> None:
    home.say("set a timer")
    assert home.command("what time is it").intent == "time_in"
    assert home.command("set an alarm").status == "asking"
    assert home.command("read my notes").intent == "note_list"


def test_a_free_slot_takes_any_words_but_not_a_clear_command(home: Home) -> None:
    home.say("take a note")
    assert home.say("the plumber comes at noon").text == "Noted: the plumber comes at noon."
    home.say("take a note")
    assert home.command("set a timer for ten minutes").intent == "timer_set"


def test_cancel_ends_a_question(home: Home) -> None:
    home.say("set a timer")
    assert home.command("never mind").status == "cancelled"
    assert home.say("cancel").text == "There is nothing to cancel."


def test_dangerous_commands_are_confirmed_in_any_language(home: Home) -> None:
    home.say("take a note buy bread")
    asked = home.say("delete note 1")
    assert asked.text == "Delete notes 1?"
    assert asked.command is not None
    assert asked.command.status == "confirming"
    assert home.command("nein").status == "cancelled"
    assert home.say("read my notes").text == "1. buy bread"
    home.say("delete note 1")
    assert home.say("purple").text.startswith("Please say yes or no")
    assert home.command("是的").status == "done"
    assert home.say("read my notes").text == "There are no notes."


def test_what_is_only_just_understood_is_confirmed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duologue.apps.assistant.dialogue.DOUBTFUL", 1.1)
    assert home.say("set a timer for ten minutes").text == "Do you really want to set a timer?"
    assert home.assistant._scheduler.pending("anna", "timer") == []
    assert home.say("yes").text == "The timer runs for 10 minutes."


def test_undo_takes_the_last_command_back_once(home: Home) -> None:
    home.say("take a note buy bread")
    home.say("delete all my notes")
    home.say("yes")
    assert home.say("read my notes").text == "There are no notes."
    assert home.say("undo").text == "There is nothing that I could take back."  # of a question
    home.say("delete all my notes")
    assert home.say("yes").text == "There are no notes."


def test_undo_brings_deleted_notes_back(home: Home) -> None:
    home.say("take a note buy bread")
    home.say("delete all my notes")
    home.say("yes")
    undone = home.command("undo")
    assert (undone.intent, undone.status) == ("note_delete", "undone")
    assert home.say("read my notes").text == "1. buy bread"


@pytest.mark.parametrize("text", ["no, fifteen minutes", "I meant fifteen minutes"])
def test_a_correction_replaces_what_was_done(home: Home, text: str) -> None:
    home.say("set a timer for ten minutes")
    assert home.say(text).text == "The timer runs for 15 minutes."
    assert home.say("how long is left on the timer").text == "Still to go: 15 minutes."


def test_a_correction_while_confirming_changes_what_is_asked(home: Home) -> None:
    home.say("take a note one")
    home.say("take a note two")
    home.say("delete note 1")
    assert home.say("no, 2").text == "Delete notes 2?"
    home.say("yes")
    assert home.say("read my notes").text == "1. one"


def test_a_correction_of_one_slot_leaves_the_others(home: Home) -> None:
    home.say("wake me up at half past seven tomorrow")
    corrected = home.command("no, at 8 am")
    assert corrected.slots == {"time": "08:00", "date": "2026-03-05"}
    assert len(home.assistant._scheduler.pending("anna", "alarm")) == 1


def test_people_do_not_hear_each_other(home: Home) -> None:
    home.say("set a timer", "anna")
    assert home.say("what time is it", "bert").text == "It is 09:00."
    assert home.say("ten minutes", "anna").text == "The timer runs for 10 minutes."


def test_the_caller_may_keep_the_state(home: Home) -> None:
    result, state = home.assistant.answer("set a timer", State(), "anna")
    assert result.text == "For how long?"
    first, _ = home.assistant.answer("ten minutes", state, "anna")
    second, _ = home.assistant.answer("an hour", state, "anna")  # the state did not change
    assert first.command is not None
    assert second.command is not None
    assert (first.command.slots, second.command.slots) == ({"duration": 600}, {"duration": 3600})


def test_the_dialogue_does_nothing_by_itself(home: Home) -> None:
    dialogue: Dialogue = home.assistant._dialogue
    around = Surroundings(date(2026, 3, 4))
    decision = dialogue.take("set a timer for ten minutes", State(), around)
    assert decision.kind == "run"
    assert home.assistant._scheduler.pending("anna", "timer") == []


# --- preferences ---------------------------------------------------------------------------------


def test_preferences_are_kept_and_used(home: Home) -> None:
    assert home.say("what's the weather").text == "For which place?"
    assert home.say("Berlin").text == "Berlin, today: rainy, 3 to 9 °C."
    home.say("I live in Hamburg")
    home.say("use Fahrenheit")
    assert home.say("what is the weather like").text == "Hamburg, today: stormy, 39 to 45 °F."
    assert "home city: Hamburg" in home.say("what do you know about me").text
    assert home.say("what is the weather like", "bert").text == "For which place?"


def test_undo_restores_a_preference(home: Home) -> None:
    home.say("I live in Hamburg")
    home.say("I live in Berlin")
    home.say("undo")
    assert home.assistant._store.preferences("anna") == {"home_city": "Hamburg"}


# --- short things --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Yes, please!", "yes"),
        ("ja", "yes"),
        ("好的。", "yes"),
        ("No.", "no"),
        ("lieber nicht", "no"),
        ("不要", "no"),
        ("mach das rückgängig", "undo"),
        ("undo please", "undo"),
        ("撤销", "undo"),
        ("vergiss es", "cancel"),
        ("算了吧", "cancel"),
        ("what can you do?", "help"),
    ],
)
def test_short_things_are_heard(text: str, what: str) -> None:
    assert [name for name in ("yes", "no", "undo", "cancel", "help") if hears(text, name)][:1] in (
        [what],
        ["no"],  # 算了 is a no and a cancel
    )
    assert hears(text, what)


@pytest.mark.parametrize("text", ["yes we have no bananas", "no ten", "undo the top button"])
def test_longer_things_are_not(text: str) -> None:
    assert not any(hears(text, name) for name in ("yes", "no", "undo", "cancel", "help"))


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("no, ten minutes", "ten minutes"),
        ("Nein, zehn Minuten", "zehn Minuten"),
        ("nein, ich meinte Hamburg", "Hamburg"),
        ("不，十分钟", "十分钟"),
        ("改成十分钟", "十分钟"),
        ("make it ten minutes", "ten minutes"),
        ("ten minutes", None),
        ("no", None),
        ("notes", None),
        ("make a note", None),
    ],
)
def test_corrections(text: str, rest: str | None) -> None:
    assert correction(text) == rest
