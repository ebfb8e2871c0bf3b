"""A model of an imported family as others publish it: a folder that transformers reads.

write_published   the folder, whole or not at all
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.numpy

from duologue.checkpoint.families import export_config, export_tensors
from duologue.checkpoint.families.generation import export_generation
from duologue.checkpoint.folder import (
    ADVICE,
    CARD,
    CONFIG,
    MADE_HERE,
    TENSORS,
    new_folder,
    to_json,
)
from duologue.checkpoint.tensors import check_weights
from duologue.checkpoint.weights import Weight
from duologue.config import ModelConfig
from duologue.errors import CheckpointError
from duologue.text.imported import ImportedTokenizer


def write_published(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Weight],
    tokenizer: ImportedTokenizer | None = None,
    card: str = "",
) -> None:
    """Write config.json, generation_config.json, model.safetensors and the tokenizer's files.

    weights    every name of weight_spec(config), in any precision; written in float32
    tokenizer  None: its files are not written

    Replaces a folder as new_folder does. Raises CheckpointError for a model that is not of an
    imported family, wrong weights, a foreign folder, a full disk, missing rights.
    """
    check_weights(weights, config, str(folder))
    if config.generation is None:
        raise CheckpointError(f"{folder}: only models of imported families can be exported")
    values = export_config(config) | {"dtype": "float32", MADE_HERE: "duologue"}
    advice = export_generation(config.generation)
    with new_folder(folder) as fresh:
        (fresh / CONFIG).write_text(to_json(values), encoding="utf-8")
        (fresh / ADVICE).write_text(to_json(advice), encoding="utf-8")
        (fresh / CARD).write_text(card, encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save(fresh)
        tensors = export_tensors(config, weights)
        safetensors.numpy.save_file(tensors, fresh / TENSORS, metadata={"format": "pt"})
