"""Terms of the server and of requests over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from libretranslatepy import LibreTranslateAPI
from server_site import Json, Site, Start, error_of

from duologue.apps.translate import Glossary
from duologue.cli import invoke
from duologue.errors import ConfigError, DataError
from duologue.server.glossaries import Glossaries
from duologue.types import Options

HELLO = "what time does the train leave"
TERM = {"source": "train", "target": "火车"}
GREEDY = {"max_tokens": 12, "beam_size": 1}


@pytest.fixture
def terms(tmp_path: Path) -> Callable[..., str]:
    """terms("a,b", ..., name="terms.csv") -> the path of a file."""

    def write(*rows: str, name: str = "terms.csv") -> str:
        (tmp_path / name).write_text("\n".join(rows), encoding="utf-8")
        return str(tmp_path / name)

    return write


def translated(site: Site, **body: Any) -> Json:
    body = {"text": HELLO, "to": "zh", "options": GREEDY, **body}
    answer = site.client().post("/v1/translate", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def missed(result: Json) -> list[str]:
    return [span["text"] for span in result["checks"]["glossary"]]


def test_the_terms_of_a_request_come_out_or_are_told(site: Site) -> None:
    model = site.served.model
    given = {"glossary": [TERM, {"source": "leave", "target": "x" * 200}]}
    told = translated(site, **given)
    expected = model.translate(
        HELLO, "zh", options=Options(max_tokens=12, beam_size=1),
        glossary=Glossary.of([("train", "火车"), ("leave", "x" * 200)]),
    )  # fmt: skip
    assert told["text"] == expected.text
    assert "火车" in told["text"]
    assert missed(told) == [span.text for span in expected.checks.glossary] == ["leave"]
    assert "火车" not in translated(site)["text"]
    several = translated(site, text=None, texts=[HELLO, "the train"], glossary=[TERM])
    assert all("火车" in one["text"] for one in several["data"])


def test_terms_that_cannot_be_are_refused(start: Start) -> None:
    site = start(limits={"max_terms": 2})
    for glossary, status, words in (
        ([TERM, {"source": "Train", "target": "车"}], 400, "two targets: '火车' and '车'"),
        ([{"source": " ", "target": "x"}], 400, "a term is empty"),
        ([TERM] * 3, 400, "max_terms"),
        ([{"source": "x" * 201, "target": "x"}], 422, "200"),
        ([{"source": "x"}], 422, "glossary.0.target"),
        ("train", 422, "glossary"),
    ):
        body = {"text": HELLO, "to": "zh", "glossary": glossary}
        refused = site.client().post("/v1/translate", json=body)
        error = error_of(refused, status, "invalid_input")
        assert words in error["message"]


def test_the_server_has_terms_of_its_own_for_each_pair(
    start: Start, terms: Callable[..., str]
) -> None:
    file = terms("source,target,note", "train,火车,on rails")
    site = start(glossaries=(f"en:zh={file}",))
    for language in ({}, {"from": "en"}, {"from": "auto"}):
        assert "火车" in translated(site, **language)["text"]
    assert "火车" not in translated(site, glossary=[])["text"]
    other = translated(site, glossary=[{"source": "time", "target": "钟"}])
    assert ("钟" in other["text"]) != (missed(other) == ["time"])  # and no word of the train
    assert "火车" not in other["text"]
    back = translated(site, to="en")
    assert "火车" not in back["text"]
    assert missed(back) == []
    mixed = translated(site, text=None, texts=[HELLO, "火车几点出发？"], **{"from": "auto"})
    assert "火车" in mixed["data"][0]["text"]


def test_clients_of_libretranslate_get_the_terms_of_the_server(
    start: Start, terms: Callable[..., str]
) -> None:
    site, text = start(glossaries=(terms("cold,冷"),)), "the food was cold"
    client, model = LibreTranslateAPI(site.url), site.served.model
    expected = model.translate(text, "zh", glossary=Glossary.of([("cold", "冷")])).text
    assert "冷" in expected
    assert client.translate(text, "en", "zh") == expected
    assert client.translate(text, "auto", "zh") == expected
    page = {"q": f"<p>{text}</p>", "source": "en", "target": "zh", "format": "html"}
    assert "冷" in site.client().post("/translate", json=page).json()["translatedText"]


def test_the_first_glossary_that_fits_is_used(terms: Callable[..., str]) -> None:
    en, de, all_ = (terms(f"a,{name}", name=f"{name}.csv") for name in ("en", "de", "all"))
    glossaries = Glossaries.read([f"en:zh={en}", f"de:zh={de}", all_])

    def target(text: str, to: str | None, from_: str | None) -> str | None:
        found = glossaries.of([text], to, from_, ["en", "de", "zh"])
        return None if found is None else found.terms[0].target

    assert target("", "zh", "en") == "en"
    assert target("", "zh", "de") == "de"
    assert target("das ist nicht gut und wir haben es", "zh", None) == "de"
    assert target("das ist nicht gut und wir haben es", "zh", "auto") == "de"
    assert target("", "en", "zh") == "all"
    assert target("", None, None) == "all"
    assert Glossaries().of(["a"], "zh", "en", ["en"]) is None


@pytest.mark.parametrize(
    ("rows", "named", "error", "words"),
    [
        (["a,b", "A,c"], "", DataError, "line 2: 'A' is 'c' here and 'b' in line 1"),
        ([], "", DataError, "no terms"),
        (["a,b"], "en:ge=", ConfigError, "for 'ge'; the models know en, zh"),
        (["a,b"], "nowhere/", DataError, "cannot be read"),
    ],
)
def test_a_server_does_not_start_with_terms_that_cannot_be(
    terms: Callable[..., str],
    tiny_model_folder: Callable[..., Path],
    tmp_path: Path,
    rows: list[str],
    named: str,
    error: type[Exception],
    words: str,
) -> None:
    folder, data = str(tiny_model_folder()), str(tmp_path / "data")
    given = f"{named}{terms(*rows)}"
    with pytest.raises(error, match=words):
        invoke(["serve", "--port", "0", "-m", folder, "--data", data, "--glossary", given])
