"""A whole run on a tiny corpus: what it leaves, how it stops, and that resuming is exact."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from duologue.api import load
from duologue.checkpoint.store import load_config, load_model
from duologue.config import Recipe, from_dict, load_recipe, save_recipe, to_dict
from duologue.errors import CheckpointError, ConfigError, DataError, InputError, TrainingError
from duologue.training import progress, setup, trainer
from duologue.training.state import load_checkpoint
from duologue.training.validation import Scores

MODEL = {"d_model": 16, "d_ff": 24, "num_heads": 2, "num_encoder_layers": 1,
         "num_decoder_layers": 1, "max_positions": 64}  # fmt: skip
TRAINING = {"max_steps": 8, "warmup_steps": 2, "validate_every": 4, "keep_every": 3,
            "generate_examples": 0, "validate_examples": 4}  # fmt: skip
DATA = {"batch_tokens": 128, "max_source": 64, "max_target": 64, "bucket_batches": 3}


def corpus() -> list[dict[str, Any]]:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    rows: list[dict[str, Any]] = []
    for index in range(40):
        text = " ".join(words[(index * step) % 10] for step in (1, 3, 7))
        pair = {"source": text, "target": text.upper(), "src_lang": "en", "tgt_lang": "de"}
        label = {"text": text, "label": "good" if index % 2 else "bad", "lang": "en"}
        turns = [{"role": "user", "text": text}, {"role": "agent", "text": "yes"}]
        rows.append([pair, label, {"turns": turns}][index % 3])
    return [{"split": "train", **row} for row in rows[:30]] + [
        {"split": "valid", **row} for row in rows[30:]
    ]


@pytest.fixture
def make_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """make_recipe(output, model={...}, init=folder, **training): a recipe on the tiny corpus."""
    lines = [json.dumps(row) for row in corpus()]
    (tmp_path / "toy.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def make(
        output: str = "run",
        model: dict[str, Any] | None = None,
        init: Path | None = None,
        **training: Any,
    ) -> Recipe:
        values = {
            "output": str(tmp_path / output),
            "model": MODEL if model is None else model,
            "tokenizer": {"vocab_size": 420},
            "data": {"root": str(tmp_path), "sets": [{"path": "toy.jsonl"}], **DATA},
            "training": {**TRAINING, **training},
            "init": None if init is None else str(init),
        }
        return from_dict(Recipe, values, "test")

    return make


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "plots" not in request.node.name:
        monkeypatch.setattr(progress, "draw_plots", lambda metrics, folder: None)


def everything(recipe: Recipe) -> dict[str, torch.Tensor]:
    """All tensors of the last checkpoint: weights, averages, optimizer, random states."""
    return load_checkpoint(Path(recipe.output) / setup.LAST)[0]


def assert_identical(first: Recipe, second: Recipe) -> None:
    one, two = everything(first), everything(second)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def metrics(recipe: Recipe, kind: str) -> list[dict[str, Any]]:
    return [line for line in progress.read_metrics(Path(recipe.output)) if line["kind"] == kind]


def act_at(monkeypatch: pytest.MonkeyPatch, update: int, action: Callable[[], object]) -> None:
    """Call `action` in the middle of that update (1-based) of the next run."""
    original, calls = trainer.sum_gradients, 0

    def sum_gradients(run: setup.Run) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        result = original(run)
        if calls == update:
            action()
        return result

    monkeypatch.setattr(trainer, "sum_gradients", sum_gradients)


def test_labels_of_ones_own_are_chosen_by_the_name_of_their_file(
    make_recipe: Callable[..., Recipe],
) -> None:
    first = make_recipe()
    trainer.train(first)
    folder = Path(first.output) / "model"
    model = load(folder, threads=1)
    result = model.sentiment("one two three", label_set="toy")
    assert set(result.probabilities) == {"good", "bad"}
    with pytest.raises(InputError, match="unknown label set 'moods'; there are sentiment, senti"):
        model.sentiment("one two three", label_set="moods")
    by_language = {"toy": {"en": 3.0}}
    calibrated = replace(
        model.config, calibration={"toy": 2.0}, calibration_by_language=by_language
    )
    (folder / "config.json").write_text(json.dumps(to_dict(calibrated)), encoding="utf-8")
    trainer.train(make_recipe("later", model={}, init=folder))
    later = load_config(Path(first.output).with_name("later") / "model")
    assert later.calibration == later.calibration_by_language == {}


def test_a_run_leaves_a_model_metrics_and_plots(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(generate_examples=2)
    outcome = trainer.train(recipe)
    folder = Path(recipe.output)
    assert (outcome.ending, outcome.signal, outcome.steps) == ("steps", 0, 8)
    assert outcome.model == folder / "model"
    loaded = load_model(folder / "model", "f32")
    assert loaded.config.tasks == ("reply", "translate", "sentiment")
    assert loaded.config.languages == ("de",)
    assert loaded.config.label_sets == {"toy": ("bad", "good")}
    assert "toy.jsonl" in (folder / "model" / "README.md").read_text(encoding="utf-8")
    validations = metrics(recipe, "validation")
    assert [line["step"] for line in validations] == [4, 8]
    assert {"loss", "source_sensitivity"} <= validations[0]["sets"]["toy"].keys()
    assert outcome.best_loss == min(line["loss"] for line in validations)
    assert (folder / "loss.png").stat().st_size > 1000
    assert (folder / "scores.png").stat().st_size > 1000
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
    ]


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_training_lowers_the_loss(make_recipe: Callable[..., Recipe], cell: str) -> None:
    recipe = make_recipe(
        model={**MODEL, "cell": cell}, max_steps=60, validate_every=60, learning_rate=0.02,
        dropout=0.0,
    )  # fmt: skip
    outcome = trainer.train(recipe)
    assert outcome.best_loss < 0.5 * math.log(420)


def test_a_killed_run_resumes_to_identical_weights(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"ema_decay": 0.9, "accumulate": 2, "dropout": 0.3}
    whole, killed = make_recipe("whole", **settings), make_recipe("killed", **settings)
    trainer.train(whole)

    def crash() -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        act_at(patch, 8, crash)
        with pytest.raises(MemoryError):
            trainer.train(killed)
    assert load_checkpoint(Path(killed.output) / setup.LAST)[1]["state"]["step"] == 6
    outcome = trainer.train(killed, resume=True)
    assert outcome.steps == 8
    assert_identical(whole, killed)
    assert [line["step"] for line in metrics(killed, "validation")] == [4, 8]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_update_and_the_run_resumes_to_identical_weights(
    make_recipe: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    whole, stopped = make_recipe("whole"), make_recipe("stopped")
    trainer.train(whole)
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        act_at(patch, 5, lambda: signal.raise_signal(number))
        outcome = trainer.train(stopped)
    assert (outcome.ending, outcome.signal, outcome.steps) == ("signal", number, 5)
    assert outcome.model is None
    assert f"duologue train {stopped.output}/recipe.yaml --resume" in capsys.readouterr().out
    assert signal.getsignal(number) is handler
    trainer.train(stopped, resume=True)
    assert_identical(whole, stopped)


def test_resuming_a_finished_run_changes_nothing(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe()
    trainer.train(recipe)
    before, lines = everything(recipe), progress.read_metrics(Path(recipe.output))
    trainer.train(recipe, resume=True)
    after = everything(recipe)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert progress.read_metrics(Path(recipe.output)) == lines


def test_resume_without_a_checkpoint_starts_afresh(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(max_steps=3)
    assert trainer.train(recipe, resume=True).steps == 3


def test_a_finished_run_can_be_extended(make_recipe: Callable[..., Recipe]) -> None:
    trainer.train(make_recipe(max_steps=3))
    assert trainer.train(make_recipe(max_steps=5), resume=True).steps == 5


def test_an_existing_run_is_not_overwritten(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(max_steps=3)
    trainer.train(recipe)
    with pytest.raises(ConfigError, match="already holds a run; go on with --resume"):
        trainer.train(recipe)


def test_a_folder_with_other_files_is_not_used(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        trainer.train(make_recipe())


def test_resume_with_another_model_is_refused(make_recipe: Callable[..., Recipe]) -> None:
    trainer.train(make_recipe(max_steps=3))
    with pytest.raises(ConfigError, match="other settings under model"):
        trainer.train(make_recipe(model={**MODEL, "d_ff": 32}), resume=True)


def test_resume_from_a_damaged_checkpoint_is_refused(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(max_steps=3)
    trainer.train(recipe)
    path = Path(recipe.output) / setup.LAST
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        trainer.train(recipe, resume=True)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({**MODEL, "d_modell": 16}, "d_modell: unknown key"),
        ({**MODEL, "vocab_size": 500}, "model.vocab_size: follows from"),
        ({**MODEL, "max_positions": 32}, "data.max_source: is above model.max_positions, 32"),
    ],
)
def test_unusable_model_settings_are_refused(
    make_recipe: Callable[..., Recipe], model: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        trainer.train(make_recipe(model=model))


def test_a_single_bad_update_is_skipped_and_counted(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(max_steps=4, keep_every=2)
    original, seen = trainer.sum_gradients, []

    def poisoned(run: setup.Run) -> tuple[float, float]:
        loss, count = original(run)
        seen.append([weight.detach().clone() for weight in run.model.parameters()])
        if len(seen) == 3:
            run.model.embed.weight.grad[0, 0] = float("nan")  # type: ignore[index]
        return loss, count

    monkeypatch.setattr(trainer, "sum_gradients", poisoned)
    assert trainer.train(recipe).steps == 4
    assert all(torch.equal(a, b) for a, b in zip(seen[2], seen[3], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[1], seen[2], strict=True))
    state = load_checkpoint(Path(recipe.output) / setup.LAST)[1]["state"]
    assert (state["skipped"], state["skipped_in_a_row"]) == (1, 0)


def test_a_run_stops_after_too_many_bad_updates(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = trainer.sum_gradients
    monkeypatch.setattr(trainer, "sum_gradients", lambda run: (float("nan"), original(run)[1]))
    with pytest.raises(TrainingError, match=r"3 losses or gradients in a row.*learning_rate"):
        trainer.train(make_recipe(max_bad_losses=3))


def test_the_finished_model_has_the_best_weights(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(max_steps=6, validate_every=2)
    losses, kept = iter([3.0, 2.0, 2.5]), []

    def scripted(model: torch.nn.Module, *_: Any) -> Scores:
        kept.append(model.state_dict()["embed.weight"].clone())
        return Scores(next(losses), {"toy": {"loss": 1.0}})

    monkeypatch.setattr(trainer, "validate", scripted)
    outcome = trainer.train(recipe)
    assert outcome.best_loss == 2.0
    assert outcome.model is not None
    exported = load_model(outcome.model, "f32").weights["embed.weight"]
    assert torch.equal(torch.tensor(exported), kept[1])
    assert not torch.equal(kept[1], kept[2])


def test_a_run_stops_when_validation_does_not_improve(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([2.0, 3.0, float("nan")])
    monkeypatch.setattr(trainer, "validate", lambda *_: Scores(next(losses), {"toy": {}}))
    outcome = trainer.train(make_recipe(max_steps=100, validate_every=2, patience=2))
    assert (outcome.ending, outcome.steps, outcome.best_loss) == ("patience", 6, 2.0)


def test_a_time_budget_rules_the_schedule_and_the_end(
    make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is turned by hand: ten seconds an update, one minute in all."""
    now = 100.0

    def tick() -> None:
        nonlocal now
        now += 10

    original = trainer.sum_gradients

    def timed(run: setup.Run) -> tuple[float, float]:
        tick()
        return original(run)

    monkeypatch.setattr(trainer, "sum_gradients", timed)
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now)
    recipe = make_recipe(max_minutes=1.0, max_steps=1000, warmup_steps=1, min_lr_ratio=0.0)
    outcome = trainer.train(recipe)
    assert (outcome.ending, outcome.steps) == ("minutes", 6)
    (line,) = metrics(recipe, "train")
    assert line["learning_rate"] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 50 / 60)))
    assert line["elapsed_s"] == 60.0


