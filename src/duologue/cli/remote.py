"""A partner in a chat that is a model of a server; docs/protocol.md has the requests.

RemotePartner   a conversation that the server keeps
connect         finds out whether the server will do, before anything is said

Nothing of a conversation is kept here but its id: what was said is asked for when it is needed, so
what others say in it meanwhile counts as well.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import TypeAdapter

from duologue.cli.client import REFUSED, Client, Server
from duologue.cli.partner import NOTHING_SAID
from duologue.errors import InputError, RemoteError
from duologue.types import Commit, Done, Event, Result, Revise, Span

if TYPE_CHECKING:
    from duologue.explain import Explanation

MAX_PAGES = 20  # of conversations that are looked through for a title
MAX_LISTED = 5  # conversations of the same title that an error names
_ID = re.compile(r"conv_[A-Za-z0-9_-]{1,58}", re.ASCII)
_CONVERSATIONS = "/v1/conversations"


# --- what the server sends, as far as it is used -------------------------------------------------


@dataclass(frozen=True)
class _Model:
    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class _Info:
    models: tuple[_Model, ...]
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class _Message:
    id: str
    role: str
    text: str
    result: Result | None


@dataclass(frozen=True)
class _Conversation:
    id: str
    title: str
    model: str
    updated_at: str


@dataclass(frozen=True)
class _Whole(_Conversation):
    messages: tuple[_Message, ...]


@dataclass(frozen=True)
class _Page:
    data: tuple[_Conversation, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class _Text:
    text: str


@dataclass(frozen=True)
class _Reply:
    message: _Message


@dataclass(frozen=True)
class _Explained:
    text: str
    confidence: float
    tokens: tuple[tuple[str, float], ...]
    evidence: tuple[Span, ...]
    influence: tuple[Span, ...] = ()  # of servers that know the method
    turns: tuple[Span, ...] = ()


_INFO, _CONVERSATION, _WHOLE = TypeAdapter(_Info), TypeAdapter(_Conversation), TypeAdapter(_Whole)
_PAGE, _TEXT, _REPLY = TypeAdapter(_Page), TypeAdapter(_Text), TypeAdapter(_Reply)
_EXPLAINED, _RESULT = TypeAdapter(_Explained), TypeAdapter(Result)


# --- the partner ---------------------------------------------------------------------------------


def connect(
    server: Server, tell: Callable[[str], None], model: str | None, options: dict[str, Any]
) -> RemotePartner:
    """A partner on a server.

    tell     is given what a person who waits should know
    model    None: the first one of the server
    options  of replies that are to differ from what the server makes them with

    Raises RemoteError for a server that cannot be used, InputError for a model that does not
    converse or is not there.
    """
    client = Client(server, tell)
    info = client.call(_INFO, "GET", "/v1/info")
    if "chat" not in info.scopes:
        raise RemoteError(f"{server}: this key lacks the scope 'chat'", "forbidden")
    names = [one.name for one in info.models]
    if model is None and names:
        model = names[0]
    found = next((one for one in info.models if one.name == model), None)
    if found is None:
        raise InputError(f"{server} has no model {model!r}; it has {', '.join(names) or 'none'}")
    if "reply" not in found.tasks:
        known = ", ".join(found.tasks) or "nothing"
        raise InputError(f"{model} has not learnt to hold a conversation; it can {known}")
    return RemotePartner(client, found.name, options)


class RemotePartner:
    """A conversation that the server keeps. It begins with the first thing that is said.

    model    of new conversations; one that is loaded goes on with its own
    options  see connect
    """

    def __init__(self, client: Client, model: str, options: dict[str, Any]) -> None:
        self._client = client
        self._new_model = self._model = model
        self._options = options
        self._conversation: str | None = None
        self._is_stopped = False

    def stream(self, text: str) -> Generator[Event, None, None]:
        """See Partner. A stopped reply ends with what the server has kept of it."""
        self._is_stopped = False
        body = {"text": text, "stream": True, "options": self._options}
        path = f"{self._begun()}/messages"
        try:
            with closing(self._client.stream(path, body, lambda: not self._is_stopped)) as events:
                for name, data in events:
                    event = self._event(name, data)
                    if event is not None:
                        yield event
                    if isinstance(event, Done):
                        return
        except RemoteError as error:
            if not (self._is_stopped and error.refused_as == "stopped"):
                raise self._broken_off(error) from None
            return
        raise self._broken_off(RemoteError("the server ended the reply without a word"))

    def stop(self) -> None:
        """See Partner. Asks the server, which sends what it keeps; a second time leaves the chat.

        Raises KeyboardInterrupt the second time.
        """
        if self._is_stopped:
            raise KeyboardInterrupt
        self._is_stopped = True
        # A signal handler must not wait for an answer.
        threading.Thread(target=self._ask_to_stop, daemon=True).start()

    def translate(self, text: str, to: str) -> Result:
        """See Partner."""
        body = {"text": text, "to": to, "model": self._model}
        return self._client.call(_RESULT, "POST", "/v1/translate", body)

    def sentiment(self, text: str) -> Result:
        """See Partner."""
        body = {"text": text, "model": self._model}
        return self._client.call(_RESULT, "POST", "/v1/sentiment", body)

    def last_text(self) -> str:
        """See Partner."""
        messages = self._messages()
        if not messages:
            raise InputError(NOTHING_SAID)
        return messages[-1].text

    def why(self) -> Explanation:
        """See Partner."""
        from duologue.explain import Explanation  # here: it loads NumPy

        reply = self._last_reply()
        if reply is None:
            raise InputError("there is no reply to explain yet")
        body = {
            "conversation_id": self._conversation,
            "message_id": reply.id,
            "method": "erasure",
        }
        told = self._client.call(_EXPLAINED, "POST", "/v1/explain", body)
        return Explanation(**vars(told))

    def memory(self, _: str) -> str:
        """show how much was said, and what the last turn cost"""
        messages = self._messages()
        results = [message.result for message in messages if message.result is not None]
        cost = "no reply yet"
        if results:
            usage = results[-1].usage
            cost = (
                f"the last reply encoded {usage.encoded_tokens} tokens "
                f"and reused {usage.reused_tokens}"
            )
        return f"{len(messages)} turns said, which the server keeps; {cost}"

    def save(self, title: str) -> str:
        """[TITLE]: name the conversation, which the server keeps, and show its id"""
        if self._conversation is None:
            raise InputError("nothing was said yet")
        if title:
            body = {"title": title}
            self._client.call(_CONVERSATION, "PATCH", self._path(self._conversation), body)
        return f"kept as {self._conversation}"

    def load(self, name: str) -> str:
        """ID|TITLE: go on with a conversation of the server"""
        if not name:
            raise InputError("/load needs the id or the title of a conversation")
        found = self._get(name) if _ID.fullmatch(name) else None
        found = found or self._titled(name)
        self._conversation, self._model = found.id, found.model
        return f"{len(found.messages)} turns are remembered"

    def forget(self, _: str) -> str:
        """delete the conversation from the server, and begin a new one"""
        if self._conversation is not None:
            try:
                self._client.send("DELETE", self._path(self._conversation))
            except RemoteError as error:
                if error.refused_as != "not_found":
                    raise
        self._conversation, self._model = None, self._new_model
        return "forgotten"

    # --- parts of these --------------------------------------------------------------------------

    def _path(self, conversation: str) -> str:
        return f"{_CONVERSATIONS}/{quote(conversation, safe='')}"

    def _begun(self) -> str:
        """The path of this conversation, which may have to be created first."""
        if self._conversation is None:
            body = {"model": self._model}
            made = self._client.call(_CONVERSATION, "POST", _CONVERSATIONS, body)
            self._conversation = made.id
        return self._path(self._conversation)

    def _event(self, name: str, data: bytes) -> Event | None:
        """What an event says; None for those that say nothing new. Raises the error in it."""
        parsed = self._client.parsed
        match name:
            case "commit":
                if self._is_stopped:  # once more: the first time may have come before the reply
                    self._ask_to_stop()
                return Commit(parsed(_TEXT, data).text)
            case "revise":
                return Revise(parsed(_TEXT, data).text)
            case "done":
                message = parsed(_REPLY, data).message
                return Done(message.result or Result(message.text, "stop"))
            case "failed":
                raise parsed(REFUSED, data).error.as_error()
        return None

    def _broken_off(self, error: RemoteError) -> RemoteError:
        """The error of a stream, and where to go on."""
        if error.refused_as is not None:
            return error
        return RemoteError(f"{error}; what reached the server is kept as {self._conversation}")

    def _ask_to_stop(self) -> None:
        conversation = self._conversation
        if conversation is not None:
            with contextlib.suppress(RemoteError):  # whoever reads the stream is told
                self._client.send("POST", f"{self._path(conversation)}/stop")

    def _messages(self) -> tuple[_Message, ...]:
        if self._conversation is None:
            return ()
        return self._client.call(_WHOLE, "GET", self._path(self._conversation)).messages

    def _last_reply(self) -> _Message | None:
        replies = [message for message in self._messages() if message.role == "agent"]
        return replies[-1] if replies else None

    def _get(self, conversation: str) -> _Whole | None:
        try:
            return self._client.call(_WHOLE, "GET", self._path(conversation))
        except RemoteError as error:
            if error.refused_as != "not_found":
                raise
            return None

    def _titled(self, title: str) -> _Whole:
        """The only conversation of this title. Raises InputError if there is none, or are more."""
        title = " ".join(title.split())  # as the server keeps it
        found: list[_Conversation] = []
        path = f"{_CONVERSATIONS}?limit=200&query={quote(title, safe='')}"
        cursor = ""
        for _ in range(MAX_PAGES):
            page = self._client.call(_PAGE, "GET", path + cursor)
            found += [one for one in page.data if one.title == title]
            if page.next_cursor is None:
                break
            cursor = f"&cursor={quote(page.next_cursor, safe='')}"
        if not found:
            raise InputError(f"the server has no conversation {title!r}")
        if len(found) > 1:
            ids = ", ".join(f"{one.id} ({one.updated_at})" for one in found[:MAX_LISTED])
            raise InputError(f"{len(found)} conversations are called {title!r}: {ids}")
        whole = self._get(found[0].id)
        if whole is None:
            raise InputError(f"the conversation {title!r} was just deleted")
        return whole
