"""Declarations in YAML: what they become, and that every problem names its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.apps.assistant.assistant import shipped_commands
from duologue.apps.assistant.declaration import Example, Webhook
from duologue.apps.assistant.reader import parse_commands, read_commands
from duologue.errors import ConfigError, DataError, DuologueError

GOOD = """
intents:
  lamp_off:
    title: {en: switch the lamp off}
    examples:
      en: [lamp off, "{lamp} off", "turn off the {lamp} in {minutes}"]
      zh: 关灯
    slots:
      lamp:
        kind: choice
        required: true
        prompt: {en: "Which lamp?"}
        values:
          desk: {en: [desk lamp, lamp on the desk]}
          off: {en: off}
      minutes: duration
    confirm: true
    action: {webhook: "http://hub.local:8080/off", timeout_s: 2}
    answers: {en: {done: "Off.", failed: "No."}, zh: 好了}
out_of_scope:
  en: [hello there]
"""


def test_a_declaration_is_read_as_it_is_written() -> None:
    declaration = parse_commands(GOOD)
    intent = declaration.intents["lamp_off"]
    assert intent.confirm
    assert intent.action == Webhook("http://hub.local:8080/off", 2.0)
    assert [example.text for example in intent.examples if example.language == "en"] == [
        "lamp off",
        "{lamp} off",
        "turn off the {lamp} in {minutes}",
    ]
    assert intent.slots["lamp"].ways("en") == {
        "desk lamp": "desk",
        "lamp on the desk": "desk",
        "desk": "desk",
        "off": "off",  # YAML's own "off" is no truth value here
    }
    assert intent.slots["minutes"].kind == "duration"
    assert intent.answers == {"en": {"done": "Off.", "failed": "No."}, "zh": {"done": "好了"}}
    assert declaration.out_of_scope == (Example("en", "hello there"),)
    assert declaration.languages == ("en", "zh")


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ("minutes: duration", "minutes: decades", 16, "unknown kind 'decades'; there are number"),
        ("kind: choice", "kind: place", 10, "a choice, and nothing else, needs values"),
        ("lamp off, ", '"lamp {of", ', 6, "a brace is not closed"),
        ("{lamp} off", "{lampe} off", 6, "{lampe} is no slot of intent 'lamp_off'"),
        ("confirm: true", "confirm: maybe", 17, "confirm must be true or false"),
        ("confirm: true", "conform: true", 17, "has no 'conform'; it has title, examples"),
        ("http://hub", "ftp://hub", 18, "must begin with http:// or https://"),
        ("http://hub", "http://me:secret@hub", 18, "must not hold a password"),
        ("timeout_s: 2", "timeout_s: 200", 18, "above 0 and at most 60"),
        ("timeout_s: 2", "timeout_s: soon", 18, "above 0 and at most 60"),
        ("      zh: 关灯", "      fr: éteins", 7, "has no 'fr'; it has en, zh, de"),
        ("      zh: 关灯", "      en: again", 7, "has 'en' twice"),
        ("[hello there]", "[hello: there]", 21, "must be a text"),
        ("intents:", "intentions:", 2, "has no 'intentions'"),
        ("  lamp_off:", "  1amp off:", 4, "is no name"),
        ("    title:", "   title:", 5, "is no YAML"),
    ],
)
def test_a_problem_names_its_line(before: str, after: str, line: int, problem: str) -> None:
    assert GOOD.count(before) == 1
    with pytest.raises(DataError) as caught:
        parse_commands(GOOD.replace(before, after), "my.yaml")
    assert str(caught.value).startswith(f"my.yaml, line {line}: ")
    assert problem in str(caught.value)


def test_a_cycle_is_refused_with_its_line() -> None:
    with pytest.raises(DataError, match=r"line 2: .*cycle"):
        parse_commands("intents:\n  a: &loop\n    examples: {en: x}\n    slots: *loop\n")


def test_aliases_that_unfold_to_a_large_file_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(DataError, match="unfold to more than"):
        parse_commands("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("- a\n- b", "the file must be a mapping"),
        ("intents: {}", "no intents are declared"),
        ("intents: {a: {examples: {en: []}}}", "there are no examples"),
        ("intents: {a: {slots: {}}}", "has no examples"),
        ("intents: {a: {examples: {en: x}, action: 'rm -rf'}}", "is no name of an action"),
        ("a: !!python/object/apply:os.system [echo]", "has no 'a'"),
        ("[" * 5000, "YAML"),
        ("a: " + "[" * 20 + "]" * 20, "levels deep"),
        ("intents: {a: {examples: {en: \x00}}}", "YAML"),
    ],
)
def test_texts_that_are_no_declaration(text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        parse_commands(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_commands(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"intents:\n  a\xff\xfe")
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        read_commands(binary)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (2 * 2**20 + 1))
    with pytest.raises(DataError, match="larger than"):
        read_commands(huge)


@given(st.text(max_size=60))
def test_any_text_is_a_declaration_or_a_clear_error(text: str) -> None:
    with pytest.raises(DuologueError):
        parse_commands(text)


def test_two_files_must_not_declare_the_same() -> None:
    declaration = parse_commands(GOOD)
    with pytest.raises(ConfigError, match="'lamp_off' is declared twice"):
        declaration.and_also(declaration)


def test_slots_of_one_name_must_be_of_one_kind() -> None:
    other = parse_commands("intents: {b: {examples: {en: 'x {lamp}'}, slots: {lamp: text}}}")
    with pytest.raises(ConfigError, match="slot 'lamp' is of kind choice in 'lamp_off' and text"):
        parse_commands(GOOD).and_also(other)


def test_the_shipped_commands_speak_three_languages() -> None:
    declaration = shipped_commands()
    assert declaration.languages == ("en", "zh", "de")
    for intent in declaration.intents.values():
        spoken = {example.language for example in intent.examples}
        assert spoken == {"en", "zh", "de"} == set(intent.answers) == set(intent.title), intent.name
        for slot in intent.slots.values():
            assert not slot.required or set(slot.prompts) == spoken, (intent.name, slot.name)
        cases = [set(templates) for templates in intent.answers.values()]
        assert all(case == cases[0] for case in cases), intent.name


def test_a_labelled_example_knows_its_values() -> None:
    text = "play Thriller by Michael Jackson"
    example = Example.labelled(text, {"artist": "Michael Jackson", "track": "Thriller"}, "en")
    assert example.text == "play {track} by {artist}"
    assert example.values == ("Thriller", "Michael Jackson")
    assert Example.labelled("hello", {"x": "bye"}, "en") == Example("en", "hello")
