"""Paragraphs of a part of a Word document (WordprocessingML, ECMA-376 part 1, section 17.3).

A paragraph is made of runs, each with a look of its own. The look that most of a paragraph has is
the paragraph's; a run that looks different is a pair of marks, as are links. Fields, pictures,
breaks and references are marks that stand alone. Text boxes hold paragraphs inside of marks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duologue.apps.documents.document import Segment
from duologue.apps.documents.tokens import Token, parts_of
from duologue.apps.documents.xml_nodes import Node, Nodes, to_text, to_xml
from duologue.apps.translate.parts import Mark, Parts

_WRAPPERS = frozenset(
    f"w:{name}" for name in ["hyperlink", "ins", "moveTo", "smartTag", "fldSimple", "dir", "bdo"]
)
_BREAKS = ("w:br", "w:tab", "w:cr")
_PRESERVED = 'xml:space="preserve"'
_LOOKLESS = re.compile(r"<w:(?:lang|noProof)\b[^>]*/>")


@dataclass(frozen=True)
class _Run:
    """A run with text: how it begins, how it looks, and its tokens; kinds is for _Renderer."""

    opening: Token
    closing: Token
    look: str
    tokens: list[Token]


def segments(text: str) -> Iterator[Segment]:
    """The paragraphs that say something, in order; those of text boxes too."""
    nodes = Nodes(text)
    found = (_Paragraph(nodes, place) for place in nodes.elements("w:p"))
    whole = (segment for paragraph in found if (segment := paragraph.segment()) is not None)
    yield from sorted(whole, key=lambda segment: segment.start)


class _Paragraph:
    """One paragraph on its way to a segment."""

    def __init__(self, nodes: Nodes, place: int) -> None:
        self._nodes = nodes
        self._place = place
        self._kinds: dict[int, str] = {}  # of marks, by where they start; see _Renderer

    def segment(self) -> Segment | None:
        """The paragraph without its properties; None if it says nothing."""
        contents = [*self._contents(self._place)]
        weights = Counter[str]()
        for item in contents:
            if isinstance(item, _Run):
                weights[item.look] += sum(len(t.said) for t in item.tokens if not t.is_mark)
        if not weights:
            return None
        base = max(weights, key=weights.__getitem__)
        opening = next(i.opening.raw for i in contents if isinstance(i, _Run) and i.look == base)
        parts = parts_of([*_merged(self._tokens(contents, base))])
        if parts is None:
            return None
        start = self._nodes.at(self._place).end
        children = [*self._nodes.children(self._place)]
        if children and self._nodes.at(children[0]).name == "w:pPr":
            start = self._nodes.end_of(children[0])
        end = self._nodes.at(self._nodes.closing(self._place)).start
        return Segment(start, end, parts, _Renderer(opening, self._kinds))

    def _tokens(self, contents: Sequence[Token | _Run], base: str) -> Iterator[Token]:
        for item in contents:
            if isinstance(item, Token):
                yield item
            elif item.look == base:
                yield from item.tokens
            else:
                yield item.opening
                yield from item.tokens
                yield item.closing

    def _contents(self, place: int) -> Iterator[Token | _Run]:
        """What is inside of an element: runs with text, and marks around and between them."""
        for child in self._nodes.children(place):
            node = self._nodes.at(child)
            if node.name == "w:pPr":
                continue
            if node.name == "w:r":
                yield self._run(child, node)
            elif node.name in _WRAPPERS and node.opens:
                yield from self._wrapped(child, child)
            elif node.name == "w:sdt" and (inner := self._nodes.child(child, "w:sdtContent")):
                yield from self._wrapped(child, inner)
            else:
                yield self._mark(node.start, self._nodes.end_of(child), "out")

    def _wrapped(self, outer: int, inner: int) -> Iterator[Token | _Run]:
        """An element around runs, whose contents are those of an inner one, or of itself."""
        first, last = self._nodes.at(outer), self._nodes.at(self._nodes.closing(inner))
        name = str(first.start)
        yield self._mark(first.start, self._nodes.at(inner).end, "out", opens=name)
        yield from self._contents(inner)
        yield self._mark(last.start, self._nodes.end_of(outer), "out", closes=name)

    def _run(self, place: int, node: Node) -> Token | _Run:
        """A run; one without text is a mark."""
        texts = [*self._nodes.children(place)]
        if not any(self._nodes.at(child).name == "w:t" for child in texts):
            return self._mark(node.start, self._nodes.end_of(place), "out")
        properties = ""
        begin = node.end
        if self._nodes.at(texts[0]).name == "w:rPr":
            begin = self._nodes.end_of(texts[0])
            properties = self._nodes.text[node.end : begin]
            texts = texts[1:]
        tokens: list[Token] = []
        for child in texts:
            item = self._nodes.at(child)
            end = self._nodes.end_of(child)
            if item.name == "w:t":
                tokens += self._prose(child)
            else:
                said = " " if item.name in _BREAKS else ""
                tokens.append(self._mark(item.start, end, "item", said=said))
        name = f"run {node.start}"
        last = self._nodes.at(self._nodes.closing(place))
        return _Run(
            self._mark(node.start, begin, "run", opens=name),
            self._mark(last.start, last.end, "end", closes=name),
            _LOOKLESS.sub("", properties),
            tokens,
        )

    def _prose(self, place: int) -> Iterator[Token]:
        node = self._nodes.at(place)
        if not node.opens:
            return
        start, end = node.end, self._nodes.at(self._nodes.closing(place)).start
        said = to_text(self._nodes.text[start:end])
        if _PRESERVED not in self._nodes.text[node.start : node.end]:
            said = said.strip()
        yield Token(start, self._nodes.text[start:end], said)

    def _mark(
        self, start: int, end: int, kind: str, said: str = "", opens: str = "", closes: str = ""
    ) -> Token:
        self._kinds[start] = kind
        return Token(start, self._nodes.text[start:end], said, True, opens, closes)


def _merged(tokens: Iterator[Token]) -> Iterator[Token]:
    """The tokens; a run that ends where another of its look begins goes on instead."""
    waiting: Token | None = None
    opened: Token | None = None
    renamed: dict[str, str] = {}
    for token in tokens:
        is_run = token.opens.startswith("run ")
        if waiting is not None:
            if is_run and opened is not None and token.raw == opened.raw:
                renamed[token.opens] = waiting.closes
                waiting = None
                continue
            yield waiting
            waiting = None
        if token.closes.startswith("run "):
            closes = renamed.get(token.closes, token.closes)
            waiting = Token(token.start, token.raw, "", True, closes=closes)
            continue
        if is_run:
            opened = token
        yield token
    if waiting is not None:
        yield waiting


@dataclass(frozen=True)
class _Renderer:
    """Spells parts as runs: text always stands in one, and no run in another.

    opening  how a run of the paragraph's own look begins
    kinds    of marks, by where they start: "run" begins a run and "end" ends it, an "item" must
             stand in a run and anything "out" must not
    """

    opening: str
    kinds: dict[int, str]

    def __call__(self, parts: Parts) -> str:
        result: list[str] = []
        opened = ""  # how the run that is open begins
        for part in parts:
            kind = self.kinds[part.start] if isinstance(part, Mark) else "item"
            if kind == "item" and not opened:
                opened = self.opening
                result.append(opened)
            elif kind == "run" or (kind == "out" and opened == self.opening):
                result += ["</w:r>"] * bool(opened)
                opened = ""
            if isinstance(part, str):
                result.append(_spelled(part))
            elif kind == "run":
                opened = part.raw
                result.append(opened)
            elif kind == "end":
                result += [part.raw] * bool(opened)
                opened = ""
            elif kind == "out" and opened:
                result += ["</w:r>", part.raw, opened]
            else:
                result.append(part.raw)
        result += ["</w:r>"] * bool(opened)
        return "".join(result)


def _spelled(text: str) -> str:
    """Text as the content of a run, blanks included."""
    space = ' xml:space="preserve"' if text != text.strip() else ""
    return f"<w:t{space}>{to_xml(text)}</w:t>"
