"""The assistant of a server: whose conversation about commands is where, and what rings.

Commands   say something in a session; take what is due
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from duologue.apps.assistant import Assistant, AssistantFiles, AssistantOptions, State
from duologue.apps.assistant.values import LANGUAGES
from duologue.runtime import check_text
from duologue.server.errors import ApiError
from duologue.server.service import Service
from duologue.server.views import time_of
from duologue.storage.preferences import FILE_NAME
from duologue.types import Result

MAX_SESSIONS = 10_000
MAX_SESSIONS_OF_ONE = 100  # of a key; the one that was used longest ago is forgotten


@dataclass
class _Session:
    """One conversation; one text at a time moves it on."""

    state: State = field(default_factory=State)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Commands:
    """For the event loop; understanding and doing are done on the threads of the service.

    data   folder of what is kept for people
    files  what it can do, and of what

    Preferences, notes and timers belong to a key, and a conversation to its session; the house is
    everybody's. It takes a second or so to learn the commands, which is done when somebody says the
    first one.
    """

    def __init__(self, service: Service, data: Path, files: AssistantFiles) -> None:
        self._service = service
        self._data = data
        self._files = files
        self._assistant: Assistant | None = None
        self._making = threading.Lock()
        self._sessions: OrderedDict[tuple[str, str], _Session] = OrderedDict()

    async def say(
        self, owner: str, session: str, text: str, language: str | None = None
    ) -> tuple[Result, State]:
        """Take what somebody says.

        language  of answers before theirs can be told

        Raises ApiError for a language that there is not, and what Assistant.answer raises.
        """
        if language is not None and language not in LANGUAGES:
            known = ", ".join(LANGUAGES)
            raise ApiError("invalid_input", f"the assistant speaks {known}", "language")
        runtime = self._service.reader().runtime
        self._service.limits.check_texts(runtime, [check_text(text)])
        one = self._session(owner, session)
        async with one.turn:
            state = one.state
            if language is not None and not state.language:
                state = replace(state, language=language)
            result, one.state = await self._service.work(self._answer, text, state, owner)
        return result, one.state

    async def due(self, owner: str) -> list[dict[str, Any]]:
        """What rings now for a key, and what to say then; each is told once."""
        found = await self._service.work(lambda: self._made().due(owner))
        return [
            {
                "id": due.id,
                "kind": due.kind,
                "at": time_of(round(1000 * due.at_s)),
                "label": due.label,
                "text": text,
            }
            for due, text in found
        ]

    def close(self) -> None:
        """Close the file of what is kept for people."""
        if self._assistant is not None:
            self._assistant.close()

    def _answer(self, text: str, state: State, owner: str) -> tuple[Result, State]:
        return self._made().answer(text, state, owner)

    def _made(self) -> Assistant:
        with self._making:
            if self._assistant is None:
                options = AssistantOptions(**vars(self._files), store=self._data / FILE_NAME)
                self._assistant = self._service.reader().model.assistant(options)
            return self._assistant

    def _session(self, owner: str, session: str) -> _Session:
        """A session, which is the last to be forgotten now."""
        where = owner, session
        one = self._sessions.setdefault(where, _Session())
        self._sessions.move_to_end(where)
        own = [key for key in self._sessions if key[0] == owner]
        if len(own) > MAX_SESSIONS_OF_ONE:
            del self._sessions[own[0]]
        elif len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return one


def state_of(state: State) -> dict[str, Any]:
    """Where a conversation is, as it is sent."""
    pending = state.pending
    return {
        "language": state.language,
        "pending": None
        if pending is None
        else {"intent": pending.intent, "slots": dict(pending.slots), "asking": pending.asking},
        "can_undo": state.last is not None and state.last.undo is not None,
    }
