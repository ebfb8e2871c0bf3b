"""`duologue chat`: a conversation at the terminal, or line by line through a pipe.

chat     the command
Talk     prompts, lines, and the slash commands; partner.py has who answers

From a pipe each line is a turn or a slash command, and each is answered by one line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duologue.cli.lines import batches, printable, shares, to_json, warn
from duologue.cli.options import (
    DEFAULT_MODEL,
    JsonOption,
    ThreadsOption,
    open_model,
)
from duologue.cli.partner import LocalPartner, Partner
from duologue.errors import DuologueError, InputError
from duologue.types import Commit, Done, Options, Precision, Result

if TYPE_CHECKING:
    from duologue.cli.remote import RemotePartner

PROMPT = "you> "
KEY_VARIABLE = "DUOLOGUE_API_KEY"
MAX_KEY_BYTES = 4096
NUM_DOUBTS = 3  # pieces of a reply that /why names as least sure


def chat(  # noqa: PLR0913 - the options of a command are its parameters
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            help="Shipped model, OWNER/NAME of a published one, or model folder; with --url a "
            f"model of the server. {DEFAULT_MODEL}, or the server's first, if not given.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, metavar="T", help="0 always says the most likely.")
    ] = 0.0,
    max_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="Longest reply, in tokens.")
    ] = 128,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Makes sampled replies repeatable.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Weights to compute with; int8 if not given.")
    ] = None,
    threads: ThreadsOption = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Talk to a server: http://HOST:PORT, or https://HOST."),
    ] = None,
    conversation: Annotated[
        str | None,
        typer.Option(metavar="ID|TITLE", help="Go on with a conversation of the server."),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Holds the key of the server; DUOLOGUE_API_KEY holds it if not given.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Talk to a model, which remembers what was said: here, or on a server.

    Replies appear as they are made; Ctrl-C stops one. Lines that begin with a slash are commands:
    /help lists them. From a pipe each line is a turn, answered by one line.

    \b
    Examples:
      duologue chat
      duologue chat --temperature 0.7 --seed 1
      duologue chat --url http://127.0.0.1:8000
      printf 'Hello!\\nHow are you?\\n' | duologue chat
    """
    options = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    partner: Partner
    if url is None:
        if conversation is not None or key_file is not None:
            raise InputError("--conversation and --key-file are for a server, which --url names")
        partner = _local(model or DEFAULT_MODEL, precision or "int8", threads, options)
    else:
        if precision is not None or threads is not None:
            raise InputError("--precision and --threads are options of the server itself")
        partner = _remote(url, key_file, model, options)
        if conversation is not None:
            partner.load(conversation)
    talk = Talk(partner, as_json)
    if sys.stdin is None or not sys.stdin.isatty():
        talk.read_lines()
    else:
        talk.converse()


def _local(
    model: str, precision: Precision, threads: int | None, options: dict[str, Any]
) -> LocalPartner:
    loaded = open_model(model, precision, threads)
    if "reply" not in loaded.config.tasks:
        known = ", ".join(loaded.config.tasks) or "nothing"
        raise InputError(f"{model} has not learnt to hold a conversation; it can {known}")
    return LocalPartner(loaded, **options)


def _remote(
    url: str, key_file: Path | None, model: str | None, options: dict[str, Any]
) -> RemotePartner:
    from duologue.cli import client, remote  # here: who talks to nobody needs no HTTP

    server = client.read_server(url, _key(key_file))
    if server.shows_key:
        _tell(f"warning: the key goes to {server} where others can read it; better use https")
    # A server may have limits below our defaults, which are its own as well.
    usual = Options()
    changed = {name: value for name, value in options.items() if value != getattr(usual, name)}
    return remote.connect(server, _tell, model, changed)


def _key(file: Path | None) -> str | None:
    """The key of a server. It is no option, because everyone on a machine sees its processes."""
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    with file.expanduser().open("rb") as opened:
        return opened.read(MAX_KEY_BYTES).decode(errors="replace").strip()


def _tell(message: str) -> None:
    print(f"duologue: {message}", file=sys.stderr, flush=True)


class Quit(Exception):  # noqa: N818 - not an error
    """The person wants to leave."""


