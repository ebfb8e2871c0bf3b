"""chat: through a pipe, and at a pseudo-terminal as a person sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import RunCli, assert_refused, lines_of
from cli_terminal import PROMPT, OpenTerminal

from duologue.checkpoint.store import dequantize, load_model, save_model
from duologue.config import replace

Folders = Callable[..., Path]


@pytest.fixture
def chat(tiny_model_folder: Folders) -> list[str]:
    """Replies are short, so that they fit into the tiny memory."""
    folder = str(tiny_model_folder())
    return ["chat", "--threads", "1", "--model", folder, "--max-tokens", "9"]


# --- through a pipe ----------------------------------------------------------------------------


def test_each_piped_line_is_answered_by_one_line(run_cli: RunCli, chat: list[str]) -> None:
    lines = lines_of(run_cli(*chat, stdin=b"hello\n\nhow are you"))
    assert len(lines) == 3
    assert lines[1] == ""


def test_replies_depend_on_what_was_said_before(run_cli: RunCli, chat: list[str]) -> None:
    results = run_cli(*chat, "--json", stdin=b"hello\nhow are you\n")
    first, second = map(json.loads, lines_of(results))
    assert first["usage"]["reused_tokens"] == 0
    assert second["usage"]["reused_tokens"] > 0


def test_sampled_replies_repeat_with_their_seed(run_cli: RunCli, chat: list[str]) -> None:
    sampled = [*chat, "--temperature", "1.5"]
    texts = [lines_of(run_cli(*sampled, "--seed", seed, stdin=b"hi\n")) for seed in ("1", "1", "2")]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_commands_work_through_a_pipe(run_cli: RunCli, chat: list[str]) -> None:
    script = [
        "hello",
        "/memory",
        "/translate zh",
        "/translate en 你好",
        "/sentiment it was great",
        "/why",
        "/forget",
        "/memory",
        "/quit",
        "never said",
    ]
    lines = lines_of(run_cli(*chat, stdin="\n".join(script).encode()))
    assert len(lines) == 8
    assert re.match(r"2 turns said; in memory 2 segments, \d+ tokens", lines[1])
    assert re.fullmatch(r"(positive|negative) \(\d+%\)", lines[4])
    assert lines[5].startswith("confidence ")
    assert lines[7].startswith("0 turns said; in memory 0 segments, 0 tokens, 0 bytes")


def test_saved_conversation_goes_on_where_it_was(run_cli: RunCli, chat: list[str]) -> None:
    at_once = lines_of(run_cli(*chat, stdin=b"hello\nhow are you\n"))
    run_cli(*chat, stdin=b"hello\n/save talk\n")
    loaded = lines_of(run_cli(*chat, stdin=b"/load talk\nhow are you\n"))
    assert loaded[0] == "2 turns are remembered"
    assert loaded[1] == at_once[1]


def test_conversation_of_another_model_is_refused(
    run_cli: RunCli, chat: list[str], tiny_model_folder: Folders
) -> None:
    run_cli(*chat, stdin=b"hello\n/save talk\n")
    done = run_cli("chat", "--model", tiny_model_folder("gru"), stdin=b"/load talk\n")
    assert_refused(done, "another model")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"/dance", "/help"),
        (b"/translate xx hello", "xx"),
        (b"/load nowhere", "nowhere"),
        (b"/why", "no reply"),
        (b"caf\xe9", "UTF-8"),
    ],
)
def test_bad_piped_lines_are_refused(
    run_cli: RunCli, chat: list[str], line: bytes, words: str
) -> None:
    assert_refused(run_cli(*chat, stdin=line + b"\n"), words)


# --- at a terminal -----------------------------------------------------------------------------


def test_terminal_shows_a_prompt_and_the_same_reply_as_a_pipe(
    run_cli: RunCli, chat: list[str], open_terminal: OpenTerminal
) -> None:
    piped = lines_of(run_cli(*chat, stdin=b"hello\n"))[0]
    terminal = open_terminal(chat)
    assert b"/help" in terminal.expect(PROMPT)
    terminal.type(b"hello\n")
    shown = terminal.expect(PROMPT).decode().replace("\r\n", "\n")
    assert " ".join(piped.split()) in " ".join(shown.split())
    assert terminal.exit_code(keys=b"\x04") == 0


def test_mistakes_at_a_terminal_do_not_end_the_chat(
    chat: list[str], open_terminal: OpenTerminal
) -> None:
    terminal = open_terminal(chat)
    for keys, words in ((b"/dance\n", b"no command /dance"), (b"caf\xff\n", b"duologue: ")):
        terminal.expect(PROMPT)
        terminal.type(keys)
        terminal.expect(words)
    terminal.expect(PROMPT)
    terminal.type(b"/memory\n")
    terminal.expect(b"0 turns said")
    terminal.expect(PROMPT)
    assert terminal.exit_code(keys=b"/quit\n") == 0
    assert b"Traceback" not in terminal.seen


def test_ctrl_c_at_the_prompt_leaves_with_130(chat: list[str], open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(chat)
    terminal.expect(PROMPT)
    # Python's readline misses a signal that comes just before it waits, so one may be too few.
    assert terminal.exit_code(keys=b"\x03") == 130
    assert b"Traceback" not in terminal.seen


@pytest.fixture
def endless_folder(tiny_model_folder: Folders, tmp_path: Path) -> Path:
    """A model that goes on and on: the end token never has the highest logit, which is above 0."""
    model = load_model(tiny_model_folder(precision="f32"), "f32")
    embedding = dequantize(model.weights["embed.weight"]).copy()
    embedding[model.tokenizer.eos_id] = 0
    config = replace(model.config, max_positions=100_000)
    weights = model.weights | {"embed.weight": embedding}
    save_model(tmp_path / "endless", config, weights, model.tokenizer, "")
    return tmp_path / "endless"


def test_ctrl_c_stops_a_reply_and_the_chat_goes_on(
    endless_folder: Path, open_terminal: OpenTerminal
) -> None:
    model = ["--model", str(endless_folder), "--threads", "1"]
    terminal = open_terminal(["chat", *model, "--max-tokens", "99990"])
    terminal.expect(PROMPT)
    terminal.type(b"hello\n")
    terminal.expect(b"hello\r\n")
    terminal.read_more()  # the reply has begun
    terminal.type(b"\x03")
    terminal.expect(b" [stopped]")
    terminal.expect(PROMPT)
    terminal.type(b"/memory\n")
    terminal.expect(b"2 turns said")  # the question, and the reply as far as it came
    terminal.expect(PROMPT)
    assert terminal.exit_code(keys=b"\x04") == 0
