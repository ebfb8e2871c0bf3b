"""What is read of a published model can be written again, and transformers reads it as before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers as hf
from families_table import ParityTable
from tiny_transformers import FIRST_TEXT_ID, TINY, VOCAB, make_tiny, save_tiny

from duologue.checkpoint.export import write_published
from duologue.checkpoint.families import export_tensors, mapping
from duologue.checkpoint.published import read_published
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.weights import Weights, dequantize, to_precision
from duologue.config import ModelConfig

LEFT_OUT = ("vision_tower", "multi_modal_projector", "eoi_embedding")
COMPUTED = ("embed_positions",)  # Marian's: transformers makes them itself
UNUSED_ROWS = {"BART": 2, "BART, scaled embeddings": 2, "mBART-50": 2}


@dataclass(frozen=True)
class Made:
    """A published model: as transformers has it, the tensors of its file, and what we read."""

    kind: str
    theirs: Any
    folder: Path
    tensors: dict[str, np.ndarray]
    config: ModelConfig
    weights: Weights


@pytest.fixture(scope="module", params=TINY)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("published")
    theirs = save_tiny(request.param, folder)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    return Made(request.param, theirs, folder, tensors, *read_published(folder, "f32"))


def logits(made: Made, model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(FIRST_TEXT_ID, VOCAB - 26, (2, 12), generator=generator)
    source = {"input_ids": ids}
    if made.config.front_end == "mel":
        shape = (2, made.config.mel_bins, 2 * made.config.max_positions)
        source = {"input_features": torch.randn(shape, generator=generator)}
    with torch.no_grad():
        found: torch.Tensor = model(**source, decoder_input_ids=ids[:, 4:]).logits
    return found


def test_every_weight_is_read_in_its_shape(made: Made) -> None:
    assert {name: weight.shape for name, weight in made.weights.items()} == weight_spec(made.config)
    assert all(dequantize(weight).dtype == np.float32 for weight in made.weights.values())


def test_every_tensor_comes_back_as_it_was(made: Made) -> None:
    written = export_tensors(made.config, made.weights)
    missing = made.tensors.keys() - written.keys()
    assert all(any(part in name for part in LEFT_OUT) for name in missing)
    added = written.keys() - made.tensors.keys()
    assert all(any(part in name for part in COMPUTED) for name in added)
    for name, tensor in made.tensors.items():
        if name in missing:
            continue
        found = written[name]
        if "embed_positions" in name:  # rows that no token ever uses are not kept
            unused = UNUSED_ROWS.get(made.kind, 0)
            tensor, found = tensor[unused:], found[unused:]
        if "norm" in name:  # 1 is added, or a factor taken out, in float32
            np.testing.assert_allclose(found, tensor, rtol=3e-7, atol=1.2e-7, err_msg=name)
        else:
            np.testing.assert_array_equal(found, tensor, err_msg=name)


@pytest.mark.filterwarnings("ignore")  # T5Gemma 2 is written without its eyes
def test_transformers_loads_what_is_written_and_computes_the_same(
    made: Made, tmp_path: Path, parity_table: ParityTable
) -> None:
    write_published(tmp_path / "out", made.config, made.weights)
    loaded = type(made.theirs).from_pretrained(tmp_path / "out", attn_implementation="eager")
    original = type(made.theirs).from_pretrained(made.folder, attn_implementation="eager")
    expected, found = logits(made, original), logits(made, loaded)
    assert expected.abs().max() > 0.1
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert difference < 1e-6
    parity_table.differs(made.kind, "export", difference)


def test_what_is_written_is_read_as_the_same_model(made: Made, tmp_path: Path) -> None:
    write_published(tmp_path / "out", made.config, made.weights)
    config, weights = read_published(tmp_path / "out", "f32")
    assert config == made.config
    for name, weight in made.weights.items():
        np.testing.assert_allclose(weights[name], weight, rtol=3e-7, atol=1.2e-7, err_msg=name)


def test_automatic_classes_know_what_is_written(made: Made, tmp_path: Path) -> None:
    write_published(tmp_path / "out", made.config, made.weights)
    assert type(hf.AutoConfig.from_pretrained(tmp_path / "out")) in (
        type(made.theirs.config),
        hf.T5Config,
    )
    generation = hf.GenerationConfig.from_pretrained(tmp_path / "out")
    assert generation.eos_token_id == made.config.generation.eos_ids[0]
    assert generation.decoder_start_token_id == made.config.generation.start_ids[0]


def same(one: Weights, other: Weights) -> bool:
    return all(np.array_equal(dequantize(one[name]), dequantize(other[name])) for name in one)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_read_as_the_numbers_they_are(
    made: Made, dtype: torch.dtype, tmp_path: Path
) -> None:
    halves = make_tiny(made.kind).to(dtype)
    halves.save_pretrained(tmp_path / "half")
    halves.float().save_pretrained(tmp_path / "whole")
    config, weights = read_published(tmp_path / "half", "f32")
    assert config == made.config
    assert same(weights, read_published(tmp_path / "whole", "f32")[1])


def test_shards_are_one_model(made: Made, tmp_path: Path) -> None:
    made.theirs.save_pretrained(tmp_path, max_shard_size="12KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    config, weights = read_published(tmp_path, "f32")
    assert config == made.config
    assert same(weights, made.weights)


@pytest.mark.parametrize("is_new", [True, False])
def test_files_of_torch_save_are_the_same_model(made: Made, is_new: bool, tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_text((made.folder / name).read_text())
    state = made.theirs.state_dict()  # holds tied tensors under all of their names
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=is_new)
    config, weights = read_published(tmp_path, "f32")
    assert config == made.config
    assert same(weights, made.weights)


def test_an_index_of_files_of_torch_save_is_followed(made: Made, tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_text((made.folder / name).read_text())
    state = made.theirs.state_dict()
    names = sorted(state)
    parts = {"a.bin": names[::2], "b.bin": names[1::2]}
    for file, part in parts.items():
        torch.save({name: state[name] for name in part}, tmp_path / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert same(read_published(tmp_path, "f32")[1], made.weights)


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_rounding_in_pieces_is_rounding_at_once(
    made: Made, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "_NUMBERS_AT_ONCE", 100)
    _, weights = read_published(made.folder, precision)
    rounded = to_precision(made.weights, precision)
    assert {name: type(weight) for name, weight in weights.items()} == {
        name: type(weight) for name, weight in rounded.items()
    }
    assert same(weights, rounded)
