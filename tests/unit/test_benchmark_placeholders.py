"""benchmarks/placeholders.py: which sentences get a placeholder, and that the script runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_files import write_rows

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("placeholders")


@pytest.fixture
def data(tmp_path: Path, script: Any) -> Path:
    for other, names in script.SETS.items():
        name = "汤姆" if other == "zh" else "Tom"
        rows = [
            {"source": "Tom has 42 dogs", "target": f"{name} 42"},
            {"source": "hello Tom", "target": f"{name} you"},
            {"source": "train TR17 leaves", "target": "TR17"},
            {"source": "room 17 please", "target": "17 you"},
        ]
        for file in names:
            more = {"src_lang": "en", "tgt_lang": other, "split": "test"}
            whole = [{**row, **more} for row in rows]
            whole.append({**whole[0], "split": "train"})
            write_rows(tmp_path / "mt" / f"{file}.jsonl.gz", whole)
    return tmp_path


def test_placeholders_take_the_place_of_names_and_numbers_on_both_sides(
    script: Any, data: Path
) -> None:
    found = script.cases(data / "mt", "zh", "en", 100)
    planted = {(case.source[1], case.reference[1], case.is_name) for case in found}
    assert planted == {("汤姆", "Tom", True), ("17", "17", False)}
    assert len(found) == 3 * len(script.SETS["zh"])


def test_the_script_runs_and_writes_nothing_where_it_is_only_tried(
    script: Any,
    data: Path,
    tmp_path: Path,
    tiny_model_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "DIRECTIONS", (("en", "zh"),))
    output = tmp_path / "results"
    arguments = ["--data", str(data), "--model", str(tiny_model_folder()), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["placeholders.py", *arguments, "--quick"])
    script.main()
    assert "en-zh  stand_ins  once 1 " in capsys.readouterr().out
    assert not output.exists()
