"""Sums in digits and words: "three plus four times 2", "zwölf geteilt durch 5", "三加四乘以二".

calculate  the value of the arithmetic in a text; a parser of its own, nothing is evaluated as code

    sum     = product (("+" | "-") product)*
    product = power (("*" | "/" | "%") power)*
    power   = sign ("^" power)?
    sign    = "-" sign | number | "(" sum ")" | root sign

Fractions are exact; numbers are bounded, so that no sum can take long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from duologue.apps.assistant.actions import Call, Outcome, action
from duologue.apps.assistant.values.found import Pieces
from duologue.apps.assistant.values.numbers import read_number
from duologue.errors import InputError

MAX_TOKENS = 100  # parentheses nest no deeper
_LARGEST = Fraction(10) ** 60
_MAX_POWER = 200

_SIGNS = {"+": "+", "-": "-", "−": "-", "*": "*", "×": "*", "·": "*", "x": "*", "/": "/", "÷": "/"}
_SIGNS |= {"^": "^", "(": "(", ")": ")", "（": "(", "）": ")", ":": "/"}
_WORDS = {
    "en": {
        "plus": "+",
        "and": "+",
        "minus": "-",
        "negative": "-",
        "less": "-",
        "times": "*",
        "multiplied by": "*",
        "divided by": "/",
        "over": "/",
        "to the power of": "^",
        "squared": "^2",
        "cubed": "^3",
        "percent of": "%of",
        "% of": "%of",
        "the square root of": "root",
        "square root of": "root",
    },
    "de": {
        "plus": "+",
        "und": "+",
        "minus": "-",
        "mal": "*",
        "geteilt durch": "/",
        "durch": "/",
        "hoch": "^",
        "zum quadrat": "^2",
        "prozent von": "%of",
        "% von": "%of",
        "die wurzel aus": "root",
        "wurzel aus": "root",
    },
    "zh": {
        "加 上": "+",
        "加": "+",
        "减 去": "-",
        "减": "-",
        "负": "-",
        "乘 以": "*",
        "乘": "*",
        "除 以": "/",
        "的 平 方": "^2",
    },
}


class _Token(NamedTuple):
    """A sign, or a number."""

    sign: str
    value: Fraction = Fraction(0)


@action("calculator.calculate")
def answer(call: Call) -> Outcome:
    """Slots: expression, if it was found; else the sum in the whole text."""
    for text in (str(call.slots.get("expression", "")), call.text):
        try:
            value = calculate(text, call.language)
        except InputError:
            return Outcome("impossible")
        if value is not None:
            exact = int(value) if value.denominator == 1 else float(value)
            return Outcome("done", {"result": exact})
    return Outcome("failed")


def calculate(text: str, language: str) -> Fraction | None:
    """The value of the longest sum in a text; None if there is none.

    Raises InputError for a division by zero, for numbers that grow out of bounds, and for more than
    MAX_TOKENS of them.
    """
    best: tuple[int, Fraction] | None = None
    tokens = _tokens(text, language)
    start = 0
    while start < len(tokens):
        parser = _Parser(tokens, start)
        try:
            value = parser.sum()
        except _NoSum:
            start += 1
            continue
        if best is None or parser.at - start > best[0]:
            best = parser.at - start, value
        start = max(parser.at, start + 1)
    return None if best is None else best[1]


def _tokens(text: str, language: str) -> list[_Token]:
    """Numbers and signs; whatever else stands between them becomes a sign that fits nothing."""
    pieces = Pieces(text)
    phrases = sorted(_WORDS[language].items(), key=lambda item: -len(item[0]))
    tokens: list[_Token] = []
    at = 0
    while at < len(pieces):
        if len(tokens) >= MAX_TOKENS:
            raise InputError("the sum is too long")
        read = read_number(pieces, at, language)
        if read is not None:
            tokens.append(_Token("number", Fraction(str(read[0]))))
            at += read[1]
            continue
        sign, size = _sign_at(pieces, at, phrases)
        tokens.append(_Token(sign[:1] if sign[:1] == "^" else sign))
        if sign[:1] == "^" and len(sign) > 1:
            tokens.append(_Token("number", Fraction(sign[1:])))
        at += size
    return tokens


def _sign_at(pieces: Pieces, at: int, phrases: list[tuple[str, str]]) -> tuple[str, int]:
    """The sign that a piece or a phrase means, "?" for none, and how many pieces it takes."""
    for phrase, sign in phrases:
        size = phrase.count(" ") + 1
        if pieces.words(at, size) == phrase:
            return sign, size
    return _SIGNS.get(pieces.word(at), "?"), 1


class _NoSum(Exception):  # noqa: N818 - not an error: the text goes on without a sum
    """No sum begins here."""


class _Parser:
    """Recursive descent over tokens; `at` is how far it came."""

    def __init__(self, tokens: list[_Token], at: int) -> None:
        self._tokens = tokens
        self.at = at

    def _sign(self) -> str:
        return self._tokens[self.at].sign if self.at < len(self._tokens) else ""

    def sum(self) -> Fraction:
        """The sum that begins here."""
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Fraction:
        return self._chain(("*", "/", "%of"), self._power)

    def _chain(self, signs: tuple[str, ...], below: Callable[[], Fraction]) -> Fraction:
        """Operands joined by signs of one rank; a sign that leads nowhere is left alone."""
        value = below()
        while self._sign() in signs:
            before, sign = self.at, self._sign()
            self.at += 1
            try:
                value = _applied(sign, value, below())
            except _NoSum:
                self.at = before
                break
        return value

    def _power(self) -> Fraction:
        base = self._operand()
        if self._sign() != "^":
            return base
        before = self.at
        self.at += 1
        try:
            return _applied("^", base, self._power())
        except _NoSum:
            self.at = before
            return base

    def _operand(self) -> Fraction:
        sign = self._sign()
        token = self._tokens[self.at] if sign else _Token("")
        self.at += 1
        if sign == "number":
            return token.value
        if sign == "-":
            return -self._power()
        if sign == "root":
            return _root(self._operand())
        if sign == "(":
            value = self.sum()
            if self._sign() == ")":
                self.at += 1
                return value
        raise _NoSum


def _applied(sign: str, left: Fraction, right: Fraction) -> Fraction:
    if sign == "/" and right == 0:
        raise InputError("nothing can be divided by zero")
    if sign == "^":
        return _raised(left, right)
    results = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
        "%of": lambda: left * right / 100,
    }
    return _bounded(results[sign]())


def _raised(base: Fraction, power: Fraction) -> Fraction:
    if abs(power) > _MAX_POWER or (base == 0 and power < 0):
        raise InputError("this power is out of bounds")
    if power.denominator != 1:
        if base < 0:
            raise InputError("no real number is this power")
        try:
            return _bounded(Fraction(float(base) ** float(power)))
        except OverflowError:
            raise InputError("this power is out of bounds") from None
    size = max(abs(base.numerator), base.denominator, 1)
    if math.log10(size) * abs(power) > 120:
        raise InputError("this power is out of bounds")
    return _bounded(base ** int(power))


def _root(value: Fraction) -> Fraction:
    if value < 0:
        raise InputError("no real number is this root")
    root = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if (root[0] ** 2, root[1] ** 2) == (value.numerator, value.denominator):
        return Fraction(*root)
    return Fraction(math.sqrt(value))


def _bounded(value: Fraction) -> Fraction:
    if abs(value) > _LARGEST or value.denominator > _LARGEST:
        raise InputError("the numbers are too large")
    return value
