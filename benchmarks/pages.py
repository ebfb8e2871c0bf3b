"""Writes what was measured into docs/performance.md, from benchmarks/results and docs/images.

    python benchmarks/pages.py

Replaces what stands between the marks of each block, `<!-- goals -->` and so on: the table of goals
with what each result file says of them, where and at which commit that was measured; published
models beside their peers; and the curves that have been drawn. What was not measured is said to be
so. A test holds that the page is current.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import GOALS, Goal
from plots import IMAGES
from report import RESULTS, ROOT

PAGE = ROOT / "docs" / "performance.md"
NOT_YET = "not measured yet"
_OF_REAL_TEXTS = (
    "assistant",
    "conversations",
    "coverage",
    "faithfulness",
    "glossary",
    "identical",
    "placeholders",
    "sentiment",
    "support",
    "two_stage",
)
NEEDED = {  # options without which a script measures no goal
    **dict.fromkeys(_OF_REAL_TEXTS, " --data DATA"),
    "quality": " --data DATA --exact FOLDER",
}
CURVES = {
    "decode-rows": ("decode", "Tokens a second over the users who decode together."),
    "encode-tokens": ("encode", "Milliseconds to the first token over the tokens of the source."),
    "memory-tokens": ("memory", "Megabytes of keys and values over the tokens of the source."),
    "memory-rows": ("memory", "Megabytes of keys and values over the users who decode together."),
    "dialogue-turns": ("dialogue", "Milliseconds to read a turn over its number."),
}


def results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Name -> content of each result file."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


def goals(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all goals, and where those that were measured were measured."""
    lines = ["| | | measured | goal | | command |", "| --- | --- | ---: | ---: | --- | --- |"]
    used = []
    for name, goal in GOALS.items():
        measured = found.get(goal.script, {}).get("goals", {}).get(name)
        value, is_met = NOT_YET, ""
        if measured is not None:
            value = _with_unit(measured["value"], goal)
            is_met = "met" if measured["met"] else "missed"
            used.append(goal.script)
        sign = "≥" if goal.at_least else "≤"
        limit = f"{sign} {_with_unit(goal.limit, goal)}"
        cells = [name, goal.what, value, limit, is_met, f"`{command(goal.script)}`"]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    if used:
        lines.append("")
    lines += [_origin(script, found[script]) for script in dict.fromkeys(used)]
    return "\n".join(lines)


def command(script: str) -> str:
    """The command that measures it."""
    return f"python benchmarks/{script}.py{NEEDED.get(script, '')}"


def _with_unit(value: float, goal: Goal) -> str:
    return f"{value:.3g}{goal.unit.replace('x', '×')}"


def families(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of what families.py measured beside peers, and what loading took."""
    result = found.get("families")
    if result is None:
        return f"Beside their peers: {NOT_YET}, `{command('families')}`."
    lines = ["| | | ours | peer | | ratio |", "| --- | --- | ---: | ---: | --- | ---: |"]
    for row in result["rows"]:
        spread = f"{row['ratio_min']:.3g} to {row['ratio_max']:.3g}"
        ours, peer = (f"{row[who]:.3g} {row['unit']}" for who in ("ours", "peer"))
        ratio = f"{row['ratio']:.3g}× ({spread})"
        cells = [row["model"], row["task"], ours, peer, row["peer_name"], ratio]
        lines.append(f"| {' | '.join(cells)} |")
    loading = result.get("loading")
    if loading is not None:
        lines += ["", _loading(loading)]
    return "\n".join(lines)


def _loading(loading: Mapping[str, Any]) -> str:
    return (
        f"{loading['model']} takes {loading['int8_mb']:.0f} MB in int8. A process that made it "
        f"ready to run, from a published folder in float32, took {loading['peak_mb']:.0f} MB at "
        f"most (F5: {loading['limit_mb']:.0f} MB)."
    )


def _origin(script: str, result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"- `benchmarks/results/{script}.json`: {machine['cpus']} CPUs of {machine['cpu']}, "
        f"commit {result['commit'][:7]}"
    )


def curves(folder: Path = IMAGES) -> str:
    """The curves that exist; for the others, how they are drawn."""
    parts = []
    for name, (script, caption) in CURVES.items():
        drawn = f"`{command(script)} --plot`"
        if (folder / f"{name}.svg").exists():
            parts.append(f"{caption} {drawn}\n\n![{caption}](images/{name}.svg)")
        else:
            parts.append(f"{caption} Not drawn yet: {drawn}.")
    return "\n\n".join(parts)


BLOCKS: dict[str, Callable[[], str]] = {
    "goals": lambda: goals(results()),
    "families": lambda: families(results()),
    "curves": curves,
}


def filled(text: str) -> str:
    """The page with what its blocks should hold. Raises ValueError where marks are missing."""
    for name, content in BLOCKS.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        if re.search(pattern, text, re.S) is None:
            raise ValueError(f"the page has no marks <!-- {name} --> and <!-- /{name} -->")
        new = content()
        text = re.sub(pattern, lambda mark, new=new: f"{mark[1]}{new}\n{mark[2]}", text, flags=re.S)
    return text


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
