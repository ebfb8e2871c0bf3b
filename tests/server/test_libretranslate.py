"""LibreTranslate's clients against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libretranslatepy import LibreTranslateAPI
from server_site import Json, Site

from duologue.apps.documents import html_lexer as html
from duologue.types import Options

HELLO = "hello how are you"


def refused(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    assert isinstance(response.json()["error"], str)
    return str(response.json()["error"])


def post(site: Site, **body: Any) -> Json:
    answer = site.client().post("/translate", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_published_client_works(site: Site) -> None:
    client = LibreTranslateAPI(site.url)
    expected = site.served.model.translate(HELLO, "zh", "en").text
    assert client.translate(HELLO, "en", "zh") == expected
    assert client.detect("What is the time? Where are you?") == [
        {"confidence": 100.0, "language": "en"}
    ]
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["zh"]},
        {"code": "zh", "name": "Chinese", "targets": ["en"]},
    ]


def test_texts_may_be_several_and_their_language_unknown(site: Site) -> None:
    answer = post(site, q=[HELLO, "你好", "1 2"], source="auto", target="en")
    model = site.served.model
    assert answer["translatedText"] == [
        model.translate(HELLO, "en").text, model.translate("你好", "en").text, "1 2",
    ]  # fmt: skip
    assert answer["detectedLanguage"] == [
        {"confidence": 100.0, "language": "en"},
        {"confidence": 100.0, "language": "zh"},
        {"confidence": 0.0, "language": "en"},
    ]


def test_alternatives_are_those_of_the_beam(site: Site) -> None:
    answer = post(site, q=HELLO, source="en", target="zh", alternatives=2)
    options = Options(max_tokens=256, beam_size=4, num_hypotheses=3)
    options = site.served.runtime.fit(options, site.served.runtime.template.prefix(
        "translate", "en", "zh"
    ))  # fmt: skip
    expected = site.served.model.translate(HELLO, "zh", "en", options)
    assert answer["translatedText"] == expected.text
    assert answer["alternatives"] == [one.text.strip() for one in expected.alternatives]
    assert len(answer["alternatives"]) == 2


def test_of_html_only_the_text_is_translated(site: Site) -> None:
    page = (
        "<!DOCTYPE html>\n<p  class=\"a>b\" data-x='<i>'>hello how are you <b>the train</b> &amp; "
        "1 &lt; 2</p><!-- hello <p> --><script>if (a<b) hello()</script><br/><IMG src=x >\r\n"
    )
    answer = post(site, q=page, source="en", target="zh", format="html")["translatedText"]

    def markup(document: str) -> list[str]:
        return [node.content for node in html.cut(document) if not node.is_text]

    assert markup(answer) == markup(page)
    model = site.served.model
    assert html.to_html(model.translate("hello how are you", "zh").text) + " <b>" in answer
    assert f"<b>{html.to_html(model.translate('the train', 'zh').text)}</b>" in answer
    assert " &amp; 1 &lt; 2</p>" in answer  # no word in it
    assert post(site, q="<p>1</p>", source="en", target="zh", format="html") == {
        "translatedText": "<p>1</p>"
    }


@given(st.text(alphabet="<>/!-?'\"ab =\n&;", max_size=60))
def test_the_nodes_of_a_document_are_the_document(document: str) -> None:
    nodes = list(html.cut(document))
    assert "".join(node.content for node in nodes) == document
    assert all(node.content for node in nodes)


@pytest.mark.parametrize("piece", ["<!--", "<a '", "<script>", "<", "</", "<a", '<a "', "<!", "<?"])
def test_a_hostile_document_is_cut_in_one_go(piece: str) -> None:
    document = piece * 200_000
    assert "".join(node.content for node in html.cut(document)) == document


def test_what_is_of_no_use_is_told_in_their_way(site: Site) -> None:
    client = site.client()
    asked = {"q": HELLO, "source": "en", "target": "zh"}
    for change in (
        {"q": None}, {"q": []}, {"q": 1}, {"source": "xx"}, {"target": "xx"}, {"target": ""},
        {"format": "pdf"}, {"alternatives": -1}, {"alternatives": 100}, {"sing": True},
        {"q": ["a"] * 65}, {"q": "\ud800"}, {"api_key": 5},
    ):  # fmt: skip
        content = json.dumps({**asked, **change})
        refused(client.post("/translate", content=content))
    for content in (b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null", b"1e999"):
        refused(client.post("/translate", content=content))
        refused(client.post("/detect", content=content))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for content in (b"q", b"\xff=1", b"q=a&q=b", b"q=%ff&target=zh&source=x", b"&&&"):
        refused(client.post("/translate", content=content, headers=form))


def test_a_key_may_be_in_the_body(start: Callable[..., Site]) -> None:
    first = start()
    _, secret = first.service.keys.create("reader", ["translate"])
    _, weak = first.service.keys.create("chatter", ["chat"])
    first.stop()
    site = start()
    client = LibreTranslateAPI(site.url, secret)
    assert len(client.languages()) == 2
    assert client.translate(HELLO, "en", "zh")
    header = site.client(secret).post("/detect", json={"q": "what is this"})
    assert header.json()[0]["language"] == "en"
    for key, status in ((None, 401), ("wrong", 401), (weak, 403)):
        with pytest.raises(HTTPError) as error:
            LibreTranslateAPI(site.url, key).languages()
        with error.value as answer:
            assert answer.code == status
            assert json.loads(answer.read()).keys() == {"error"}


def test_too_large_a_body_is_told(start: Callable[..., Site]) -> None:
    site = start(limits={"max_body_bytes": 500})
    answer = site.client().post("/translate", json={"q": "a" * 1000, "target": "zh"})
    assert answer.status_code == 413
