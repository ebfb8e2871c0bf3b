"""`duologue chat --url`: real chat processes against real servers."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import RunCli, assert_refused, lines_of
from cli_terminal import PROMPT, OpenTerminal, Terminal
from server_process import Process, Run
from server_site import SHORT, Site, Start, begin, say, shown, texts

from duologue.cli import invoke
from duologue.cli.lines import printable

KEPT = re.compile(r"kept as (conv_[\w-]+)")
SHORT_REPLIES = ("--max-tokens", "9")


def chat(url: str, *options: str) -> list[str]:
    return ["chat", "--url", url, *SHORT_REPLIES, *options]


def typed(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def id_in(line: str) -> str:
    found = KEPT.search(line)
    assert found is not None, line
    return found[1]


# --- through a pipe ------------------------------------------------------------------------------


@pytest.mark.parametrize("sampled", [(), ("--temperature", "1.5", "--seed", "4")])
def test_a_server_says_what_the_same_model_says_here(
    site: Site,
    run_cli: RunCli,
    tiny_model_folder: Callable[..., Path],
    sampled: tuple[str, ...],
) -> None:
    script = typed("hello", "", "how are you", "/translate zh", "/sentiment", "/forget", "你好")
    model = ("--model", str(tiny_model_folder()), "--threads", "1")
    here = run_cli("chat", *SHORT_REPLIES, *model, *sampled, stdin=script)
    there = run_cli(*chat(site.url), *sampled, stdin=script)
    assert lines_of(there) == lines_of(here)
    assert len(lines_of(there)) == 7


def test_json_lines_have_the_same_fields_and_words_as_here(
    site: Site, run_cli: RunCli, tiny_model_folder: Callable[..., Path]
) -> None:
    script = typed("hello", "", "how are you", "/translate zh", "/sentiment it was great")
    model = ("--model", str(tiny_model_folder()), "--threads", "1")
    both = [
        [json.loads(line) for line in lines_of(run_cli(*command, "--json", stdin=script))]
        for command in (["chat", *SHORT_REPLIES, *model], chat(site.url))
    ]
    for result in (*both[0], *both[1]):
        for name in ("encode_ms", "decode_ms"):
            del result["usage"][name]
    assert both[0] == both[1]
    assert both[0][2]["usage"]["reused_tokens"] > 0


def test_commands_work_on_the_conversation_of_the_server(site: Site, run_cli: RunCli) -> None:
    lines = lines_of(
        run_cli(
            *chat(site.url),
            stdin=typed(
                "/memory", "hello", "/memory", "/why", "/save A  trip", "/forget", "/memory",
                "/quit", "never said",
            ),
        )
    )  # fmt: skip
    assert lines[0] == "0 turns said, which the server keeps; no reply yet"
    assert re.match(r"2 turns said, .*encoded \d+ tokens and reused 0$", lines[2])
    assert lines[3].startswith("confidence ")
    kept = id_in(lines[4])
    assert lines[5] == "forgotten"
    assert lines[6] == lines[0]
    client = site.client()
    assert client.get(f"/v1/conversations/{kept}").status_code == 404


def test_a_kept_conversation_goes_on_by_its_id_its_title_or_an_option(
    site: Site, run_cli: RunCli
) -> None:
    at_once = lines_of(run_cli(*chat(site.url), stdin=typed("hello", "how are you")))
    saved = lines_of(run_cli(*chat(site.url), stdin=typed("hello", "/save A  trip")))
    kept = id_in(saved[1])
    client = site.client()
    assert shown(client, kept)["title"] == "A trip"
    for name, text in (("A trip", "what time"), (kept, "what day")):
        loaded = lines_of(run_cli(*chat(site.url), stdin=typed(f"/load {name}", text)))
        assert re.fullmatch(r"\d turns are remembered", loaded[0])
        assert texts(client, kept)[-2:] == [text, loaded[1]]
    place = {"message_id": shown(client, kept)["messages"][1]["id"]}
    fork = client.post(f"/v1/conversations/{kept}/fork", json=place).json()["id"]
    done = run_cli(*chat(site.url, "--conversation", fork), stdin=typed("how are you"))
    assert lines_of(done) == [at_once[1]]
    assert_refused(run_cli(*chat(site.url), stdin=typed("/load A trip")), "2 conv", kept, fork)


def test_nothing_is_stored_before_something_is_said(site: Site, run_cli: RunCli) -> None:
    run_cli(*chat(site.url), stdin=typed("/memory", "/sentiment good", "/forget", "/quit"))
    assert site.client().get("/v1/conversations").json()["data"] == []


def test_what_others_say_in_the_conversation_counts(site: Site, run_cli: RunCli) -> None:
    client = site.client()
    conversation = begin(client)
    replied = say(client, conversation, "hello")["reply"]["text"]
    options = ("--conversation", conversation)
    lines = lines_of(run_cli(*chat(site.url, *options), stdin=typed("/memory", "/translate zh")))
    assert lines[0].startswith("2 turns said")
    translated = client.post("/v1/translate", json={"text": replied, "to": "zh"}).json()["text"]
    assert lines[1] == printable(" ".join(translated.split("\n")))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/dance", "/help"),
        ("/translate xx hello", "xx"),
        ("/translate zh", "nothing was said yet"),
        ("/save", "nothing was said yet"),
        ("/load", "needs the id"),
        ("/load nowhere", "no conversation 'nowhere'"),
        ("/load conv_0123456789", "no conversation"),
        ("/why", "no reply"),
    ],
)
def test_bad_lines_are_refused(site: Site, run_cli: RunCli, line: str, words: str) -> None:
    assert_refused(run_cli(*chat(site.url), stdin=typed(line)), words)


def test_limits_of_the_server_are_told_and_do_not_forbid_our_defaults(
    start: Start, run_cli: RunCli
) -> None:
    url = start(limits={"max_tokens": 20}).url
    assert len(lines_of(run_cli("chat", "--url", url, stdin=typed("hello")))) == 1
    done = run_cli("chat", "--url", url, "--max-tokens", "21", stdin=typed("hello"))
    assert_refused(done, "allows at most 20 (max_tokens)")


# --- who may talk --------------------------------------------------------------------------------


@pytest.fixture
def keyed(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Site, str]:
    """A server that demands a key, and a key."""
    invoke(["keys", "create", "mine", "--data", str(tmp_path / "data")])
    return start(), capsys.readouterr().out.strip()


def test_a_key_comes_from_a_file_or_the_environment(
    keyed: tuple[Site, str], run_cli: RunCli, tmp_path: Path
) -> None:
    site, key = keyed
    file = tmp_path / "key.txt"
    file.write_text(f"{key}\n")
    for options, extra in ((("--key-file", str(file)), {}), ((), {"DUOLOGUE_API_KEY": key})):
        done = run_cli(*chat(site.url, *options), stdin=typed("hello"), **extra)
        assert len(lines_of(done)) == 1
        assert key.encode() not in done.stderr
    assert len(site.client(key).get("/v1/conversations").json()["data"]) == 2


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (None, "demands a key: set DUOLOGUE_API_KEY"),
        ("duo_0123456789abcdef_" + 43 * "a", "demands another key"),
        ("two words", "the key is empty, or holds blanks"),
        ("line\nbreak", "the key is empty, or holds blanks"),
        ("kë", "the key is empty, or holds blanks"),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_told_before_anything_is_said(
    keyed: tuple[Site, str], run_cli: RunCli, key: str | None, words: str
) -> None:
    extra = {} if key is None else {"DUOLOGUE_API_KEY": key}
    done = run_cli(*chat(keyed[0].url), stdin=typed("hello"), **extra)
    assert_refused(done, words)
    assert key is None or key.encode() not in done.stderr


def test_a_key_without_the_scope_is_told(
    start: Start, run_cli: RunCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "data")]
    invoke(["keys", "create", "mine", "--scope", "translate", *data])
    key = capsys.readouterr().out.strip()
    done = run_cli(*chat(start().url), stdin=typed("hello"), DUOLOGUE_API_KEY=key)
    assert_refused(done, "lacks the scope 'chat'")


# --- what cannot be ------------------------------------------------------------------------------


def test_a_model_is_one_of_the_server(site: Site, run_cli: RunCli) -> None:
    done = run_cli(*chat(site.url, "--model", "transformer-int8"), stdin=typed("hello"))
    assert len(lines_of(done)) == 1
    done = run_cli(*chat(site.url, "--model", "duo-s"), stdin=typed("hello"))
    assert_refused(done, "has no model 'duo-s'; it has transformer-int8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--url", "127.0.0.1:8000"], "http://HOST:PORT"),
        (["--url", "http://127.0.0.1:8000", "--threads", "1"], "options of the server"),
        (["--url", "http://127.0.0.1:8000", "--precision", "f32"], "options of the server"),
        (["--conversation", "conv_1"], "which --url names"),
        (["--key-file", "key"], "which --url names"),
        (["--url", "http://127.0.0.1:8000", "--key-file", "nothing"], "nothing: No such file"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(
    run_cli: RunCli, options: list[str], words: str
) -> None:
    assert_refused(run_cli("chat", *options), words)


def test_nothing_that_listens_is_told(run_cli: RunCli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert_refused(run_cli(*chat(f"http://127.0.0.1:{port}")), "nothing listens at", str(port))


# --- at a terminal -------------------------------------------------------------------------------


def test_a_terminal_shows_the_reply_and_mistakes_do_not_end_the_chat(
    site: Site, run_cli: RunCli, open_terminal: OpenTerminal
) -> None:
    piped = lines_of(run_cli(*chat(site.url), stdin=typed("hello")))[0]
    terminal = open_terminal(chat(site.url))
    terminal.expect(PROMPT)
    terminal.type(b"hello\n")
    read = terminal.expect(PROMPT).decode().replace("\r\n", "\n")
    assert " ".join(piped.split()) in " ".join(read.split())
    terminal.type(b"/translate xx\n")
    terminal.expect(b"duologue: ")
    terminal.expect(PROMPT)
    terminal.type(b"/save\n")
    terminal.expect(b"kept as conv_")
    terminal.expect(PROMPT)
    assert terminal.exit_code(keys=b"\x04") == 0
    assert b"Traceback" not in terminal.seen


def begun(run: Run, open_terminal: OpenTerminal) -> tuple[Process, Terminal]:
    """A server, and a terminal on which a long reply to "hello" has begun."""
    server = run(0.05)
    options = ["--max-tokens", "900", "--temperature", "40", "--seed", "1"]
    terminal = open_terminal(["chat", "--url", server.url, *options])
    terminal.expect(PROMPT)
    terminal.type(b"hello\n")
    terminal.expect(b"hello\r\n")
    terminal.read_more()
    return server, terminal


def test_ctrl_c_stops_a_reply_which_the_server_keeps_as_it_was_read(
    run: Run, open_terminal: OpenTerminal
) -> None:
    server, terminal = begun(run, open_terminal)
    terminal.type(b"\x03")
    read = terminal.expect(b" [stopped]").decode().replace("\r\n", "\n")
    terminal.expect(PROMPT)
    (kept,) = server.client.get("/v1/conversations").json()["data"]
    question, reply = shown(server.client, kept["id"])["messages"]
    assert (question["text"], reply["finish_reason"]) == ("hello", "abort")
    printed = read.removesuffix(" [stopped]").replace("^C", "")  # as the terminal shows the keys
    assert " ".join(printed.split()) == " ".join(reply["text"].split())
    terminal.type(b"/memory\n")
    terminal.expect(b"2 turns said")
    terminal.expect(PROMPT)
    assert terminal.exit_code(keys=b"\x04") == 0


def test_a_server_that_is_killed_in_the_middle_is_told_and_the_chat_goes_on_when_it_is_back(
    run: Run, open_terminal: OpenTerminal
) -> None:
    server, terminal = begun(run, open_terminal)
    server.end(signal.SIGKILL)
    terminal.expect(b"went away before its answer was whole")
    kept = id_in(terminal.expect(PROMPT).decode())
    terminal.type(b"what time\n")
    terminal.expect(b"nothing listens at")
    terminal.expect(PROMPT)
    again = run(port=int(server.url.rpartition(":")[2]))
    assert texts(again.client, kept) == ["hello"]
    terminal.type(b"/save A trip\n")
    terminal.expect(kept.encode())
    terminal.expect(PROMPT)
    assert say(again.client, kept, "what day", options=SHORT)["reply"]["status"] == "complete"
    assert terminal.exit_code(keys=b"\x04") == 0


def test_a_pipe_gets_what_came_of_a_reply_that_breaks_off(run: Run, run_cli: RunCli) -> None:
    server = run(0.3, "--limit", "max_request_s=2")
    options = ("--max-tokens", "900", "--temperature", "40", "--seed", "1", "--json")
    done = run_cli("chat", "--url", server.url, *options, stdin=typed("hello"))
    (line,) = lines_of(done)
    assert json.loads(line)["finish_reason"] == "abort"
    assert json.loads(line)["text"]
    assert b"warning: the answer was ended early" in done.stderr