def test_a_run_can_start_from_a_model(make_recipe: Callable[..., Recipe]) -> None:
    first = trainer.train(make_recipe("first")).model
    assert first is not None
    start = load_model(first, "f32")
    recipe = make_recipe("second", model={}, init=first, learning_rate=1e-9, max_steps=3)
    second = trainer.train(recipe).model
    assert second is not None
    end = load_model(second, "f32")
    assert end.config == start.config
    for name, weight in start.weights.items():
        assert abs(end.weights[name] - weight).max() < 1e-6  # type: ignore[operator]


def test_settings_that_contradict_the_starting_model_are_refused(
    make_recipe: Callable[..., Recipe],
) -> None:
    first = trainer.train(make_recipe("first", max_steps=3)).model
    with pytest.raises(ConfigError, match=r"model.d_ff: the model of `init` has 24"):
        trainer.train(make_recipe("second", model={"d_ff": 32}, init=first))


def test_a_run_without_validation_data_keeps_its_last_weights(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = [json.dumps(row) for row in corpus() if row["split"] == "train"]
    (tmp_path / "toy.jsonl").write_text("\n".join(rows), encoding="utf-8")
    recipe = make_recipe(max_steps=3)
    outcome = trainer.train(recipe)
    assert outcome.model is not None
    assert math.isinf(outcome.best_loss)
    exported = load_model(outcome.model, "f32").weights["embed.weight"]
    assert torch.equal(torch.tensor(exported), everything(recipe)["model.embed.weight"])


def test_targets_that_are_too_long_are_reported(
    make_recipe: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"split": "train", "text": "many words " * 40, "label": "good"}
    with (tmp_path / "toy.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(long))
    trainer.train(make_recipe(max_steps=4))
    assert "targets were left out" in " ".join(capsys.readouterr().out.split())


def test_data_without_train_rows_are_refused(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    row = {"split": "valid", "text": "one", "label": "good"}
    (tmp_path / "toy.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(DataError, match="no train rows"):
        trainer.train(make_recipe())


def test_the_saved_recipe_starts_the_same_run(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = make_recipe(max_steps=3)
    trainer.train(recipe)
    assert load_recipe(Path(recipe.output) / setup.RECIPE) == recipe
    save_recipe(recipe, tmp_path / "again.yaml")
    assert trainer.train(load_recipe(tmp_path / "again.yaml"), resume=True).steps == 3
