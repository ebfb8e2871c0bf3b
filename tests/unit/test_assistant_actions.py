"""What is done: timers that ring, notes, the house, the weather, sums, and other people's code."""

from __future__ import annotations

import json
import sys
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from assistant_home import Home, make_home
from hypothesis import given
from hypothesis import strategies as st

from duologue import api
from duologue.apps.assistant import AssistantOptions, Call, Outcome, action
from duologue.apps.assistant.actions import resolve
from duologue.apps.assistant.actions.calculator import calculate
from duologue.apps.assistant.actions.weather import read_weather
from duologue.apps.assistant.cities import cities, city, find_cities, zone
from duologue.apps.assistant.house import House
from duologue.apps.assistant.spoken import duration, render
from duologue.errors import ConfigError, DataError, InputError, NotFoundError, StorageError
from duologue.storage.preferences import MAX_TEXT_CHARS, PersonalStore

# --- what rings ----------------------------------------------------------------------------------


def test_a_timer_rings_once_when_its_time_has_come(home: Home) -> None:
    home.say("set a timer for ten minutes")
    home.clock.pass_by(minutes=9)
    assert home.assistant.due("anna") == []
    home.clock.pass_by(minutes=1)
    assert [text for _, text in home.assistant.due("anna")] == ["The timer is over."]
    assert home.assistant.due("anna") == []


def test_alarms_and_reminders_ring_in_order_and_in_their_language(home: Home) -> None:
    start = home.clock.now
    home.say("erinnere mich in 30 minuten an {die Miete}".replace("{", "").replace("}", ""))
    home.clock.now = start.replace(hour=9)
    home.say("wake me at 9:20")
    home.clock.now = start + timedelta(days=1)
    said = [text for _, text in home.assistant.due("anna")]
    assert said[0] == "It is 09:20!"
    assert said[1].startswith("Denk daran: ")
    home.clock.now = start


def test_an_alarm_for_a_time_that_is_over_today_rings_tomorrow(home: Home) -> None:
    home.clock.now = home.clock.now.replace(hour=9, minute=0)
    assert "tomorrow at 08:00" in home.say("wake me at 8 am").text
    assert home.say("set an alarm for today at 8 am").text == "That is in the past."


def test_what_is_to_ring_outlives_the_process(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    store = PersonalStore(path)
    due = store.add_due("anna", "timer", 100.0, "tea", "en")
    store.close()
    again = PersonalStore(path)
    assert again.take_due(99.9) == []
    assert again.take_due(100.0) == [due]
    assert again.take_due(100.0) == []
    again.close()


# --- notes and preferences in their file ---------------------------------------------------------


def test_notes_are_their_owners_alone(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "a.sqlite")
    note = store.add_note("anna", "buy milk", 1.0)
    assert store.notes("bert") == []
    with pytest.raises(NotFoundError):
        store.delete_notes("bert", [note.id])
    with pytest.raises(NotFoundError):
        store.delete_notes("anna", [note.id, 99])
    assert store.notes("anna") == [note]  # all or none
    store.restore_notes("anna", store.delete_notes("anna", [note.id]))
    assert store.notes("anna") == [note]
    store.close()


def test_a_person_can_be_forgotten(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "a.sqlite")
    for user in ("anna", "bert"):
        store.add_note(user, f"secret of {user}", 1.0)
        store.set_preference(user, "name", user)
        store.add_due(user, "alarm", 5.0, "", "en")
    store.erase("anna")
    assert (store.notes("anna"), store.preferences("anna"), store.dues("anna", "alarm")) == (
        [],
        {},
        [],
    )
    assert len(store.notes("bert")) == 1
    store.close()
    assert b"secret of anna" not in (tmp_path / "a.sqlite").read_bytes()


def test_what_is_too_long_or_no_name_is_refused(tmp_path: Path) -> None:
    store = PersonalStore(tmp_path / "a.sqlite")
    with pytest.raises(InputError, match="cannot be kept"):
        store.add_note("anna", "x" * (MAX_TEXT_CHARS + 1), 1.0)
    with pytest.raises(InputError, match="name"):
        store.notes(" ")
    assert store.set_preference("anna", "units", "celsius") is None
    assert store.set_preference("anna", "units", None) == "celsius"
    assert store.preferences("anna") == {}
    store.close()


def test_another_file_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StorageError):
        PersonalStore(path)


# --- the house and the weather -------------------------------------------------------------------


