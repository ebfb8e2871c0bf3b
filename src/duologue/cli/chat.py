"""`duologue chat`: a conversation at the terminal, or line by line through a pipe.

chat     the command
Talk     one conversation and the slash commands that work on it

From a pipe each line is a turn or a slash command, and each is answered by one line.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duologue.cli.lines import batches, printable, to_json, warn
from duologue.cli.options import (
    DEFAULT_MODEL,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    open_model,
)
from duologue.errors import DuologueError, InputError
from duologue.types import Commit, Done, Result, Usage

if TYPE_CHECKING:
    from duologue.api import Model
    from duologue.conversation import Conversation

PROMPT = "you> "
NUM_DOUBTS = 3  # pieces of a reply that /why names as least sure


def chat(
    model: ModelOption = DEFAULT_MODEL,
    temperature: Annotated[
        float, typer.Option(min=0.0, metavar="T", help="0 always says the most likely.")
    ] = 0.0,
    max_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="Longest reply, in tokens.")
    ] = 128,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Makes sampled replies repeatable.")
    ] = None,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk to a model, which remembers what was said.

    Replies appear as they are made; Ctrl-C stops one. Lines that begin with a slash are commands:
    /help lists them. From a pipe each line is a turn, answered by one line.

    \b
    Examples:
      duologue chat
      duologue chat --temperature 0.7 --seed 1
      printf 'Hello!\\nHow are you?\\n' | duologue chat
    """
    loaded = open_model(model, precision, threads)
    if "reply" not in loaded.config.tasks:
        known = ", ".join(loaded.config.tasks) or "nothing"
        raise InputError(f"{model} has not learnt to hold a conversation; it can {known}")
    talk = Talk(loaded, as_json)
    talk.change_options(temperature=temperature, max_tokens=max_tokens, seed=seed)
    if sys.stdin is None or not sys.stdin.isatty():
        talk.read_lines()
    else:
        talk.converse()


class Quit(Exception):  # noqa: N818 - not an error
    """The person wants to leave."""


class Talk:
    """One conversation. Only its own methods print."""

    def __init__(self, model: Model, as_json: bool) -> None:
        self._model = model
        self._as_json = as_json
        self._conversation: Conversation = model.conversation()
        self._options = self._conversation.REPLY_OPTIONS
        self._usage = Usage()  # of the last reply
        self._commands: dict[str, Callable[[str], str | Result]] = {
            "translate": self._translate,
            "sentiment": self._sentiment,
            "memory": self._show_memory,
            "why": self._why,
            "save": self._save,
            "load": self._load,
            "forget": self._forget,
            "help": self._help,
            "quit": self._quit,
        }

    def change_options(self, **changes: Any) -> None:
        """Decode replies with other options than a conversation does by itself."""
        self._options = replace(self._options, **changes)

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
                print(f"duologue: {error}", file=sys.stderr)

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
            result = self._conversation.say(line, self._options)
            self._usage = result.usage
            self._print(result, on_one_line=True)

    def _stream(self, text: str) -> None:
        """Print a reply as it is made. Ctrl-C ends it; what was printed counts as the reply."""
        events = self._conversation.stream(text, self._options)
        with closing(events), _interrupts() as is_interrupted:
            for event in events:
                match event:
                    case Commit(text=piece):
                        sys.stdout.write(printable(piece, keep="\n"))
                        sys.stdout.flush()
                    case Done(result=result):
                        self._usage = result.usage
                        print()
                        warn(result)
                if is_interrupted() and not isinstance(event, Done):
                    print(" [stopped]")
                    return

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
        """LANGUAGE [TEXT]: translate the text, or what was said last."""
        language, _, text = rest.partition(" ")
        if not language:
            raise InputError("/translate needs a language, such as /translate zh")
        text = text.strip() or self._last_text()
        return self._model.translate(text, to=language)

    def _sentiment(self, text: str) -> str | Result:
        """[TEXT]: judge the text, or what was said last."""
        text = text or self._last_text()
        result = self._model.sentiment(text)
        return result if self._as_json else f"{result.text} ({result.confidence:.0%})"

    def _last_text(self) -> str:
        if not self._conversation.turns:
            raise InputError("nothing was said yet; give a text")
        return self._conversation.turns[-1].text

    def _show_memory(self, _: str) -> str:
        """show how much is remembered, and what the last turn cost"""
        memory, usage = self._conversation.memory, self._usage
        return (
            f"{len(self._conversation.turns)} turns said; in memory {len(memory.segments)} "
            f"segments, {memory.num_tokens} tokens, {memory.num_bytes:,} bytes; the last whole "
            f"reply encoded {usage.encoded_tokens} tokens and reused {usage.reused_tokens}"
        )

    def _why(self, _: str) -> str:
        """show what the last reply leaned on and how sure it is"""
        why = self._conversation.why()
        spans = [f'"{span.text}" ({span.score:.0%})' for span in why.evidence]
        doubts = sorted(why.tokens, key=lambda token: token[1])[:NUM_DOUBTS]
        return "; ".join(
            [
                f"confidence {why.confidence:.0%}",
                f"leaned on {', '.join(spans) or 'nothing in particular'}",
                "least sure of " + ", ".join(f'"{text}" ({share:.0%})' for text, share in doubts),
            ]
        )

    def _save(self, name: str) -> str:
        """FOLDER: save the conversation with its memory"""
        path = _path(name, "save")
        self._conversation.save(path)
        return f"saved to {name}"

    def _load(self, name: str) -> str:
        """FOLDER: go on with a saved conversation"""
        path = _path(name, "load")
        self._conversation.load(path)
        return f"{len(self._conversation.turns)} turns are remembered"

    def _forget(self, _: str) -> str:
        """forget everything that was said"""
        self._conversation.forget()
        return "forgotten"

    def _help(self, _: str) -> str:
        """show this list"""
        rows = [f"/{name} {call.__doc__}" for name, call in self._commands.items()]
        return "\n".join(rows)

    def _quit(self, _: str) -> str:
        """leave"""
        raise Quit


def _path(name: str, command: str) -> Path:
    if not name:
        raise InputError(f"/{command} needs a folder")
    return Path(name).expanduser()


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C inside sets a flag, which the returned function tells; nothing is torn half way."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)
