"""Pictures that commands write: small SVG files, drawn without a library.

reliability_svg  how often labels are right, by how sure the model was
curve_svg        sentiment over a conversation, one line for each speaker
write_svg        to a file
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from duologue.errors import InputError

if TYPE_CHECKING:
    from duologue.apps.curve import CurvePoint
    from duologue.evaluation.calibration import Bin

_SIDE, _MARGIN = 320, 48
_WIDE, _HIGH = 640, 240
_COLOURS = ("#1f5fa8", "#b4530a", "#2d7d46", "#7a3b9c")
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.axis{stroke:#999;fill:none}"
    ".even{stroke:#999;stroke-dasharray:4 4}.bar{fill:#1f5fa8}.gap{fill:#b4530a;opacity:.35}"
)


def reliability_svg(title: str, bins: Sequence[Bin]) -> str:
    """Accuracy of each bin as a bar, how far it is from the confidence in orange, and the diagonal
    on which a calibrated model stands. Bins without predictions have no bar."""
    size = _SIDE + 2 * _MARGIN
    parts = [_text(_MARGIN, 24, title)]
    width = _SIDE / len(bins)
    for one in bins:
        if one.count:
            left = _MARGIN + one.low * _SIDE
            low, high = sorted((one.accuracy, one.confidence))
            hint = (
                f"{one.low:.2f} to {one.high:.2f}: {one.count} predictions, "
                f"accuracy {one.accuracy:.3f}, confidence {one.confidence:.3f}"
            )
            parts += [
                f"<g><title>{escape(hint)}</title>",
                _bar("bar", left, one.accuracy, 0.0, width),
                _bar("gap", left, high, low, width),
                "</g>",
            ]
    bottom, right = _MARGIN + _SIDE, _MARGIN + _SIDE
    parts += [
        f'<path class="even" d="M{_MARGIN} {bottom}L{right} {_MARGIN}"/>',
        f'<path class="axis" d="M{_MARGIN} {_MARGIN}V{bottom}H{right}"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        parts.append(_text(_MARGIN + share * _SIDE - 8, bottom + 18, f"{share:g}"))
        parts.append(_text(_MARGIN - 26, bottom - share * _SIDE + 4, f"{share:g}"))
    parts.append(_text(_MARGIN + _SIDE / 2 - 32, bottom + 36, "confidence"))
    parts.append(_text(8, _MARGIN - 10, "accuracy"))
    return _svg(size, size, title, parts)


def curve_svg(title: str, points: Sequence[CurvePoint]) -> str:
    """A line through the levels of each speaker, and a dot for the value of each turn."""
    middle, half = _MARGIN + _HIGH / 2, _HIGH / 2
    last = max((point.turn for point in points), default=0) or 1

    def place(point: CurvePoint, height: float) -> tuple[str, str]:
        return f"{_MARGIN + _WIDE * point.turn / last:.1f}", f"{middle - half * height:.1f}"

    parts = [
        _text(_MARGIN, 24, title),
        f'<path class="axis" d="M{_MARGIN} {_MARGIN}v{_HIGH}"/>',
        f'<path class="even" d="M{_MARGIN} {middle}h{_WIDE}"/>',
    ]
    for height, name in ((1, "+1"), (0, "0"), (-1, "-1")):
        parts.append(_text(16, middle - half * height + 4, name))
    speakers = list(dict.fromkeys(point.speaker for point in points))
    for number, speaker in enumerate(speakers):
        colour = _COLOURS[number % len(_COLOURS)]
        own = [point for point in points if point.speaker == speaker]
        line = " ".join(",".join(place(point, point.level)) for point in own)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in own:
            x, y = place(point, point.value)
            hint = f"turn {point.turn + 1}, {speaker}: {point.label}, {point.value:+.2f}"
            parts.append(
                f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}">'
                f"<title>{escape(hint)}</title></circle>"
            )
        left, top = _MARGIN + 140 * number, _MARGIN + _HIGH + 30
        parts.append(f'<rect x="{left}" y="{top - 9}" width="18" height="4" fill="{colour}"/>')
        parts.append(_text(left + 24, top, speaker))
    return _svg(_WIDE + 2 * _MARGIN, _HIGH + 2 * _MARGIN, title, parts)


def write_svg(path: Path, content: str) -> None:
    """Raises InputError if it cannot be written."""
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _bar(kind: str, left: float, high: float, low: float, width: float) -> str:
    top, height = _MARGIN + _SIDE * (1 - high), _SIDE * (high - low)
    return (
        f'<rect class="{kind}" x="{left + 1:.1f}" y="{top:.1f}" '
        f'width="{width - 2:.1f}" height="{height:.1f}"/>'
    )


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    def lines() -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">'
        )
        yield f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        yield f'<rect width="{width}" height="{height}" fill="#fff"/>'
        yield from parts
        yield "</svg>"

    return "\n".join(lines()) + "\n"
