"""Files to sections: kinds, headings, and what cannot be read."""

from __future__ import annotations

import builtins
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from duologue.apps.documents import archive
from duologue.apps.support import readers
from duologue.apps.support.outline import Section
from duologue.apps.support.readers import find_files, read_file
from duologue.errors import ConfigError, DataError

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def read(name: str, data: bytes | str) -> list[tuple[tuple[str, ...], str]]:
    content = data.encode() if isinstance(data, str) else data
    return [(section.headings, section.text) for section in read_file(Path(name), content)]


def docx(document: str, styles: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", document)
        if styles:
            archive.writestr("word/styles.xml", styles)
    return buffer.getvalue()


def pdf(*pages: str) -> bytes:
    """A PDF with one line on each page."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for text in pages:
        number = len(objects) + 1
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 "
            "/BaseFont /Helvetica >> >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        kids.append(f"{number} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    content, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    content += f"xref\n0 {size}\n0000000000 65535 f \n{table}"
    start = content.index("xref\n0")
    content += f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return content.encode()


# --- what is read --------------------------------------------------------------------------------


def test_markdown_gives_text_under_its_path_of_headings() -> None:
    text = """---
title: left out
---
Before all.

# Shop #

We sell [lamps](https://example.org/lamps).

## Returns
Within 30 days.

Opening hours
-------------
From 9.

```sh
# no heading
```

# Contact
Call us.
"""
    assert read("a.md", text) == [
        ((), "Before all."),
        (("Shop",), "We sell lamps."),
        (("Shop", "Returns"), "Within 30 days."),
        (("Shop", "Opening hours"), "From 9.\n\n# no heading"),
        (("Contact",), "Call us."),
    ]


def test_html_gives_blocks_and_leaves_out_what_is_not_shown() -> None:
    page = """<!DOCTYPE html><html><head><title>x</title><style>p {}</style></head><body>
    <nav><p>Home</p></nav><h1>Care &amp; use</h1><p>Clean with a <b>dry</b>
    cloth.</p><script>evil()</script><h3>Glass</h3><ul><li>One<li>Two</ul><br/>End &#8364;5"""
    assert read("a.HTML", page) == [
        (("Care & use",), "Clean with a dry cloth."),
        (("Care & use", "Glass"), "One\n\nTwo\n\nEnd €5"),
    ]


def test_a_text_file_is_paragraphs_in_utf_8_or_marked_utf_16() -> None:
    expected = [((), "One\nline.\n\nTwo: 你好")]
    text = "One\r\nline.\r\n\r\n\r\nTwo: 你好\r\n"
    assert read("a.txt", text) == expected
    assert read("a.txt", text.encode("utf-8-sig")) == expected
    assert read("a.txt", text.encode("utf-16")) == expected


@pytest.mark.parametrize(
    "text",
    [
        'question,answer\n"How, then?","So."\n\nWhen?,Now.\n',
        "id;Answer;Question\n1;So.;How, then?\n2;Now.;When?\n",
        "问题\t答案\nHow, then?\tSo.\nWhen?\tNow.\n",
    ],
)
def test_a_faq_row_is_an_answer_under_its_question(text: str) -> None:
    assert read("faq.csv", text) == [(("How, then?",), "So."), (("When?",), "Now.")]


def test_docx_headings_come_from_styles() -> None:
    styles = f"""<w:styles {W}><w:style w:styleId="1"><w:name w:val="heading 1"/></w:style>
    <w:style w:styleId="B"><w:name w:val="Body"/></w:style></w:styles>"""
    document = f"""<w:document {W}><w:body>
    <w:p><w:pPr><w:pStyle w:val="1"/></w:pPr><w:r><w:t>Care</w:t></w:r></w:p>
    <w:p><w:pPr><w:pStyle w:val="B"/></w:pPr><w:r><w:t>Use a </w:t></w:r><w:r><w:t>dry</w:t>
    <w:tab/><w:t>cloth.</w:t></w:r></w:p>
    <w:tbl><w:tr><w:tc><w:p><w:r><w:t>Cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
    </w:body></w:document>"""
    assert read("a.docx", docx(document, styles)) == [(("Care",), "Use a dry cloth.\n\nCell")]


def test_each_page_of_a_pdf_is_a_section() -> None:
    pytest.importorskip("pypdf")
    assert read("a.pdf", pdf("Hello there.", "", "Second page.")) == [
        (("p. 1",), "Hello there."),
        (("p. 3",), "Second page."),
    ]


def test_folders_are_searched_for_files_of_known_kinds(tmp_path: Path) -> None:
    for name in ("b.md", "inner/a.TXT", "c.png", ".hidden/d.md", ".e.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [str(path.relative_to(tmp_path)) for path in find_files(tmp_path)]
    assert found == ["b.md", "inner/a.TXT"]


# --- what is not ---------------------------------------------------------------------------------

ENTITIES = '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.png", b"x", "unknown kind of file"),
        ("a.txt", b"", "holds no text"),
        ("a.md", b" \n\n", "holds no text"),
        ("a.html", b"<script>x</script>", "holds no text"),
        ("a.txt", b"one\ntwo \xff", "line 2: not UTF-8"),
        ("a.txt", "zwei ä".encode("latin-1"), "line 1: not UTF-8"),
        ("a.md", b"a\0b", "binary, not text"),
        ("faq.csv", b"what,why\na,b\n", "line 1: one column called 'question' is needed"),
        ("faq.csv", b"question,answer\nWhen?,\n", "line 2: a question or its answer is missing"),
        ("faq.csv", b'question,answer\nWhen?,"now\n', "not a CSV row"),
        ("a.docx", b"PK nothing", "no zip archive"),
        ("a.docx", docx("<w:document"), "word/document.xml in it is damaged"),
        ("a.docx", docx(f"{ENTITIES}<d>&b;</d>"), "declares a document type"),
        (
            "a.docx",
            docx(ENTITIES + "<d/>").replace(b"word/document", b"word/documemt"),
            "no Word document",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_the_file(name: str, data: bytes, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read_file(Path(name), data)
    assert str(caught.value).startswith(name)
    assert problem in str(caught.value)


def test_an_entity_in_utf_16_is_refused_as_well() -> None:
    data = docx(f'<?xml version="1.0" encoding="utf-16"?>{ENTITIES}<d>&b;</d>')
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", f"{ENTITIES}<d>&b;</d>".encode("utf-16"))
    for content in (data, buffer.getvalue()):
        with pytest.raises(DataError):
            read_file(Path("a.docx"), content)


@pytest.mark.parametrize("text", ["", "scan"])
def test_pdfs_without_text_or_sense_are_told(text: str) -> None:
    pytest.importorskip("pypdf")
    data, problem = (pdf("", ""), "holds no text") if not text else (b"%PDF-1.4 x", "no PDF")
    with pytest.raises(DataError, match=problem):
        read_file(Path("a.pdf"), data)


def test_without_pypdf_a_pdf_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "pypdf":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"duologue\[documents\]"):
        read_file(Path("a.pdf"), pdf("Hello."))


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="11 bytes; at most 10 are read"):
        read_file(Path("a.txt"), b"x" * 11)
    monkeypatch.setattr(readers, "MAX_FILE_BYTES", 10**6)
    monkeypatch.setattr(readers, "MAX_TEXT_CHARS", 10)
    with pytest.raises(DataError, match="more than 10 characters"):
        read_file(Path("a.txt"), b"x" * 11)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1000)
    bomb = docx(f"<w:document {W}>{' ' * 10**6}</w:document>")
    assert len(bomb) < 2000
    with pytest.raises(DataError, match="at most 1,000 are read"):
        read_file(Path("a.docx"), bomb)


def test_a_long_heading_is_shortened() -> None:
    (section,) = read_file(Path("a.md"), f"# {'word ' * 100}\n\nText.".encode())
    assert section == Section(section.headings, "Text.")
    assert len(section.headings[0]) <= readers.MAX_HEADING_CHARS
    assert section.headings[0].endswith("…")
