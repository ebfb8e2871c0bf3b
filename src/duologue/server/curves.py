"""The sentiment of stored conversations, message by message.

Curves  judges each message once, as long as it is remembered
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from typing import Any

from duologue.apps.curve import SMOOTHING, SPEAKERS, points_of
from duologue.apps.labels import classifying
from duologue.apps.sentiment import choice
from duologue.server.service import ServedModel
from duologue.storage.records import StoredMessage

MAX_MESSAGES = 200  # of a path, the newest; one request judges no more
MAX_KNOWN = 20_000


class Curves:
    """Probabilities of messages by their ids. A message never changes. Any thread may ask."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], dict[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def of_path(
        self, served: ServedModel, path: Sequence[StoredMessage]
    ) -> Generator[None, None, dict[str, Any]]:
        """The curve of a path, first message first; yields between pieces of its work.

        Raises InputError for a model that cannot judge.
        """
        spoken = [
            message
            for message in path
            if message.role in SPEAKERS and message.status == "complete" and message.text.strip()
        ]
        left_out, spoken = max(0, len(spoken) - MAX_MESSAGES), spoken[-MAX_MESSAGES:]
        known = {message.id: self._recall(served.name, message.id) for message in spoken}
        missing = [message for message in spoken if known[message.id] is None]
        texts = [message.text for message in missing]
        wanted = choice(served.runtime)
        results = yield from classifying(served.runtime, texts, wanted, has_evidence=False)
        for message, result in zip(missing, results, strict=True):
            known[message.id] = result.probabilities
            self._keep(served.name, message.id, result.probabilities)
        judged = [
            (number, message.role, known[message.id] or {}) for number, message in enumerate(spoken)
        ]
        points = []
        for point, message in zip(points_of(judged), spoken, strict=True):
            values = point.to_dict()
            del values["turn"]
            points.append({"message": message.id, **values})
        return {"points": points, "smoothing": SMOOTHING, "left_out": left_out}

    def _recall(self, model: str, message: str) -> dict[str, float] | None:
        with self._lock:
            found = self._known.get((model, message))
            if found is not None:
                self._known.move_to_end((model, message))
            return found

    def _keep(self, model: str, message: str, probabilities: dict[str, float]) -> None:
        with self._lock:
            self._known[model, message] = probabilities
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
