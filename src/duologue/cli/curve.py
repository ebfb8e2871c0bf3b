"""The sentiment of a dialogue on the command line: a line of bars for each speaker.

CurveCall   what is to be judged, and how it is shown
draw_curve  reads the dialogue, judges its turns, prints or draws the curve
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from duologue.cli.lines import printable
from duologue.data.lines import read_lines
from duologue.errors import DataError, InputError
from duologue.types import Role, Turn

if TYPE_CHECKING:
    from duologue.api import Model
    from duologue.apps.curve import CurvePoint

MAX_TURNS = 10_000
_BARS = "▁▂▃▄▅▆▇█"
_ROLES = {"assistant": "agent"} | {role: role for role in get_args(Role)}


@dataclass(frozen=True)
class CurveCall:
    """plot: SVG file to write; label_set: its labels go from the worst to the best."""

    path: Path
    label_set: str | None
    plot: Path | None
    as_json: bool


def draw_curve(call: CurveCall, load: Callable[[], Model]) -> None:
    """Print a line for each speaker, or with as_json one for each turn."""
    turns = read_turns(call.path)
    model = load()
    labels = None
    if call.label_set is not None:
        from duologue.apps.sentiment import labels_of

        labels = labels_of(model.config, call.label_set)
    points = model.sentiment_curve(turns, labels)
    if call.plot is not None:
        from duologue.cli.plots import curve_svg, write_svg

        write_svg(call.plot, curve_svg(f"Sentiment of {call.path.name}", points))
    if call.as_json:
        for point in points:
            print(json.dumps(point.to_dict(), ensure_ascii=False))
        return
    for line in curve_lines(points):
        print(line)


def curve_lines(points: Sequence[CurvePoint]) -> Iterator[str]:
    """For each speaker its levels as bars, and the last of them as a number, from -1 to 1."""
    speakers = list(dict.fromkeys(point.speaker for point in points))
    width = max(map(len, speakers), default=0)
    for speaker in speakers:
        levels = [point.level for point in points if point.speaker == speaker]
        bars = "".join(_BARS[min(7, int((level + 1) * 4))] for level in levels)
        yield f"{speaker:<{width}}  {bars}  {levels[-1]:+.2f}"


def read_turns(path: Path) -> list[Turn]:
    """The turns of a dialogue file; those without text, and of roles without words, are left out.

    Raises DataError, with the line, for what is none.
    """
    turns: list[Turn] = []
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(path, number, "no valid JSON") from None
        if not isinstance(value, dict):
            raise DataError(path, number, "no JSON object")
        found = value.get("turns", [value])
        if "turns" in value and turns:
            raise DataError(path, number, "a second dialogue; put each into a file of its own")
        if not isinstance(found, list):
            raise DataError(path, number, "turns is no list")
        turns += [_turn_of(path, number, one) for one in found]
        if len(turns) > MAX_TURNS:
            raise DataError(path, number, f"more than {MAX_TURNS:,} turns")
    if not turns:
        raise InputError(f"{path}: has no turns")
    return turns


def _turn_of(path: Path, number: int, value: Any) -> Turn:
    """Roles that Duologue does not know, such as kb, say nothing of anyone's mood: documents."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise DataError(path, number, "a turn needs a role and a text")
    role = value.get("role")
    if not isinstance(role, str):
        problem = f"a turn has the role {printable(repr(role))}; user or agent is needed"
        raise DataError(path, number, problem)
    known: Any = _ROLES.get(role, "document")
    return Turn(known, value["text"])
