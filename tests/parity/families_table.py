"""The table of docs/families.md: what was compared of which kind of model, and how close it came.

    DUOLOGUE_WRITE_TABLES=1 python -m pytest tests/parity

writes it. A test holds that it has a row for each kind that is compared, and no other.
"""

from __future__ import annotations

import re
from pathlib import Path

from tiny_transformers import TINY

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
CHECKS = ("encoder", "logits", "greedy", "beam of 4", "PyTorch model", "export")


class ParityTable:
    """Collects what the tests of this folder find."""

    def __init__(self) -> None:
        self._differences: dict[tuple[str, str], float] = {}
        self._equal: dict[tuple[str, str], int] = {}

    def differs(self, kind: str, check: str, difference: float) -> None:
        """The largest difference relative to the largest value; the worst of all calls counts."""
        key = kind, check
        self._differences[key] = max(difference, self._differences.get(key, 0.0))

    def equals(self, kind: str, check: str, count: int) -> None:
        """So many results were equal, id by id."""
        self._equal[kind, check] = self._equal.get((kind, check), 0) + count

    def rows(self) -> list[str]:
        """The table in Markdown. Raises KeyError for a kind that something was not compared of."""
        lines = [f"| | {' | '.join(CHECKS)} |", f"| --- |{' --- |' * len(CHECKS)}"]
        for kind in TINY:
            cells = [self._cell(kind, check) for check in CHECKS]
            lines.append(f"| {kind} | {' | '.join(cells)} |")
        return lines

    def _cell(self, kind: str, check: str) -> str:
        if (kind, check) in self._equal:
            return f"{self._equal[kind, check]} equal"
        difference = self._differences[kind, check]
        return f"{difference:.0e}" if difference else "equal"

    def write(self) -> None:
        """Put the rows into the page."""
        block = "\n".join(("<!-- parity -->", *self.rows(), "<!-- /parity -->"))
        text = PAGE.read_text(encoding="utf-8")
        text = re.sub(r"<!-- parity -->.*<!-- /parity -->", lambda _: block, text, flags=re.S)
        PAGE.write_text(text, encoding="utf-8")
