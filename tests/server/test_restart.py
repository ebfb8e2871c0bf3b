"""What was acknowledged is there after a restart, however the server ended."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from server_process import Run
from server_site import (
    LONG,
    SHORT,
    WAIT_S,
    Json,
    Start,
    begin,
    events,
    say,
    shown,
    streaming,
    texts,
)

# --- in this process -----------------------------------------------------------------------------


def test_a_restart_keeps_everything_and_encodes_nothing_again(start: Start) -> None:
    site = start()
    client = site.client()
    conversation = begin(client, title="A trip")
    first = say(client, conversation, "hello how are you")
    say(client, conversation, "what time", parent=None)
    say(client, conversation, "what day", parent=first["reply"]["id"])
    before = shown(client, conversation)
    listed = client.get("/v1/conversations").json()
    memory = site.served.memories.restore(
        site.service.conversations.path("local", conversation)
    )[0].memory.num_tokens  # fmt: skip
    site.stop()
    again = start()
    client = again.client()
    assert shown(client, conversation) == before
    assert client.get("/v1/conversations").json() == listed
    usage = say(client, conversation, "hello")["reply"]["result"]["usage"]
    assert usage["reused_tokens"] == memory


def test_without_what_was_kept_of_it_a_conversation_is_encoded_again(
    start: Start, tmp_path: Path
) -> None:
    site = start(cache_bytes=0)
    client = site.client()
    conversation = begin(client)
    for text in ("hello how are you", "what time"):
        say(client, conversation, text)
    site.stop()
    assert not (tmp_path / "data" / "memories").exists()
    again = start(cache_bytes=0)
    expected = site.served.model.conversation()
    for message in shown(again.client(), conversation)["messages"]:
        expected.add(message["role"], message["text"])
    reply = say(again.client(), conversation, "what day")["reply"]
    options = type(expected.REPLY_OPTIONS)(**{**vars(expected.REPLY_OPTIONS), **SHORT})
    assert reply["text"] == expected.say("what day", options).text
    assert reply["result"]["usage"]["reused_tokens"] == 0


def test_a_conversation_longer_than_the_memory_goes_on_after_a_restart(start: Start) -> None:
    site = start()
    client = site.client()
    conversation = begin(client)
    for _ in range(8):
        answer = say(client, conversation, "what time does the train leave")
    assert answer["reply"]["result"]["checks"]["trimmed_turns"] > 0
    site.stop()
    for cache_bytes in (2**30, 0):
        again = start(cache_bytes=cache_bytes)
        reply = say(again.client(), conversation, "what day")["reply"]
        assert (reply["result"]["usage"]["reused_tokens"] > 0) == (cache_bytes > 0)
        assert reply["status"] == "complete"
        again.stop()


def test_a_damaged_memory_on_disk_only_costs_time(start: Start, tmp_path: Path) -> None:
    site = start()
    conversation = begin(site.client())
    say(site.client(), conversation, "hello how are you")
    site.stop()
    for part in (tmp_path / "data" / "memories").glob("*/part.safetensors"):
        part.write_bytes(part.read_bytes()[:-1])
    reply = say(start().client(), conversation, "what time")["reply"]
    assert reply["result"]["usage"]["reused_tokens"] == 0


def test_a_stop_lets_replies_end_and_takes_nothing_new(start: Start) -> None:
    site = start()
    client = site.client()
    conversation = begin(client)
    site.gate.shut(8)
    with streaming(client, conversation, "hello") as stream:
        found = [next(stream), next(stream)]
        site.server.should_exit = True
        assert site.is_stopping.wait(WAIT_S)
        with pytest.raises(httpx.ConnectError):
            site.client().get("/health/live")
        site.gate.open()
        found += stream
    assert found[-1][0] == "done"
    assert found[-1][1]["message"]["finish_reason"] == "length"
    site.thread.join(WAIT_S)
    assert texts(start().client(), conversation)[1] == found[-1][1]["message"]["text"]


# --- in a process of its own ---------------------------------------------------------------------


def test_sigterm_during_a_stream_lets_it_end_and_exits_0(run: Run) -> None:
    server = run(0.02)
    conversation = begin(server.client)
    with streaming(server.client, conversation, "hello") as stream:
        found = [next(stream), next(stream)]
        server.process.send_signal(signal.SIGTERM)
        found += stream
    reply = found[-1][1]["message"]
    assert (found[-1][0], reply["finish_reason"]) == ("done", "length")
    assert server.wait() == (0, "")
    assert shown(run().client, conversation)["messages"][-1] == reply


def test_after_the_grace_time_replies_are_cut_and_kept(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("grace_s: 0.1\n")
    server = run(0.1, "--config", str(config))
    conversation = begin(server.client)
    with streaming(server.client, conversation, "hello") as stream:
        found = [next(stream), next(stream)]
        server.process.send_signal(signal.SIGTERM)
        found += stream
    reply = found[-1][1]["message"]
    assert (found[-1][0], reply["finish_reason"]) == ("done", "abort")
    assert reply["text"] == "".join(data["text"] for name, data in found if name == "commit")
    assert server.wait() == (0, "")
    assert shown(run().client, conversation)["messages"][-1] == reply


def test_ctrl_c_stops_it_like_any_command(run: Run) -> None:
    assert run().end(signal.SIGINT) == (130, "")


class Talker(threading.Thread):
    """Talks until the server is gone, and notes what was acknowledged."""

    def __init__(self, client: httpx.Client, seed: int, noted: threading.Condition) -> None:
        super().__init__()
        self.said: dict[str, Json] = {}
        self._client = client
        self._chosen = random.Random(seed)
        self._noted = noted

    def run(self) -> None:
        with httpx.Client(base_url=self._client.base_url, timeout=WAIT_S) as client:
            try:
                while True:
                    self._talk(client)
            except httpx.TransportError:
                return

    def _talk(self, client: httpx.Client) -> None:
        conversation = begin(client)
        for _ in range(self._chosen.randint(1, 4)):
            text = self._chosen.choice(["hello how are you", "what time", "你好"])
            if self._chosen.random() < 0.5:
                for message in say(client, conversation, text).values():
                    self._note(message, conversation)
                continue
            with stream_of(client, conversation, text) as found:
                for name, data in found:
                    message = data if name == "message" else data.get("message")
                    if message is not None:
                        self._note(message, conversation)

    def _note(self, message: Json, conversation: str) -> None:
        with self._noted:
            self.said[message["id"]] = {**message, "conversation": conversation}
            self._noted.notify()


@contextmanager
def stream_of(client: httpx.Client, conversation: str, text: str) -> Iterator[Iterator]:
    body = {"text": text, "options": LONG, "stream": True}
    path = f"/v1/conversations/{conversation}/messages"
    with client.stream("POST", path, json=body) as response:
        yield events(response)


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_at_any_point_loses_at_most_the_reply_in_progress(run: Run, seed: int) -> None:
    server = run(0.002)
    noted = threading.Condition()
    talkers = [Talker(server.client, 10 * seed + number, noted) for number in range(3)]
    for talker in talkers:
        talker.start()
    enough = random.Random(seed).randint(5, 40)
    with noted:
        noted.wait_for(lambda: sum(len(talker.said) for talker in talkers) >= enough, WAIT_S)
    server.end(signal.SIGKILL)
    for talker in talkers:
        talker.join()
    again = run().client
    acknowledged = {name: said for talker in talkers for name, said in talker.said.items()}
    assert len(acknowledged) >= enough
    exported: dict[str, dict[str, Json]] = {}
    for name, said in acknowledged.items():
        conversation = said["conversation"]
        if conversation not in exported:
            answer = again.get(f"/v1/conversations/{conversation}/export").json()
            exported[conversation] = {one["id"]: one for one in answer["messages"]}
        kept = exported[conversation][name]
        assert (kept["text"], kept["status"], kept["parent"]) == (
            said["text"],
            "complete",
            said["parent"],
        )
    for conversation, messages in exported.items():
        path = shown(again, conversation)["messages"]
        assert all(message["status"] == "complete" for message in path)
        assert sum(one["status"] == "unfinished" for one in messages.values()) <= 1
        say(again, conversation, "what day")


def test_a_reply_that_died_with_its_process_is_exported_as_interrupted(
    run: Run, start: Start
) -> None:
    server = run(0.05)
    conversation = begin(server.client)
    with streaming(server.client, conversation, "hello") as stream:
        next(stream)
        server.end(signal.SIGKILL)
    site = start()
    client = site.client()
    site.service.later(lambda: None).result(WAIT_S)  # after what is done at the start
    export = f"/v1/conversations/{conversation}/export"
    question, reply = client.get(export).json()["messages"]
    assert (reply["status"], reply["finish_reason"]) == ("unfinished", "abort")
    assert client.get(export, params={"format": "txt"}).text.endswith("Agent: (interrupted)\n")
    assert texts(client, conversation) == ["hello"]
    again = client.post(
        f"/v1/conversations/{conversation}/messages/{question['id']}/regenerate",
        json={"options": SHORT},
    ).json()["reply"]
    assert (again["status"], again["siblings"]) == ("complete", [again["id"]])
    assert "interrupted" not in client.get(export, params={"format": "txt"}).text
