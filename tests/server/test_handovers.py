"""Conversations with documents, and people who take over what the documents do not say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_listener import listening
from server_site import WAIT_S, Json, Site, Start, begin, error_of, say, shown, streaming, texts

from duologue.storage.database import open_database, sqlite_url
from duologue.storage.keys import Keys

SHOP = "# Shop\n\n## Returns\n\nA lamp may be returned within thirty days.\n"
KNOWN, UNKNOWN = "Within how many days may a lamp be returned?", "Who was king of France?"


@pytest.fixture
def site(start_shop: Start) -> Site:
    site = start_shop()
    fill(site.client())
    return site


def fill(client: httpx.Client) -> None:
    made = client.post("/v1/kb/documents", params={"name": "shop.md"}, content=SHOP)
    assert made.status_code == 201, made.text


def queue(client: httpx.Client) -> list[Json]:
    answer = client.get("/v1/handovers")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def act(client: httpx.Client, handover: str, what: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/handovers/{handover}/{what}", json=body or None)


# --- answers from documents ----------------------------------------------------------------------


def test_a_conversation_may_answer_from_the_documents(site: Site) -> None:
    client = site.client()
    conversation = begin(client, source="documents")
    assert shown(client, conversation)["source"] == "documents"
    reply = say(client, conversation, KNOWN)["reply"]
    assert reply["text"] == "A lamp may be returned within thirty days."
    assert (reply["status"], reply["by_person"]) == ("complete", False)
    assert reply["result"]["citations"][0]["document"] == "shop.md"
    stored = shown(client, conversation)
    assert stored["messages"][1] == reply
    assert (stored["title"], stored["handover"]) == (KNOWN, None)
    again = client.post(f"/v1/conversations/{conversation}/messages/{reply['id']}/regenerate")
    assert again.json()["reply"]["text"] == reply["text"]
    assert len(again.json()["reply"]["siblings"]) == 2
    assert queue(client) == []


def test_its_reply_comes_as_a_stream_too(site: Site) -> None:
    client = site.client()
    with streaming(client, begin(client, source="documents"), KNOWN, options=None) as stream:
        names, data = zip(*stream, strict=True)
    assert names == ("message", "commit", "done")
    assert data[1]["text"] == data[2]["message"]["text"]


def test_what_cannot_be_asked_leaves_the_question_and_no_reply(start_shop: Start) -> None:
    client = start_shop().client()
    conversation = begin(client, source="documents")
    body = {"text": KNOWN}
    path = f"/v1/conversations/{conversation}/messages"
    told = error_of(client.post(path, json=body), 400, "invalid_input")
    assert "empty" in told["message"]
    assert texts(client, conversation) == [KNOWN]
    fill(client)
    question = shown(client, conversation)["head"]
    again = client.post(f"{path}/{question}/regenerate")
    assert again.json()["reply"]["result"]["citations"]


def test_a_server_without_documents_has_no_such_conversations(start: Start) -> None:
    client = start().client()
    refused = client.post("/v1/conversations", json={"source": "documents"})
    error_of(refused, 404, "not_found")


def test_another_model_than_that_of_the_documents_is_refused(site: Site) -> None:
    body = {"source": "documents", "model": "other"}
    refused = site.client().post("/v1/conversations", json=body)
    assert error_of(refused, 400, "invalid_input")["param"] == "model"


# --- the queue -----------------------------------------------------------------------------------


def test_a_declined_question_waits_is_taken_answered_and_given_back(site: Site) -> None:
    client = site.client()
    conversation = begin(client, source="documents")
    said = say(client, conversation, UNKNOWN)
    assert said["reply"]["result"]["declined"]
    (waiting,) = queue(client)
    assert (waiting["question"], waiting["language"], waiting["status"]) == (
        UNKNOWN, "en", "waiting",
    )  # fmt: skip
    assert waiting["message_id"] == said["message"]["id"]
    assert waiting["citations"] == said["reply"]["result"]["citations"]
    assert shown(client, conversation)["handover"] == "waiting"
    say(client, conversation, "And of Spain?")  # one question is enough to call somebody
    assert len(queue(client)) == 1
    assert say(client, conversation, KNOWN)["reply"]["result"]["declined"] is False

    number = waiting["id"]
    error_of(act(client, number, "reply", text="Clovis."), 409, "busy")
    taken = act(client, number, "take").json()
    assert (taken["status"], taken["mine"]) == ("taken", True)
    assert shown(client, conversation)["handover"] == "taken"
    assert client.get("/v1/conversations").json()["data"][0]["handover"] == "taken"
    unanswered = say(client, conversation, "Are you there?")
    assert unanswered["reply"] is None
    path = f"/v1/conversations/{conversation}/messages/{unanswered['message']['id']}/regenerate"
    error_of(client.post(path), 409, "busy")
    answer = act(client, number, "reply", text="Clovis.")
    assert answer.status_code == 201
    assert (answer.json()["role"], answer.json()["by_person"]) == ("agent", True)
    assert answer.json()["parent"] == unanswered["message"]["id"]
    whole = client.get(f"/v1/handovers/{number}").json()
    assert [message["text"] for message in whole["messages"]][-2:] == ["Are you there?", "Clovis."]
    with streaming(client, conversation, "Thank you!") as stream:
        assert [(name, data.get("message")) for name, data in stream][1:] == [("done", None)]

    assert act(client, number, "give-back").json()["status"] == "closed"
    assert queue(client) == []
    assert shown(client, conversation)["handover"] is None
    assert say(client, conversation, KNOWN)["reply"]["text"].startswith("A lamp")
    for what in ("take", "give-back"):
        error_of(act(client, number, what), 409, "busy")
    assert texts(client, conversation)[-4:-2] == ["Clovis.", "Thank you!"]


def test_who_answers_is_known_after_a_restart(start_shop: Start) -> None:
    site = start_shop()
    client = site.client()
    fill(client)
    conversation = begin(client, source="documents")
    say(client, conversation, UNKNOWN)
    act(client, queue(client)[0]["id"], "take")
    site.stop()
    client = start_shop().client()
    assert say(client, conversation, "Hello?")["reply"] is None
    assert queue(client)[0]["status"] == "taken"


def test_a_deleted_conversation_leaves_the_queue(site: Site) -> None:
    client = site.client()
    conversation = begin(client, source="documents")
    say(client, conversation, UNKNOWN)
    number = queue(client)[0]["id"]
    act(client, number, "take")
    client.delete(f"/v1/conversations/{conversation}")
    assert queue(client) == []
    for what in ("take", "give-back"):
        error_of(act(client, number, what), 404, "not_found")
    error_of(act(client, number, "reply", text="Hello"), 404, "not_found")
    error_of(client.get(f"/v1/handovers/{number}"), 404, "not_found")


def test_only_the_scope_admin_sees_the_queue_and_one_of_them_answers(
    start_shop: Start, tmp_path: Path
) -> None:
    database = open_database(sqlite_url(tmp_path / "data"))
    keys = Keys(database)
    everything = ["admin", "chat"]
    ann, bob = (keys.create(name, everything)[1] for name in ("ann", "bob"))  # type: ignore[arg-type]
    guest = keys.create("guest", ["chat"])[1]
    database.close()
    site = start_shop()
    fill(site.client(ann))
    client = site.client(guest)
    conversation = begin(client, source="documents")
    say(client, conversation, UNKNOWN)
    number = queue(site.client(ann))[0]["id"]
    for answer in (
        client.get("/v1/handovers"),
        client.get(f"/v1/handovers/{number}"),
        act(client, number, "take"),
        act(client, number, "reply", text="x"),
        act(client, number, "give-back"),
    ):
        error_of(answer, 403, "forbidden")
    act(site.client(ann), number, "take")
    assert queue(site.client(bob))[0]["mine"] is False
    error_of(act(site.client(bob), number, "take"), 409, "busy")
    error_of(act(site.client(bob), number, "reply", text="x"), 409, "busy")
    error_of(client.post(f"/v1/handovers/{number}/reply", json={"text": "x"}), 403, "forbidden")
    act(site.client(ann), number, "reply", text="Clovis.")
    assert texts(client, conversation)[-1] == "Clovis."
    assert act(site.client(bob), number, "give-back").status_code == 200


# --- the webhook ---------------------------------------------------------------------------------


@contextmanager
def receiver(answer: Callable[[int], int]) -> Iterator[tuple[str, list[Json], threading.Event]]:
    """An address that answers the n-th request with a status, what it got, and when it is told."""
    got: list[Json] = []
    told = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(json.loads(body))
            status = answer(len(got))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            if status < 500:
                told.set()

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}/hook", got, told


def test_the_webhook_is_told_and_tried_once_more(start_shop: Start) -> None:
    with receiver(lambda number: 503 if number == 1 else 200) as (url, got, told):
        site = start_shop(handover_webhook=url)
        client = site.client()
        fill(client)
        conversation = begin(client, source="documents")
        say(client, conversation, UNKNOWN)
        assert told.wait(WAIT_S)
        site.stop()
    assert len(got) == 2
    assert got[0] == got[1]
    assert (got[0]["event"], got[0]["question"]) == ("handover", UNKNOWN)
    assert got[0]["conversation_id"] == conversation
    assert got[0]["citations"][0]["document"] == "shop.md"


def test_a_webhook_that_hangs_holds_up_no_reply(start_shop: Start) -> None:
    go_on = threading.Event()

    def hang(_: int) -> int:
        assert go_on.wait(WAIT_S)
        return 200

    with receiver(hang) as (url, _, told):
        site = start_shop(handover_webhook=url)
        client = site.client()
        fill(client)
        assert say(client, begin(client, source="documents"), UNKNOWN)["reply"]
        assert len(queue(client)) == 1
        go_on.set()
        assert told.wait(WAIT_S)
        site.stop()


def test_a_webhook_that_fails_is_logged_without_the_question(
    start_shop: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(lambda _: 404) as (url, _, told):
        site = start_shop(handover_webhook=url)
        client = site.client()
        fill(client)
        say(client, begin(client, source="documents"), UNKNOWN)
        assert told.wait(WAIT_S)
        site.stop()
    assert "status 404" in caplog.text
    assert "France" not in caplog.text
