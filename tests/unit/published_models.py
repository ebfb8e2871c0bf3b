"""Tiny random models in folders as others publish them, with real tokenizers; no torch.

publish_model   writes one
change_tensors, change_json   damage it, or spell it otherwise
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from published_tokenizers import VOCAB_SIZE, Published

from duologue.checkpoint.export import write_published
from duologue.checkpoint.families import model_config
from duologue.checkpoint.store import Weights
from duologue.config import ModelConfig

Arrays = dict[str, np.ndarray]
MakeWeights = Callable[[ModelConfig], Weights]
Publish = Callable[..., Path]  # (kind, **values of config.json) -> folder

# Each family takes those of its keys.
T5 = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 1, "num_heads": 2}
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
_SIDE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
}
_GEMMA = {"encoder": {**_SIDE, "text_config": _SIDE}, "decoder": _SIDE}
_TOKENIZERS = {
    "mt5": "byt5",
    "umt5": "t5",
    "m2m_100": "nllb",
    "t5gemma": "gemma",
    "t5gemma2": "gemma",
}
IDS = {"pad_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 0}


def publish_model(
    folder: Path, kind: str, tokenizers: Published, make_weights: MakeWeights, **values: Any
) -> None:
    """Write a model of a `model_type`; `values` go over its config.json."""
    sizes = T5 if kind.endswith("t5") else BART
    given = {"model_type": kind, "vocab_size": VOCAB_SIZE, **IDS, **sizes, **_GEMMA, **values}
    config = model_config(given, {}, kind)[0]
    write_published(folder, config, make_weights(config))
    files = tokenizers.folder(_TOKENIZERS.get(kind, kind))
    shutil.copytree(files, folder, dirs_exist_ok=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# a card")


def change_tensors(folder: Path, change: Callable[[Arrays], object]) -> None:
    """Write the tensors again after `change` was made to them."""
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def change_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; those that are None are taken out."""
    changed = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))
