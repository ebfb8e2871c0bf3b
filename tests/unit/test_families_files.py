"""Folders as others publish them: read as they are spelled, saved as ours."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from published_models import (
    IDS,
    T5,
    Arrays,
    MakeWeights,
    Publish,
    change_json,
    change_tensors,
    publish_model,
)
from published_tokenizers import Published

from duologue.checkpoint import files, store
from duologue.checkpoint.export import write_published
from duologue.checkpoint.families import model_config
from duologue.checkpoint.published import read_published
from duologue.checkpoint.store import Weights, dequantize, load_config, load_model, model_info
from duologue.errors import CheckpointError
from duologue.text.imported import ImportedTokenizer
from duologue.types import PRECISIONS

KINDS = ("t5", "bart", "whisper", "marian", "m2m_100")


@pytest.fixture
def publish(tmp_path: Path, tokenizers: Published, tiny_weights: MakeWeights) -> Publish:
    def make(kind: str, **values: Any) -> Path:
        publish_model(tmp_path / kind, kind, tokenizers, tiny_weights, **values)
        return tmp_path / kind

    return make


def same(one: Weights, other: Weights) -> bool:
    return all(np.array_equal(dequantize(one[name]), dequantize(other[name])) for name in one)


# --- models of imported families -----------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
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


def test_prompts_of_tasks_are_exported_too(publish: Publish, tmp_path: Path) -> None:
    folder = publish("t5")
    prompts = {"summarization": "sum up: ", "translation_en_to_de": "to German: "}
    settings = {task: {"prefix": text, "max_length": 9} for task, text in prompts.items()}
    change_json(folder / "config.json", task_specific_params=settings)
    model = load_model(folder, "f32")
    assert isinstance(model.tokenizer, ImportedTokenizer)
    assert model.config.generation is not None
    found = model.config.generation.prompts
    assert found == {"summarize": "sum up: ", "translate en de": "to German: "}
    card = store.read_card(folder)
    write_published(tmp_path / "out", model.config, model.weights, model.tokenizer, card)
    assert load_config(tmp_path / "out") == model.config


def test_info_of_a_published_model_tells_how_it_is_stored(publish: Publish) -> None:
    folder = publish("bart")
    info = model_info(folder)
    assert info.precision == "f32"
    assert info.fingerprint == store.fingerprint(info.config, load_model(folder, "f32").weights)
    change_tensors(folder, lambda t: t.update({name: t[name].astype(np.float16) for name in t}))
    assert model_info(folder).precision == "bf16"
    assert model_info(folder).bytes == info.bytes // 2


def test_a_published_model_is_never_replaced(publish: Publish) -> None:
    folder = publish("t5")
    model = load_model(folder, "f32")
    change_json(folder / "config.json", exported_by=None)
    values = (folder / "config.json").read_text()
    with pytest.raises(CheckpointError, match="holds a published model"):
        store.save_model(folder, model.config, model.weights, model.tokenizer, "")
    assert (folder / "config.json").read_text() == values


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

    change_tensors(folder, bare)
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

    change_tensors(folder, copy)
    assert read_published(folder, "f32")[0] == config
    assert same(read_published(folder, "f32")[1], weights)


def test_an_output_of_its_own_is_found_whatever_the_configuration_says(
    publish: Publish,
) -> None:
    folder = publish("t5")
    change_tensors(folder, lambda t: t.update({"lm_head.weight": t["shared.weight"][::-1].copy()}))
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
        change_tensors(folder, lambda t: [t.pop(n) for n in list(t) if "embed_positions" in n])
        _, weights = read_published(folder, "f32")
        for side in ("encoder", "decoder"):
            row = dequantize(weights[f"{side}.positions.weight"])[position]
            np.testing.assert_allclose(row, [*np.sin(angles), *np.cos(angles)], atol=1e-5)


def test_positions_of_bart_begin_behind_two_unused_rows(publish: Publish) -> None:
    folder = publish("bart")
    change_tensors(folder, lambda t: t["model.decoder.embed_positions.weight"].__setitem__(2, 7.0))
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
    change_json(folder / "config.json", **{"tie_word_embeddings": None, **values})
    theirs = safetensors.numpy.load_file(folder / "model.safetensors")
    ours = read_published(folder, "f32")[1]
    norm = theirs["decoder.final_layer_norm.weight"]
    np.testing.assert_array_equal(ours["decoder.norm.weight"], norm * np.float32(factor))
    np.testing.assert_array_equal(
        ours["encoder.norm.weight"], theirs["encoder.final_layer_norm.weight"]
    )


# --- memory --------------------------------------------------------------------------------------


def test_no_tensor_is_held_in_float32(tmp_path: Path) -> None:
    sizes = {**T5, "d_model": 512, "vocab_size": 40_000}
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


def test_memory_of_the_file_is_given_back_piece_by_piece(
    publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publish("t5")
    given_back: list[object] = []
    monkeypatch.setattr(files, "give_back", given_back.append)
    _, weights = read_published(folder, "int8")
    assert len(given_back) >= len(weights)
