"""The measuring of support: on tiny data, from the beginning to the end."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from row_files import write_rows

from duologue.apps.support.answer import Candidate
from duologue.apps.support.confidence import Signs

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def support(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("support")


@pytest.fixture
def data(tmp_path: Path, support: Any) -> Path:
    folder = tmp_path / "data"
    for name in (*support.SETS, support.REVIEWS):
        rows = [
            {
                "split": split,
                "context": f"{name} {split} {number} is the number. The room is {word}.",
                "question": f"What is the room of {name} {split} {number}?",
                "answers": [] if name == support.REVIEWS and number % 2 else [word],
            }
            for split in ("valid", "test")
            for number, word in enumerate(("clean", "cold", "large", "quiet"))
        ]
        write_rows(folder / f"qa/{name}.jsonl.gz", rows)
    for name in support.FILLERS:
        rows = [{"split": "train", "lang": "en", "text": f"word {n} " * 40} for n in range(20)]
        write_rows(folder / name, rows)
    return folder


@pytest.fixture(params=[True, False], ids=["answers", "extractive"])
def model(
    request: pytest.FixtureRequest, tmp_path: Path, passage_model: Callable[..., Path]
) -> Path:
    return passage_model(tmp_path / "model", request.param)


@pytest.mark.parametrize("option", ["--quick", "--fit", "--cost"])
def test_all_of_it_runs_on_tiny_data(
    support: Any,
    data: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    options = ["--data", str(data), "--model", str(model), "--threads", "1", "--quick"]
    monkeypatch.setattr(sys, "argv", ["support.py", *options, option])
    support.main()
    shown = capsys.readouterr().out
    if option == "--cost":
        assert "ratio" in shown
    else:
        assert "hit@5 squad_subset   words 1.000" in shown
        assert "declined" in shown
    assert ("Calibration((" in shown) == (option == "--fit")


def test_the_fit_finds_the_sign_that_tells_right_from_wrong(support: Any) -> None:
    generator = np.random.default_rng(1)
    asked = []
    for number in range(200):
        is_right = number % 2 == 0
        noise = generator.normal(size=5)
        noise[2] += 3 * is_right
        signs = Signs(*noise.tolist())
        found = Candidate(None, (), 0, 0, 0, signs, 0.5)  # type: ignore[arg-type]
        asked.append(_Case(found, is_right, is_known=number % 4 < 3))
    weights, bias = support.fit(asked)
    assert int(np.argmax(np.abs(weights))) == 2
    assert weights[2] > 1
    assert bias < 0


class _Case:
    def __init__(self, found: Candidate, is_right: bool, is_known: bool) -> None:
        self.found, self.is_right, self.is_known = found, is_right, is_known
