"""Word documents: runs, text boxes, everything else in the archive, and what is refused."""

from __future__ import annotations

import io
import re
import zipfile

import document_makers as makers
import pytest
from hypothesis import given

from duologue.apps.documents import archive, read_document
from duologue.errors import InputError


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def run(text: str, look: str = "") -> str:
    return f'<w:r>{look}<w:t xml:space="preserve">{text}</w:t></w:r>'


BOLD = "<w:rPr><w:b/></w:rPr>"


def shouted(body: str) -> str:
    data = makers.shouted(read_document(makers.docx(body), "docx"))
    text = members(data)["word/document.xml"].decode()
    return text.partition("<w:body>")[2].partition("</w:body>")[0]


def test_a_run_that_looks_different_is_a_pair_of_marks() -> None:
    body = f"<w:p>{run('A ')}{run('big', BOLD)}{run(' dog')}</w:p>"
    (segment,) = read_document(makers.docx(body), "docx").segments
    assert segment.text == "A big dog"
    first, second = segment.marks
    assert first.pair == second.pair is not None
    assert shouted(body) == f"<w:p>{run('A ')}<w:r>{BOLD}<w:t>BIG</w:t></w:r>{run(' DOG')}</w:p>"


def test_runs_that_look_alike_are_one() -> None:
    language = '<w:rPr><w:lang w:val="de"/></w:rPr>'
    body = f"<w:p>{run('Hel')}{run('lo', language)}<w:proofErr/>{run(' you')}</w:p>"
    (segment,) = read_document(makers.docx(body), "docx").segments
    assert segment.text == "Hello you"


def test_links_breaks_fields_and_bookmarks_stay() -> None:
    link = '<w:hyperlink r:id="r1"><w:r><w:t>link</w:t></w:r></w:hyperlink>'
    field = '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
    mark = '<w:bookmarkStart w:id="0"/>'
    body = (
        f"<w:p><w:pPr><w:b/></w:pPr>{mark}{run('See the ')}{link}{field}"
        "<w:r><w:t>or</w:t><w:br/><w:t>ask</w:t></w:r></w:p>"
    )
    text = shouted(body)
    for raw in ("<w:pPr><w:b/></w:pPr>", field, mark, "<w:br/>", '<w:hyperlink r:id="r1">'):
        assert text.count(raw) == 1
    assert re.sub("<[^>]*>", "", text) == "SEE THE LINKORASK"
    assert re.search(r'r:id="r1"><w:r><w:t>LINK</w:t></w:r></w:hyperlink>', text)


def test_paragraphs_of_text_boxes_are_segments_of_their_own() -> None:
    box = f"<w:pict><w:txbxContent><w:p>{run('inside')}</w:p></w:txbxContent></w:pict>"
    body = f"<w:p>{run('out')}<w:r>{box}</w:r>{run('side')}</w:p>"
    segments = read_document(makers.docx(body), "docx").segments
    assert [segment.text for segment in segments] == ["outside", "inside"]
    text = shouted(body)
    assert re.sub("<[^>]*>", "", text) == "OUTINSIDESIDE"
    assert text.count("<w:pict>") == 1


@given(makers.DOCX_BODY)
def test_what_is_written_is_a_document_with_the_same_mark_up(body: str) -> None:
    data = makers.docx(body)
    shouted = makers.shouted(read_document(data, "docx"))
    assert read_document(shouted, "docx")  # well-formed, and text stands in runs
    before, after = (members(item)["word/document.xml"].decode() for item in (data, shouted))
    kept = r"<w:(?:br|tab|bookmarkStart|hyperlink|pict|txbxContent|fldChar|p|pPr)\b[^>]*>"
    assert re.findall(kept, before) == re.findall(kept, after)
    assert not re.search(r"<w:t[ >][^<]*<(?!/w:t>)", after)
    assert not re.search(r"<w:r>(?:(?!</w:r>|<w:p>).)*<w:r>", after)


def test_headers_and_notes_are_read_and_everything_else_stays() -> None:
    header = f"<w:p>{run('Head')}</w:p>"
    data = makers.docx(f"<w:p>{run('Text')}</w:p>", header1=header, footnotes=header, styles=header)
    document = read_document(data, "docx")
    assert sorted(document.places) == [
        "footnote, paragraph 1",
        "header1, paragraph 1",
        "text, paragraph 1",
    ]
    before, after = members(data), members(makers.shouted(document))
    changed = {name for name in before if before[name] != after[name]}
    assert list(before) == list(after)
    assert changed == {"word/document.xml", "word/header1.xml", "word/footnotes.xml"}


def test_blanks_count_only_where_they_are_preserved() -> None:
    (segment,) = read_document(
        makers.docx("<w:p><w:r><w:t> one </w:t></w:r><w:r><w:t>two</w:t></w:r></w:p>"), "docx"
    ).segments
    assert segment.text == "onetwo"


# --- refused ------------------------------------------------------------------------------------


def packed(document: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("word/document.xml", document)
    return target.getvalue()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"PK\3\4 nonsense", "no zip archive"),
        (makers.docx("<w:p/>")[:-30], "no zip archive"),
        (packed(b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), "document type"),
        (packed(b"<a><b></a>"), "damaged"),
        (packed(b'<?xml version="1.0" encoding="latin-1"?><a>\xe9</a>'), "not UTF-8"),
        (packed(b"<a>" * 1000 + b"</a>" * 1000), "nested"),
    ],
)
def test_a_broken_or_harmful_document_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_document(data, "docx")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed(b"<a>" + b" " * 100_000 + b"</a>")
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 50_000)
    with pytest.raises(InputError, match="100,007 bytes"):
        read_document(bomb, "docx")
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 50_000)
    with pytest.raises(InputError, match="unpacks to"):
        read_document(bomb, "docx")


def test_an_archive_without_a_document_is_refused() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("hello.txt", "hi")
    with pytest.raises(InputError, match=r"no word/document\.xml"):
        read_document(target.getvalue(), "docx")
