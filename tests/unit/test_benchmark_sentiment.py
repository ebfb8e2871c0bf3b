"""The measuring of sentiment: on tiny data, from the beginning to the end."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duologue.apps.sentiment import LABEL_SETS
from duologue.checkpoint.store import load_config

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def sentiment(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("sentiment")


def test_temperatures_are_fitted_to_valid_rows_and_stored(
    sentiment: Any,
    tiny_model_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, files in sentiment.SETS.items():
        labels = LABEL_SETS[name]
        for file in files:
            path = tmp_path / "data" / "sentiment" / f"{file}.jsonl.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            with gzip.open(path, "wt", encoding="utf-8") as out:
                for number in range(6):
                    for split in ("valid", "test"):
                        text = f"the food was cold {number} {file} {split}"
                        label = labels[number % len(labels)]
                        row = {"split": split, "text": text, "label": label}
                        out.write(json.dumps(row) + "\n")
    arguments = ["--data", str(tmp_path / "data"), "--model", str(tiny_model_folder())]
    arguments += ["--output", str(tmp_path / "made"), "--threads", "1", "--quick"]
    monkeypatch.setattr(sys, "argv", ["sentiment.py", *arguments])
    sentiment.main()
    shown = capsys.readouterr().out
    assert "| sst2 | 6 |" in shown
    assert "| two labels | 36 |" in shown
    assert set(load_config(tmp_path / "made").calibration) == {"sentiment", "sentiment3"}
