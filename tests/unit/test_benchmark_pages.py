"""What benchmarks/pages.py writes into docs/performance.md, and that the page is current."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("pages")


def result(**goals: dict[str, Any]) -> dict[str, Any]:
    """The part of a result file that the page shows."""
    machine = {"cpu": "A Processor", "cpus": 4, "load": 0.1}
    return {"machine": machine, "commit": "0123456789abcdef", "goals": goals}


def cells(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.split("\n") if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_page_shows_what_the_result_files_say(pages: Any) -> None:
    text = pages.PAGE.read_text(encoding="utf-8")
    assert pages.filled(text) == text, "run: python benchmarks/pages.py"


def test_every_goal_has_a_row_with_the_script_that_measures_it(pages: Any) -> None:
    table = pages.goals({})
    for name, goal in pages.GOALS.items():
        assert (FOLDER / f"{goal.script}.py").is_file()
        what, measured, _, is_met, command = cells(table, name)
        assert (what, measured, is_met) == (goal.what, "not measured yet", "")
        assert command.startswith(f"`python benchmarks/{goal.script}.py")
    assert not table.endswith("\n")


def test_scripts_that_need_data_say_so(pages: Any) -> None:
    for script in (path.stem for path in FOLDER.glob("*.py")):
        text = (FOLDER / f"{script}.py").read_text(encoding="utf-8")
        needs = '"--data", type=Path' in text
        assert (" --data DATA" in pages.command(script)) == needs


def test_measured_goals_are_shown_with_units_and_where_they_come_from(pages: Any) -> None:
    found = {
        "decode": result(
            P1={"value": 0.25412, "goal": 0.28, "met": True},
            P2={"value": 0.6123, "goal": 0.7, "met": False},
        ),
        "footprint": result(P8={"value": 175.9, "goal": 180, "met": True}),
        "serve": {"figures": []},  # of a time before goals
    }
    table = pages.goals(found)
    assert cells(table, "P1")[1:4] == ["0.254×", "≤ 0.28×", "met"]
    assert cells(table, "P2")[1:4] == ["0.612", "≥ 0.7", "missed"]
    assert cells(table, "P8")[1:4] == ["176 MB", "≤ 180 MB", "met"]
    for name in ("P3", "P5", "P9"):
        assert cells(table, name)[1] == "not measured yet"
    assert table.split("\n\n")[1].split("\n") == [
        "- `benchmarks/results/decode.json`: 4 CPUs of A Processor, commit 0123456",
        "- `benchmarks/results/footprint.json`: 4 CPUs of A Processor, commit 0123456",
    ]


def test_curves_are_shown_once_they_are_drawn(pages: Any, tmp_path: Path) -> None:
    (tmp_path / "encode-tokens.svg").write_text("<svg/>")
    text = pages.curves(tmp_path)
    assert "](images/encode-tokens.svg)" in text
    assert text.count("Not drawn yet: `python benchmarks/") == len(pages.CURVES) - 1
    assert "decode-rows.svg" not in text


def test_only_what_is_between_the_marks_is_replaced(
    pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "BLOCKS", {"a": lambda: r"new \1", "b": lambda: "two\nlines"})
    text = "1\n<!-- a -->\nold\n<!-- /a -->\n2\n<!-- b -->\n<!-- /b -->\n3\n"
    expected = "1\n<!-- a -->\nnew \\1\n<!-- /a -->\n2\n<!-- b -->\ntwo\nlines\n<!-- /b -->\n3\n"
    assert pages.filled(text) == expected
    assert pages.filled(expected) == expected
    with pytest.raises(ValueError, match="<!-- b -->"):
        pages.filled("<!-- a -->\n<!-- /a -->\n")


def test_result_files_are_read_by_their_names(pages: Any, tmp_path: Path) -> None:
    (tmp_path / "decode.json").write_text(json.dumps(result()), encoding="utf-8")
    assert pages.results(tmp_path) == {"decode": result()}


# --- goals -------------------------------------------------------------------------------------


def test_no_gap_at_all_meets_its_goal_and_goals_keep_their_order(pages: Any) -> None:
    harness = importlib.import_module("harness")
    judged = harness.judge({"P11": 0.0, "P9": 1.0, "P2": 0.5})
    assert list(judged) == ["P2", "P9", "P11"]
    assert judged["P11"]["met"]
    assert not harness.judge({"P11": 0.21})["P11"]["met"]
    assert not harness.judge({"P4": 0.0})["P4"]["met"]
