"""Where the elements of an XML text stand; the text is well-formed, which others have checked.

Nodes           the tags of a text in order, and which belong together
to_text, to_xml the text of character data, and back
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TAG = re.compile(
    r"<!--.*?-->|<\?.*?\?>|<!\[CDATA\[.*?\]\]>"
    r"""|<(?P<end>/)?(?P<name>[^\s/>!?]+)(?:"[^"]*"|'[^']*'|[^'">])*+>""",
    re.S,
)
_REFERENCE = re.compile(r"<!\[CDATA\[(.*?)\]\]>|&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));", re.S)
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
# What no XML may hold, however it is spelled.
_NEVER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Node:
    """A tag; opens: an element begins here and ends at another tag."""

    name: str
    start: int
    end: int
    opens: bool


class Nodes:
    """The tags of elements, by number; an element is named by its first tag."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._nodes: list[Node] = []
        self._closing: dict[int, int] = {}
        opened: list[int] = []
        for found in _TAG.finditer(text):
            if found["name"] is None:
                continue
            place = len(self._nodes)
            is_end, is_whole = bool(found["end"]), found[0].endswith("/>")
            opens = not is_end and not is_whole
            self._nodes.append(Node(found["name"], *found.span(), opens))
            if opens:
                opened.append(place)
            else:
                self._closing[opened.pop() if is_end else place] = place

    def at(self, place: int) -> Node:
        """The tag of that number."""
        return self._nodes[place]

    def closing(self, place: int) -> int:
        """The last tag of an element, which may be its first."""
        return self._closing[place]

    def end_of(self, place: int) -> int:
        """Where an element ends in the text."""
        return self._nodes[self._closing[place]].end

    def elements(self, name: str) -> Iterator[int]:
        """All elements of that name that may have something inside."""
        for place, node in enumerate(self._nodes):
            if node.opens and node.name == name:
                yield place

    def children(self, place: int) -> Iterator[int]:
        """The elements directly inside of one."""
        last = self._closing[place]
        child = place + 1
        while child < last:
            yield child
            child = self._closing[child] + 1

    def child(self, place: int, name: str) -> int | None:
        """The first element of that name directly inside of one."""
        return next((c for c in self.children(place) if self._nodes[c].name == name), None)


def to_text(data: str) -> str:
    """Character data as text."""

    def said(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        if found[2] or found[3]:
            return chr(int(found[2], 16) if found[2] else int(found[3]))
        return _ENTITIES[found[4]]

    return _REFERENCE.sub(said, data)


def to_xml(text: str) -> str:
    """Text as character data; what XML cannot hold is left out."""
    text = _NEVER.sub("", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
