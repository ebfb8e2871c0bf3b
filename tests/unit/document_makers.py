"""Documents for tests: what a strategy makes of every format, and a translator that shouts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

import yaml
from hypothesis import strategies as st

from duologue.apps.documents import Document, Mark, Parts

ANY_TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200
).filter(lambda text: text.strip() and not text.startswith("\ufeff"))


def of_pieces(*pieces: str) -> st.SearchStrategy[str]:
    """Texts of these pieces in any order, and of any characters."""
    piece = st.one_of(st.sampled_from(pieces), st.text(st.characters(codec="utf-8"), max_size=8))
    return (
        st.lists(piece, min_size=1, max_size=30)
        .map("".join)
        .filter(
            lambda text: bool(text.strip()) and "\0" not in text and not text.startswith("\ufeff")
        )
    )


MARKDOWN = of_pieces(
    "# Head\n",
    "word ",
    "**bold** ",
    "*it* ",
    "`co*de` ",
    '[link](http://a.b "t") ',
    "![i](p) ",
    "\n",
    "\n\n",
    "- item\n",
    "1. one\n",
    "> quote\n",
    "```\ncode\n```\n",
    "    code\n",
    "| a | b |\n",
    "|---|---|\n",
    "---\n",
    "<div>\nhtml\n</div>\n",
    "\\* ",
    "&amp; ",
    "<b>x</b> ",
    "[r]: http://x\n",
    "[r] ",
    "_a_b_ ",
    "***x*** ",
    "\r\n",
    "\t",
    "$x$ ",
    "[^1]",
    "`` ` ``",
)
HTML = of_pieces(
    "<p>",
    "</p>",
    "word ",
    "<b>",
    "</b>",
    "<a href='x' title=\"tip\">",
    "</a>",
    "<br>",
    "<br/>",
    "&amp;",
    "&nbsp;",
    "&#65;",
    "<code>x &lt; y</code>",
    "<pre>a\n b</pre>",
    "<script>if(a<b){}",
    "</script>",
    "<!-- c -->",
    "<!DOCTYPE html>",
    "\n  ",
    "<img alt='a b'>",
    "<span translate=no>",
    "</span>",
    '<input placeholder="p q">',
    "<",
    ">",
    '"',
    "<style>p{}</style>",
    "</div>",
)
SUBTITLES = of_pieces(
    "1\n",
    "00:00:01,000 --> 00:00:02,000\n",
    "00:01.000 --> 00:02.000 align:start\n",
    "Hello you\n",
    "- Hi\n- Ho\n",
    "<i>word</i> more\n",
    "\n",
    "WEBVTT\n\n",
    "{\\an8}top\n",
    "NOTE c\n\n",
    "\r\n",
    "<v Bob>said</v>\n",
    "&amp; ",
    "a very long line that goes on and on until it is broken\n",
).map(lambda text: f"{text}\n00:09.000 --> 00:10.000\nBye\n")
PROPERTIES = of_pieces(
    "key=value\n",
    "key : value here\n",
    "# comment \\\n",
    "! c\n",
    "a\\ b=c\\u00fcd\n",
    "x=one \\\n",
    "   two\n",
    "e=\n",
    "\\",
    "=",
    ":",
    " ",
    "\n",
    "\r\n",
    "\\ud83d\\ude00",
    "z=\\ud83d\n",
    "\f",
)

_WORDS = st.sampled_from(
    [
        "hello",
        "Größe",
        "two words",
        "你好",
        'it\'s "x"',
        "a: b",
        "# no",
        "- x",
        "yes",
        "1",
        "",
        "a\nb",
        " blank ",
        "tab\there",
        "{x}",
        "\\",
        "é",
    ]
)
_VALUES = st.recursive(
    st.one_of(_WORDS, st.integers(-9, 9), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_WORDS.filter(bool), inner, max_size=3)
    ),
    max_leaves=8,
)
JSON = st.builds(
    lambda value, indent, ascii: json.dumps(value, indent=indent, ensure_ascii=ascii),
    _VALUES,
    st.sampled_from([None, 0, 2, "\t"]),
    st.booleans(),
)
YAML = st.builds(
    lambda value, style, flow, tail: (
        yaml.safe_dump(
            value, default_style=style, default_flow_style=flow, allow_unicode=True, width=20
        )
        + tail
    ),
    _VALUES,
    st.sampled_from([None, "'", '"', "|", ">"]),
    st.booleans(),
    st.sampled_from(["", "# end\n"]),
).filter(lambda text: bool(text.strip()))
_PO_STRING = _WORDS.map(lambda text: json.dumps(text, ensure_ascii=False))
PO = st.lists(
    st.builds(
        lambda head, source, plural, old: (
            f"{head}msgid {source}\n"
            + (f'msgid_plural {plural}\nmsgstr[0] {old}\nmsgstr[1] ""\n' if plural else "")
            + ("" if plural else f"msgstr {old}\n")
            + "\n"
        ),
        st.sampled_from(["", "# c\n", "#, fuzzy\n", "#: a.c:1\n", 'msgctxt "menu"\n']),
        _PO_STRING,
        st.one_of(st.none(), _PO_STRING),
        st.sampled_from(['""', '"alt"', '""\n"two "\n"lines"']),
    ),
    min_size=1,
    max_size=5,
).map("".join)

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PRESERVED = ' xml:space="preserve"'
_RUN = st.one_of(
    st.builds(
        lambda look, text, kept: f"<w:r>{look}<w:t{PRESERVED * kept}>{escape(text)}</w:t></w:r>",
        st.sampled_from(["", "<w:rPr><w:b/></w:rPr>", "<w:rPr><w:i/><w:lang w:val='x'/></w:rPr>"]),
        _WORDS,
        st.booleans(),
    ),
    st.sampled_from(
        [
            "<w:r><w:br/></w:r>",
            "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t></w:r>",
            '<w:bookmarkStart w:id="0"/>',
            '<w:hyperlink r:id="r1"><w:r><w:t>link</w:t></w:r></w:hyperlink>',
            '<w:r><w:fldChar w:fldCharType="begin"/></w:r>',
            "<w:r><w:pict><w:txbxContent><w:p><w:r><w:t>box</w:t></w:r></w:p></w:txbxContent>"
            "</w:pict></w:r>",
            "<w:r/>",
        ]
    ),
)
DOCX_BODY = st.lists(
    st.lists(_RUN, max_size=5).map(lambda runs: f"<w:p><w:pPr/>{''.join(runs)}</w:p>"),
    min_size=1,
    max_size=4,
).map("".join)


def docx(body: str, **others: str) -> bytes:
    """A Word document; others are further members, whose names begin with `word/`."""
    names = f'xmlns:w="{W}" xmlns:r="http://x/r"'
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        head = '<?xml version="1.0" encoding="UTF-8"?>'
        content = f"{head}<w:document {names}><w:body>{body}</w:body></w:document>"
        file.writestr("word/document.xml", content)
        for name, inside in others.items():
            file.writestr(f"word/{name}.xml", f"<w:part {names}>{inside}</w:part>")
        file.writestr("word/media/image1.png", b"\x89PNG\0\1\2", zipfile.ZIP_STORED)
    return target.getvalue()


def shouted(document: Document) -> bytes:
    """The document as a translator leaves it that writes prose in capitals."""
    return document.write([shout(segment.parts) for segment in document.segments])


def shout(parts: Parts) -> Parts:
    return tuple(part if isinstance(part, Mark) else part.upper() for part in parts)


def unchanged(document: Document) -> bytes:
    """The document as a translator leaves it that changes nothing."""
    parts: Sequence[Parts] = [segment.parts for segment in document.segments]
    return document.write(parts)
