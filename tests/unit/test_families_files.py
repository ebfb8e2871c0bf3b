"""Folders as others publish them: read, refused with all that is wrong, saved as ours."""

from __future__ import annotations

import json
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from published_tokenizers import Published

from duologue.checkpoint import store
from duologue.checkpoint.export import write_published
from duologue.checkpoint.families import model_config
from duologue.checkpoint.published import read_published
from duologue.checkpoint.store import Weights, dequantize, load_config, load_model, model_info
from duologue.config import ModelConfig
from duologue.errors import CheckpointError
from duologue.text.imported import ImportedTokenizer
from duologue.types import PRECISIONS

MakeWeights = Callable[[ModelConfig], Weights]
Publish = Callable[..., Path]
Arrays = dict[str, np.ndarray]

VOCAB_SIZE = 1000
IDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
SIZES = {
    "t5": {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 1, "num_heads": 2},
    "bart": {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 40,
    },
    "whisper": {
        "d_model": 16,
        "num_mel_bins": 4,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_source_positions": 20,
        "max_target_positions": 30,
    },
}
SIZES["marian"] = SIZES["m2m_100"] = SIZES["bart"]
TOKENIZERS = {"m2m_100": "nllb"}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def publish(tmp_path: Path, tokenizers: Published, tiny_weights: MakeWeights) -> Publish:
    """publish(kind, **values) -> a private folder with random weights and a real tokenizer."""

    def make(kind: str, **values: Any) -> Path:
        ids = {**IDS, "pad_token_id": 1} if kind == "m2m_100" else IDS
        given = {"model_type": kind, "vocab_size": VOCAB_SIZE, **ids, **SIZES[kind], **values}
        config = model_config(given, {}, kind)[0]
        folder = tmp_path / kind
        write_published(folder, config, tiny_weights(config))
        shutil.copytree(tokenizers.folder(TOKENIZERS.get(kind, kind)), folder, dirs_exist_ok=True)
        return folder

    return make


def rewrite(folder: Path, change: Callable[[Arrays], object]) -> None:
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def same(one: Weights, other: Weights) -> bool:
    return all(np.array_equal(dequantize(one[name]), dequantize(other[name])) for name in one)


# --- models of imported families -----------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", SIZES)
def test_a_published_model_is_saved_as_ours_and_loaded_again(
    kind: str, precision: Any, publish: Publish, tmp_path: Path
) -> None:
    published = load_model(publish(kind), precision)
    assert isinstance(published.tokenizer, ImportedTokenizer)
    target = tmp_path / "ours"
    store.save_model(
        target, published.config, published.weights, published.tokenizer, "# card", precision
    )
    ours = load_model(target, precision)
    assert ours.config == load_config(target) == published.config
    assert same(ours.weights, published.weights)
    assert isinstance(ours.tokenizer, ImportedTokenizer)
    text = "the train station, and more"
    assert ours.tokenizer.encode(text) == published.tokenizer.encode(text)
    info = model_info(target)
    assert info.precision == precision
    store.save_model(target, ours.config, ours.weights, ours.tokenizer, "# new", precision)
    assert (target / "README.md").read_text() == "# new"


def test_what_a_published_model_can_do_is_in_its_configuration(
    publish: Publish,
) -> None:
    config = load_config(publish("m2m_100"))
    assert config.tasks == ("translate",)
    assert "deu_Latn" in config.languages
    assert config.generation is not None
    assert config.generation.languages["deu_Latn"] > 0


def test_info_of_a_published_model_tells_how_it_is_stored(publish: Publish) -> None:
    folder = publish("bart")
    info = model_info(folder)
    assert info.precision == "f32"
    assert info.fingerprint == store.fingerprint(info.config, load_model(folder, "f32").weights)
    rewrite(folder, lambda t: t.update({name: t[name].astype(np.float16) for name in t}))
    assert model_info(folder).precision == "bf16"
    assert model_info(folder).bytes == info.bytes // 2


def test_a_published_model_is_never_replaced(publish: Publish) -> None:
    folder = publish("t5")
    model = load_model(folder, "f32")
    change_json(folder / "config.json", exported_by=None)
    values = json.loads((folder / "config.json").read_text())
    del values["exported_by"]
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="holds a published model"):
        store.save_model(folder, model.config, model.weights, model.tokenizer, "")
    assert json.loads((folder / "config.json").read_text()) == values


def test_what_was_exported_here_is_replaced(publish: Publish) -> None:
    folder = publish("t5")
    model = load_model(folder, "f32")
    assert isinstance(model.tokenizer, ImportedTokenizer)
    write_published(folder, model.config, model.weights, model.tokenizer, "# again")
    assert (folder / "README.md").read_text() == "# again"
    assert same(load_model(folder, "f32").weights, model.weights)


# --- how tensors may be spelled ------------------------------------------------------------------


def test_tensors_without_the_prefix_of_the_model_are_known(publish: Publish) -> None:
    folder = publish("bart")
    _, weights = read_published(folder, "f32")

    def bare(tensors: Arrays) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("model.")] = tensors.pop(name)
        del tensors["final_logits_bias"]

    rewrite(folder, bare)
    _, found = read_published(folder, "f32")
    del weights["output.bias"]
    assert not dequantize(found["output.bias"]).any()
    assert same(weights, found)


