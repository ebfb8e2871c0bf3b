"""A model folder: written whole or not at all, read back exactly, refused when it does not fit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from duologue.checkpoint import store
from duologue.checkpoint.store import Weights
from duologue.config import ModelConfig, replace, to_dict
from duologue.errors import CheckpointError
from duologue.text.tokenizer import Tokenizer
from duologue.types import PRECISIONS

Configs = Callable[..., ModelConfig]
MakeWeights = Callable[[ModelConfig], Weights]
Folders = Callable[..., Path]


@pytest.fixture
def folder(tiny_model_folder: Folders, tmp_path: Path) -> Path:
    """A private f32 model folder that a test may damage."""
    copy = tmp_path / "model"
    shutil.copytree(tiny_model_folder(precision="f32"), copy)
    return copy


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_weight_spec_of_a_transformer_counts_every_parameter(tiny_config: Configs) -> None:
    config = tiny_config("transformer")
    width, hidden = config.d_model, config.d_ff
    encoder = 3 * width**2 + width**2 + 3 * hidden * width + 2 * width
    decoder = encoder + 4 * width**2 + width
    total = config.vocab_size * width + 2 * encoder + 2 * decoder + 2 * width
    spec = store.weight_spec(config)
    assert sum(int(np.prod(shape)) for shape in spec.values()) == total
    assert spec["decoder.layers.1.cross_attn.kv.weight"] == (2 * width, width)


def test_weight_spec_of_a_gru_widens_the_first_decoder_layer_only(tiny_config: Configs) -> None:
    spec = store.weight_spec(tiny_config("gru"))
    assert spec["decoder.layers.0.gru.weight_ih"] == (48, 32)
    assert spec["decoder.layers.1.gru.weight_ih"] == (48, 16)
    assert spec["encoder.layers.0.gru.weight_ih"] == (48, 16)
    assert spec["decoder.attn.score.weight"] == (16,)


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_float_weights_come_back_bit_for_bit(
    cell: str, tiny_config: Configs, tiny_weights: MakeWeights, tiny_model_folder: Folders
) -> None:
    weights = tiny_weights(tiny_config(cell))
    loaded = store.load_model(tiny_model_folder(cell, "f32"), "f32")
    assert loaded.config == tiny_config(cell)
    assert loaded.weights.keys() == weights.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weight)


def test_loaded_weights_are_read_only_views_of_the_file(tiny_model_folder: Folders) -> None:
    weight = store.load_model(tiny_model_folder(precision="f32"), "f32").weights["embed.weight"]
    assert isinstance(weight, np.ndarray)
    assert not weight.flags.owndata
    assert not weight.flags.writeable


def test_load_lists_missing_surplus_and_misshapen_weights_at_once(folder: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        del tensors["embed.weight"]
        tensors["pooler.weight"] = np.zeros(3, np.float32)
        tensors["encoder.norm.weight"] = np.ones(5, np.float32)

    rewrite(folder, change)
    with pytest.raises(CheckpointError) as caught:
        store.load_model(folder)
    message = str(caught.value)
    assert "missing: embed.weight" in message
    assert "surplus: pooler.weight" in message
    assert "encoder.norm.weight [5] instead of [16]" in message


def test_load_refuses_weights_that_are_not_finite(folder: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["embed.weight"][3, 2] = np.inf
        tensors["embed.weight"][4, 2] = -np.inf

    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=r"not finite: embed\.weight"):
        store.load_model(folder)


def test_load_refuses_foreign_number_types(folder: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for name in ("embed.weight", "encoder.norm.weight"):
            tensors[name] = tensors[name].astype(np.float16)

    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=r"embed\.weight F16, encoder\.norm\.weight F16"):
        store.load_model(folder)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_load_refuses_a_truncated_weight_file(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        store.load_model(folder)


def test_load_refuses_a_file_that_is_not_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x04 this is a pickle, say" * 100)
    with pytest.raises(CheckpointError, match="damaged"):
        store.load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_load_names_the_file_that_is_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        store.load_model(folder)


def test_load_refuses_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model folder"):
        store.load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"vocab_size": "many"}', "[" * 100_000, '{"vocab_size": 1e999}'],
)
def test_load_refuses_a_damaged_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        store.load_model(folder)


def test_load_refuses_unknown_keys_in_the_config(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"num_experts": 8}))
    with pytest.raises(CheckpointError, match=r"num_experts.*unknown key"):
        store.load_model(folder)


def test_load_refuses_a_config_with_absurdly_many_layers(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"num_encoder_layers": 10**12}))
    with pytest.raises(CheckpointError, match="more layers"):
        store.load_model(folder)


def test_load_refuses_a_tokenizer_of_another_size(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"vocab_size": 7}))
    with pytest.raises(CheckpointError, match="come from different models"):
        store.load_model(folder)


def test_save_replaces_an_older_model_and_leaves_no_other_folder(
    folder: Path, tiny_tokenizer: Tokenizer
) -> None:
    old = store.load_model(folder, "f32")
    changed = {name: 2 * store.dequantize(weight) for name, weight in old.weights.items()}
    store.save_model(folder, old.config, changed, tiny_tokenizer, "# new", "f32")
    new = store.load_model(folder, "f32")
    np.testing.assert_array_equal(new.weights["embed.weight"], changed["embed.weight"])
    assert (folder / "README.md").read_text() == "# new"
    assert names_in(folder.parent) == ["model"]
    np.testing.assert_array_equal(old.weights["embed.weight"] * 2, changed["embed.weight"])


def test_saved_files_are_as_private_as_the_umask_says(
    folder: Path, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = store.load_model(folder, "f32")
    before = os.umask(0o027)
    try:
        store.save_model(tmp_path / "new", model.config, model.weights, tiny_tokenizer, "")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o640}


def test_save_through_a_link_keeps_the_link(
    folder: Path, tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    loaded = store.load_model(folder, "f32")
    store.save_model(link, loaded.config, loaded.weights, tiny_tokenizer, "# new")
    assert link.is_symlink()
    assert (folder / "README.md").read_text() == "# new"


@pytest.mark.parametrize("name", ["notes.txt", "other/model.safetensors"])
def test_save_never_replaces_a_folder_with_other_files(
    folder: Path, tiny_tokenizer: Tokenizer, name: str
) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine")
    loaded = store.load_model(folder, "f32")
    with pytest.raises(CheckpointError, match="will not be replaced"):
        store.save_model(folder, loaded.config, loaded.weights, tiny_tokenizer, "")
    assert (folder / name).read_text() == "mine"


def test_save_never_replaces_a_file(folder: Path, tiny_tokenizer: Tokenizer) -> None:
    loaded = store.load_model(folder, "f32")
    target = folder / "README.md"
    with pytest.raises(CheckpointError, match="is a file"):
        store.save_model(target, loaded.config, loaded.weights, tiny_tokenizer, "")
    assert target.read_text().startswith("# tiny")


@pytest.mark.parametrize("failing", ["save_file", "fsync", "replace"])
def test_save_that_fails_leaves_what_was_there(
    folder: Path, tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    loaded = store.load_model(folder, "f32")
    changed = {name: 2 * store.dequantize(weight) for name, weight in loaded.weights.items()}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        owner = safetensors.numpy if failing == "save_file" else os
        patch.setattr(owner, failing, full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            store.save_model(folder, loaded.config, changed, tiny_tokenizer, "# new", "f32")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names_in(folder.parent) == ["model"]


def test_save_that_fails_while_swapping_brings_the_old_model_back(
    folder: Path, tiny_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = store.load_model(folder, "f32")
    calls: list[object] = []
    real = os.replace

    def second_fails(source: object, target: object) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(CheckpointError, match="Input/output error"):
        store.save_model(folder, loaded.config, loaded.weights, tiny_tokenizer, "# new", "f32")
    assert (folder / "README.md").read_text().startswith("# tiny")
    assert names_in(folder.parent) == ["model"]


def test_save_refuses_weights_that_do_not_fit(
    tmp_path: Path, tiny_config: Configs, tiny_weights: MakeWeights, tiny_tokenizer: Tokenizer
) -> None:
    weights = tiny_weights(tiny_config())
    weights["embed.weight"] = weights["embed.weight"].astype(np.float64)  # type: ignore[union-attr]
    del weights["decoder.norm.weight"]
    with pytest.raises(CheckpointError, match=r"missing: decoder\.norm.*wrong type: embed"):
        store.save_model(tmp_path / "new", tiny_config(), weights, tiny_tokenizer, "")
    assert names_in(tmp_path) == []


def test_fingerprint_changes_with_the_function_and_with_nothing_else(
    tiny_config: Configs, tiny_weights: MakeWeights
) -> None:
    config = tiny_config()
    weights = tiny_weights(config)
    base = store.fingerprint(config, weights)
    described = replace(config, license="MIT", languages=("de",), reply_languages=("de",))
    assert store.fingerprint(described, weights) == base
    assert store.fingerprint(config, dict(reversed(weights.items()))) == base
    assert store.fingerprint(replace(config, rope_theta=5000.0), weights) != base
    assert store.fingerprint(config, store.to_precision(weights, "int8")) != base
    nudged = store.dequantize(weights["encoder.norm.weight"]).copy()
    nudged[0] += 1e-3
    assert store.fingerprint(config, weights | {"encoder.norm.weight": nudged}) != base


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_model_info_tells_size_and_precision(cell: str, tiny_model_folder: Folders) -> None:
    folders = [tiny_model_folder(cell, precision) for precision in PRECISIONS]
    infos = [store.model_info(folder) for folder in folders]
    assert tuple(info.precision for info in infos) == PRECISIONS
    assert len({info.parameters for info in infos}) == 1
    assert len({info.fingerprint for info in infos}) == len(PRECISIONS)
    f32, bf16, int8, int4 = (info.bytes for info in infos)
    assert f32 > bf16 > int8 > int4
    assert int8 < f32 / 2
    assert int4 == (folders[3] / "model.safetensors").stat().st_size
    assert to_dict(infos[0].config)["label_sets"]["sentiment"] == ["positive", "negative"]
