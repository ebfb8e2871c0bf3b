"""Documents: read into segments and written back, with everything else as it was."""

# ruff: noqa: E501, W291 - documents stand here as they are

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import document_makers as makers
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from duologue.apps.documents import FORMATS, format_of, read_document
from duologue.apps.documents.html_lexer import cut
from duologue.errors import InputError

TEXTS = {
    "txt": makers.ANY_TEXT,
    "md": makers.MARKDOWN,
    "html": makers.HTML,
    "srt": makers.SUBTITLES,
    "vtt": makers.SUBTITLES,
    "json": makers.JSON,
    "yaml": makers.YAML,
    "properties": makers.PROPERTIES,
}


def texts(data: bytes | str, format: str) -> list[str]:
    data = data.encode() if isinstance(data, str) else data
    return [segment.text for segment in read_document(data, format).segments]


def shouted(text: str, format: str) -> str:
    return makers.shouted(read_document(text.encode(), format)).decode()


# --- nothing changes where nothing is translated ------------------------------------------------


@pytest.mark.parametrize("format", TEXTS)
def test_a_document_whose_segments_come_back_is_the_same_byte_for_byte(format: str) -> None:
    @given(TEXTS[format], st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    def check(text: str, encoding: str) -> None:
        data = text.encode(encoding)
        document = read_document(data, format)
        assert makers.unchanged(document) == data
        assert document.write([None] * len(document.segments)) == data

    check()


@given(makers.PO)
def test_a_catalogue_changes_only_where_a_translation_is_written(text: str) -> None:
    data = text.encode()
    document = read_document(data, "po")
    assert document.write([None] * len(document.segments)) == data
    filled = makers.unchanged(document)
    again = read_document(filled, "po")
    assert makers.unchanged(again) == filled
    assert [line for line in filled.decode().split("\n") if line.startswith(("#", "msgid"))] == [
        line for line in text.split("\n") if line.startswith(("#", "msgid"))
    ]


@given(makers.DOCX_BODY)
def test_a_word_document_whose_segments_come_back_is_the_same_byte_for_byte(body: str) -> None:
    data = makers.docx(body, header1="<w:p><w:r><w:t>Head</w:t></w:r></w:p>")
    assert makers.unchanged(read_document(data, "docx")) == data


# --- only prose changes -------------------------------------------------------------------------


@given(makers.HTML)
def test_mark_up_of_html_stays_whatever_becomes_of_the_text(text: str) -> None:
    def tags(document: str) -> list[str]:
        return [node.content.lower() for node in cut(document) if not node.is_text]

    assert tags(shouted(text, "html")) == tags(text)


@given(makers.JSON)
def test_keys_numbers_and_blanks_of_json_stay(text: str) -> None:
    def loud(value: object) -> object:
        if isinstance(value, dict):
            return {key: loud(item) for key, item in value.items()}
        if isinstance(value, list):
            return [loud(item) for item in value]
        return value.upper() if isinstance(value, str) else value

    assert json.loads(shouted(text, "json")) == loud(json.loads(text))


@given(makers.YAML)
def test_yaml_keeps_its_keys_and_what_is_no_string(text: str) -> None:
    def same(one: object, other: object) -> bool:
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(same, one, other))
        if isinstance(one, str) and isinstance(other, str):
            return one.upper().split() == other.split()
        return one == other and type(one) is type(other)

    assert same(yaml.safe_load(text), yaml.safe_load(shouted(text, "yaml")))


