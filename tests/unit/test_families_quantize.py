"""quantize writes what computes the same as the original, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_models import MakeWeights, Publish, publish_model
from published_tokenizers import Published

from duologue.checkpoint import store, weights
from duologue.checkpoint.families import FAMILIES
from duologue.checkpoint.store import load_model, model_info
from duologue.cli import agreement
from duologue.cli.quantize import quantize
from duologue.errors import CheckpointError
from duologue.types import PRECISIONS


@pytest.fixture
def publish(tmp_path: Path, tokenizers: Published, tiny_weights: MakeWeights) -> Publish:
    def make(kind: str) -> Path:
        publish_model(tmp_path / "in", kind, tokenizers, tiny_weights)
        return tmp_path / "in"

    return make


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_survives_every_precision(
    kind: str,
    precision: Any,
    publish: Publish,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = publish(kind), tmp_path / "out"
    quantize(str(folder), out, precision)
    written = load_model(out, precision)
    original = load_model(folder, precision)
    assert written.config == original.config
    assert written.config.license == "mit"
    assert (out / "README.md").read_text() == (folder / "README.md").read_text()
    assert model_info(out).precision == precision
    assert store.fingerprint(written.config, written.weights) == store.fingerprint(
        original.config, original.weights
    )
    assert "first choices the same" in capsys.readouterr().out


def wrong_scales(matrix: weights.Float32) -> weights.Weight:
    good = weights.quantize_int8(matrix)
    return weights.Int8Weight(good.values, 3 * good.scale)


def nothing(matrix: weights.Float32) -> weights.Weight:
    zeros = np.zeros(matrix.shape, np.int8)
    return weights.Int8Weight(zeros, np.zeros(len(matrix), np.float32))


@pytest.mark.parametrize("broken", [wrong_scales, nothing])
@pytest.mark.parametrize("kind", ["t5", "whisper", "duo"])
def test_a_broken_rounding_is_refused_and_leaves_nothing(
    kind: str,
    broken: Any,
    publish: Publish,
    tiny_model_folder: Publish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tiny_model_folder(precision="f32") if kind == "duo" else publish(kind)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setitem(weights._ROUND, "int8", broken)
    with pytest.raises(CheckpointError, match="does not survive int8"):
        quantize(str(folder), tmp_path / "out", "int8")
    assert sorted(tmp_path.iterdir()) == before


def test_an_engine_that_computes_something_else_is_noticed(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish("bart")
    real = agreement.load_model

    def load(path: Path, precision: Any) -> store.LoadedModel:
        model = real(path, precision)
        if path != folder:
            rng = np.random.default_rng(1)
            table = model.weights["embed.weight"]
            assert isinstance(table, weights.Int8Weight)
            mixed = weights.Int8Weight(rng.permutation(table.values), table.scale)
            model.weights["embed.weight"] = mixed
        return model

    monkeypatch.setattr(agreement, "load_model", load)
    with pytest.raises(CheckpointError, match="its logits are off by"):
        quantize(str(folder), tmp_path / "out", "int8")
    assert not (tmp_path / "out").exists()


def test_what_is_too_large_to_run_is_compared_weight_by_weight(
    publish: Publish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = publish("marian")
    monkeypatch.setattr(agreement, "_REFERENCES", ())
    quantize(str(folder), tmp_path / "out", "int8")
    assert "too large to compare" in capsys.readouterr().out
    monkeypatch.setitem(weights._ROUND, "int8", nothing)
    with pytest.raises(CheckpointError, match="off by 100%"):
        quantize(str(folder), tmp_path / "again", "int8")


def test_a_reference_in_bf16_will_do(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish("pegasus")
    quantize(str(folder), tmp_path / "out", "int8")
    exact = agreement.check_agreement(folder, tmp_path / "out", "int8")
    monkeypatch.setattr(agreement, "_REFERENCES", (("bf16", 2),))
    found = agreement.check_agreement(folder, tmp_path / "out", "int8")
    assert found.logit_error is not None
    assert exact.logit_error is not None
    assert found.weight_error == exact.weight_error
    assert 0 < abs(found.logit_error - exact.logit_error) < 0.05
