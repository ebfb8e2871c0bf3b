"""A line in, a line out: how translate, sentiment and intent read and write.

batches    the texts of a command, from its arguments or from stdin, as they arrive
answer     runs a prediction over all batches and prints one line for each text

An empty line is answered by an empty line. Output lines never hold a control character, so a
reply can neither break the line count nor steer a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from duologue.errors import InputError
from duologue.types import Result, Span

BATCH_LINES = 64
MAX_LINE_BYTES = 4 << 20  # longer texts no model takes
_CHUNK_BYTES = 1 << 16
_SHOWN_SPANS, _SHOWN_CHARS = 3, 60
_FINDINGS = {
    "uncovered": "of the source this may be missing",
    "invented": "this may not be in the source",
    "wrong_language": "this may be in another language",
    "glossary": "these terms did not come out as told",
}
_ENDS = {
    "length": "the answer reached its length limit and is cut",
    "abort": "the answer was ended early and is cut",
}
_NO_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")


def batches(texts: Sequence[str] | None) -> Iterator[list[str]]:
    """Texts in batches of at most 64; lines from stdin come as soon as they are there.

    Raises InputError for texts that are empty or not UTF-8, and for overlong lines.
    """
    if texts:
        yield from _chunks([_argument(text, number) for number, text in enumerate(texts, 1)])
    else:
        yield from _stdin_batches()


def answer(
    texts: Sequence[str] | None,
    predict: Callable[[list[str]], list[Result]],
    line_of: Callable[[Result], str],
    as_json: bool,
    more_of: Callable[[Result], Sequence[str]] = lambda _: (),
) -> None:
    """Print one line for each text, in order.

    predict  answers a batch of texts none of which is empty
    line_of  what to print of a result without --json; more_of: lines after it
    """
    number = 0
    for batch in batches(texts):
        filled = [text for text in batch if text.strip()]
        results = iter(predict(filled) if filled else [])
        for text in batch:
            number += 1
            if not text.strip():
                print(to_json(Result("", "stop")) if as_json else "")
                continue
            result = next(results)
            lines = [to_json(result)] if as_json else [line_of(result), *more_of(result)]
            for line in lines:
                print(line if as_json else printable(line, keep="\t"))
            warn(result, f"text {number}: ")
        sys.stdout.flush()  # whoever writes one line and waits gets its answer


def with_influence(line: str, result: Result) -> str:
    """A line with one more field: the spans that the result needs, and how much."""
    return f"{line}\t{shares(result.influence)}"


def shares(spans: Iterable[Span]) -> str:
    """Spans with their scores, on one line."""
    return ", ".join(f'"{" ".join(span.text.split())}" ({span.score:.0%})' for span in spans)


def to_json(result: Result) -> str:
    """The result as one line of JSON."""
    return json.dumps(result.to_dict(), ensure_ascii=False)


def printable(text: str, keep: str = "") -> str:
    """The text with blanks for control characters, save those to keep."""
    return "".join(char if char in keep else char.translate(_NO_CONTROLS) for char in text)


def warn(result: Result, where: str = "") -> None:
    """Tell on stderr what the result says was not read or not finished."""
    problems = []
    if spans := result.checks.source_truncated:
        unread = sum(span.end - span.start for span in spans)
        problems.append(f"too long; {unread} characters were not read")
    if result.checks.source_split:
        problems.append("a sentence is too long; it was read one piece at a time")
    if turns := result.checks.trimmed_turns:
        problems.append(f"the memory is full; {turns} earlier turns were forgotten")
    for what, problem in _FINDINGS.items():
        if found := getattr(result.checks, what):
            problems.append(f"{problem}: {_quoted(found)}")
    if lost := result.checks.lost:
        problems.append(f"these are missing or too many: {', '.join(lost[:_SHOWN_SPANS])}")
    if result.match is not None and result.match.score < 1:
        alike = f"{result.match.score:.0%}"
        problems.append(f"the translation of a similar text of the memory ({alike})")
    if ended := _ENDS.get(result.finish_reason):
        problems.append(ended)
    for problem in problems:
        print(f"duologue: warning: {where}{problem}", file=sys.stderr)


def _quoted(spans: tuple[Span, ...]) -> str:
    shown = [repr(span.text[:_SHOWN_CHARS]) for span in spans[:_SHOWN_SPANS]]
    more = [f"{len(spans) - _SHOWN_SPANS} more"] if len(spans) > _SHOWN_SPANS else []
    return ", ".join([*shown, *more])


def decode_line(raw: bytes, number: int) -> str:
    """A line of input as text; raises InputError with its number if it is not UTF-8."""
    try:
        return raw.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"line {number} of the input is not UTF-8 (byte {error.start + 1})"
        ) from None


def _argument(text: str, number: int) -> str:
    """A text argument, whatever the locale made of its bytes."""
    try:
        text = os.fsencode(text).decode("utf-8")
    except UnicodeError:
        raise InputError(f"text {number} is not valid UTF-8") from None
    if not text.strip():
        raise InputError(f"text {number} is empty")
    return text


def _chunks(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), BATCH_LINES):
        yield texts[start : start + BATCH_LINES]


def _stdin_batches() -> Iterator[list[str]]:
    if sys.stdin is None:
        raise InputError("no text: name one as an argument, or write lines to stdin")
    if sys.stdin.isatty():
        print("duologue: reading lines; end with Ctrl-D", file=sys.stderr)
    number = 0
    pending = b""
    # os.read returns what is there now; a buffered read would wait for more.
    while chunk := os.read(sys.stdin.fileno(), _CHUNK_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from _decoded(lines, number)
        number += len(lines)
        if len(pending) > MAX_LINE_BYTES:
            raise InputError(f"line {number + 1} of the input is too long")
    if pending:
        yield [decode_line(pending, number + 1)]


def _decoded(lines: Sequence[bytes], before: int) -> Iterator[list[str]]:
    """Lines as texts, in batches; those before one that is not UTF-8 are answered before it is
    refused. before: lines that came before these."""
    batch: list[str] = []
    for number, line in enumerate(lines, before + 1):
        try:
            batch.append(decode_line(line, number))
        except InputError:
            yield batch
            raise
        if len(batch) == BATCH_LINES:
            yield batch
            batch = []
    if batch:
        yield batch
