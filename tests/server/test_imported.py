"""Published models behind the server: each does what it can, and says so of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_whisper
from published_apps import publish
from published_tokenizers import Published
from server_site import WAIT_S, Json, Site, Start, error_of
from websockets.sync.client import connect

TEXT = "the house is here"
CHAT = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 6}
KINDS = {
    "marian": ["translate"],
    "t5": ["generate", "translate", "summarize"],
    "bart": ["summarize", "generate"],
    "whisper": ["transcribe", "translate"],
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("published")
    tokenizers = Published(tmp_path_factory.mktemp("tokenizers"))

    def folder_of(kind: str) -> Path:
        folder = root / kind
        if not folder.exists():
            if kind == "whisper":
                folder.mkdir()
                tiny_whisper.publish(folder)
            else:
                publish(kind, tokenizers, folder)
        return folder

    return folder_of


@pytest.fixture
def serve(start: Start, folder_of: Callable[[str], Path]) -> Callable[[str], Site]:
    return lambda kind: start(models=(str(folder_of(kind)),), precision="f32")


def refused(client: httpx.Client, path: str, body: Json, *words: str) -> None:
    answer = client.post(path, json=body)
    error = answer.json()["error"]
    if path != "/translate":
        error = error_of(answer, 400, "invalid_input")["message"]
    assert answer.status_code == 400
    for word in words:
        assert word in error


@pytest.mark.parametrize(("kind", "tasks"), KINDS.items())
def test_a_published_model_is_listed_with_what_it_can(
    serve: Callable[[str], Site], kind: str, tasks: list[str]
) -> None:
    client = serve(kind).client()
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == [kind]
    (model,) = client.get("/v1/info").json()["models"]
    assert (model["family"], model["tasks"]) == (kind, tasks)
    assert model["memory_bytes"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_published_model_converses_or_judges(serve: Callable[[str], Site], kind: str) -> None:
    client = serve(kind).client()
    knows = "hears speech" if kind == "whisper" else KINDS[kind][0]
    refused(client, "/v1/conversations", {}, "'reply'", KINDS[kind][0])
    refused(client, "/v1/sentiment", {"text": TEXT}, knows)
    refused(client, "/v1/encode", {"text": TEXT}, knows)
    assert client.get("/v1/conversations").json()["data"] == []


@pytest.mark.parametrize("kind", ["marian", "t5"])
def test_a_translator_translates_on_both_routes(serve: Callable[[str], Site], kind: str) -> None:
    site = serve(kind)
    client, model = site.client(), site.served.model
    to = model.config.languages[0]
    expected = model.translate(TEXT, to).text
    own = client.post("/v1/translate", json={"text": TEXT, "to": to}).json()
    assert own["text"] == expected
    for source in ("en", "auto"):
        body = {"q": [TEXT, TEXT], "source": source, "target": to}
        answer = client.post("/translate", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["translatedText"] == [expected.strip()] * 2
    assert [one["code"] for one in client.get("/languages").json()] == list(model.config.languages)
    refused(client, "/v1/translate", {"text": TEXT, "to": "tlh"}, "tlh")
    refused(client, "/translate", {"q": TEXT, "source": "en", "target": "tlh"}, "tlh")


@pytest.mark.parametrize("kind", ["bart", "whisper"])
def test_what_cannot_translate_texts_says_so(serve: Callable[[str], Site], kind: str) -> None:
    client = serve(kind).client()
    knows = "hears speech" if kind == "whisper" else "'translate'"
    for to in ("en", "de"):
        refused(client, "/v1/translate", {"text": TEXT, "to": to}, knows)
        refused(client, "/translate", {"q": TEXT, "source": "en", "target": to}, knows)
    assert client.get("/languages").json() == []


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_what_goes_on_with_texts_is_asked_as_chats_are(
    serve: Callable[[str], Site], kind: str
) -> None:
    site = serve(kind)
    client, model = site.client(), site.served.model
    options = model.options("generate")
    expected = model.generate(TEXT, type(options)(**{**vars(options), "max_tokens": 6})).text
    answer = client.post("/v1/chat/completions", json={"model": kind, **CHAT})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == expected
    assert answer.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    again = client.post("/v1/chat/completions", json={"model": kind, **CHAT})
    assert again.json()["choices"] == answer.json()["choices"]


@pytest.mark.parametrize("kind", ["marian", "whisper"])
def test_what_does_not_chat_says_so(serve: Callable[[str], Site], kind: str) -> None:
    client = serve(kind).client()
    knows = "hears speech" if kind == "whisper" else "does not chat; it can translate"
    for stream in (False, True):
        refused(client, "/v1/chat/completions", {"model": kind, "stream": stream, **CHAT}, knows)
        refused(client, "/v1/responses", {"model": kind, "stream": stream, "input": TEXT}, knows)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_reads_embeds(serve: Callable[[str], Site], kind: str) -> None:
    client = serve(kind).client()
    body = {"model": kind, "input": TEXT}
    if kind == "whisper":
        refused(client, "/v1/embeddings", body, "hears speech")
        return
    (item,) = client.post("/v1/embeddings", json=body).json()["data"]
    assert sum(value * value for value in item["embedding"]) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(("kind", "kinds"), [("marian", {"translation"}), ("whisper", set())])
def test_a_draft_gets_what_the_model_can(
    serve: Callable[[str], Site], kind: str, kinds: set[str]
) -> None:
    site = serve(kind)
    to = site.served.model.config.languages[0]
    draft = {"type": "draft", "text": TEXT, "translate_to": to, "sentiment": True}
    url = site.url.replace("http", "ws") + "/v1/live"
    seen: set[str] = set()
    with connect(url, proxy=None, open_timeout=WAIT_S) as socket:
        socket.send(json.dumps(draft))
        while seen != {*kinds, "failed"}:
            event: Any = json.loads(socket.recv(WAIT_S))
            seen.add(event["type"])
            if event["type"] == "failed":
                assert event["error"]["code"] == "invalid_input"
