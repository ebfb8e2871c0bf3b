"""What can be done: functions by name, which a declaration may ask for.

action     registers a function under a name
Call       what an action is told
Outcome    what it answers with
Services   what actions may use
resolve    the function of a name, if it may be called

A name with a colon, "module:function", is code of the user's own and is imported only if the user
allowed it by that name: a file of commands from somewhere else can never run code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from duologue.apps.assistant.house import House
from duologue.apps.assistant.scheduler import Scheduler
from duologue.errors import ConfigError
from duologue.storage.preferences import PersonalStore


@dataclass(frozen=True)
class Services:
    """weather: a JSON file, see actions/weather.py; None: there is none"""

    store: PersonalStore
    scheduler: Scheduler
    house: House
    weather: Path | None = None


@dataclass(frozen=True)
class Call:
    """One command that is to be done.

    text  what was said last
    now   the time, in the person's zone
    """

    intent: str
    slots: Mapping[str, Any]
    text: str
    user: str
    language: str
    now: datetime
    services: Services

    @property
    def preferences(self) -> dict[str, str]:
        """What the person prefers."""
        return self.services.store.preferences(self.user)


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    case    which of the intent's answers to give: "done", "failed", or another that it has
    values  for the answer, besides the slots
    undo    what the undoing action is to be called with; None: it cannot be undone
    text    the answer itself, where the action makes it
    """

    case: str = "done"
    values: Mapping[str, Any] = field(default_factory=dict)
    undo: dict[str, Any] | None = None
    text: str = ""


ActionFunction = Callable[[Call], Outcome]

_REGISTERED: dict[str, ActionFunction] = {}


def action(name: str) -> Callable[[ActionFunction], ActionFunction]:
    """Register a function, so that declarations may name it: "timers.set"."""

    def register(function: ActionFunction) -> ActionFunction:
        if name in _REGISTERED and _REGISTERED[name] is not function:
            raise ConfigError(f"there is an action {name!r} already")
        _REGISTERED[name] = function
        return function

    return register


def resolve(name: str, allowed: Collection[str] = ()) -> ActionFunction:
    """The function of an action.

    allowed  what may be imported: "module:function", or "module" for all of its functions

    Raises ConfigError for a name that is not registered, not allowed, or not there.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon:
        if name not in _REGISTERED:
            known = ", ".join(sorted(_REGISTERED))
            raise ConfigError(f"there is no action {name!r}; there are {known}")
        return _REGISTERED[name]
    if name not in allowed and module_name not in allowed:
        raise ConfigError(
            f"the action {name!r} is Python code, which is run only if you allow it by name: "
            f"--allow {name}"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"the action {name!r} cannot be imported: {error}") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(f"the module {module_name!r} has no function {function_name!r}")
    made: ActionFunction = function
    return made


def load_shipped() -> None:
    """Register the actions that come with Duologue."""
    for name in ("calculator", "clock", "devices", "notes", "personal", "timers", "weather"):
        importlib.import_module(f"duologue.apps.assistant.actions.{name}")
