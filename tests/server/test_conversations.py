"""Conversations over HTTP, from the first word to their deletion."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from server_site import LONG, Site, Start, begin, error_of, events, say, shown, streaming, texts

from duologue.explain import attention
from duologue.server import curves
from duologue.types import Turn

# --- conversations -------------------------------------------------------------------------------


def test_a_conversation_is_made_shown_renamed_and_deleted(site: Site) -> None:
    client = site.client()
    made = client.post("/v1/conversations", json={"title": " A  trip "}).json()
    assert made.keys() == {
        "id", "title", "model", "created_at", "updated_at", "head", "replying", "source",
        "handover",
    }  # fmt: skip
    assert (made["source"], made["handover"]) == ("model", None)
    assert (made["title"], made["head"], made["replying"]) == ("A trip", None, False)
    assert made["model"] == site.served.name
    assert made["created_at"].endswith("Z")
    path = f"/v1/conversations/{made['id']}"
    assert client.get(path).json() == {**made, "messages": []}
    assert client.patch(path, json={"title": "Another"}).json()["title"] == "Another"
    assert client.delete(path).status_code == 204
    error_of(client.get(path), 404, "not_found")
    error_of(client.delete(path), 404, "not_found")
    assert client.get("/v1/conversations").json() == {"data": [], "next_cursor": None}


def test_conversations_are_listed_in_pages_and_found_by_what_was_said(site: Site) -> None:
    client = site.client()
    made = [begin(client, title=f"number {number}") for number in range(3)]
    say(client, made[0], "what time does the train leave")
    first = client.get("/v1/conversations", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == [made[0], made[2]]
    rest = client.get("/v1/conversations", params={"limit": 2, "cursor": first["next_cursor"]})
    assert [one["id"] for one in rest.json()["data"]] == [made[1]]
    assert rest.json()["next_cursor"] is None
    for query, found in (("TRAIN", [made[0]]), ("number 2", [made[2]]), ("ship", [])):
        page = client.get("/v1/conversations", params={"query": query}).json()
        assert [one["id"] for one in page["data"]] == found


def test_the_first_words_are_the_title_unless_there_is_one(site: Site) -> None:
    client = site.client()
    named, unnamed, long = begin(client, title="Mine"), begin(client), begin(client)
    say(client, named, "hello")
    say(client, unnamed, "hello  how\nare you")
    say(client, unnamed, "what time")
    say(client, long, "hello " * 30)
    assert shown(client, named)["title"] == "Mine"
    assert shown(client, unnamed)["title"] == "hello how are you"
    assert len(shown(client, long)["title"]) == 60


def test_an_unknown_model_is_refused_with_those_that_there_are(site: Site) -> None:
    refused = site.client().post("/v1/conversations", json={"model": "gpt"})
    assert site.served.name in error_of(refused, 404, "not_found")["message"]


# --- saying --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_a_reply_is_that_of_the_same_conversation_without_a_server(start: Start, cell: str) -> None:
    site = start(cell)
    client = site.client()
    conversation = begin(client)
    local = site.served.model.conversation()
    for number, text in enumerate(("hello how are you", "what time", "你好")):
        answer = say(client, conversation, text, options={"max_tokens": 8})
        options = local.REPLY_OPTIONS
        expected = local.say(text, type(options)(**{**vars(options), "max_tokens": 8}))
        message, reply = answer["message"], answer["reply"]
        assert (message["role"], message["text"], message["status"]) == ("user", text, "complete")
        assert reply["parent"] == message["id"]
        assert (reply["role"], reply["status"]) == ("agent", "complete")
        assert reply["text"] == reply["result"]["text"] == expected.text
        assert reply["finish_reason"] == expected.finish_reason
        usage = reply["result"]["usage"]
        assert (usage["encoded_tokens"], usage["reused_tokens"]) == (
            expected.usage.encoded_tokens,
            expected.usage.reused_tokens,
        )
        assert (usage["reused_tokens"] > 0) == (number > 0)
    path = shown(client, conversation)["messages"]
    assert [message["text"].strip() for message in path] == [turn.text for turn in local.turns]
    assert [message["parent"] for message in path] == [None, *(m["id"] for m in path[:-1])]


def test_evidence_names_the_message_that_it_stands_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_MIN_SHARE", 1.0)  # a random model looks everywhere
    client = site.client()
    conversation = begin(client)
    found = []
    for text in ("hello how are you", "what time does the train leave", "the food was cold"):
        found += say(client, conversation, text)["reply"]["result"]["evidence"]
    said = {message["id"]: message["text"] for message in shown(client, conversation)["messages"]}
    assert found
    for span in found:
        assert said[span["message"]].strip()[span["start"] : span["end"]] == span["text"]


def test_a_stream_tells_the_question_then_the_reply_piece_by_piece(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    with streaming(client, conversation, "hello") as stream:
        (first, question), *middle, (last, done) = stream
    assert (first, question["text"], last) == ("message", "hello", "done")
    assert {name for name, _ in middle} == {"commit"}
    reply = done["message"]
    assert "".join(data["text"] for _, data in middle) == reply["text"]
    path = shown(client, conversation)
    assert path["messages"] == [question, reply]
    assert path["head"] == reply["id"]


def test_a_stream_of_beam_search_revises_and_leaves_no_guess(site: Site) -> None:
    client = site.client()
    options = {"beam_size": 4, "max_tokens": 12, "min_tokens": 12, "num_hypotheses": 2}
    site.gate.shut(4)  # so that guesses are read before they are replaced
    with streaming(client, begin(client), "hello", options=options) as stream:
        assert next(stream)[0] == "message"
        name, data = next(stream)
        assert name in ("commit", "revise")
        site.gate.open()
        found = [(name, data), *stream]
    revisions = [data["text"] for name, data in found if name == "revise"]
    assert revisions
    assert revisions[-1] == ""
    assert len(found[-1][1]["message"]["result"]["alternatives"]) == 1


def test_commits_come_while_the_reply_is_made(site: Site) -> None:
    client = site.client()
    site.gate.shut(0)
    with streaming(client, begin(client), "hello") as stream:
        assert next(stream)[0] == "message"
        text = ""
        for _ in range(3):
            site.gate.shut(8)
            name, data = next(stream)
            assert name == "commit"
            text += data["text"]
        site.gate.open()
        *rest, (_, done) = stream
    assert text + "".join(data["text"] for _, data in rest) == done["message"]["text"]


# --- branches ------------------------------------------------------------------------------------


def test_editing_a_message_makes_a_branch_and_the_head_tells_which_is_shown(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    first = say(client, conversation, "hello how are you")
    second = say(client, conversation, "what time")
    edited = say(client, conversation, "the food was cold", parent=None)
    siblings = [first["message"]["id"], edited["message"]["id"]]
    assert (edited["message"]["siblings"], edited["message"]["index"]) == (siblings, 1)
    assert texts(client, conversation) == [edited["message"]["text"], edited["reply"]["text"]]
    assert edited["reply"]["result"]["usage"]["reused_tokens"] == 0
    changed = client.patch(f"/v1/conversations/{conversation}", json={"head": siblings[0]})
    assert changed.json()["head"] == second["reply"]["id"]
    assert texts(client, conversation)[-1] == second["reply"]["text"]
    assert len(texts(client, conversation)) == 4
    later = say(client, conversation, "what day", parent=first["reply"]["id"])
    assert later["message"]["siblings"][0] == second["message"]["id"]
    assert later["reply"]["result"]["usage"]["reused_tokens"] > 0


def test_making_a_reply_again_gives_it_a_sibling(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    say(client, conversation, "hello")
    second = say(client, conversation, "what time")
    path = f"/v1/conversations/{conversation}/messages"
    sampled = {"options": {"temperature": 2, "seed": 3, "max_tokens": 5}}
    again = client.post(f"{path}/{second['reply']['id']}/regenerate", json=sampled).json()
    assert again["message"] == second["message"]
    assert again["reply"]["parent"] == second["message"]["id"]
    assert again["reply"]["siblings"] == [second["reply"]["id"], again["reply"]["id"]]
    assert again["reply"]["text"] != second["reply"]["text"]
    assert texts(client, conversation)[-1] == again["reply"]["text"]
    body = {"stream": True, "options": {"max_tokens": 5}}
    with client.stream("POST", f"{path}/{second['message']['id']}/regenerate", json=body) as stream:
        (_, question), *_, (_, done) = events(stream)
    assert question == second["message"]
    assert done["message"]["text"] == second["reply"]["text"]
    assert done["message"]["index"] == 2


def test_a_reply_that_is_made_again_and_stopped_leaves_what_was_shown(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    first = say(client, conversation, "hello")
    say(client, conversation, "what time")
    before = shown(client, conversation)
    path = f"/v1/conversations/{conversation}"
    site.gate.shut()
    with streaming(site.client(), begin(client), "what day") as earlier:
        next(earlier)
        site.gate.wait_until_used_up()
        again = f"{path}/messages/{first['reply']['id']}/regenerate"
        with site.client().stream("POST", again, json={"stream": True}) as response:
            found = events(response)
            next(found)
            client.post(f"{path}/stop")
            site.gate.open()
            ((name, _),) = found
    assert name == "failed"
    assert shown(client, conversation)["messages"] == before["messages"]


def test_what_is_no_reply_to_a_user_cannot_be_made_again(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    store = site.service.conversations
    system = store.append("local", conversation, None, "system", "be brief").id
    path = f"/v1/conversations/{conversation}/messages"
    error_of(client.post(f"{path}/{system}/regenerate"), 400, "invalid_input")
    error_of(client.post(f"{path}/msg_nothing/regenerate"), 404, "not_found")


def test_a_fork_goes_on_by_itself(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    first = say(client, conversation, "hello")
    say(client, conversation, "what time")
    path = f"/v1/conversations/{conversation}/fork"
    place = {"message_id": first["reply"]["id"]}
    fork = client.post(path, json=place)
    assert fork.status_code == 201
    assert texts(client, fork.json()["id"]) == texts(client, conversation)[:2]
    say(client, fork.json()["id"], "what day")
    assert len(texts(client, conversation)) == 4
    assert len(texts(client, client.post(path).json()["id"])) == 4
    error_of(client.post(f"/v1/conversations/{begin(client)}/fork"), 400, "invalid_input")


def test_a_conversation_is_exported_in_each_format(site: Site) -> None:
    client = site.client()
    conversation = begin(client, title="A trip")
    reply = say(client, conversation, "hello how are you")["reply"]["text"]
    path = f"/v1/conversations/{conversation}/export"
    for name, kind in (
        ("json", "application/json"),
        ("md", "text/markdown"),
        ("txt", "text/plain"),
    ):
        exported = client.get(path, params={"format": name})
        assert exported.headers["content-type"].startswith(kind)
        assert exported.headers["content-disposition"].endswith(f'{conversation}.{name}"')
        text = exported.text if name != "json" else json.loads(exported.text)["messages"][0]["text"]
        assert "hello how are you" in text
        assert name == "json" or reply in text
    error_of(client.get(path, params={"format": "exe"}), 422, "invalid_input")


def test_deleting_a_conversation_erases_what_was_kept_of_it(site: Site, tmp_path: Path) -> None:
    client = site.client()
    kept, gone = begin(client), begin(client)
    say(client, kept, "hello")
    say(client, gone, "what time does the train leave")
    folder = tmp_path / "data" / "memories"
    assert client.delete(f"/v1/conversations/{kept}").status_code == 204  # waits for the saves
    num_entries = len(list(folder.iterdir()))
    assert num_entries == 2
    assert site.served.memories.num_bytes > 0
    client.delete(f"/v1/conversations/{gone}")
    assert list(folder.iterdir()) == []
    assert site.served.memories.num_bytes == 0
    assert site.served.runtime.forward.pool.used_bytes == 0


# --- one turn at a time, and its end -------------------------------------------------------------


def test_a_second_turn_at_the_same_time_is_refused_until_the_first_is_stopped(site: Site) -> None:
    client, other = site.client(), site.client()
    conversation = begin(client)
    path = f"/v1/conversations/{conversation}"
    assert other.post(f"{path}/stop").json() == {"stopped": False}
    site.gate.shut(8)
    with streaming(client, conversation, "hello", options=LONG) as stream:
        _, question = next(stream)
        _, commit = next(stream)
        error_of(other.post(f"{path}/messages", json={"text": "what time"}), 409, "busy")
        error_of(other.post(f"{path}/messages/{question['id']}/regenerate"), 409, "busy")
        assert shown(other, conversation)["replying"]
        assert other.post(f"{path}/stop").json() == {"stopped": True}
        site.gate.open()
        *rest, (name, done) = stream
    text = commit["text"] + "".join(data["text"] for _, data in rest)
    reply = done["message"]
    assert (name, reply["text"], reply["finish_reason"]) == ("done", text, "abort")
    assert 0 < reply["result"]["usage"]["produced_tokens"] < LONG["max_tokens"]
    assert not shown(other, conversation)["replying"]
    assert texts(other, conversation) == ["hello", text]
    assert say(other, conversation, "what time")["reply"]["result"]["usage"]["reused_tokens"] > 0


def test_a_reply_that_is_stopped_before_its_first_word_leaves_the_question(site: Site) -> None:
    client, other = site.client(), site.client()
    conversation = begin(client)
    site.gate.shut()
    # A step for another one is under way: until it is done, ours waits.
    with streaming(other, begin(other), "what time") as earlier:
        next(earlier)
        site.gate.wait_until_used_up()
        with streaming(client, conversation, "hello") as stream:
            next(stream)
            site.client().post(f"/v1/conversations/{conversation}/stop")
            site.gate.open()
            ((name, data),) = stream
    assert (name, data["error"]["code"]) == ("failed", "stopped")
    assert texts(client, conversation) == ["hello"]
    (message,) = shown(client, conversation)["messages"]
    again = f"/v1/conversations/{conversation}/messages/{message['id']}/regenerate"
    assert client.post(again, json={}).json()["reply"]["siblings"] == [
        shown(client, conversation)["head"]
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_a_reader_that_goes_away_ends_the_reply_and_frees_what_it_took(
    site: Site, stream: bool
) -> None:
    client = site.client()
    conversation = begin(client)
    body = json.dumps({"text": "hello", "options": LONG, "stream": stream}).encode()
    head = f"POST /v1/conversations/{conversation}/messages HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    host, port = site.url.removeprefix("http://").split(":")
    site.gate.shut(8)
    with socket.create_connection((host, int(port))) as leaver:
        leaver.sendall(head.encode() + body)
        if stream:
            assert leaver.recv(1) == b"H"
        site.gate.wait_until_used_up()
    site.gate.wait_until_aborted()
    before = site.gate.num_steps
    site.gate.open()
    site.wait_for_replies()
    assert site.gate.num_steps - before <= 1
    _, reply = shown(client, conversation)["messages"]
    assert reply["finish_reason"] == "abort"
    assert site.served.bridge.num_live == 0
    assert site.service.places.num_active == site.service.places.num_streams == 0
    client.delete(f"/v1/conversations/{conversation}")
    assert site.served.runtime.forward.pool.used_bytes == 0
    site.served.runtime.engine.check()


def test_a_slow_reader_loses_nothing_and_holds_up_nobody(site: Site) -> None:
    slow, fast = site.client(), site.client()
    conversation = begin(slow)
    with streaming(slow, conversation, "hello") as stream:
        assert next(stream)[0] == "message"
        for _ in range(3):
            say(fast, begin(fast), "what time")
        site.wait_for_replies()
        *commits, (_, done) = stream
    assert "".join(data["text"] for _, data in commits) == done["message"]["text"]


def test_deleting_a_conversation_ends_the_reply_in_it(site: Site) -> None:
    client, other = site.client(), site.client()
    conversation = begin(client)
    site.gate.shut(8)
    with streaming(client, conversation, "hello") as stream:
        assert [next(stream)[0] for _ in range(2)] == ["message", "commit"]
        path = f"/v1/conversations/{conversation}"
        deleting = threading.Thread(target=other.delete, args=(path,))
        deleting.start()
        site.gate.wait_until_aborted()
        site.gate.open()
        assert list(stream)[-1][0] == "done"
        deleting.join()
    error_of(client.get(path), 404, "not_found")
    assert site.served.runtime.forward.pool.used_bytes == 0


def test_the_sentiment_of_a_conversation_is_a_curve_over_what_is_shown(site: Site) -> None:
    client = site.client()
    talk = begin(client)
    where = f"/v1/conversations/{talk}"
    assert client.get(f"{where}/sentiment").json()["points"] == []
    first = say(client, talk, "the food was cold")
    second = say(client, talk, "this film was great")
    curve = client.get(f"{where}/sentiment").json()
    messages = [
        message
        for message in client.get(where).json()["messages"]
        if message["status"] == "complete" and message["text"].strip()
    ]
    assert [point["message"] for point in curve["points"]] == [one["id"] for one in messages]
    turns = [Turn(message["role"], message["text"]) for message in messages]
    expected = site.served.model.sentiment_curve(turns, smoothing=curve["smoothing"])
    for point, wanted in zip(curve["points"], expected, strict=True):
        assert point["speaker"] == wanted.speaker
        assert point["level"] == pytest.approx(wanted.level, abs=1e-5)
    assert curve["left_out"] == 0
    say(client, talk, "what time does the train leave", parent=first["reply"]["id"])
    other = client.get(f"{where}/sentiment").json()["points"]
    assert second["message"]["id"] not in [point["message"] for point in other]
    assert other[0] == curve["points"][0]


def test_messages_are_judged_once_and_the_oldest_beyond_the_limit_not_at_all(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []
    classify = curves.classifying

    def count(runtime: Any, texts: list[str], *rest: Any, **more: Any) -> Any:
        judged.extend(texts)
        return classify(runtime, texts, *rest, **more)

    monkeypatch.setattr(curves, "classifying", count)
    monkeypatch.setattr(curves, "MAX_MESSAGES", 2)
    client = site.client()
    talk = begin(client)
    where = f"/v1/conversations/{talk}"
    say(client, talk, "the food was cold")
    client.get(f"{where}/sentiment")
    known = len(judged)
    say(client, talk, "this film was great")
    curve = client.get(f"{where}/sentiment").json()
    assert "the food was cold" not in judged[known:]
    before = len(judged)
    assert client.get(f"{where}/sentiment").json() == curve
    assert len(judged) == before
    assert len(curve["points"]) == 2
    assert curve["left_out"] > 0


def test_the_sentiment_of_another_owners_conversation_is_not_found(site: Site) -> None:
    assert site.client().get("/v1/conversations/nonsense/sentiment").status_code == 404
