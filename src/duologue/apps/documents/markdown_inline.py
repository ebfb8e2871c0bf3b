"""What stands inside of a line of Markdown: code, links, emphasis, escapes.

tokens        prose and marks in a stretch of the text
definitions   names of links that are defined somewhere in the text
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace

from duologue.apps.documents.tokens import Token

_INLINE = re.compile(
    r"""(?P<escape>\\[!-/:-@\[-`{-~])
    |(?P<code>`++)
    |(?P<auto><(?:https?|ftp|mailto):[^<>\s]*>|<[\w.+-]+@[\w.-]+>)
    |(?P<html></?(?P<tag>[A-Za-z][\w-]*+)(?:\s(?:"[^"]{0,500}+"|'[^']{0,500}+'|[^'"<>]++){0,40}+)?>
        |<!--.{0,2000}?-->)
    |(?P<image>!\[[^\]\[]*\](?:\([^()\s]*(?:\s+(?:"[^"]*"|'[^']*'))?\)|\[[^\]\[]*\]))
    |(?P<note>\[\^[^\]\s]+\])
    |(?P<math>\$(?=[^\s$])[^$\r\n]*?[^\s$\\]\$(?!\d))
    |(?P<entity>&(?:\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)
    |(?P<close>\](?:\((?:[^()\s]|\([^()\s]*\))*(?:\s+(?:"[^"]*"|'[^']*'))?\)|\[[^\]\[]*\])?)
    |(?P<open>\[)
    |(?P<emphasis>\*{1,3}|_{1,3}|~~)""",
    re.X | re.S,
)
_DEFINITION = re.compile(r"^[ ]{0,3}\[([^\]^][^\]]*)\]:", re.M)
_TICKS = re.compile("`+")
_SIGNS = frozenset("*_~")
_MAX_NESTED = 64
_VOID = ("br", "img", "hr", "wbr", "input")


def definitions(text: str) -> frozenset[str]:
    """The names under which links are defined, in small letters."""
    return frozenset(" ".join(name.split()).casefold() for name in _DEFINITION.findall(text))


def tokens(text: str, start: int, end: int, known: frozenset[str]) -> Iterator[Token]:
    """The prose and the marks of a stretch; known are names of links."""
    found = [*_found(text, start, end)]
    opened: list[int] = []
    for place, token in enumerate(found):
        if token.opens == "[":
            opened.append(place)
        elif token.closes == "[":
            if not opened:
                found[place] = _prose(token)
                continue
            first = opened.pop()
            label = text[found[first].end : token.start]
            if token.raw == "]" and " ".join(label.split()).casefold() not in known:
                found[first], found[place] = _prose(found[first]), _prose(token)
    for place in opened:
        found[place] = _prose(found[place])
    yield from _emphasised(text, found)


def _prose(token: Token) -> Token:
    """A mark that is none."""
    return Token(token.start, token.raw, token.raw)


def _found(text: str, start: int, end: int) -> Iterator[Token]:
    runs: dict[int, list[int]] = {}  # length -> where so many backticks begin
    for run in _TICKS.finditer(text, start, end):
        runs.setdefault(len(run[0]), []).append(run.start())
    place = start
    while found := _INLINE.search(text, place, end):
        begin, stop = found.span()
        yield Token(place, text[place:begin], text[place:begin])
        if found["code"]:
            same = runs.get(len(found["code"]), [])
            closing = bisect_left(same, stop)
            if closing < len(same):
                stop = same[closing] + len(found["code"])
                yield Token(begin, text[begin:stop], text[begin:stop], is_mark=True)
            else:
                yield Token(begin, found[0], found[0])
        else:
            yield _token(found)
        place = stop
    yield Token(place, text[place:end], text[place:end])


def _token(found: re.Match[str]) -> Token:
    start, raw = found.start(), found[0]
    match found.lastgroup:
        case "escape":
            return Token(start, raw, raw[1])
        case "entity":
            return Token(start, raw, html.unescape(raw))
        case "open":
            return Token(start, raw, "", True, opens="[")
        case "close":
            return Token(start, raw, "", True, closes="[")
        case "emphasis":
            return Token(start, raw, raw, True)
    if found["html"]:
        tag = (found["tag"] or "").lower()
        is_alone = not tag or raw.endswith("/>") or tag in _VOID
        is_end = raw.startswith("</")
        opens = "" if is_alone or is_end else f"<{tag}"
        said = " " if tag == "br" else ""
        return Token(start, raw, said, True, opens, f"<{tag}" if is_end else "")
    is_shown = found["auto"] or found["math"]
    return Token(start, raw, raw if is_shown else "", is_mark=True)


def _emphasised(text: str, found: list[Token]) -> Iterator[Token]:
    """The tokens, where signs of emphasis are marks if they have a partner, and else prose.

    A simpler rule than CommonMark's (section 6.2): signs pair with equal signs alone.
    """
    waiting: list[int] = []
    for place, token in enumerate(found):
        if not (token.is_mark and token.said == token.raw and set(token.raw) <= _SIGNS):
            continue
        before, after = text[token.start - 1 : token.start], text[token.end : token.end + 1]
        can_open = bool(after.strip()) and not (token.raw[0] == "_" and before.isalnum())
        can_close = bool(before.strip()) and not (token.raw[0] == "_" and after.isalnum())
        del waiting[: max(0, len(waiting) - _MAX_NESTED)]
        depth = len(waiting)
        while can_close and depth and found[waiting[depth - 1]].raw != token.raw:
            depth -= 1
        if can_close and depth and waiting[depth - 1] < place - 1:
            first = waiting[depth - 1]
            del waiting[depth - 1 :]
            found[first] = replace(found[first], said="", opens=token.raw)
            found[place] = replace(token, said="", closes=token.raw)
        elif can_open:
            waiting.append(place)
    for token in found:
        is_left = token.is_mark and token.said == token.raw and set(token.raw) <= _SIGNS
        yield _prose(token) if is_left else token
