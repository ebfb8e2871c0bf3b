"""/v1/encode, decode, translate, sentiment and explain over real HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from server_site import LONG, SHORT, Site, begin, error_of, say, shown

from duologue.errors import NotFoundError
from duologue.explain import erasure
from duologue.server import held as held_memories
from duologue.server.held import HeldMemories
from duologue.types import Options

HELLO = "hello how are you"


# --- encode once, decode many --------------------------------------------------------------------


def test_a_memory_is_decoded_any_number_of_times_for_different_tasks(site: Site) -> None:
    client, model = site.client(), site.served.model
    made = client.post("/v1/encode", json={"text": HELLO}).json()
    memory = model.encode(HELLO)
    assert made["tokens"] == memory.num_tokens
    assert made["expires_at"].endswith("Z")
    for task, language in (("reply", None), ("translate", "zh"), ("translate", "en")) * 2:
        body = {"memory_id": made["memory_id"], "task": task, "options": SHORT}
        if language:
            body["language"] = language
        answer = client.post("/v1/decode", json=body)
        assert answer.status_code == 200, answer.text
        prefix = f"{task} {language}" if language else task
        expected = model.decode(memory, prefix, Options(max_tokens=5))
        assert answer.json()["text"] == expected.text
        assert answer.json()["usage"]["encoded_tokens"] == 0
        assert answer.json()["usage"]["reused_tokens"] == made["tokens"]


def test_a_dialogue_is_encoded_turn_by_turn(site: Site) -> None:
    turns = [{"role": "system", "text": "be kind"}, {"role": "user", "text": HELLO}]
    made = site.client().post("/v1/encode", json={"turns": turns}).json()
    model = site.served.model
    memory = model.encode(HELLO, model.encode("be kind", role="system"))
    assert made["tokens"] == memory.num_tokens


def test_a_memory_is_its_owners_alone(site: Site) -> None:
    other = HeldMemories()
    held = other.keep("one", site.served, site.served.model.encode(HELLO))
    assert other.get("one", held.id) is held
    with pytest.raises(NotFoundError):
        other.get("two", held.id)


def test_a_memory_is_gone_when_its_time_is_over(site: Site) -> None:
    now = [1000.0]
    held = HeldMemories(60, lambda: now[0])
    first = held.keep("one", site.served, site.served.model.encode(HELLO))
    assert first.expires_s == 1060
    now[0] = 1059
    held.get("one", first.id)
    now[0] = 1060
    with pytest.raises(NotFoundError):
        held.get("one", first.id)
    assert held.num_bytes == 0


def test_who_holds_most_gives_way_when_there_is_no_room(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = site.served.model.encode(HELLO)
    pool = site.served.runtime.forward.pool
    share = 3 * memory.num_bytes / pool.limit_bytes
    monkeypatch.setattr(held_memories, "SHARE_OF_POOL", share)
    held = HeldMemories()
    modest = held.keep("modest", site.served, memory)
    greedy = [held.keep("greedy", site.served, memory) for _ in range(5)]
    assert held.num_bytes == 3 * memory.num_bytes
    held.get("modest", modest.id)
    for gone in greedy[:3]:
        with pytest.raises(NotFoundError):
            held.get("greedy", gone.id)
    held.get("greedy", greedy[-1].id)


def test_what_cannot_be_encoded_or_decoded_is_told(site: Site) -> None:
    client = site.client()
    error_of(client.post("/v1/encode", json={}), 422, "invalid_input")
    both = {"text": "a", "turns": [{"role": "user", "text": "a"}]}
    error_of(client.post("/v1/encode", json=both), 422, "invalid_input")
    error_of(client.post("/v1/encode", json={"text": "  "}), 400, "invalid_input")
    error_of(client.post("/v1/encode", json={"text": HELLO * 30}), 400, "invalid_input")
    error_of(client.post("/v1/encode", json={"text": "a", "model": "x"}), 404, "not_found")
    unknown = {"memory_id": "mem_0", "task": "reply"}
    error_of(client.post("/v1/decode", json=unknown), 404, "not_found")
    made = client.post("/v1/encode", json={"text": HELLO}).json()["memory_id"]
    for task in ("translate", "sing", "translate xx"):
        body = {"memory_id": made, "task": task}
        assert error_of(client.post("/v1/decode", json=body), 400, "invalid_input")
    body = {"memory_id": made, "task": "reply", "options": {"max_tokens": 5000}}
    assert (
        "max_tokens"
        in error_of(client.post("/v1/decode", json=body), 400, "invalid_input")["message"]
    )


def test_who_goes_away_ends_the_decoding(site: Site) -> None:
    client = site.client()
    made = client.post("/v1/encode", json={"text": HELLO}).json()["memory_id"]
    site.gate.shut(3)
    body = {"memory_id": made, "task": "reply", "options": LONG}
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/decode", json=body, timeout=0.5)
    site.gate.wait_until_aborted()
    site.gate.open()


def spans_of(checks: dict[str, Any]) -> dict[str, Any]:
    """Checks without the scores of their spans, which depend on the last bits of sums."""
    return {
        name: [(span["start"], span["end"]) for span in value] if isinstance(value, list) else value
        for name, value in checks.items()
    }


# --- translate and judge -------------------------------------------------------------------------


def test_translations_are_those_of_the_python_api(site: Site) -> None:
    client, model = site.client(), site.served.model
    texts = [HELLO, "What time? It is late. " * 8, "one\n\ntwo"]
    body = {"texts": texts, "to": "zh", "options": {"max_tokens": 8}}
    answer = client.post("/v1/translate", json=body)
    assert answer.status_code == 200, answer.text
    options = Options(max_tokens=8, beam_size=4)
    expected = model.translate_batch(texts, "zh", options=options)
    assert [one["text"] for one in answer.json()["data"]] == [one.text for one in expected]
    assert [one["finish_reason"] for one in answer.json()["data"]] == [
        one.finish_reason for one in expected
    ]
    checks = [json.loads(json.dumps(one.to_dict()["checks"])) for one in expected]
    for found, one in zip((each["checks"] for each in answer.json()["data"]), checks, strict=True):
        assert spans_of(found) == spans_of(one)
    assert any(one["uncovered"] or one["invented"] or one["repetition"] for one in checks)
    plain = client.post("/v1/translate", json={**body, "check": False}).json()["data"]
    alone = model.translate_batch(texts, "zh", options=options, check=False)
    assert [one["text"] for one in plain] == [one.text for one in alone]
    assert not any(one["checks"]["uncovered"] for one in plain)
    single = client.post("/v1/translate", json={"text": HELLO, "to": "zh"}).json()
    assert single["text"] == model.translate(HELLO, "zh").text
    assert single["usage"]["produced_tokens"] > 0


def test_what_cannot_be_translated_is_told(site: Site) -> None:
    client = site.client()
    for body in ({"text": HELLO}, {"text": HELLO, "to": "fr"}, {"text": " ", "to": "zh"}):
        error_of(client.post("/v1/translate", json=body), 400, "invalid_input")
    many = {"texts": ["a"] * 65, "to": "zh"}
    assert (
        "max_texts"
        in error_of(client.post("/v1/translate", json=many), 400, "invalid_input")["message"]
    )
    error_of(client.post("/v1/translate", json={"to": "zh"}), 422, "invalid_input")


def test_sentiment_is_that_of_the_python_api(site: Site) -> None:
    answer = site.client().post("/v1/sentiment", json={"text": "this film was great"}).json()
    expected = site.served.model.sentiment("this film was great")
    assert answer["text"] == expected.text
    assert answer["probabilities"] == pytest.approx(expected.probabilities)


def test_a_stored_reply_is_explained(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    said = say(client, conversation, HELLO)
    body = {"conversation_id": conversation, "message_id": said["reply"]["id"]}
    explained = client.post("/v1/explain", json=body).json()
    assert explained["text"] == said["reply"]["text"]
    assert "".join(piece for piece, _ in explained["tokens"]) == explained["text"]
    assert explained["evidence"] == said["reply"]["result"]["evidence"]
    assert explained["influence"] == explained["turns"] == []
    body["message_id"] = said["message"]["id"]
    error_of(client.post("/v1/explain", json=body), 400, "invalid_input")
    body["message_id"] = "msg_x"
    error_of(client.post("/v1/explain", json=body), 404, "not_found")


def test_erasure_names_the_messages_that_a_reply_needs(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_MIN_DROP", 1e-6)  # a random model hardly reads
    client = site.client()
    conversation = begin(client)
    said = [say(client, conversation, text) for text in (HELLO, "what time does the train leave")]
    messages = {
        message["id"]: message["text"] for message in shown(client, conversation)["messages"]
    }
    for number, one in enumerate(said):  # the last, and one that the head is past
        body = {"conversation_id": conversation, "message_id": one["reply"]["id"]}
        told = client.post("/v1/explain", json={**body, "method": "erasure"}).json()
        assert told["influence"]
        known = list(messages)[: 2 * number + 1]
        for span in told["influence"]:
            assert span["message"] in known
            assert messages[span["message"]][span["start"] : span["end"]] == span["text"]
        assert {span["message"] for span in told["turns"]} <= set(known)
        assert told["evidence"] == client.post("/v1/explain", json=body).json()["evidence"]
    error_of(client.post("/v1/explain", json={**body, "method": "x"}), 422, "invalid_input")


def test_nothing_of_a_memory_is_left_behind(site: Site) -> None:
    client, pool = site.client(), site.served.runtime.forward.pool
    client.post("/v1/translate", json={"text": HELLO, "to": "zh"})
    client.post("/v1/sentiment", json={"text": HELLO})
    site.wait_for_replies()
    assert pool.used_bytes == 0


def test_sentences_and_label_sets_are_judged_as_in_python(site: Site) -> None:
    client, model = site.client(), site.served.model
    text = "The food was cold. this film was great!"
    body = {"text": text, "sentences": True, "label_set": "sentiment3"}
    answer = client.post("/v1/sentiment", json=body).json()
    expected = model.sentiment(text, label_set="sentiment3", sentences=True).to_dict()
    assert answer["mixed"] == expected["mixed"]
    for found, wanted in zip(answer["sentences"], expected["sentences"], strict=True):
        assert found["span"]["text"] == wanted["span"]["text"]
        assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5)
    refused = client.post("/v1/sentiment", json={"text": text, "label_set": "x"})
    problem = error_of(refused, 400, "invalid_input")["message"]
    assert "unknown label set 'x'; there are bank" in problem
