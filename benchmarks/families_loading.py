"""Reads a published folder as int8, and that is all; families.py watches how much memory it takes.

    python benchmarks/families_loading.py FOLDER [--ready]

write_folder   a published folder with random weights, of a shape that need not fit into memory
int8_bytes     what a model takes in int8
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy

from duologue.checkpoint.families import export_config, model_config
from duologue.checkpoint.families.generation import export_generation
from duologue.checkpoint.families.mapping import stored_shape
from duologue.checkpoint.published import read_published
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.weights import Float32, precision_of
from duologue.config import ModelConfig
from duologue.engine.forward import Forward

SHARD_BYTES = 500 * 10**6


def int8_bytes(config: ModelConfig) -> int:
    """Bytes of all weights: matrices in int8 with a scale for each row, the rest in float32."""
    total = 0
    for name, shape in weight_spec(config).items():
        is_matrix = len(shape) == 2 and precision_of(name, "int8") == "int8"
        total += math.prod(shape) + 4 * shape[0] if is_matrix else 4 * math.prod(shape)
    return total


def write_folder(config: ModelConfig, folder: Path) -> None:
    """Write config.json, generation_config.json and random weights in float32, in shards.

    config  of an imported family, with one table for all embeddings

    No more than one shard is held: one tensor, or several of together SHARD_BYTES.
    """
    assert config.generation is not None
    advice = export_generation(config.generation)
    (folder / "config.json").write_text(json.dumps(export_config(config)), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps(advice), encoding="utf-8")
    places: dict[str, str] = {}
    shard: dict[str, Float32] = {}

    def write() -> None:
        name = f"model-{len(set(places.values())) + 1:05}.safetensors"
        safetensors.numpy.save_file(shard, folder / name)
        places.update(dict.fromkeys(shard, name))
        shard.clear()

    numbers = np.random.default_rng(0).standard_normal(2**20, np.float32)
    for name, shape in _stored_shapes(config):
        if shard and sum(x.nbytes for x in shard.values()) + 4 * math.prod(shape) > SHARD_BYTES:
            write()
        shard[name] = np.resize(numbers, shape)
    write()
    index = json.dumps({"weight_map": places})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")


def _stored_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor of the published model."""
    assert config.generation is not None
    advice = export_generation(config.generation)
    _, family, published = model_config(export_config(config), advice, "export")
    spec = weight_spec(config)
    yield family.tables(published).shared[0], spec["embed.weight"]
    for name, blocks in family.weights(config, published).items():
        for block in blocks:
            if block.names:
                yield block.names[0], stored_shape(block, spec[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="as published")
    parser.add_argument("--ready", action="store_true", help="pack the weights for the engine, too")
    arguments = parser.parse_args()
    config, weights = read_published(arguments.folder, "int8")
    if arguments.ready:
        Forward(config, weights, threads=1)


if __name__ == "__main__":
    main()