def test_copies_of_tables_and_old_buffers_are_no_surplus(publish: Publish) -> None:
    folder = publish("m2m_100")
    config, weights = read_published(folder, "f32")

    def copy(tensors: Arrays) -> None:
        for name in ("model.encoder.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors["model.shared.weight"].copy()
        tensors["model.encoder.embed_positions.weights"] = np.zeros((3, 4), np.float32)

    rewrite(folder, copy)
    assert read_published(folder, "f32")[0] == config
    assert same(read_published(folder, "f32")[1], weights)


def test_an_output_of_its_own_is_found_whatever_the_configuration_says(
    publish: Publish,
) -> None:
    folder = publish("t5")
    rewrite(folder, lambda t: t.update({"lm_head.weight": t["shared.weight"][::-1].copy()}))
    config, weights = read_published(folder, "f32")
    assert not config.tied_output
    np.testing.assert_array_equal(weights["output.weight"], weights["embed.weight"][::-1])


def test_a_model_that_says_that_its_output_is_its_own_needs_it(
    publish: Publish,
) -> None:
    folder = publish("bart")
    change_json(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"missing: lm_head\.weight"):
        read_published(folder, "f32")


@pytest.mark.parametrize("position", [0, 1, 39])
def test_tables_of_positions_that_a_checkpoint_lacks_are_computed(
    position: int, publish: Publish
) -> None:
    angle = {
        "marian": [position / 10000 ** (2 * column / 16) for column in range(8)],
        "m2m_100": [(position + 2) / 10000 ** (column / 7) for column in range(8)],
    }
    for kind, angles in angle.items():
        folder = publish(kind)
        rewrite(folder, lambda t: [t.pop(n) for n in list(t) if "embed_positions" in n])
        _, weights = read_published(folder, "f32")
        for side in ("encoder", "decoder"):
            row = dequantize(weights[f"{side}.positions.weight"])[position]
            np.testing.assert_allclose(row, [*np.sin(angles), *np.cos(angles)], atol=1e-5)


def test_positions_of_bart_begin_behind_two_unused_rows(publish: Publish) -> None:
    folder = publish("bart")
    rewrite(folder, lambda t: t["model.decoder.embed_positions.weight"].__setitem__(2, 7.0))
    table = dequantize(read_published(folder, "f32")[1]["decoder.positions.weight"])
    assert table.shape == (40, 16)
    assert (table[0] == 7).all()


def test_convolutions_of_whisper_are_laid_tap_by_tap(publish: Publish) -> None:
    folder = publish("whisper")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    kernel = tensors["model.encoder.conv1.weight"]  # [out, in, 3]
    ours = dequantize(read_published(folder, "f32")[1]["encoder.conv1.weight"])
    for tap in range(3):
        np.testing.assert_array_equal(ours[:, 4 * tap : 4 * tap + 4], kernel[:, :, tap])


def test_keys_of_whisper_get_biases_of_zero(publish: Publish) -> None:
    weights = read_published(publish("whisper"), "f32")[1]
    assert not dequantize(weights["decoder.layers.0.cross_attn.kv.bias"])[:16].any()
    assert dequantize(weights["decoder.layers.0.cross_attn.kv.bias"])[16:].any()
    assert not dequantize(weights["encoder.layers.0.attn.qkv.bias"])[16:32].any()


@pytest.mark.parametrize(
    ("values", "factor"),
    [
        ({}, 0.25),
        ({"tie_word_embeddings": False}, 1.0),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, 1.0),
    ],
)
def test_the_output_scale_of_t5_is_in_its_last_norm(
    values: dict[str, bool], factor: float, publish: Publish
) -> None:
    folder = publish("t5")
    config = json.loads((folder / "config.json").read_text())
    del config["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(config | values))
    theirs = safetensors.numpy.load_file(folder / "model.safetensors")
    ours = read_published(folder, "f32")[1]
    norm = theirs["decoder.final_layer_norm.weight"]
    np.testing.assert_array_equal(ours["decoder.norm.weight"], norm * np.float32(factor))
    np.testing.assert_array_equal(
        ours["encoder.norm.weight"], theirs["encoder.final_layer_norm.weight"]
    )


# --- what is refused -----------------------------------------------------------------------------


def test_all_that_is_wrong_is_in_one_error(publish: Publish) -> None:
    folder = publish("t5")

    def spoil(tensors: Arrays) -> None:
        del tensors["encoder.final_layer_norm.weight"]
        tensors["classifier.weight"] = np.zeros((2, 3), np.float32)
        tensors["decoder.final_layer_norm.weight"] = np.zeros(5, np.float32)
        tensors["encoder.block.0.layer.1.DenseReluDense.wi.weight"] = np.zeros((24, 16), np.int32)

    rewrite(folder, spoil)
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
    rewrite(folder, lambda t: [t[name].flat.__setitem__(3, np.nan) for name in spoiled])
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


# --- memory --------------------------------------------------------------------------------------


def test_no_tensor_is_held_in_float32(tmp_path: Path) -> None:
    sizes = {**SIZES["t5"], "d_model": 512, "vocab_size": 40_000}
    config = model_config({"model_type": "t5", **IDS, **sizes}, {}, "t5")[0]
    rng = np.random.default_rng(0)
    weights: Weights = {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in store.weight_spec(config).items()
    }
    write_published(tmp_path / "large", config, weights)
    size = sum(np.size(dequantize(weight)) for weight in weights.values())
    del weights
    tracemalloc.start()
    try:
        read_published(tmp_path / "large", "int8")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * size + 25e6  # the table alone has 80 MB in float32
