"""The documents of a server over real HTTP: in, out, and whose business they are."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_site import WAIT_S, Site, Start, error_of

from duologue.server.options import ServeOptions
from duologue.storage.database import open_database, sqlite_url
from duologue.storage.keys import Keys

SHOP = "# Shop\n\n## Returns\n\nA lamp may be returned within thirty days.\n"
FAQ = "question,answer\nWhen do you open?,We open at nine in the morning.\n"


@pytest.fixture
def site(start_shop: Start) -> Site:
    return start_shop()


def put(client: httpx.Client, name: str, text: str | bytes) -> httpx.Response:
    return client.post("/v1/kb/documents", params={"name": name}, content=text)


def names(client: httpx.Client) -> list[str]:
    answer = client.get("/v1/kb/documents")
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["data"]]


# --- in ------------------------------------------------------------------------------------------


def test_a_file_is_uploaded_listed_replaced_and_removed(site: Site, tmp_path: Path) -> None:
    client = site.client()
    made = put(client, "shop.md", SHOP)
    assert made.status_code == 201, made.text
    document = made.json()
    assert (document["name"], document["bytes"]) == ("shop.md", len(SHOP))
    assert document["passages"] == 1
    assert document["indexed_at"].endswith("Z")
    assert client.get("/v1/kb/documents").json() == {"data": [document]}
    again = put(client, "shop.md", SHOP.replace("thirty", "sixty"))
    assert (again.status_code, again.json()["id"]) == (200, document["id"])
    found = client.get("/v1/kb/search", params={"q": "return a lamp"}).json()["data"]
    assert "sixty" in found[0]["text"]
    kept = tmp_path / "kb" / "files" / "shop.md"
    assert kept.is_file()
    assert client.delete(f"/v1/kb/documents/{document['id']}").status_code == 204
    assert names(client) == []
    assert not kept.exists()
    error_of(client.delete(f"/v1/kb/documents/{document['id']}"), 404, "not_found")


def test_the_name_may_be_in_the_header(site: Site) -> None:
    client = site.client()
    header = "attachment; filename*=UTF-8''%E9%97%AE%E7%AD%94.csv"
    made = client.post(
        "/v1/kb/documents", content=FAQ.encode(), headers={"Content-Disposition": header}
    )
    assert (made.status_code, made.json()["name"]) == (201, "问答.csv")


@pytest.mark.parametrize(
    "name", ["../x.md", "a/b.md", "/etc/x.md", ".x.md", "x.exe", "", "x\0.md", "é" * 120 + ".md"]
)
def test_a_name_that_is_none_is_refused(site: Site, tmp_path: Path, name: str) -> None:
    refused = put(site.client(), name, SHOP)
    assert refused.status_code in (400, 422), refused.text
    assert refused.json()["error"]["param"].endswith("name")
    assert not list(tmp_path.rglob("x.*"))


@pytest.mark.parametrize("content", [b"", b"  \n", b"\xff\xfe\xff", b"\0\1\2" * 50])
def test_a_file_of_no_use_is_refused_and_the_former_one_stays(
    site: Site, tmp_path: Path, content: bytes
) -> None:
    client = site.client()
    put(client, "shop.txt", SHOP)
    problem = error_of(put(client, "shop.txt", content), 400, "invalid_input")
    assert problem["message"].startswith("shop.txt")
    assert str(tmp_path) not in problem["message"]
    assert (tmp_path / "kb" / "files" / "shop.txt").read_text() == SHOP
    assert client.get("/v1/kb/search", params={"q": "lamp"}).json()["data"]
    error_of(put(client, "new.txt", content), 400, "invalid_input")
    assert names(client) == ["shop.txt"]
    assert client.post("/v1/kb/refresh").json()["failed"] == []


def test_documents_may_be_larger_than_other_bodies_up_to_a_limit(
    start_shop: Start,
) -> None:
    limits = {"max_body_bytes": 1000, "max_document_bytes": 3000}
    client = start_shop(limits=limits).client()
    assert put(client, "a.txt", "word " * 400).status_code == 201
    told = error_of(put(client, "b.txt", "word " * 601), 413, "too_large")
    assert "max_document_bytes" in told["message"]
    chunks = iter([b"word " * 400, b"word " * 400])
    told = error_of(
        client.post("/v1/kb/documents", params={"name": "c.txt"}, content=chunks),
        413,
        "too_large",
    )
    assert "max_document_bytes" in told["message"]
    assert names(client) == ["a.txt"]
    error_of(client.post("/v1/ask", json={"question": "w" * 1000}), 413, "too_large")


def test_refresh_follows_a_folder_that_was_added(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "manual"
    (folder / "en").mkdir(parents=True)
    (folder / "en" / "shop.md").write_text(SHOP)
    site.service.base.add([folder])  # type: ignore[union-attr]
    client = site.client()
    assert names(client) == ["manual/en/shop.md"]
    (folder / "en" / "shop.md").write_text(SHOP.replace("thirty", "ten"))
    (folder / "faq.csv").write_text(FAQ)
    (folder / "bad.csv").write_text("a,b\n1,2\n")
    put(client, "own.txt", "We sell desks too.")
    told = client.post("/v1/kb/refresh").json()
    assert (told["added"], told["changed"]) == (["manual/faq.csv"], ["manual/en/shop.md"])
    assert (told["removed"], told["unchanged"]) == ([], 1)
    assert [item["name"] for item in told["failed"]] == ["manual/bad.csv"]
    (folder / "faq.csv").unlink()
    assert client.post("/v1/kb/refresh").json()["removed"] == ["manual/faq.csv"]
    assert names(client) == ["own.txt", "manual/en/shop.md"]


def test_one_change_at_a_time_with_its_progress(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = site.client(), site.client()
    base = site.service.base
    assert base is not None
    reached, go_on = threading.Event(), threading.Event()
    passage = base.encoder.passage

    def slow(one: Any) -> Any:
        reached.set()
        assert go_on.wait(WAIT_S)
        return passage(one)

    assert other.get("/v1/kb/progress").json() == {"progress": None}
    monkeypatch.setattr(base.encoder, "passage", slow)
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(put(client, "shop.md", SHOP)))
    thread.start()
    assert reached.wait(WAIT_S)
    assert other.get("/v1/kb/progress").json() == {"progress": {"done": 0, "total": 0}}
    error_of(other.post("/v1/kb/refresh"), 409, "busy")
    assert names(other) == []
    go_on.set()
    thread.join()
    assert answers[0].status_code == 201
    assert other.post("/v1/kb/refresh").status_code == 200


def test_who_goes_away_ends_the_upload_and_nothing_is_left(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = site.service.base
    assert base is not None
    reached, go_on, restored = threading.Event(), threading.Event(), threading.Event()
    passage = base.encoder.passage

    def slow(one: Any) -> Any:
        reached.set()
        assert go_on.wait(WAIT_S)
        return passage(one)

    monkeypatch.setattr(base.encoder, "passage", slow)
    client = site.client()
    failed: list[Exception] = []

    def send() -> None:
        try:
            client.post("/v1/kb/documents", params={"name": "shop.md"}, content=SHOP, timeout=0.5)
        except httpx.ReadTimeout as error:
            failed.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    assert reached.wait(WAIT_S)
    thread.join()
    assert failed
    error_of(site.client().post("/v1/kb/refresh"), 409, "busy")
    go_on.set()
    while site.client().post("/v1/kb/refresh").status_code == 409:
        restored.wait(0.01)
    assert names(site.client()) == []
    assert list((tmp_path / "kb" / "files").iterdir()) == []


# --- out -----------------------------------------------------------------------------------------


def test_a_question_is_answered_as_from_python_with_names_for_paths(
    site: Site, tmp_path: Path
) -> None:
    client = site.client()
    put(client, "shop.md", SHOP)
    put(client, "faq.csv", FAQ)
    question = "Within how many days may a lamp be returned?"
    result = client.post("/v1/ask", json={"question": question}).json()
    base = site.service.base
    assert base is not None
    expected = base.ask(question)
    assert (result["text"], result["declined"]) == (expected.text, False)
    assert result["confidence"] == pytest.approx(expected.confidence)
    cited = result["citations"][0]
    assert (cited["document"], cited["heading"]) == ("shop.md", "Shop › Returns")
    assert cited["text"][cited["start"] : cited["end"]] == result["text"]
    assert cited["document_id"] in [
        item["id"] for item in client.get("/v1/kb/documents").json()["data"]
    ]
    assert str(tmp_path) not in client.post("/v1/ask", json={"question": question}).text


def test_what_the_documents_do_not_say_is_declined(site: Site) -> None:
    client = site.client()
    put(client, "shop.md", SHOP)
    declined = client.post("/v1/ask", json={"question": "Who was king of France?"}).json()
    assert declined["declined"]
    assert declined["text"] == "The documents do not say."
    assert [cited["document"] for cited in declined["citations"]] == ["shop.md"]


def test_what_cannot_be_asked_is_told(site: Site) -> None:
    client = site.client()
    told = error_of(client.post("/v1/ask", json={"question": "Hello?"}), 400, "invalid_input")
    assert "empty" in told["message"]
    put(client, "shop.md", SHOP)
    for body in ({"question": " "}, {"question": "a?", "options": {"temperature": 1}}):
        error_of(client.post("/v1/ask", json=body), 400, "invalid_input")
    beyond = {"question": "a?", "options": {"max_tokens": 5000}}
    told = error_of(client.post("/v1/ask", json=beyond), 400, "invalid_input")
    assert "max_tokens" in told["message"]
    error_of(client.get("/v1/kb/search"), 422, "invalid_input")


# --- whose business it is ------------------------------------------------------------------------


def test_a_server_without_documents_says_so(start: Start) -> None:
    client = start().client()
    assert client.get("/v1/info").json()["documents"] is False
    for answer in (
        client.get("/v1/kb/documents"),
        client.get("/v1/kb/search", params={"q": "lamp"}),
        client.post("/v1/ask", json={"question": "lamp?"}),
        client.post("/v1/kb/refresh"),
        put(client, "shop.md", SHOP),
    ):
        assert "--kb" in error_of(answer, 404, "not_found")["message"]


def test_only_the_scope_admin_changes_documents(start_shop: Start, tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path / "data"))
    keys = Keys(database)
    admin, chat, translate = (
        keys.create(scope, [scope])[1]  # type: ignore[list-item]
        for scope in ("admin", "chat", "translate")
    )
    database.close()
    site = start_shop()
    made = put(site.client(admin), "shop.md", SHOP).json()
    client = site.client(chat)
    assert names(client) == ["shop.md"]
    assert client.post("/v1/ask", json={"question": "lamp returned?"}).status_code == 200
    for answer in (
        put(client, "a.md", SHOP),
        client.delete(f"/v1/kb/documents/{made['id']}"),
        client.post("/v1/kb/refresh"),
        client.get("/v1/kb/progress"),
        site.client(translate).get("/v1/kb/documents"),
        site.client(admin).post("/v1/ask", json={"question": "lamp?"}),
    ):
        error_of(answer, 403, "forbidden")
    assert names(client) == ["shop.md"]


def test_the_usual_base_is_served_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert ServeOptions().kb is None
    (tmp_path / "duologue" / "knowledge").mkdir(parents=True)
    assert ServeOptions().kb == tmp_path / "duologue" / "knowledge"


def test_nothing_of_it_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    client = site.client()
    with caplog.at_level("DEBUG", logger="duologue"):
        put(client, "secret.md", SHOP)
        client.post("/v1/ask", json={"question": "lamp?"})
        put(client, "secret.md", b"\0")
    assert caplog.text == ""
