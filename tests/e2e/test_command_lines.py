"""translate, sentiment, intent: a line in, a line out."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import COMMAND, RunCli, assert_refused, environment, lines_of

Folders = Callable[..., Path]
COMMANDS = {
    "translate": ["translate", "--to", "zh", "--beam", "1"],
    "sentiment": ["sentiment"],
    "intent": ["intent", "--labels", "bank"],
}


def command_of(name: str, folder: Path) -> list[str]:
    return [*COMMANDS[name], "--threads", "1", "--model", str(folder)]


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest, tiny_model_folder: Folders) -> list[str]:
    return command_of(request.param, tiny_model_folder())


@pytest.fixture
def translate(tiny_model_folder: Folders) -> list[str]:
    return command_of("translate", tiny_model_folder())


@pytest.fixture
def sentiment(tiny_model_folder: Folders) -> list[str]:
    return command_of("sentiment", tiny_model_folder())


def test_lines_and_arguments_are_answered_line_by_line(run_cli: RunCli, command: list[str]) -> None:
    piped = run_cli(*command, stdin="\nhello\r\n   \n\n你好".encode())
    alone = lines_of(run_cli(*command, "hello", "你好"))
    assert len(alone) == 2
    assert lines_of(piped) == ["", alone[0], "", "", alone[1]]


def test_json_is_one_result_a_line(run_cli: RunCli, command: list[str]) -> None:
    results = [json.loads(line) for line in lines_of(run_cli(*command, "--json", stdin=b"hi\n\n"))]
    for result in results:
        assert set(result) >= {"text", "finish_reason", "confidence", "checks", "usage"}
    assert [bool(result["text"]) for result in results] == [True, False]


def test_labels_come_with_their_probability(run_cli: RunCli, tiny_model_folder: Folders) -> None:
    intent = command_of("intent", tiny_model_folder())
    label, probability = lines_of(run_cli(*intent, "my card"))[0].split("\t")
    result = json.loads(lines_of(run_cli(*intent, "--json", "my card"))[0])
    assert label == result["text"]
    assert set(result["probabilities"]) == {"card_arrival", "card_lost", "balance"}
    assert float(probability) == pytest.approx(max(result["probabilities"].values()), abs=6e-4)
    assert sum(result["probabilities"].values()) == pytest.approx(1)


def test_more_threads_than_cores_are_capped_with_a_warning(
    run_cli: RunCli, translate: list[str], tiny_model_folder: Folders
) -> None:
    translate[translate.index("--threads") + 1] = "200"
    capped = run_cli(*translate, "hello")
    assert capped.returncode == 0
    assert b"--threads 200: this process may use" in capped.stderr
    assert lines_of(run_cli(*command_of("translate", tiny_model_folder()), "hello")) == [
        capped.stdout.decode().rstrip("\n")
    ]


def test_no_input_gives_no_output(run_cli: RunCli, translate: list[str]) -> None:
    assert lines_of(run_cli(*translate, stdin=b"")) == []


def test_many_lines_keep_their_order(run_cli: RunCli, sentiment: list[str]) -> None:
    texts = [f"table for {number}" for number in range(150)]
    many = lines_of(run_cli(*sentiment, stdin="\n".join(texts).encode()))
    assert many == lines_of(run_cli(*sentiment, *texts))
    assert len(set(many)) > 1


def test_a_line_is_answered_before_the_next_is_written(sentiment: list[str]) -> None:
    with subprocess.Popen(
        [*COMMAND, *sentiment], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in (b"hello\n", b"\n", b"how are you\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_texts_are_utf8_in_every_locale(run_cli: RunCli, translate: list[str]) -> None:
    posix = run_cli(*translate, "你好", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert lines_of(posix) == lines_of(run_cli(*translate, "你好"))


# --- bad input ---------------------------------------------------------------------------------


def test_empty_argument_is_refused(run_cli: RunCli, command: list[str]) -> None:
    assert_refused(run_cli(*command, "hello", " \t\n"), "text 2 is empty")


def test_argument_that_is_not_utf8_is_refused(run_cli: RunCli, sentiment: list[str]) -> None:
    assert_refused(run_cli(*sentiment, b"caf\xe9"), "text 1", "UTF-8")


@pytest.mark.parametrize("line", [b"caf\xe9", b"\xed\xa0\x80"], ids=["latin-1", "surrogate"])
def test_line_that_is_not_utf8_is_refused(
    run_cli: RunCli, sentiment: list[str], line: bytes
) -> None:
    done = run_cli(*sentiment, stdin=b"hello\n" + line + b"\n")
    assert_refused(done, "line 2", "UTF-8")
    assert len(done.stdout.splitlines()) == 1, "the lines before it are answered"


def test_control_characters_neither_break_lines_nor_reach_the_terminal(
    run_cli: RunCli, command: list[str]
) -> None:
    lines = lines_of(run_cli(*command, stdin=b"a\x00b\x07 \x1b[31mred\x1b[0m\x0b\x0c\x7f\n"))
    assert len(lines) == 1
    assert all(char.isprintable() for char in lines[0].replace("\t", " "))


def test_a_megabyte_in_one_line_is_answered_with_a_warning(
    run_cli: RunCli, sentiment: list[str]
) -> None:
    done = run_cli(*sentiment, stdin=b"how are you " * 87_382 + b"\n")
    assert len(lines_of(done)) == 1
    assert "were not read" in done.stderr.decode()


def test_endless_line_is_refused(run_cli: RunCli, sentiment: list[str]) -> None:
    done = run_cli(*sentiment, stdin=b"hello\n" + b"x" * (5 << 20))
    assert_refused(done, "line 2", "too long")
    assert len(done.stdout.splitlines()) == 1, "the line before it is answered"


@pytest.mark.parametrize("language", ["xx", ""])
def test_unknown_language_is_refused(
    run_cli: RunCli, tiny_model_folder: Folders, language: str
) -> None:
    done = run_cli("translate", "--to", language, "--model", tiny_model_folder(), "hello")
    assert_refused(done, "language", "en, zh")


def test_unknown_source_language_is_refused(run_cli: RunCli, translate: list[str]) -> None:
    assert_refused(run_cli(*translate, "--from", "xx", "hello"), "xx")


def test_unknown_label_set_is_refused_with_those_there_are(
    run_cli: RunCli, tiny_model_folder: Folders
) -> None:
    done = run_cli("intent", "--labels", "nothing", "--model", tiny_model_folder(), "hello")
    assert_refused(done, "nothing", "bank")


def test_closed_stdin_is_refused(run_cli: RunCli, translate: list[str]) -> None:
    assert_refused(run_cli(*translate, before=lambda: os.close(0)), "no text")
