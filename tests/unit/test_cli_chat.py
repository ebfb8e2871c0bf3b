"""The chat command with a scripted model: what is printed, and what Ctrl-C does to a reply."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from duologue.cli.chat import Talk
from duologue.cli.partner import LocalPartner
from duologue.errors import InputError
from duologue.types import Commit, Done, Options, Result, Turn


class ScriptedConversation:
    """Replies with fixed events; `during` runs between them."""

    REPLY_OPTIONS = Options(no_repeat_ngram_size=6)

    def __init__(self, during: Callable[[], None]) -> None:
        self.turns: tuple[Turn, ...] = ()
        self.closed = False
        self.options: Options | None = None
        self._during = during

    def stream(self, text: str, options: Options) -> Iterator[Any]:
        self.options = options
        try:
            yield Commit("one ")
            self._during()
            yield Commit("two\x1b[2J")
            self.turns = (Turn("user", text), Turn("agent", "one two"))
            yield Done(Result("one two", "stop"))
        finally:
            self.closed = True


class ScriptedModel:
    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.spoken = ScriptedConversation(during)

    def conversation(self) -> ScriptedConversation:
        return self.spoken


def talk_with(model: ScriptedModel, **changes: Any) -> Talk:
    return Talk(LocalPartner(model, **changes), as_json=False)  # type: ignore[arg-type]


def test_reply_is_printed_as_it_comes_without_terminal_controls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    talk_with(ScriptedModel()).answer("hello")
    assert capsys.readouterr() == ("one two [2J\n", "")


def test_ctrl_c_ends_the_reply_and_not_the_chat(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    model = ScriptedModel(during=lambda: os.kill(os.getpid(), signal.SIGINT))
    talk_with(model).answer("hello")
    assert model.spoken.closed
    assert model.spoken.turns == ()
    assert capsys.readouterr().out == "one two [2J [stopped]\n"
    assert signal.getsignal(signal.SIGINT) == before


def test_changed_options_keep_the_others_of_a_conversation() -> None:
    model = ScriptedModel()
    talk_with(model, temperature=0.7, seed=3).answer("hello")
    assert model.spoken.options == Options(no_repeat_ngram_size=6, temperature=0.7, seed=3)


@pytest.mark.parametrize("line", ["/dance", "/etc/passwd", "/", "/translate", "/save", "/load"])
def test_commands_that_are_unknown_or_incomplete_say_so(line: str) -> None:
    with pytest.raises(InputError, match="/"):
        talk_with(ScriptedModel()).answer(line)


def test_commands_on_what_was_said_need_something_said() -> None:
    with pytest.raises(InputError, match="nothing was said yet"):
        talk_with(ScriptedModel()).answer("/translate zh")


def test_help_lists_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    talk_with(ScriptedModel()).answer("/help")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "/translate",
        "/sentiment",
        "/memory",
        "/why",
        "/save",
        "/load",
        "/forget",
        "/help",
        "/quit",
    ]
    assert all(len(line.split()) > 1 and "None" not in line for line in lines)
