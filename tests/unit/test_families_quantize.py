"""quantize writes what computes the same as the original, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_tokenizers import VOCAB_SIZE, Published

from duologue.checkpoint import store, weights
from duologue.checkpoint.export import write_published
from duologue.checkpoint.families import FAMILIES, model_config
from duologue.checkpoint.store import Weights, load_model, model_info
from duologue.cli import agreement
from duologue.cli.quantize import quantize
from duologue.config import ModelConfig
from duologue.errors import CheckpointError
from duologue.types import PRECISIONS

MakeWeights = Callable[[ModelConfig], Weights]
Folders = Callable[..., Path]

TOKENIZERS = {"mt5": "byt5", "umt5": "t5", "m2m_100": "nllb", "t5gemma": "gemma"}
TOKENIZERS["t5gemma2"] = "gemma"
BART = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 40,
    "num_mel_bins": 4,
    "max_source_positions": 20,
    "max_target_positions": 30,
}
T5 = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 1, "num_heads": 2}
SIDE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
}
GEMMA = {"encoder": {**SIDE, "text_config": SIDE}, "decoder": SIDE}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def publish(tmp_path: Path, tokenizers: Published, tiny_weights: MakeWeights) -> Folders:
    def make(kind: str) -> Path:
        sizes: dict[str, Any] = T5 if kind.endswith("t5") else BART
        ids = {"pad_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 0}
        values = {"model_type": kind, "vocab_size": VOCAB_SIZE, **ids, **sizes, **GEMMA}
        config = model_config(values, {}, kind)[0]
        folder = tmp_path / "in"
        write_published(folder, config, tiny_weights(config))
        shutil.copytree(tokenizers.folder(TOKENIZERS.get(kind, kind)), folder, dirs_exist_ok=True)
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# a card")
        return folder

    return make


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_survives_every_precision(
    kind: str,
    precision: Any,
    publish: Folders,
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
    publish: Folders,
    tiny_model_folder: Folders,
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
    publish: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    publish: Folders,
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
    publish: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
