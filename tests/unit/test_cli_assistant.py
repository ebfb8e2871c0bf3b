"""The assistant command: a line for a line, JSON, and what rings beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from assistant_home import Home, make_home

from duologue import api
from duologue.apps.assistant import AssistantOptions
from duologue.cli import run
from duologue.cli.assistant import Session
from duologue.types import Result


@pytest.fixture
def home(tmp_path: Path, tiny_model_folder: Callable[[], Path]) -> Home:
    file = tmp_path / "own.yaml"
    file.write_text(
        "intents:\n"
        "  tea:\n"
        "    examples: {en: [make tea, 'a tea in {duration}']}\n"
        "    slots: {duration: duration}\n"
        "    action: timers.set\n"
        "    answers: {en: 'Tea in {duration}.'}\n"
        "  hello:\n"
        "    examples: {en: [good morning, hello there]}\n",
        encoding="utf-8",
    )
    options = AssistantOptions(commands=(file,), shipped=False)
    return make_home(api.load(tiny_model_folder(), threads=1), tmp_path, options)


def feed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("duologue.cli.assistant.batches", lambda _: [list(lines)])


def test_each_line_is_answered_by_one_line(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, "a tea in 3 minutes", "", "good morning")
    Session(home.assistant, "anna", as_json=False).read_lines()
    assert capsys.readouterr().out == "Tea in 3 minutes.\n\nDone.\n"
    home.assistant.close()


def test_json_lines_hold_the_command(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, "a tea in 3 minutes", "")
    Session(home.assistant, "anna", as_json=True).read_lines()
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["command"]["intent"] == "tea"
    assert first["command"]["slots"] == {"duration": 180}
    assert first["command"]["spans"]["duration"]["text"] == "3 minutes"
    assert second == json.loads(json.dumps(Result("", "stop").to_dict()))
    home.assistant.close()


@pytest.mark.parametrize("as_json", [False, True])
def test_what_rings_does_not_break_the_lines(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    session = Session(home.assistant, "anna", as_json)
    home.say("a tea in 3 minutes")
    home.clock.pass_by(minutes=3)
    feed(monkeypatch, "good morning")
    session.read_lines()
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    said = json.loads(err)["text"] if as_json else err.strip()
    assert said == "The timer is over."
    home.assistant.close()


def test_a_terminal_rings_and_shows_its_prompt_again(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.say("a tea in 3 minutes")
    home.clock.pass_by(minutes=3)
    Session(home.assistant, "anna", as_json=False).ring(is_terminal=True)
    assert capsys.readouterr().out == "\r\aThe timer is over.\nyou> "
    home.assistant.close()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--commands", "none.yaml"], "none.yaml: cannot be read"),
        (["--language", "fr"], "unknown language 'fr'; there are en, zh, de"),
        (["--zone", "Mars/Base"], "the time zone 'Mars/Base' is not known"),
        (["--only"], "no intents are declared"),
    ],
)
def test_options_that_cannot_be(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    tiny_model_folder: Callable[[], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared = ["--model", str(tiny_model_folder()), "--store", str(tmp_path / "a.sqlite")]
    assert run(["assistant", *shared, *arguments]) == 2
    assert problem in capsys.readouterr().err
