"""Where people take over: questions that the documents do not answer, and who answers them.

Desk   the queue, and in which conversations a person answers
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from duologue.apps.assistant.webhook import Hook
from duologue.apps.support import hand_over
from duologue.errors import InputError, WebhookError
from duologue.server import views
from duologue.server.errors import LOG, ApiError, report
from duologue.server.knowledge import Knowledge
from duologue.server.service import Service
from duologue.storage.conversations import HEAD
from duologue.storage.records import StoredHandOver, StoredMessage
from duologue.types import Result

HOOK_S = 10.0  # for telling a webhook, the second try included
MAX_TOLD_CHARS = 4000  # of a question


class Desk:
    """What is said to whom: to the model, or to a person.

    webhook  address that is told of each hand-over; None: nobody is
    hook     how it is called
    """

    def __init__(
        self,
        service: Service,
        knowledge: Knowledge,
        webhook: str | None = None,
        hook: Hook | None = None,
    ) -> None:
        self._service = service
        self._knowledge = knowledge
        self._webhook = webhook
        self._hook = hook or Hook()
        self._taken: set[str] = set()
        self._teller = ThreadPoolExecutor(2, "webhook")

    async def start(self) -> None:
        """Know who answered where when the server stopped."""
        self._taken = await self._service.stored(self._service.handovers.taken)

    def close(self) -> None:
        """Tell what is being told; what waits is not told any more."""
        self._teller.shutdown(cancel_futures=True)

    # --- for conversations ---------------------------------------------------------------------

    def is_taken(self, conversation: str) -> bool:
        """Whether a person answers in a conversation."""
        return conversation in self._taken

    def forget(self, conversation: str) -> None:
        """A conversation is no more."""
        self._taken.discard(conversation)

    def asked(self, question: str) -> Callable[[], Result]:
        """See Knowledge."""
        return self._knowledge.asked(question)

    def shown(self, result: Result) -> dict[str, Any]:
        """See Knowledge."""
        return self._knowledge.shown(result)

    def judge(self, question: StoredMessage, result: Result, values: dict[str, Any]) -> None:
        """Put a question that was declined into the queue, and tell the webhook.

        values  the result as it is sent

        On a thread that may block; a webhook that hangs holds up nobody.
        """
        event = hand_over(question.text, result)
        if event is None:
            return
        queue = self._service.handovers
        number = queue.open(question, event.language, event.confidence, values["citations"])
        if number is not None and self._webhook is not None:
            told = {
                "event": "handover",
                "id": number,
                "conversation_id": question.conversation,
                "question": event.question[:MAX_TOLD_CHARS],
                "language": event.language,
                "confidence": event.confidence,
                "citations": [_brief(citation) for citation in values["citations"]],
            }
            try:
                self._teller.submit(self._tell, self._webhook, told)
            except RuntimeError:  # it was closed
                LOG.warning("a hand-over was not told to the webhook: the server goes down")

    def _tell(self, url: str, message: dict[str, Any]) -> None:
        try:
            self._hook.post(url, message, HOOK_S)
        except WebhookError as error:
            LOG.warning("a hand-over was not told to the webhook: %s", error)
        except Exception as error:
            report(error)

    # --- for people ----------------------------------------------------------------------------

    async def take(self, handover: str, person: str) -> StoredHandOver:
        """Let a person answer in place of the model. Raises ApiError (busy) if it is too late."""
        found = await self._changed(self._service.handovers.take, handover, person)
        self._taken.add(found.conversation)
        return found

    async def reply(self, handover: str, person: str, text: str) -> dict[str, Any]:
        """Say something there; the message, as it is sent. Raises ApiError (busy) for others."""

        def say() -> dict[str, Any]:
            found = self._service.handovers.get(handover)
            if found.closed_ms is not None or found.taken_by != person:
                raise ApiError("busy", "take this question over before you answer it")
            store = self._service.conversations
            where = found.owner, found.conversation
            said = store.append(*where, HEAD, "agent", text, by_person=True)
            return views.message(said, store.siblings(*where, said.id))

        return await self._service.stored(say)

    async def give_back(self, handover: str) -> StoredHandOver:
        """Let the model answer again, and take the question out of the queue."""
        found = await self._changed(self._service.handovers.close, handover)
        self._taken.discard(found.conversation)
        return found

    async def _changed(self, change: Callable[..., StoredHandOver], *values: str) -> StoredHandOver:
        try:
            return await self._service.stored(change, *values)
        except InputError as error:
            raise ApiError("busy", str(error)) from None


def _brief(citation: dict[str, Any]) -> dict[str, Any]:
    return {name: citation[name] for name in ("document", "heading", "sentence", "score")}
