"""Folders as others publish them that cannot be read: one error says all that is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_models import (
    Arrays,
    MakeWeights,
    Publish,
    change_json,
    change_tensors,
    publish_model,
)
from published_tokenizers import Published

from duologue.checkpoint.store import load_model
from duologue.errors import CheckpointError
from duologue.types import PRECISIONS


@pytest.fixture
def publish(tmp_path: Path, tokenizers: Published, tiny_weights: MakeWeights) -> Publish:
    def make(kind: str, **values: Any) -> Path:
        publish_model(tmp_path / kind, kind, tokenizers, tiny_weights, **values)
        return tmp_path / kind

    return make


def test_all_that_is_wrong_is_in_one_error(publish: Publish) -> None:
    folder = publish("t5")

    def spoil(tensors: Arrays) -> None:
        del tensors["encoder.final_layer_norm.weight"]
        tensors["classifier.weight"] = np.zeros((2, 3), np.float32)
        tensors["decoder.final_layer_norm.weight"] = np.zeros(5, np.float32)
        tensors["encoder.block.0.layer.1.DenseReluDense.wi.weight"] = np.zeros((24, 16), np.int32)

    change_tensors(folder, spoil)
    (folder / "spiece.model").unlink()
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    for words in (
        "missing: encoder.final_layer_norm.weight",
        "surplus: classifier.weight",
        "decoder.final_layer_norm.weight [5] instead of [16]",
        "of a type that is not read: encoder.block.0.layer.1.DenseReluDense.wi.weight I32",
        "no tokenizer here",
    ):
        assert words in str(caught.value)


def test_numbers_that_are_none_are_refused_by_name(publish: Publish) -> None:
    folder = publish("bart")
    spoiled = ("model.encoder.layers.0.fc1.bias", "model.shared.weight")
    change_tensors(folder, lambda t: [t[name].flat.__setitem__(3, np.nan) for name in spoiled])
    for precision in PRECISIONS:
        with pytest.raises(CheckpointError) as caught:
            load_model(folder, precision)
        assert "not finite: embed.weight, encoder.layers.0.ff.up.bias" in str(caught.value)


def test_a_vocabulary_that_is_smaller_than_the_tokenizer_is_refused(
    publish: Publish,
) -> None:
    with pytest.raises(CheckpointError, match="different models"):
        load_model(publish("t5", vocab_size=40))


def test_a_marian_with_a_vocabulary_for_each_side_is_refused(publish: Publish) -> None:
    folder = publish("marian")
    (folder / "target_vocab.json").write_text("{}")
    with pytest.raises(CheckpointError, match="vocabulary for each side"):
        load_model(folder)


def test_a_configuration_with_absurdly_many_layers_is_refused(
    publish: Publish,
) -> None:
    folder = publish("t5")
    change_json(folder / "config.json", num_layers=10**12)
    with pytest.raises(CheckpointError, match="more layers"):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 9, 500, -1])
def test_a_truncated_file_is_refused(keep: int, publish: Publish) -> None:
    path = publish("t5") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_model(path.parent)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_missing_is_named(name: str, publish: Publish) -> None:
    folder = publish("t5")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": 5}', '{"weight_map": {"a": 5}}', "{}"])
def test_a_damaged_index_is_refused(text: str, publish: Publish) -> None:
    folder = publish("t5")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        load_model(folder)


def test_shards_that_are_missing_are_named(publish: Publish) -> None:
    folder = publish("t5")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    shards = {"a": "one.safetensors", "b": "two.safetensors", "c": "three.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(CheckpointError, match=r"three\.safetensors, two\.safetensors"):
        load_model(folder)


def test_an_index_names_no_file_elsewhere(publish: Publish) -> None:
    folder = publish("t5")
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside"):
        load_model(folder)


def test_a_pickle_without_torch_is_refused_with_advice(
    publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish("t5")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match=r"duologue\[train\].*model\.safetensors"):
        load_model(folder)


def test_what_is_no_file_of_weights_runs_nothing(publish: Publish) -> None:
    folder = publish("t5")
    (folder / "model.safetensors").unlink()
    witness = folder / "witness"
    code = f"cbuiltins\nopen\n(S'{witness}'\nS'w'\ntR."
    (folder / "pytorch_model.bin").write_bytes(code.encode())
    with pytest.raises(CheckpointError, match="not a file of weights"):
        load_model(folder)
    assert not witness.exists()
