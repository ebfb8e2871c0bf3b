"""Keys, scopes, owners, hosts, origins and headers. Every route is tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from server_site import Site, Start, begin, error_of, say, shown, texts

from duologue.errors import ConfigError
from duologue.server.options import ServeOptions
from duologue.server.running import open_service, open_store
from duologue.storage.keys import Keys

OPEN = {"/health/live", "/health/ready"}
# Their errors have another form: see docs/protocol.md.
LIBRE = {"/translate", "/detect", "/languages"}
CHAT = {"model": "a", "messages": [{"role": "user", "content": "a"}]}
BODIES = {
    "/v1/encode": {"text": "a"},
    "/v1/decode": {"memory_id": "mem_0", "task": "reply"},
    "/v1/translate": {"text": "a", "to": "zh"},
    "/v1/sentiment": {"text": "a"},
    "/v1/explain": {"conversation_id": "conv_0", "message_id": "msg_0"},
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"model": "a", "input": "a"},
    "/v1/embeddings": {"model": "a", "input": "a"},
    "/v1/conversations/{conversation_id}": {"title": "stolen"},
    "/v1/conversations/{conversation_id}/messages": {"text": "hello"},
}


@pytest.fixture
def secrets(tmp_path: Path, database: str | None) -> dict[str, str]:
    """Keys in the database, by name."""
    store = open_store(tmp_path / "data", database)
    keys = Keys(store)
    made = {
        "ann": keys.create("ann", ["chat", "translate"])[1],
        "bob": keys.create("bob", ["chat"])[1],
        "monitor": keys.create("monitor", ["admin"])[1],
        "gone": keys.create("gone", ["chat", "translate", "admin"])[1],
    }
    keys.revoke(made["gone"].split("_")[1])
    store.close()
    return made


def routes(site: Site) -> Iterator[tuple[str, str]]:
    """Method and path of every route of the API."""
    paths = site.client().get("/openapi.json").json()["paths"]
    assert len(paths) >= 10
    for path, operations in paths.items():
        for method in operations:
            yield method.upper(), path


def request(client: httpx.Client, method: str, path: str, **ids: str) -> httpx.Response:
    names = {"conversation_id": "conv_0", "message_id": "msg_0", "name": "a", **ids}
    names = {"document_id": "doc_0", "handover_id": "hand_0", **names}
    body = BODIES.get(path) if method in ("POST", "PATCH") else None
    return client.request(method, path.format(**names), json=body)


def test_without_a_key_no_route_is_open_but_those_that_tell_health(
    start: Start, secrets: dict[str, str]
) -> None:
    site = start()
    wrong = secrets["ann"][:-1] + ("A" if secrets["ann"][-1] != "A" else "B")
    for key in (None, "duo_", wrong, secrets["gone"], "ключ"):
        client = site.client(key)
        for method, path in routes(site):
            answer = request(client, method, path)
            if path in OPEN:
                assert answer.status_code == 200
            else:
                if path in LIBRE:
                    assert answer.status_code == 401
                    assert isinstance(answer.json()["error"], str)
                else:
                    error_of(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_opens_what_its_scopes_say(start: Start, secrets: dict[str, str]) -> None:
    site = start()
    monitor, ann = site.client(secrets["monitor"]), site.client(secrets["ann"])
    assert monitor.get("/metrics").status_code == 200
    error_of(ann.get("/metrics"), 403, "forbidden")
    error_of(monitor.post("/v1/conversations"), 403, "forbidden")
    assert ann.get("/v1/info").json()["scopes"] == ["chat", "translate"]
    assert monitor.get("/v1/info").json()["scopes"] == ["admin"]


def test_one_key_never_sees_or_changes_what_another_has(
    start: Start, secrets: dict[str, str]
) -> None:
    site = start()
    ann, bob = site.client(secrets["ann"]), site.client(secrets["bob"])
    conversation = begin(ann, title="a secret")
    answer = say(ann, conversation, "the train leaves at nine")
    before = shown(ann, conversation)
    num_tried = 0
    for method, path in routes(site):
        if "{conversation_id}" in path:
            ids = {"conversation_id": conversation, "message_id": answer["reply"]["id"]}
            refused = request(bob, method, path, **ids)
            missing = request(bob, method, path)
            error_of(refused, 404, "not_found")
            assert refused.json() == missing.json(), "tells that it is there"
            num_tried += 1
    assert num_tried >= 8
    assert bob.get("/v1/conversations").json()["data"] == []
    assert bob.get("/v1/conversations", params={"query": "train"}).json()["data"] == []
    own = begin(bob)
    for place in ({"parent": answer["reply"]["id"]}, {"parent": answer["message"]["id"]}):
        body = {"text": "and then?", **place}
        error_of(bob.post(f"/v1/conversations/{own}/messages", json=body), 404, "not_found")
    head = {"head": answer["reply"]["id"]}
    error_of(bob.patch(f"/v1/conversations/{own}", json=head), 404, "not_found")
    assert shown(ann, conversation) == before


def test_a_reply_in_progress_looks_to_others_as_if_it_were_not_there(
    start: Start, secrets: dict[str, str]
) -> None:
    site = start()
    ann, bob = site.client(secrets["ann"]), site.client(secrets["bob"])
    conversation = begin(ann)
    site.gate.shut(4)
    body = {"text": "hello", "stream": True, "options": {"max_tokens": 40, "min_tokens": 40}}
    path = f"/v1/conversations/{conversation}"
    with ann.stream("POST", f"{path}/messages", json=body) as response:
        site.gate.wait_until_used_up()
        for action in ("stop", "messages"):
            refused = bob.post(f"{path}/{action}", json={"text": "hello"})
            error_of(refused, 404, "not_found")
        error_of(bob.delete(path), 404, "not_found")
        assert shown(ann, conversation)["replying"]
        site.gate.open()
        assert b"event: done" in response.read()


def test_equal_words_of_two_keys_share_no_memory(start: Start, secrets: dict[str, str]) -> None:
    site = start()
    ann, bob = site.client(secrets["ann"]), site.client(secrets["bob"])
    for client in (ann, bob):
        conversation = begin(client)
        for text in ("hello how are you", "what time"):
            last = say(client, conversation, text)
        usage = last["reply"]["result"]["usage"]
        assert usage["reused_tokens"] > 0
    fork = begin(bob)
    say(bob, fork, "hello how are you")
    assert site.served.memories.num_bytes > 0
    hashes = [key.id for key in site.service.keys.list() if key.name in ("ann", "bob")]
    assert len({site.service.conversations.path(owner, one.id)[0].hash
                for owner in hashes
                for one in site.service.conversations.page(owner).conversations}) == 2  # fmt: skip


def test_an_address_that_others_can_reach_needs_a_key(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigError, match="duologue keys create"):
            open_service(ServeOptions(host=host, data=tmp_path))


def test_on_loopback_without_keys_everything_is_the_owner_locals(site: Site) -> None:
    client = site.client()
    conversation = begin(client)
    assert site.service.conversations.get("local", conversation).owner == "local"
    assert client.get("/v1/info").json()["scopes"] == ["admin", "chat", "translate"]


# --- browsers ------------------------------------------------------------------------------------


def test_a_host_that_is_not_this_machine_is_refused(site: Site) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", ""):
        refused = site.client(host=host).get("/health/live")
        error_of(refused, 403, "forbidden")
    for host in ("localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:8000"):
        assert site.client(host=host).get("/health/live").status_code == 200


def test_a_page_from_elsewhere_is_refused(site: Site) -> None:
    body = {"content": b'{"title": "x"}', "headers": {"content-type": "text/plain"}}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "file://", "http://["):
        client = site.client(origin=origin)
        error_of(client.post("/v1/conversations", **body), 403, "forbidden")  # type: ignore[arg-type]
        assert "access-control-allow-origin" not in client.get("/v1/info").headers
    assert site.client(origin=site.url).get("/v1/info").status_code == 200


def test_a_page_that_is_allowed_may_read(start: Start) -> None:
    site = start(allow_origins=("https://good.example",))
    client = site.client(origin="https://good.example")
    answer = client.get("/v1/info")
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    error_of(site.client(origin="https://evil.example").get("/v1/info"), 403, "forbidden")


def test_every_answer_has_headers_that_keep_browsers_careful(site: Site) -> None:
    client = site.client()
    for answer in (
        client.get("/v1/info"),
        client.get("/v1/nothing"),
        client.get("/v1/conversations/none"),
        site.client(host="evil.example").get("/v1/info"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_a_browser_keeps_the_page_as_long_as_it_is_the_same(site: Site) -> None:
    client = site.client()
    for path in ("/", "/js/app.js"):
        whole = client.get(path)
        assert whole.status_code == 200
        assert whole.headers["cache-control"] == "no-cache"
        tag = whole.headers["etag"]
        same = client.get(path, headers={"If-None-Match": tag})
        assert (same.status_code, same.content) == (304, b"")
        assert (same.headers["cache-control"], same.headers["etag"]) == ("no-cache", tag)
        # It would replace the policy that the page was kept with.
        assert "content-security-policy" not in same.headers
        assert client.get(path, headers={"If-None-Match": '"other"'}).content == whole.content
    assert client.get("/nothing.js").headers["cache-control"] == "no-store"


def test_a_conversation_in_a_url_of_another_language_is_not_found(site: Site) -> None:
    client = site.client()
    for name in ("对话", "a b", "%00", "..", "conv_" + "x" * 50):
        error_of(client.get(f"/v1/conversations/{name}/export"), 404, "not_found")
    assert texts(client, begin(client)) == []
