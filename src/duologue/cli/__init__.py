"""The command line. Parts are built and joined here; what they do is below.

main         entry point: runs one command and turns every outcome into an exit code
COMMANDS     one module each, with a function of the same name, imported when it is called for
invoke       runs one command and lets every exception out

Exit codes: 0 done; 1 a bug in Duologue; 2 bad input, with one line on stderr that begins with
"duologue: "; 130 Ctrl-C; 141 the reader of our output has gone; 143 SIGTERM.
DUOLOGUE_DEBUG=1 shows tracebacks.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from duologue import __version__
from duologue.cli.lines import printable
from duologue.errors import DuologueError

COMMANDS = (
    "chat",
    "serve",
    "keys",
    "translate",
    "tm",
    "summarize",
    "generate",
    "transcribe",
    "sentiment",
    "intent",
    "ask",
    "kb",
    "assistant",
    "evaluate",
    "calibrate",
    "bench",
    "info",
    "pull",
    "quantize",
    "export",
    "train",
    "tokenizer",
)
PROGRAM = "duologue"


def main() -> NoReturn:
    """Run the command that the arguments name, and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. SIGTERM raises SystemExit(143) for clean-up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # Texts are UTF-8 whatever the locale says.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        invoke(arguments or ["--help"])
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must not change the exit code
        code, message = _explain(error)
        if message and os.environ.get("DUOLOGUE_DEBUG") == "1":
            traceback.print_exc()
        if isinstance(error, OSError):
            _discard_output()
        if message:
            print(f"{PROGRAM}: {printable(' '.join(message.split()))}", file=sys.stderr)
        return code
    return 0


def app(names: tuple[str, ...] = COMMANDS) -> typer.Typer:
    """The commands as a Typer application; only the modules of `names` are imported."""
    result = typer.Typer(
        name=PROGRAM,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    result.callback()(_root)
    for name in names:
        module = importlib.import_module(f"duologue.cli.{name}")
        result.command(name)(getattr(module, name))
    return result


def invoke(arguments: list[str]) -> None:
    """Run one command; every exception comes out as it is, typer's own included."""
    name = arguments[0]
    command = typer.main.get_command(app((name,) if name in COMMANDS else COMMANDS))
    # Not command.main(): it would answer some exceptions itself, each in its own way.
    with command.make_context(PROGRAM, list(arguments)) as context:
        command.invoke(context)


def _show_version(value: bool) -> None:
    if value:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Train, run and talk to encoder-decoder language models, privately, on your own machine.

    \b
    Start here:
      duologue chat
      duologue translate --to zh "Good morning."
      duologue COMMAND --help
    """


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an exception; an empty message prints nothing."""
    match error:
        case typer.Exit():
            return error.exit_code, ""
        case KeyboardInterrupt() | typer.Abort():
            return 130, ""
        case BrokenPipeError():
            return 141, ""
        case DuologueError():
            return error.exit_code, str(error)
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            path = context.command_path if context else PROGRAM
            return 2, f"{error.format_message()} See: {path} --help"
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return 2, f"{where}{error.strerror or error}"
        case MemoryError():
            return 2, "not enough memory; try a smaller model or a shorter text"
    return 1, (
        f"unexpected {type(error).__name__}: {error}. This is a bug in Duologue; please report "
        "it with what DUOLOGUE_DEBUG=1 shows"
    )


def _discard_output() -> None:
    """Send what is still in the buffer of stdout nowhere, or Python complains when it leaves."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
