"""Clients that send the whole dialogue with each turn: what was read before is not read again."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import pytest
from server_site import Json, Reads, Site, Start, begin, say

TEXTS = ("hello how are you", "what time", "你好", "what day", "thank you")


def ask(client: httpx.Client, messages: list[Json], **changes: Any) -> Json:
    body = {"model": "transformer-int8", "messages": messages, "max_tokens": 4, **changes}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def reply_of(answer: Json) -> str:
    return str(answer["choices"][0]["message"]["content"])


def cached(answer: Json) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def agent(text: str) -> Json:
    return {"role": "assistant", "content": text}


def converse(client: httpx.Client, texts: tuple[str, ...] = TEXTS) -> list[Json]:
    """The answers of a client that keeps its dialogue by itself."""
    messages: list[Json] = [{"role": "system", "content": "be kind"}]
    answers = []
    for text in texts:
        messages.append(user(text))
        answers.append(ask(client, messages))
        messages.append(agent("at two"))  # short, so that everything fits
    return answers


def test_each_turn_reads_what_is_new_alone(site: Site) -> None:
    runtime, reads = site.served.runtime, Reads(site)
    answers = converse(site.client())
    expected = [runtime.turn("system", "be kind").ids]
    for number, text in enumerate(TEXTS):
        expected += [runtime.turn("agent", "at two").ids] if number else []
        expected += [runtime.turn("user", text).ids]
    assert reads.ids == expected
    for before, answer in pairwise(answers):
        assert cached(answer) == before["usage"]["prompt_tokens"]
    assert cached(answers[0]) == 0


def test_the_replies_are_those_of_a_server_that_remembers_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_reuse = converse(site.client())
    assert cached(with_reuse[-1]) > 0
    monkeypatch.setattr(site.served.memories, "_recall", lambda _: (0, None))
    without = converse(site.client())
    assert [cached(answer) for answer in without] == [0] * len(TEXTS)
    assert list(map(reply_of, with_reuse)) == list(map(reply_of, without))


def test_the_same_dialogue_again_reads_nothing(site: Site) -> None:
    client, reads = site.client(), Reads(site)
    messages = [user("hello how are you")]
    first = ask(client, messages)
    del reads.ids[:]
    again = ask(client, messages)
    assert reads.ids == []
    assert reply_of(again) == reply_of(first)
    assert cached(again) == again["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]
    several = ask(client, messages, n=3, seed=5, temperature=1.0)
    assert len({choice["message"]["content"] for choice in several["choices"]}) > 1
    assert reads.ids == []


def test_other_words_go_on_from_what_is_the_same(site: Site) -> None:
    client, runtime, reads = site.client(), site.served.runtime, Reads(site)
    history = [user("hello how are you"), agent("at two")]
    ask(client, [*history, user("what time")])
    del reads.ids[:]
    # The path up to the first question was a dialogue of its own; that up to the answer was not.
    other = ask(client, [user("hello how are you"), agent("at three"), user("what time")])
    assert cached(other) == 0
    assert len(reads.ids) == 3
    del reads.ids[:]
    ask(client, [*history, user("what time"), agent("at two"), user("thank you")])
    assert reads.ids == [runtime.turn("agent", "at two").ids, runtime.turn("user", "thank you").ids]


def test_a_dialogue_that_does_not_fit_is_read_from_its_beginning(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tuple("what time does the train leave" for _ in range(5))
    with_reuse = converse(site.client(), texts)
    assert cached(with_reuse[1]) > 0
    assert cached(with_reuse[-1]) == 0  # 64 tokens are all that this model reads
    monkeypatch.setattr(site.served.memories, "_recall", lambda _: (0, None))
    assert list(map(reply_of, with_reuse)) == list(map(reply_of, converse(site.client(), texts)))


def test_a_stored_conversation_that_has_lost_turns_is_not_gone_on_from(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    messages: list[Json] = []
    for _ in range(6):
        said = say(client, conversation, "what time does the train leave")
        messages += [user(said["message"]["text"]), agent(said["reply"]["text"])]
    assert said["reply"]["result"]["checks"]["trimmed_turns"] > 0
    answer = ask(client, [*messages, user("hello")])
    assert cached(answer) == 0


def test_a_stored_conversation_is_gone_on_from(site: Site) -> None:
    client = site.client()
    said = say(client, begin(client), "hello how are you")
    messages = [user("hello how are you"), agent(said["reply"]["text"]), user("what time")]
    answer = ask(client, messages)
    assert cached(answer) > 0
    assert reply_of(answer) == reply_of(ask(client, messages))


def test_a_response_goes_on_from_a_chat(site: Site) -> None:
    client = site.client()
    messages = [user("hello how are you")]
    asked = ask(client, messages)["usage"]["prompt_tokens"]
    body = {"model": "transformer-int8", "input": [*messages, agent("at two"), user("what time")]}
    usage = client.post("/v1/responses", json=body).json()["usage"]
    assert usage["input_tokens_details"]["cached_tokens"] == asked < usage["input_tokens"]


def test_nobody_profits_from_or_learns_of_what_another_has_said(start: Start) -> None:
    first = start()
    secrets = [first.service.keys.create(name, ["chat"])[1] for name in ("ann", "bob")]
    first.stop()
    site = start()
    reads = Reads(site)
    ann, bob = (converse(site.client(secret)) for secret in secrets)
    assert [answer["usage"] for answer in ann] == [answer["usage"] for answer in bob]
    assert reads.ids[: len(reads.ids) // 2] == reads.ids[len(reads.ids) // 2 :]


def test_what_is_remembered_of_chats_is_bounded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    memories = site.served.memories
    monkeypatch.setattr(memories, "_max_bytes", 3 * site.served.model.encode("hello").num_bytes)
    for number in range(12):
        ask(site.client(), [user(f"hello {number}")])
    assert 0 < memories.num_bytes <= memories._max_bytes
    assert site.served.runtime.forward.pool.used_bytes == memories.num_bytes


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_while_it_is_read_leaves_nothing(site: Site, stream: bool) -> None:
    site.gate.shut()
    body = {"model": "transformer-int8", "messages": [user("hello")], "stream": stream}
    with pytest.raises(httpx.ReadTimeout):
        site.client().post("/v1/chat/completions", json=body, timeout=0.3)
    site.gate.wait_until_aborted()
    site.gate.open()
    assert reply_of(ask(site.client(), [user("hello")]))
    assert site.served.runtime.forward.pool.used_bytes == site.served.memories.num_bytes
