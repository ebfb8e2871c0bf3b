"""Texts explained over real HTTP: what a translation, a label or an answer needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from server_site import Json, Site, Start, begin, error_of, say

from duologue.explain import erasure
from duologue.storage.database import open_database, sqlite_url
from duologue.storage.keys import Keys

TEXT = "this film was great, i liked it very much"


@pytest.fixture(autouse=True)
def _small_effects_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "_MIN_DROP", 1e-6)  # a random model hardly reads


def explained(site: Site, **body: Any) -> Json:
    answer = site.client().post("/v1/explain", json={"text": TEXT, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def spans(values: list[Json]) -> list[tuple[int, int, str]]:
    return [(span["start"], span["end"], span["text"]) for span in values]


def test_a_translation_is_explained_as_in_python(site: Site) -> None:
    model = site.served.model
    result = model.translate(TEXT, "zh")
    expected = model.explain(TEXT, result, "translate", "zh").to_dict()
    told = explained(site, task="translate", to="zh")
    assert told["text"] == result.text
    assert spans(told["influence"]) == spans(expected["influence"])
    assert spans(told["evidence"]) == spans(expected["evidence"])
    assert told["influence"]
    assert all(TEXT[start:end] == text for start, end, text in spans(told["influence"]))
    other = explained(site, task="translate", to="zh", answer="这部电影很好看。")
    assert other["text"] == "这部电影很好看。"
    assert other["influence"]
    assert 0 < other["confidence"] < 1


@pytest.mark.parametrize(
    ("task", "label_set"), [("sentiment", None), ("sentiment", "sentiment3"), ("intent", "bank")]
)
def test_a_label_is_explained_as_in_python(site: Site, task: str, label_set: str | None) -> None:
    model = site.served.model
    result = model.intent(TEXT, "bank") if task == "intent" else (
        model.sentiment(TEXT, label_set=label_set)
    )  # fmt: skip
    expected = model.explain(TEXT, result, task).to_dict()
    told = explained(site, task=task, label_set=label_set)
    assert told["text"] == result.text
    assert told["probabilities"] == pytest.approx(result.probabilities)
    assert spans(told["influence"]) == spans(expected["influence"])
    other = next(label for label in result.probabilities if label != result.text)
    assert explained(site, task=task, label_set=label_set, answer=other)["text"] == other


def test_an_answer_from_documents_is_explained(start_shop: Start, tmp_path: Path) -> None:
    site = start_shop()
    client = site.client()
    shop = "# Shop\n\nA lamp may be returned within thirty days.\n"
    client.post("/v1/kb/documents", params={"name": "shop.md"}, content=shop.encode())
    question = "Within how many days may a lamp be returned?"
    told = explained(site, task="answer", text=question)
    plain = client.post("/v1/ask", json={"question": question}).json()
    assert (told["text"], told["citations"]) == (plain["text"], plain["citations"])
    assert told["citations"][0]["document"] == "shop.md"
    error_of(
        client.post("/v1/explain", json={"task": "answer", "text": question, "answer": "30"}),
        400,
        "invalid_input",
    )


def test_explanations_have_limits(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    site = start(limits={"max_erasures": 5, "max_source_tokens": 200, "max_request_s": 50})
    seen: list[erasure.ErasureOptions] = []
    most = erasure.ErasureOptions.most
    monkeypatch.setattr(
        erasure.ErasureOptions,
        "most",
        lambda options, num_tokens: seen.append(options) or most(options, num_tokens),
    )
    explained(site, task="sentiment")
    client = site.client()
    conversation = begin(client)
    reply = say(client, conversation, TEXT)["reply"]["id"]
    body = {"conversation_id": conversation, "message_id": reply, "method": "erasure"}
    assert client.post("/v1/explain", json=body).status_code == 200
    assert {(options.max_erasures, options.max_s) for options in seen} == {(5, 20.0)}
    for text, answer in (("a " * 300, None), ("a", "a " * 300)):
        body = {"task": "translate", "to": "zh", "text": text, "answer": answer}
        refused = error_of(client.post("/v1/explain", json=body), 400, "invalid_input")
        assert "max_source_tokens" in refused["message"]


def test_what_cannot_be_explained_is_told(site: Site) -> None:
    client = site.client()
    many = "What time? " * 30
    for body, status, words in (
        ({"task": "translate", "text": TEXT}, 400, "language"),
        ({"task": "translate", "text": many, "answer": many, "to": "zh"}, 400, "too many"),
        ({"task": "intent", "text": TEXT}, 400, "label set"),
        ({"task": "intent", "text": TEXT, "label_set": "x"}, 400, "this model knows bank"),
        ({"task": "sentiment", "text": TEXT, "answer": "great"}, 400, "none of the labels"),
        ({"task": "sentiment", "text": " "}, 400, ""),
        ({"task": "sing", "text": TEXT}, 422, "task"),
        ({"task": "sentiment"}, 422, "task, text"),
        ({"text": TEXT}, 422, "task, text"),
        ({}, 422, "conversation_id, message_id"),
        ({"task": "sentiment", "text": TEXT, "method": "erasure"}, 422, "if you like method"),
        ({"conversation_id": "a", "message_id": "b", "text": TEXT}, 422, "conversation_id"),
    ):
        error = error_of(client.post("/v1/explain", json=body), status, "invalid_input")
        assert words in error["message"]
    body = {"task": "answer", "text": TEXT}
    error_of(client.post("/v1/explain", json=body), 404, "not_found")  # no documents here


def test_texts_need_the_scope_of_their_task(start: Start, tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path / "data"))
    keys = {name: Keys(database).create(name, [name])[1] for name in ("chat", "translate")}
    database.close()
    site = start()
    of_text = {"task": "sentiment", "text": TEXT}
    of_reply = {"conversation_id": "conv_0", "message_id": "msg_0"}
    chat, translate = (site.client(keys[name]) for name in ("chat", "translate"))
    assert translate.post("/v1/explain", json=of_text).status_code == 200
    error_of(chat.post("/v1/explain", json=of_text), 403, "forbidden")
    error_of(chat.post("/v1/explain", json=of_reply), 404, "not_found")
    for body in (of_reply, {"task": "answer", "text": TEXT}):
        error_of(translate.post("/v1/explain", json=body), 403, "forbidden")