class Talk:
    """A conversation with a partner, and its commands. Only methods of this class print."""

    def __init__(self, partner: Partner, as_json: bool) -> None:
        self._partner = partner
        self._as_json = as_json
        self._commands: dict[str, Callable[[str], str | Result]] = {
            "translate": self._translate,
            "sentiment": self._sentiment,
            "memory": partner.memory,
            "why": self._why,
            "save": partner.save,
            "load": partner.load,
            "forget": partner.forget,
            "help": self._help,
            "quit": self._quit,
        }

    # --- the two ways to talk --------------------------------------------------------------

    def converse(self) -> None:
        """At a terminal, until /quit or Ctrl-D; Ctrl-C at the prompt raises KeyboardInterrupt."""
        import readline  # noqa: F401 - gives input() a history and editing

        # Keys that are no UTF-8 become surrogates, which are refused turn by turn.
        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        print("Say something, or /help. Ctrl-C stops a reply, Ctrl-D leaves.")
        while True:
            try:
                line = input(PROMPT).strip()
                if line:
                    self.answer(line)
            except (EOFError, Quit):
                return
            except KeyboardInterrupt:
                print()  # the shell's prompt begins a line of its own
                raise
            except DuologueError as error:
                _tell(printable(str(error)))

    def read_lines(self) -> None:
        """From a pipe: one line for each line, until the end of the input or /quit."""
        try:
            for batch in batches(None):
                for line in batch:
                    self._answer_line(line.strip())
                    sys.stdout.flush()
        except Quit:
            return

    def answer(self, line: str) -> None:
        """One line typed at a terminal: a turn, or a slash command."""
        if line.startswith("/"):
            self._print(self._command(line))
        else:
            self._stream(line)

    def _answer_line(self, line: str) -> None:
        if not line:
            print(to_json(Result("", "stop")) if self._as_json else "")
        elif line.startswith("/"):
            self._print(self._command(line), on_one_line=True)
        else:
            self._print(self._whole(line), on_one_line=True)

    def _stream(self, text: str) -> None:
        """Print a reply as it is made. Ctrl-C ends it; what was printed counts as the reply."""
        end = ""
        try:
            with _interrupts(self._partner.stop), closing(self._partner.stream(text)) as events:
                for event in events:
                    match event:
                        case Commit(text=piece):
                            sys.stdout.write(printable(piece, keep="\n"))
                            sys.stdout.flush()
                            end = "\n"
                        case Done(result=result) if result.finish_reason != "abort":
                            print()
                            warn(result)
                            return
        except DuologueError:
            sys.stdout.write(end)  # the message begins a line of its own
            raise
        print(" [stopped]")

    def _whole(self, text: str) -> Result:
        """The reply when it is made. Of one that breaks off, what came of it is printed."""
        pieces: list[str] = []
        try:
            for event in self._partner.stream(text):
                match event:
                    case Commit(text=piece):
                        pieces.append(piece)
                    case Done(result=result):
                        return result
        except DuologueError:
            if pieces:
                self._print(Result("".join(pieces), "error"), on_one_line=True)
            raise
        raise AssertionError("nobody stops a reply to a pipe")

    def _print(self, answer: str | Result, on_one_line: bool = False) -> None:
        if isinstance(answer, Result):
            warn(answer)
            text = to_json(answer) if self._as_json else answer.text
        else:
            text = answer
        print(printable(text) if on_one_line else printable(text, keep="\n"))

    # --- slash commands: what they return is printed ---------------------------------------

    def _command(self, line: str) -> str | Result:
        name, _, rest = line[1:].partition(" ")
        if name not in self._commands:
            raise InputError(f"no command /{name}; /help lists them")
        return self._commands[name](rest.strip())

    def _translate(self, rest: str) -> Result:
        """LANGUAGE [TEXT]: translate the text, or what was said last"""
        language, _, text = rest.partition(" ")
        if not language:
            raise InputError("/translate needs a language, such as /translate zh")
        text = text.strip() or self._partner.last_text()
        return self._partner.translate(text, language)

    def _sentiment(self, text: str) -> str | Result:
        """[TEXT]: judge the text, or what was said last"""
        result = self._partner.sentiment(text or self._partner.last_text())
        return result if self._as_json else f"{result.text} ({result.confidence:.0%})"

    def _why(self, _: str) -> str:
        """show what the last reply leaned on and needed, and how sure it is"""
        why = self._partner.why()
        if self._as_json:
            return json.dumps(asdict(why), ensure_ascii=False)
        turns = [f", of turns {shares(why.turns)}"] if why.turns else []
        doubts = sorted(why.tokens, key=lambda token: token[1])[:NUM_DOUBTS]
        return "; ".join(
            [
                f"confidence {why.confidence:.0%}",
                f"leaned on {shares(why.evidence) or 'nothing in particular'}",
                "".join([f"needed {shares(why.influence) or 'nothing in particular'}", *turns]),
                "least sure of " + ", ".join(f'"{text}" ({share:.0%})' for text, share in doubts),
            ]
        )

    def _help(self, _: str) -> str:
        """show this list"""
        rows = [f"/{name} {call.__doc__}" for name, call in self._commands.items()]
        return "\n".join(rows)

    def _quit(self, _: str) -> str:
        """leave"""
        raise Quit


@contextmanager
def _interrupts(on_interrupt: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C inside calls a function instead of tearing anything half way."""
    before = signal.signal(signal.SIGINT, lambda *_: on_interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
