"""Help, versions, usage errors, and that asking for them loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import RunCli, assert_refused, environment, lines_of

from duologue import __version__
from duologue.cli import COMMANDS
from duologue.types import PRECISIONS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def test_help_names_every_command(run_cli: RunCli) -> None:
    text = "\n".join(lines_of(run_cli("--help")))
    assert all(f"  {name}  " in text for name in COMMANDS)


def test_no_arguments_show_the_help(run_cli: RunCli) -> None:
    assert lines_of(run_cli()) == lines_of(run_cli("--help"))


def test_version_is_the_package_s(run_cli: RunCli) -> None:
    assert lines_of(run_cli("--version")) == [f"duologue {__version__}"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_has_an_example(run_cli: RunCli, name: str) -> None:
    text = "\n".join(lines_of(run_cli(name, "--help")))
    assert f"  duologue {name}" in text


def test_help_imports_nothing_heavy() -> None:
    calls = [["--help"], *([name, "--help"] for name in COMMANDS)]
    code = (
        "import sys, duologue.cli\n"
        f"assert all(duologue.cli.run(call) == 0 for call in {calls!r})\n"
        "heavy = {'numpy', 'torch', 'tokenizers', 'safetensors', 'sacrebleu', 'rich', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, check=False
    )
    assert done.stderr.decode() == ""
    assert done.returncode == 0


def test_reference_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "duologue.cli.reference"],
        env=environment(),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == REFERENCE.read_text(encoding="utf-8"), (
        "run: python -m duologue.cli.reference > docs/reference/cli.md"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], ["frobnicate", "duologue --help"]),
        (["generate", "hello"], ["--model", "duologue generate --help"]),
        (["translate", "hello"], ["language to translate to is missing", "en, zh"]),
        (["translate", "--to", "zh", "--beam", "0", "hello"], ["--beam"]),
        (["sentiment", "--precision", "int3", "hello"], ["--precision", *PRECISIONS]),
        (["intent", "hello"], ["--labels"]),
        (["info", "--frob"], ["--frob"]),
        (["chat", "--temperature", "-1"], ["--temperature"]),
        (["evaluate"], ["--data"]),
        (["quantize", "one"], ["OUT"]),
    ],
)
def test_usage_errors_are_one_line_that_says_where_to_look(
    run_cli: RunCli, arguments: list[str], words: list[str]
) -> None:
    assert_refused(run_cli(*arguments), *words)