EXAMPLES = {
    "txt": ("One line.\r\n\r\n  two  \n42\n", "ONE LINE.\r\n\r\n  TWO  \n42\n"),
    "md": (
        """---
title: stays
---
# Head *ing* #

Some **bold** `code` and a [link](http://a.b/c_d "t") with
a break, snake_case &amp; ![alt](i.png) [ref] <b>x</b>.
Hard end  
next[^1]

- one
  goes on
- [ ] task
    1. inner

> said
> so

| a | b \\| c |
|---|:-:|
| d | `e` |

```py
code
```

    code, too

<div>
html
</div>

Under
=====

[ref]: http://foo "title"
[^1]: A note
""",
        """---
title: stays
---
# HEAD *ING* #

SOME **BOLD** `code` AND A [LINK](http://a.b/c_d "t") WITH A BREAK, SNAKE_CASE &amp; ![alt](i.png) [REF] <b>X</b>. HARD END  
NEXT[^1]

- ONE GOES ON
- [ ] TASK
    1. INNER

> SAID SO

| A | B \\| C |
|---|:-:|
| D | `e` |

```py
code
```

    code, too

<div>
html
</div>

UNDER
=====

[ref]: http://foo "title"
[^1]: A NOTE
""",
    ),
    "html": (
        '<!DOCTYPE html><html lang="en"><title>My  page</title><style>p{}</style>\n'
        "<p>Some <b>text</b>,\n  <code>x &lt; y</code> &amp; <a href=a title='A tip'>a link</a>.<br>"
        'More <span translate="no">Acme</span> text</p><pre>keep</pre><div translate="no"><p>keep'
        '</p></div><input placeholder="Your name" value="keep"><img alt=bare><ul><li>One<li>Two</ul>',
        '<!DOCTYPE html><html lang="en"><title>MY PAGE</title><style>p{}</style>\n'
        "<p>SOME <b>TEXT</b>, <code>x &lt; y</code> &amp; <a href=a title='A TIP'>A LINK</a>.<br>"
        'MORE <span translate="no">Acme</span> TEXT</p><pre>keep</pre><div translate="no"><p>keep'
        '</p></div><input placeholder="YOUR NAME" value="keep"><img alt=bare><ul><li>ONE<li>TWO</ul>',
    ),
    "srt": (
        "1\n00:00:01,000 --> 00:00:02,000 X1:1\n<i>Hello</i>\nmy friend who is very long indeed, yes\n"
        "\n2\n00:00:03,000 --> 00:00:04,000\n- Hi.\n- Ho!\n",
        "1\n00:00:01,000 --> 00:00:02,000 X1:1\n<i>HELLO</i> MY FRIEND WHO\nIS VERY LONG INDEED, YES\n"
        "\n2\n00:00:03,000 --> 00:00:04,000\n- HI.\n- HO!\n",
    ),
    "vtt": (
        "WEBVTT\n\nNOTE a note\n\nSTYLE\n::cue {}\n\nid\n00:01.000 --> 00:02.000 align:start\n"
        "<v Bob>Hello &amp; you</v> <00:01.500>now\n",
        "WEBVTT\n\nNOTE a note\n\nSTYLE\n::cue {}\n\nid\n00:01.000 --> 00:02.000 align:start\n"
        "<v Bob>HELLO &amp; YOU</v> <00:01.500>NOW\n",
    ),
    "json": (
        '{"a": "Say \\"x\\"",  "b": [1, "two", {"c": "\\u00fc\\t."}], "d": ""}\n',
        '{"a": "SAY \\"X\\"",  "b": [1, "TWO", {"c": "\\u00dc\\t."}], "d": ""}\n',
    ),
    "yaml": (
        "# comment\na: plain value  # c\nb: 'it''s'\nc: \"dq \\n line\"\nd: |\n  literal\n    more\n"
        'e: >-\n  folded\n  on\n\n  second\nf: [x y, "z", 12, true]\nl: &x text\no: *x\nm: &y !!str 1a\n'
        'p: it\nq: "yes"\n',
        "# comment\na: PLAIN VALUE  # c\nb: 'IT''S'\nc: \"DQ \\n LINE\"\nd: |\n  LITERAL\n    MORE\n"
        'e: >-\n  FOLDED ON\n\n  SECOND\nf: [X Y, "Z", 12, true]\nl: &x TEXT\no: *x\nm: &y !!str 1A\n'
        'p: IT\nq: "YES"\n',
    ),
    "po": (
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain\\n"\n\n#: a.c:1\nmsgid "Hello"\nmsgstr ""\n\n'
        '#, fuzzy, c-format\nmsgid ""\n"Long\\n"\n"text"\nmsgstr "alt"\n\nmsgid "done"\nmsgstr "fertig"\n'
        '\nmsgctxt "c"\nmsgid "a file"\nmsgid_plural "some files"\nmsgstr[0] ""\nmsgstr[1] ""\n'
        '\n#~ msgid "old"\n#~ msgstr "alt"\n',
        'msgid ""\nmsgstr ""\n"Content-Type: text/plain\\n"\n\n#: a.c:1\nmsgid "Hello"\nmsgstr "HELLO"\n\n'
        '#, fuzzy, c-format\nmsgid ""\n"Long\\n"\n"text"\nmsgstr ""\n"LONG\\n"\n"TEXT"\n\n'
        'msgid "done"\nmsgstr "fertig"\n'
        '\nmsgctxt "c"\nmsgid "a file"\nmsgid_plural "some files"\nmsgstr[0] "A FILE"\n'
        'msgstr[1] "SOME FILES"\n\n#~ msgid "old"\n#~ msgstr "alt"\n',
    ),
    "properties": (
        "# c \\\na=Hello wor\\\n   ld\nb : x\\u00fcy \\: z\n! no\nc   value\nd=\n\\ e\\==f\n",
        "# c \\\na=HELLO WORLD\nb : X\\u00dcY \\: Z\n! no\nc   VALUE\nd=\n\\ e\\==F\n",
    ),
}


@pytest.mark.parametrize("format", EXAMPLES)
def test_only_prose_changes(format: str) -> None:
    before, after = EXAMPLES[format]
    assert shouted(before, format) == after


def test_every_format_is_tested() -> None:
    assert {*EXAMPLES, "docx"} == set(FORMATS)


# --- details ------------------------------------------------------------------------------------


def written(data: str, format: str, change: Callable[[str], str]) -> str:
    document = read_document(data.encode(), format)
    parts = [(change(segment.text),) for segment in document.segments]
    return document.write(parts).decode()


