"""The API is what its OpenAPI document says, whatever it is sent; schemathesis makes the requests.

Each request is also aimed: what it names (a conversation, a model, a memory) is there, and what it
asks for is within the limits, so that it gets past the door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from server_site import Site, begin, say, start_site

from duologue.server.app import ROUTERS
from duologue.server.limits import Limits
from duologue.server.options import ServeOptions
from duologue.server.running import open_store
from duologue.storage.keys import SCOPES, Keys

MOST = 8  # of whatever a request may ask for
REPEATABLE = settings(
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def operations() -> list[str]:
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    paths = app.openapi()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


@pytest.fixture(scope="module", params=["without keys", "with keys"])
def guarded(
    request: pytest.FixtureRequest,
    tiny_model_folder: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Site, str | None]]:
    """A server, and a key for everything if it demands one."""
    data = tmp_path_factory.mktemp("data")
    secret = None
    if request.param == "with keys":
        database = open_store(data, None)
        secret = Keys(database).create("all", list(SCOPES))[1]
        database.close()
    limits = Limits(max_requests_per_minute=10**6, max_tokens=MOST, max_source_tokens=400)
    models = (str(tiny_model_folder("transformer")),)
    site = start_site(
        ServeOptions(
            port=0,
            models=models,
            data=data,
            kb=data / "kb",
            threads=1,
            cache_bytes=0,
            limits=limits,
        )
    )
    yield site, secret
    site.stop()


@pytest.mark.parametrize("operation", operations())
def test_answers_are_those_of_the_document(
    guarded: tuple[Site, str | None], operation: str
) -> None:
    site, secret = guarded
    schema = schemathesis.openapi.from_url(f"{site.url}/openapi.json")
    method, path = operation.split()
    client = site.client(secret)
    there = Things(client)
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    # Bounds of a server are not those of the document: what is within these may be too much here.
    excluded = [checks.positive_data_acceptance]
    excluded += [] if secret else [checks.ignored_auth]

    @REPEATABLE
    @given(case=schema[path][method].as_strategy(), is_aimed=st.booleans())
    def check(case: schemathesis.Case, is_aimed: bool) -> None:
        if is_aimed:
            there.aim(case)
        case.call_and_validate(headers=headers, excluded_checks=excluded, timeout=60)

    check()
    assert client.get("/health/ready").status_code == 200


def waiting_question(client: httpx.Client) -> str:
    """The id of a question that waits for a person."""
    asking = begin(client, source="documents")
    say(client, asking, "Who was the king of France?")
    waiting = client.get("/v1/handovers").json()["data"]
    return next(one["id"] for one in waiting if one["conversation_id"] == asking)


class Things:
    """What is there to be named in requests."""

    def __init__(self, client: httpx.Client) -> None:
        conversation = begin(client)
        said = say(client, conversation, "hello")
        memory = client.post("/v1/encode", json={"text": "hello"}).json()["memory_id"]
        model = client.get("/v1/models").json()["data"][0]["id"]
        message = said["message"]["id"]
        shop = {"params": {"name": "shop.md"}, "content": "# Shop\n\nWe sell lamps."}
        document = client.post("/v1/kb/documents", **shop).json()["id"]
        self._names = {
            "conversation_id": conversation,
            "message_id": message,
            "parent": said["reply"]["id"],
            "head": message,
            "memory_id": memory,
            "document_id": document,
            "handover_id": waiting_question(client),
            "model": model,
            "name": model,
            "to": "zh",
            "target": "zh",
            "from": "en",
            "source": "en",
            "language": "zh",
            "task": "translate",
        }

    def aim(self, case: schemathesis.Case) -> None:
        """Put what is there in the place of names that were made up."""
        for values in (case.path_parameters, case.body):
            self._fill(values)

    def _fill(self, values: Any) -> None:
        if not isinstance(values, dict):
            return
        for name, value in values.items():
            if isinstance(value, str) and name in self._names:
                values[name] = self._names[name]
            elif isinstance(value, int | float) and not isinstance(value, bool):
                values[name] = min(value, MOST)
            else:
                self._fill(value)
