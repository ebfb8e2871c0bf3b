"""The assistant: understanding, dialogue and actions joined; the part that does things.

Assistant         say(text, user) -> Result; keeps where each person's conversation is
AssistantOptions  where things are kept, and what is allowed; AssistantFiles: what a user may set
shipped_commands  the declaration that comes with Duologue
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from duologue.apps.assistant.actions import Call, Outcome, Services, load_shipped, resolve
from duologue.apps.assistant.cities import zone
from duologue.apps.assistant.declaration import Declaration, Webhook
from duologue.apps.assistant.dialogue import Decision, Dialogue, Last, State, Surroundings
from duologue.apps.assistant.house import House
from duologue.apps.assistant.reader import read_commands
from duologue.apps.assistant.scheduler import Clock, Scheduler, utc_now
from duologue.apps.assistant.understand import Understanding
from duologue.apps.assistant.values import LANGUAGES
from duologue.apps.assistant.webhook import Hook
from duologue.config.values import STRICT
from duologue.errors import DuologueError, InputError, WebhookError
from duologue.runtime import Runtime, check_text
from duologue.storage.folder import data_folder
from duologue.storage.preferences import FILE_NAME, Due, PersonalStore
from duologue.types import Command, Result, Usage

OUT_OF_SCOPE = "out_of_scope"  # in Result.probabilities: that nothing fits
SKILLS = Path(__file__).parent / "skills"
MAX_CONVERSATIONS = 10_000  # of people, of which the oldest are forgotten

_BELLS = {
    "timer": {
        "en": "The timer is over{label}.",
        "de": "Der Timer ist um{label}.",
        "zh": "计时结束{label}。",
    },
    "alarm": {"en": "It is {at}{label}!", "de": "Es ist {at}{label}!", "zh": "{at}到了{label}！"},
    "reminder": {"en": "Remember{label}.", "de": "Denk daran{label}.", "zh": "别忘了{label}。"},
}


def data_file() -> Path:
    """Where preferences, notes and alarms are kept, in the data folder."""
    return data_folder() / FILE_NAME


@dataclass(frozen=True)
class AssistantFiles:
    """What an assistant can do, and of what: the same on the command line and in a server.

    commands  YAML files of more commands
    shipped   whether it also has the commands that come with Duologue
    allow     Python functions that the files may name: "module:function", or "module"
    house     JSON file of the state of lights and devices; None: in memory
    weather   JSON file of the weather; None: there is none
    zone      time zone by name, such as "Europe/Berlin"; None: this machine's
    language  of answers before a person's language can be told
    """

    __pydantic_config__ = STRICT

    commands: tuple[Path, ...] = ()
    shipped: bool = True
    allow: tuple[str, ...] = ()
    house: Path | None = None
    weather: Path | None = None
    zone: str | None = None
    language: str = "en"


@dataclass(frozen=True)
class AssistantOptions(AssistantFiles):
    """How an assistant works.

    store  SQLite file of what it keeps for people
    clock  tells the time, with a zone
    hook   how webhooks are called
    """

    store: Path = field(default_factory=data_file)
    clock: Clock = utc_now
    hook: Hook = field(default_factory=Hook)


def shipped_commands() -> Declaration:
    """The commands that come with Duologue: skills/*.yaml."""
    paths = sorted(path for path in SKILLS.glob("*.yaml") if path.name != "cities.yaml")
    declarations = [read_commands(path) for path in paths]
    result = declarations[0]
    for declaration in declarations[1:]:
        result = result.and_also(declaration)
    return result


class Assistant:
    """Understands commands and does them. Several people may use it, from several threads.

    Raises what opened raises.
    """

    def __init__(self, runtime: Runtime, options: AssistantOptions | None = None) -> None:
        options = options or AssistantOptions()
        self._options = options
        self._zone: tzinfo | None = zone(options.zone) if options.zone is not None else None
        self.declaration, house = opened(options)
        self._understanding = Understanding(runtime, self.declaration)
        self._dialogue = Dialogue(self.declaration, self._understanding, options.language)
        store = PersonalStore(options.store)
        self._store = store
        self._scheduler = Scheduler(store, options.clock)
        self._services = Services(store, self._scheduler, house, options.weather)
        self._lock = threading.Lock()  # guards the states
        self._states: OrderedDict[str, State] = OrderedDict()

    def close(self) -> None:
        """Close the file of what is kept for people."""
        self._store.close()

    # --- talking -----------------------------------------------------------------------------

    def say(self, text: str, user: str = "local") -> Result:
        """Take what a person says: understand, ask, do, and answer.

        The answer is in `Result.text`, what it made of the text in `Result.command`; its confidence
        is the probability of the intent. `Result.declined` says that nothing was understood. Raises
        InputError for a text that nothing can read.
        """
        with self._lock:
            state = self._states.get(user, State())
        result, after = self.answer(text, state, user)
        with self._lock:
            self._states[user] = after
            self._states.move_to_end(user)
            while len(self._states) > MAX_CONVERSATIONS:
                self._states.popitem(last=False)
        return result

    def answer(self, text: str, state: State, user: str = "local") -> tuple[Result, State]:
        """The same where the caller keeps the state: State() begins a conversation."""
        before = time.perf_counter()
        now = self._now()
        around = Surroundings(now.date(), self._store.preferences(user))
        decision = self._dialogue.take(check_text(text).strip(), state, around)
        command, answer, after = decision.command, decision.text, decision.state
        if decision.kind != "say":
            call = _Asked(text, user, decision.state.language, now)
            outcome = self._act(decision, call)
            around = Surroundings(now.date(), self._store.preferences(user))
            answer, command, after = self._dialogue.finished(decision, outcome, around)
        elapsed_ms = 1000 * (time.perf_counter() - before)
        return _result(decision, answer, command, elapsed_ms), after

    def due(self, user: str | None = None) -> list[tuple[Due, str]]:
        """What rings now and what to say then; each is told once. user None: for everybody."""
        return [(due, self._bell(due)) for due in self._scheduler.due(user)]

    def _bell(self, due: Due) -> str:
        label = f": {due.label}" if due.label else ""
        at = datetime.fromtimestamp(due.at_s, UTC).astimezone(self._zone)
        return _BELLS[due.kind][due.language].format(label=label, at=f"{at:%H:%M}")

    def _now(self) -> datetime:
        return self._options.clock().astimezone(self._zone)

    # --- doing -------------------------------------------------------------------------------

    def _act(self, decision: Decision, asked: _Asked) -> Outcome:
        intents = self.declaration.intents
        if decision.kind == "undo":
            assert decision.last is not None  # an undo has something to undo
            return self._take_back(decision.last, asked)
        command = decision.command
        assert command is not None  # a run has a command
        if decision.undo_first is not None:
            taken_back = self._take_back(decision.undo_first, asked)
            if taken_back.case == "failed":
                return taken_back
        intent = intents[command.intent]
        if intent.action is None:
            return Outcome()
        return self._do(intent.action, intent.name, command.slots, asked)

    def _take_back(self, last: Last, asked: _Asked) -> Outcome:
        intent = self.declaration.intents[last.intent]
        assert intent.undo is not None  # dialogue.py asks before
        return self._do(intent.undo, intent.name, dict(last.undo or {}), asked)

    def _do(
        self, what: str | Webhook, intent: str, slots: Mapping[str, Any], asked: _Asked
    ) -> Outcome:
        """Call a function or a webhook; whatever goes wrong in it becomes an answer."""
        if isinstance(what, Webhook):
            return self._tell(what, intent, slots, asked)
        function = resolve(what, self._options.allow)
        call = Call(
            intent, slots, asked.text, asked.user, asked.language, asked.now, self._services
        )
        try:
            outcome = function(call)
        except DuologueError as error:
            return Outcome("failed", {"problem": str(error)})
        except Exception as error:  # the code of an action is not ours to trust
            return Outcome("failed", {"problem": f"{what}: {type(error).__name__}"})
        return outcome if isinstance(outcome, Outcome) else Outcome(text=str(outcome or ""))

    def _tell(
        self, webhook: Webhook, intent: str, slots: Mapping[str, Any], asked: _Asked
    ) -> Outcome:
        message = {
            "intent": intent,
            "slots": dict(slots),
            "text": asked.text,
            "language": asked.language,
            "user": asked.user,
        }
        try:
            answer = self._options.hook.post(webhook.url, message, webhook.timeout_s)
        except WebhookError as error:
            return Outcome("failed", {"problem": str(error)})
        values, undo, said = answer.get("values"), answer.get("undo"), answer.get("text")
        return Outcome(
            "done",
            values if isinstance(values, dict) else {},
            undo if isinstance(undo, dict) else None,
            said if isinstance(said, str) else "",
        )


@dataclass(frozen=True)
class _Asked:
    """Who said what, and when."""

    text: str
    user: str
    language: str
    now: datetime


def opened(files: AssistantFiles) -> tuple[Declaration, House]:
    """The commands and the house, once all is known to work that the files name.

    Raises DataError or ConfigError for commands that cannot work (an unknown slot kind, an action
    that there is not, Python code that was not allowed) and a house that cannot be read, InputError
    for an unknown language or time zone. The weather is read when it is asked for.
    """
    if files.language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise InputError(f"unknown language {files.language!r}; there are {known}")
    if files.zone is not None:
        zone(files.zone)
    declarations = [shipped_commands()] if files.shipped else []
    declarations += [read_commands(path) for path in files.commands]
    declaration = declarations[0] if declarations else Declaration({})
    for other in declarations[1:]:
        declaration = declaration.and_also(other)
    load_shipped()
    for intent in declaration.intents.values():
        for name in (intent.action, intent.undo):
            if isinstance(name, str):
                resolve(name, files.allow)
    return declaration, House(files.house)


def _result(decision: Decision, text: str, command: Command | None, ms: float) -> Result:
    understood = decision.understood
    probabilities: dict[str, float] = {}
    if understood is not None:
        probabilities = dict(understood.probabilities)
        probabilities[OUT_OF_SCOPE] = max(0.0, 1 - sum(probabilities.values()))
    return Result(
        text=text,
        finish_reason="stop",
        confidence=understood.probability if understood is not None else 1.0,
        probabilities=probabilities,
        usage=Usage(decode_ms=ms),
        declined=understood is not None and not understood.is_understood,
        command=command,
    )
