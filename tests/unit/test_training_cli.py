"""The commands `train` and `tokenizer`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from duologue.cli import run
from duologue.config import LoraConfig, Recipe
from duologue.text.tokenizer import Tokenizer
from duologue.training import trainer
from duologue.training.trainer import Outcome


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"output: {tmp_path}/run\ndata: {{sets: [{{path: a.tsv}}]}}", encoding="utf-8")
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, bool]]:
    """What `train` hands to the trainer, which does nothing here."""
    seen: list[tuple[Recipe, bool]] = []

    def fake(recipe: Recipe, resume: bool) -> Outcome:
        seen.append((recipe, resume))
        return Outcome("steps", 0, 1, 1.0, Path("model"))

    monkeypatch.setattr(trainer, "train", fake)
    return seen


def test_train_hands_over_recipe_overrides_and_budget(
    recipe: Path, calls: list[tuple[Recipe, bool]]
) -> None:
    options = ["--set", "training.max_steps=900", "--set", "model.cell=gru", "--max-minutes", "1.5"]
    assert run(["train", str(recipe), *options, "--resume"]) == 0
    ((received, resume),) = calls
    assert resume
    assert (received.training.max_steps, received.training.max_minutes) == (900, 1.5)
    assert received.model == {"cell": "gru"}


def test_train_starts_from_the_model_that_is_named(
    recipe: Path, tmp_path: Path, calls: list[tuple[Recipe, bool]]
) -> None:
    options = ["--init", str(tmp_path), "--set", "training.lora.rank=2"]
    assert run(["train", str(recipe), *options]) == 0
    ((received, _),) = calls
    assert received.init == str(tmp_path)
    assert received.training.lora == LoraConfig(rank=2)


def test_train_names_the_models_that_there_are_when_one_is_missing(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(recipe), "--init", "nowhere"]) == 2
    assert "no model 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_train_that_was_stopped_has_the_exit_code_of_its_signal(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    outcome = Outcome("signal", number, 5, 1.0, None)
    monkeypatch.setattr(trainer, "train", lambda *_: outcome)
    assert run(["train", str(recipe)]) == 128 + number


@pytest.mark.parametrize("missing", ["torch", "matplotlib"])
def test_train_without_its_extra_says_what_to_install(
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert run(["train", str(recipe)]) == 2
    message = f"duologue: training needs {missing}: pip install 'duologue[train]'\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--set", "training.max_step=3"], "training.max_step: unknown key"),
        (["--set", "nonsense"], "write key=value"),
        (["--max-minutes", "0"], "max_minutes must be positive"),
        (["--set", "training.lora.rank=2"], "training.lora needs a model to start from"),
    ],
)
def test_train_refuses_unusable_settings_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert run(["train", str(recipe), *arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_train_names_a_missing_data_file(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(recipe)]) == 2
    assert "a.tsv" in capsys.readouterr().err


def corpus(folder: Path) -> dict[str, Path]:
    rows: list[dict[str, Any]] = [
        {"source": "good morning", "target": "guten Morgen", "src_lang": "en", "tgt_lang": "de"},
        {"split": "test", "text": "xylophone xylophone xylophone", "label": "noise"},
    ]
    files = {"data": folder / "rows.jsonl", "text": folder / "plain.txt"}
    files["data"].write_text("\n".join(map(json.dumps, rows * 20)), encoding="utf-8")
    files["text"].write_text("the train leaves\n" * 20, encoding="utf-8")
    return files


def test_tokenizer_learns_from_text_and_train_rows_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, output = corpus(tmp_path), tmp_path / "tokenizer.json"
    arguments = ["--output", str(output), "--vocab-size", "400", *map(str, files.values())]
    assert run(["tokenizer", *arguments]) == 0
    tokenizer = Tokenizer.load(output)
    assert f"{tokenizer.vocab_size:,} entries" in capsys.readouterr().out
    assert len(tokenizer.encode("Morgen")) == 1
    assert len(tokenizer.encode("leaves")) == 1
    assert len(tokenizer.encode("xylophone")) > 2


def test_tokenizer_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "tokenizer.json"
    output.write_text("precious", encoding="utf-8")
    files = corpus(tmp_path)
    assert run(["tokenizer", "--output", str(output), str(files["text"])]) == 2
    assert output.read_text(encoding="utf-8") == "precious"
    assert "exists already" in capsys.readouterr().err
