"""Who answers in a chat: a model that is loaded here, or one of a server.

Partner        what a chat asks of either
LocalPartner   a model and a conversation with it; remote.py has the other one
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from duologue.errors import InputError
from duologue.types import Done, Event, Result, Usage

if TYPE_CHECKING:
    from duologue.api import Model
    from duologue.explain import Explanation

NOTHING_SAID = "nothing was said yet; give a text"


class Partner(Protocol):
    """One conversation. The last four are slash commands: what they return is printed."""

    def stream(self, text: str) -> Generator[Event, None, None]:
        """Say something; the reply as it is made. Its last event is Done, unless it was stopped."""

    def stop(self) -> None:
        """Let the stream end soon. Called by a signal handler while the stream waits."""

    def translate(self, text: str, to: str) -> Result:
        """A text in another language."""

    def sentiment(self, text: str) -> Result:
        """Whether a text is positive or negative."""

    def last_text(self) -> str:
        """What was said last, by whom ever. Raises InputError if nothing was."""

    def why(self) -> Explanation:
        """What the last reply leaned on and needed. Raises InputError if there is none."""

    def memory(self, _: str) -> str: ...

    def save(self, name: str) -> str: ...

    def load(self, name: str) -> str: ...

    def forget(self, _: str) -> str: ...


class LocalPartner:
    """A model that is loaded in this process.

    changes  options of replies that are to differ from those of a conversation
    """

    def __init__(self, model: Model, **changes: Any) -> None:
        self._model = model
        self._conversation = model.conversation()
        self._options = replace(self._conversation.REPLY_OPTIONS, **changes)
        self._usage = Usage()  # of the last whole reply
        self._is_stopped = False

    def stream(self, text: str) -> Generator[Event, None, None]:
        """See Partner. What was taken of a stopped reply is remembered, no more."""
        self._is_stopped = False
        with closing(self._conversation.stream(text, self._options)) as events:
            for event in events:
                if isinstance(event, Done):
                    self._usage = event.result.usage
                yield event
                if self._is_stopped:
                    return

    def stop(self) -> None:
        """See Partner. The stream ends after its next event: nothing is torn half way."""
        self._is_stopped = True

    def translate(self, text: str, to: str) -> Result:
        """See Partner."""
        return self._model.translate(text, to=to)

    def sentiment(self, text: str) -> Result:
        """See Partner."""
        return self._model.sentiment(text)

    def last_text(self) -> str:
        """See Partner."""
        if not self._conversation.turns:
            raise InputError(NOTHING_SAID)
        return self._conversation.turns[-1].text

    def why(self) -> Explanation:
        """See Partner."""
        return self._conversation.why(erasure=True)

    def memory(self, _: str) -> str:
        """show how much is remembered, and what the last turn cost"""
        memory, usage = self._conversation.memory, self._usage
        return (
            f"{len(self._conversation.turns)} turns said; in memory {len(memory.segments)} "
            f"segments, {memory.num_tokens} tokens, {memory.num_bytes:,} bytes; the last whole "
            f"reply encoded {usage.encoded_tokens} tokens and reused {usage.reused_tokens}"
        )

    def save(self, name: str) -> str:
        """FOLDER: save the conversation with its memory"""
        folder = _folder(name, "save")
        self._conversation.save(folder)
        return f"saved to {name}"

    def load(self, name: str) -> str:
        """FOLDER: go on with a saved conversation"""
        folder = _folder(name, "load")
        self._conversation.load(folder)
        return f"{len(self._conversation.turns)} turns are remembered"

    def forget(self, _: str) -> str:
        """forget everything that was said"""
        self._conversation.forget()
        return "forgotten"


def _folder(name: str, command: str) -> Path:
    if not name:
        raise InputError(f"/{command} needs a folder")
    return Path(name).expanduser()
