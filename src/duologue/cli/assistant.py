"""`duologue assistant`: commands at the terminal, or line by line through a pipe.

assistant  the command
Session    one person's lines, their answers, and what rings meanwhile

From a pipe each line is answered by one line; what rings goes to stderr.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duologue.cli.lines import batches, printable, to_json
from duologue.cli.options import (
    DEFAULT_MODEL,
    AllowOption,
    CommandsOption,
    HouseOption,
    JsonOption,
    ModelOption,
    OnlyOption,
    PrecisionOption,
    ThreadsOption,
    WeatherOption,
    ZoneOption,
    open_model,
)
from duologue.errors import DuologueError
from duologue.types import Result

if TYPE_CHECKING:
    from duologue.apps.assistant import Assistant

PROMPT = "you> "
_LOOK_S = 0.5  # how often the terminal looks for what rings


def assistant(  # noqa: PLR0913 - the options of a command are its parameters
    commands: CommandsOption = None,
    only: OnlyOption = False,
    allow: AllowOption = None,
    user: Annotated[
        str, typer.Option(metavar="NAME", help="Whose preferences, notes and alarms to use.")
    ] = "local",
    language: Annotated[
        str, typer.Option(metavar="en|zh|de", help="Of answers, before yours can be told.")
    ] = "en",
    zone: ZoneOption = None,
    weather: WeatherOption = None,
    house: HouseOption = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="What is kept for you; ~/.local/share/duologue/assistant.sqlite if not given.",
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    precision: PrecisionOption = "int8",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give commands: timers, alarms, reminders, notes, lights, sums, the weather, and your own.

    Says back what it did, asks for what is missing and before it deletes anything; "undo" takes the
    last command back, "help" lists all. From a pipe each line is a command, answered by one line.

    \b
    Examples:
      duologue assistant
      duologue assistant --weather weather.json --user anna
      echo "set a timer for ten minutes" | duologue assistant --json
      duologue assistant --commands lights.yaml --allow my_house:switch
    """
    from duologue.apps.assistant import AssistantOptions
    from duologue.apps.assistant.assistant import data_file

    options = AssistantOptions(
        commands=tuple(commands or ()),
        shipped=not only,
        allow=tuple(allow or ()),
        store=store or data_file(),
        house=house,
        weather=weather,
        zone=zone,
        language=language,
    )
    loaded = open_model(model, precision, threads)
    session = Session(loaded.assistant(options), user, as_json)
    if sys.stdin is None or not sys.stdin.isatty():
        session.read_lines()
    else:
        session.converse()


class Session:
    """What one person says. Only its own methods print."""

    def __init__(self, assistant: Assistant, user: str, as_json: bool) -> None:
        self._assistant = assistant
        self._user = user
        self._as_json = as_json

    def converse(self) -> None:
        """At a terminal, until Ctrl-D; what rings is printed between."""
        import readline  # noqa: F401 - gives input() a history and editing

        sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
        print('What can I do for you? "help" lists it; Ctrl-D leaves.')
        with self._ringing():
            while True:
                try:
                    line = input(PROMPT).strip()
                    if line:
                        self._print(self._assistant.say(line, self._user))
                except EOFError:
                    return
                except KeyboardInterrupt:
                    print()  # the shell's prompt begins a line of its own
                    raise
                except DuologueError as error:
                    print(f"duologue: {error}", file=sys.stderr)

    def read_lines(self) -> None:
        """From a pipe: one line for each line, until the end of the input."""
        for batch in batches(None):
            for line in batch:
                self.ring()
                if line.strip():
                    self._print(self._assistant.say(line.strip(), self._user))
                else:
                    print(to_json(Result("", "stop")) if self._as_json else "")
                sys.stdout.flush()
        self.ring()

    def _print(self, result: Result) -> None:
        print(to_json(result) if self._as_json else printable(result.text))

    def ring(self, is_terminal: bool = False) -> None:
        """Tell what is due by now."""
        for due, text in self._assistant.due(self._user):
            said = printable(text)
            if self._as_json:
                said = json.dumps({"due": asdict(due), "text": text}, ensure_ascii=False)
            if is_terminal:
                print(f"\r\a{said}\n{PROMPT}", end="", flush=True)
            else:
                print(said, file=sys.stderr, flush=True)

    @contextmanager
    def _ringing(self) -> Iterator[None]:
        """Look for what is due, beside whatever the block does."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(_LOOK_S):
                try:
                    self.ring(is_terminal=True)
                except DuologueError as error:
                    print(f"duologue: {error}", file=sys.stderr)
                    return

        thread = threading.Thread(target=look, name="duologue-bells", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