def test_the_house_is_written_to_its_file_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "house.json"
    house = House(path)
    assert house.change("kitchen", "light", on=True, level=30) == {"on": None, "level": None}
    assert json.loads(path.read_text()) == {"kitchen": {"light": {"on": True, "level": 30}}}
    again = House(path)
    before = again.change("kitchen", "light", on=False)
    again.change("kitchen", "light", **before)
    assert again.state("kitchen", "light") == {"on": True, "level": 30}


def test_a_house_that_cannot_be_written_does_not_change(tmp_path: Path) -> None:
    house = House(tmp_path / "gone" / "house.json")
    with pytest.raises(StorageError, match="cannot be written"):
        house.change("kitchen", "light", on=True)
    assert house.state("kitchen", "light") == {}


def test_devices_are_switched_set_and_told(home: Home) -> None:
    assert home.say("is the light in the kitchen on").text == "I know nothing of kitchen light."
    assert home.say("dim the kitchen light to 30 percent").text == "kitchen light: 30."
    assert home.say("is the light in the kitchen on").text == "kitchen light: on, at 30."
    assert home.say("undo").text.startswith("There is nothing")  # a question cannot be undone
    home.say("dim the kitchen light to 50 percent")
    home.say("undo")
    assert home.say("is the light in the kitchen on").text == "kitchen light: on, at 30."
    assert home.say("dim the kitchen light to 300 percent").text == "That must be from 0 to 100."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 1: is no JSON"),
        ("[]", "must be"),
        ('{"Berlin": {"2026-03-04": {"condition": "rain", "low": "3", "high": 9}}}', "numbers"),
        ('{"Berlin": []}', "needs a condition"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_weather_files_that_are_none(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "weather.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_weather(path)


def test_a_broken_weather_file_is_an_answer_and_not_a_failure(home: Home) -> None:
    path = home.folder / "weather.json"
    kept = path.read_text(encoding="utf-8")
    path.write_text("{", encoding="utf-8")
    result = home.say("what is the weather in Berlin")
    path.write_text(kept, encoding="utf-8")
    assert result.command is not None
    assert result.command.status == "failed"
    assert "is no JSON" in result.text
    assert home.say("what is the weather in Berlin").text.startswith("Berlin, today")


# --- cities --------------------------------------------------------------------------------------


def test_every_city_has_a_time_zone() -> None:
    for known in set(cities().values()):
        zone(known.zone)


def test_cities_are_found_in_three_languages() -> None:
    found = [city(name) for name in ("Munich", "münchen", "慕尼黑")]
    assert [known.name for known in found if known] == ["Munich"] * 3
    assert [f.value for f in find_cities("from New York to York via 北京")] == ["New York", "北京"]
    assert find_cities("Romeo and Parish") == []


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", ""])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not known here"):
        zone(name)


@pytest.fixture
def no_zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on Windows and in small containers, without the package tzdata."""
    for module in ("tzdata", *(one for one in sys.modules if one.startswith("tzdata."))):
        monkeypatch.setitem(sys.modules, module, None)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath(to=before)
    zoneinfo.ZoneInfo.clear_cache()


def test_where_no_zone_is_known_it_is_said_what_to_do(home: Home, no_zones: None) -> None:
    with pytest.raises(InputError, match="knows no time zones: run pip install tzdata"):
        zone("Europe/Berlin")
    told = home.say("what time is it in Tokyo")
    assert told.command is not None
    assert told.command.status == "failed"
    assert "pip install tzdata" in told.text
    assert home.say("set a timer for ten minutes").text == "The timer runs for 10 minutes."


# --- sums ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("what is three plus four times 2?", "en", Fraction(11)),
        ("zwölf geteilt durch 5", "de", Fraction(12, 5)),
        ("三加四乘以二等于多少", "zh", Fraction(11)),
        ("(1+2)*3^2", "en", Fraction(27)),
        ("2^3^2", "en", Fraction(512)),
        ("-2^2", "en", Fraction(-4)),
        ("15 percent of 80", "en", Fraction(12)),
        ("the square root of 16 minus 1", "en", Fraction(3)),
        ("wie viel ist fünf hoch zwei", "de", Fraction(25)),
        ("1,5 mal 2", "de", Fraction(3)),
        ("5的平方", "zh", Fraction(25)),
        ("2 plus", "en", Fraction(2)),
        ("no sum at all", "en", None),
    ],
)
def test_sums(text: str, language: str, value: Fraction | None) -> None:
    assert calculate(text, language) == value


@pytest.mark.parametrize("text", ["1/0", "9^9^9^9", "2^(1/0)", "-1^0.5 + (0-4)^0.5", "0^-1"])
def test_sums_that_have_no_value(text: str) -> None:
    with pytest.raises(InputError):
        calculate(text, "en")


OPERANDS = st.integers(0, 99)


@given(st.lists(st.tuples(st.sampled_from("+-*"), OPERANDS), max_size=6), OPERANDS)
def test_sums_are_those_of_python(rest: list[tuple[str, int]], first: int) -> None:
    text = f"{first}" + "".join(f" {sign} {number}" for sign, number in rest)
    assert calculate(text, "en") == eval(text)


@given(st.text("0123456789+-*/^().%x of", max_size=40))
def test_no_sum_takes_long_or_fails_in_another_way(text: str) -> None:
    with suppress(InputError):
        calculate(text, "en")


def test_nesting_cannot_exhaust_the_stack() -> None:
    assert calculate("(" * 90 + "1", "en") == 1
    with pytest.raises(InputError, match="too long"):
        calculate("(" * 5000 + "1", "en")


def test_a_long_sum_is_refused_and_not_cut() -> None:
    assert calculate("1" + "+1" * 40, "en") == 41
    with pytest.raises(InputError, match="too long"):
        calculate("1" + "+1" * 400, "en")


# --- values as they are said ---------------------------------------------------------------------


def test_durations_are_said_with_their_parts() -> None:
    assert duration(5400, "en") == "1 hour and 30 minutes"
    assert duration(90061, "de") == "1 Tag, 1 Stunde, 1 Minute und 1 Sekunde"
    assert duration(5400, "zh") == "1小时30分钟"
    assert duration(0.2, "en") == "0 seconds"


def test_templates_reach_nothing_but_their_values() -> None:
    text = render("{a} {b}: {c.__class__} {d!r}", {"a": 1}, lambda _, value: str(value))
    assert text == "1: {c.__class__} {d!r}"


# --- other people's code -------------------------------------------------------------------------

OWN = """
intents:
  {name}:
    examples: {{en: [do the {name} now, please {name}]}}
    action: {action}
  other_one:
    examples: {{en: [something else, another thing]}}
"""


def own_assistant(
    folder: Path, model_folder: Path, what: str, *allow: str, name: str = "frobnicate"
) -> Home:
    path = folder / "own.yaml"
    path.write_text(OWN.format(name=name, action=what), encoding="utf-8")
    options = AssistantOptions(commands=(path,), shipped=False, allow=allow)
    return make_home(api.load(model_folder, threads=1), folder, options)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("os:abort", "run only if you allow it by name: --allow os:abort"),
        ("nothing.here", "there is no action 'nothing.here'; there are calculator.calculate"),
    ],
)
def test_code_runs_only_if_it_was_allowed(
    what: str, problem: str, tmp_path: Path, tiny_model_folder: Callable[[], Path]
) -> None:
    with pytest.raises(ConfigError, match=problem):
        own_assistant(tmp_path, tiny_model_folder(), what)
    assert "os:abort" not in sys.modules


@pytest.mark.parametrize(
    ("name", "problem"),
    [("no_such_module:f", "cannot be imported"), ("json:no_such", "has no function 'no_such'")],
)
def test_allowed_code_that_is_not_there(name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        resolve(name, (name,))


def test_allowed_code_is_called_with_the_command(
    tmp_path: Path, tiny_model_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_things.py").write_text(
        "def frobnicate(call):\n    return f'{call.intent} for {call.user}'\n"
        "def broken(call):\n    raise RuntimeError('secret')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    home = own_assistant(tmp_path, tiny_model_folder(), "my_things:frobnicate", "my_things")
    assert home.say("please frobnicate").text == "frobnicate for anna"
    home.assistant.close()
    broken = own_assistant(tmp_path, tiny_model_folder(), "my_things:broken", "my_things:broken")
    result = broken.say("please frobnicate")
    assert result.text == "That did not work: my_things:broken: RuntimeError."
    assert result.command is not None
    assert result.command.status == "failed"
    broken.assistant.close()


def test_registered_functions_need_no_leave(
    tmp_path: Path, tiny_model_folder: Callable[[], Path]
) -> None:
    @action("tests.frobnicate")
    def frobnicate(call: Call) -> Outcome:
        return Outcome(text=f"at {call.now:%H:%M}")

    home = own_assistant(tmp_path, tiny_model_folder(), "tests.frobnicate")
    assert home.say("please frobnicate").text == "at 09:00"
    home.assistant.close()
    with pytest.raises(ConfigError, match="already"):
        action("tests.frobnicate")(lambda call: Outcome())
