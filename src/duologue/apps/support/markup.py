"""Text with headings out of .html, .docx and .pdf.

read_html   every block of text is a paragraph; scripts, styles and navigation are left out
read_docx   paragraphs and table cells; headings by their style
read_pdf    each page is a section; needs pypdf

All raise DataError. Nothing is fetched, no entity is expanded, and what unpacks to too much is
refused.
"""

from __future__ import annotations

import io
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from duologue.apps.documents.docx import MAIN_PART, xml_parts
from duologue.apps.support.outline import Outline, Section
from duologue.data.text_file import decoded
from duologue.errors import ConfigError, DataError, InputError

MAX_PAGES = 5000

_HEADING = re.compile(r"h([1-6])")
_INLINE_TAGS = (
    "a abbr b bdi bdo cite code data del dfn em font i ins kbd label mark q s samp small span "
    "strike strong sub sup time tt u var wbr"
)
_INLINE = frozenset(_INLINE_TAGS.split())
_LEFT_OUT_TAGS = "script style template noscript nav svg math head iframe select"
_LEFT_OUT = frozenset(_LEFT_OUT_TAGS.split())


def read_html(path: Path, data: bytes) -> list[Section]:
    """See the module docstring."""
    parser = _HtmlReader()
    parser.feed(decoded(path, data))
    parser.close()
    parser.end_block()
    return parser.outline.sections()


class _HtmlReader(HTMLParser):
    """Blocks of text, as a browser would put them below each other."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.outline = Outline()
        self._text: list[str] = []
        self._level = 0  # of the heading that is open
        self._left_out: list[str] = []  # the open element that is left out, and those like it in it

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._left_out:
            if tag == self._left_out[0]:
                self._left_out.append(tag)
            return
        if tag in _LEFT_OUT:
            self._left_out.append(tag)
        if tag not in _INLINE:
            self.end_block()
        heading = _HEADING.fullmatch(tag)
        if heading is not None:
            self._level = int(heading[1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _INLINE and not self._left_out:
            self.end_block()

    def handle_endtag(self, tag: str) -> None:
        if self._left_out:
            if tag == self._left_out[0]:
                self._left_out.pop()
        elif tag not in _INLINE:
            self.end_block()

    def handle_data(self, data: str) -> None:
        if not self._left_out:
            self._text.append(data)

    def end_block(self) -> None:
        """What was read since the last block is a heading, or a paragraph."""
        text = " ".join("".join(self._text).split())
        self._text.clear()
        if self._level:
            self.outline.heading(self._level, text)
        else:
            self.outline.paragraph(text)
        self._level = 0


# --- .docx ---------------------------------------------------------------------------------------

_STYLES_PART = "word/styles.xml"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HEADING_NAME = re.compile(r"(?:heading|überschrift|标题)\s*([1-9])", re.IGNORECASE)


def read_docx(path: Path, data: bytes) -> list[Section]:
    """See the module docstring."""
    try:
        parts = xml_parts(data, (MAIN_PART, _STYLES_PART).__contains__)
    except InputError as error:
        raise DataError(path, None, str(error)) from None
    styles = _StyleReader()
    if _STYLES_PART in parts:
        _parse(parts[_STYLES_PART], styles)
    reader = _DocxReader(styles.levels)
    _parse(parts[MAIN_PART], reader)
    return reader.outline.sections()


class _Target:
    """What an XML file is told to."""

    def start(self, tag: str, attrs: dict[str, str]) -> None: ...
    def end(self, tag: str) -> None: ...
    def data(self, text: str) -> None: ...
    def close(self) -> None: ...


def _parse(content: bytes, target: _Target) -> None:
    parser = ElementTree.XMLParser(target=target)
    parser.feed(content)
    parser.close()


class _StyleReader(_Target):
    """Which styles are headings, and of which level."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self._style = ""

    def start(self, tag: str, attrs: dict[str, str]) -> None:
        value = attrs.get(f"{_W}val", "")
        if tag == f"{_W}style":
            self._style = attrs.get(f"{_W}styleId", "")
        elif tag == f"{_W}name" and (match := _HEADING_NAME.fullmatch(value)):
            self.levels[self._style] = int(match[1])
        elif tag == f"{_W}name" and value.casefold() == "title":
            self.levels[self._style] = 1


class _DocxReader(_Target):
    """Paragraphs of a document; levels: see _StyleReader."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.outline = Outline()
        self._levels = levels
        self._level = 0
        self._text: list[str] = []
        self._is_text = False

    def start(self, tag: str, attrs: dict[str, str]) -> None:
        if tag == f"{_W}p":
            self._end_paragraph()  # a text box lies in a paragraph
        elif tag == f"{_W}pStyle":
            self._level = self._levels.get(attrs.get(f"{_W}val", ""), 0)
        elif tag in (f"{_W}tab", f"{_W}br"):
            self._text.append(" ")
        self._is_text = tag == f"{_W}t"

    def data(self, text: str) -> None:
        if self._is_text:
            self._text.append(text)

    def end(self, tag: str) -> None:
        self._is_text = False
        if tag == f"{_W}p":
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        text = "".join(self._text)
        if self._level:
            self.outline.heading(self._level, text)
        else:
            self.outline.paragraph(text)
        self._text.clear()
        self._level = 0


# --- .pdf ----------------------------------------------------------------------------------------


def read_pdf(path: Path, data: bytes) -> list[Section]:
    """See the module docstring; raises ConfigError without pypdf."""
    try:
        import pypdf
    except ImportError:
        raise ConfigError(
            'PDF files need a package that is missing: pip install "duologue[documents]"'
        ) from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of what it can read
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError(path, None, "the PDF is encrypted")
        if len(reader.pages) > MAX_PAGES:
            raise DataError(path, None, f"more than {MAX_PAGES:,} pages")
        texts = [page.extract_text() for page in reader.pages]
    except DataError:
        raise
    except Exception as error:  # damaged files raise whatever the library stumbles over
        raise DataError(path, None, f"damaged, or no PDF: {type(error).__name__}") from None
    if not any(text.strip() for text in texts):
        raise DataError(path, None, "the PDF holds no text; scanned pages need OCR first")
    return [Section((f"p. {number}",), _unwrapped(text)) for number, text in enumerate(texts, 1)]


def _unwrapped(text: str) -> str:
    """Lines of a page as paragraphs: a line that ends no sentence goes on in the next."""
    paragraphs: list[str] = []
    text = text.replace("\0", "")
    for block in re.split(r"\n\s*\n", text):
        paragraphs.append(re.sub(r"[ \t]*\n[ \t]*", "\n", block.strip()))
    return "\n\n".join(paragraphs)