def test_a_paragraph_of_markdown_never_becomes_a_list_or_a_heading() -> None:
    for text in ("1. Mai", "- x", "# x", "> x", "+ x", "| x"):
        raw = written("May first\n", "md", lambda _, text=text: text)
        assert raw.replace("\\", "") == f"{text}\n"
        assert texts(raw, "md") == [text]


def test_what_prose_must_not_hold_is_escaped() -> None:
    assert written("<p>x</p>", "html", lambda _: "a < b & c") == "<p>a &lt; b &amp; c</p>"
    assert written('<img alt="x">', "html", lambda _: 'a "b"') == '<img alt="a &quot;b&quot;">'
    assert written('{"a": "x"}', "json", lambda _: 'a "b"\\\n') == '{"a": "a \\"b\\"\\\\\\n"}'
    assert written("| a | b |\n|--|--|\n", "md", lambda _: "x | y").startswith(
        "| x \\| y | x \\| y |"
    )
    assert written("a=x\n", "properties", lambda _: "ü\\\n") == "a=\\u00fc\\\\\\n\n"
    assert written('msgid "x"\nmsgstr ""\n', "po", lambda _: '"\\') == (
        'msgid "x"\nmsgstr "\\"\\\\"\n'
    )


@pytest.mark.parametrize(
    "value", ["yes", "12", "a: b", "a #b", "- x", "{x}", "", "'q'", "null", "x\ny", "*a", "a, b]"]
)
@pytest.mark.parametrize("document", ["k: word\n", "k: 'word'\n", "[word]\n", '{k: "word"}\n'])
def test_a_translation_stays_a_string_in_yaml(document: str, value: str) -> None:
    raw = yaml.safe_load(written(document, "yaml", lambda _: value))
    assert raw in ({"k": value}, [value])


def test_places_are_told_as_lines() -> None:
    document = read_document(b"one\n\ntwo\r\nthree", "txt")
    assert document.places == ("line 1", "line 3", "line 4")


def test_line_breaks_inside_of_chinese_paragraphs_are_no_blanks() -> None:
    assert texts("你好\n世界\n", "md") == ["你好世界"]
    assert texts("hello\nworld\n", "md") == ["hello world"]


def test_a_format_is_known_by_the_ending_of_a_name() -> None:
    names = {"a.TXT": "txt", "b.markdown": "md", "c.htm": "html", "d.yml": "yaml", "e.pot": "po"}
    assert {name: format_of(Path(name)) for name in names} == names
    for name in ("a.pdf", "noending", ".md"):
        with pytest.raises(InputError, match="the format is unknown"):
            format_of(Path(name))


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "data", [b"", b"\0\1\2\3" * 50, b"caf\xe9 au lait", b"\xff\xfe\x00", "€".encode("utf-32")]
)
def test_what_is_no_text_is_refused(format: str, data: bytes) -> None:
    with pytest.raises(InputError):
        read_document(data, format)


@pytest.mark.parametrize(
    ("format", "data", "problem"),
    [
        ("json", b'{"a": }', "no JSON: line 1"),
        ("json", b"[" * 100_000, "no JSON"),
        ("yaml", b"a: [1\nb: 2", "no YAML: line 2"),
        ("yaml", b"[" * 500, "nested"),
        ("yaml", b"a: \x07", "no YAML"),
        ("po", b"hello there", "line 1"),
        ("srt", b"hello there\n", "no subtitles"),
        ("vtt", b"hello there\n", "no subtitles"),
        ("po", b"# only a comment\n", "no msgid"),
        ("html", b'<meta charset="iso-8859-1"><p>x', "iso-8859-1"),
        ("txt", b"   \n ", "empty"),
        ("pdf", b"x", "unknown"),
    ],
)
def test_what_is_of_another_format_is_refused(format: str, data: bytes, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_document(data, format)


HOSTILE = {
    "md": [
        "*a",
        "`",
        "``a`",
        "[",
        "![",
        "<a '",
        "<!--",
        "|",
        "> ",
        "- ",
        "$a",
        "](",
        "**a_b",
        "&",
        "\\",
    ],
    "html": ["<b>", "<a title='x'>", "<", "&amp", "<span translate=no>", "</b>", "<i></b>"],
    "srt": ["00:00:01,000 --> 00:00:02,000\n", "\n", "<i>", "- ", "00:"],
    "properties": ["\\", "\\u", "=", "a=\\\n", " "],
    "po": ['msgid "a"\n', '"a"\n', 'msgid ""\nmsgstr ""\n'],
}


@pytest.mark.parametrize(
    ("format", "piece"), [(format, piece) for format, all in HOSTILE.items() for piece in all]
)
def test_a_hostile_document_is_read_in_one_go(format: str, piece: str) -> None:
    data = (piece * 4_000).encode()
    try:
        document = read_document(data, format)
    except InputError:
        return
    assert document.write([None] * len(document.segments)) == data
