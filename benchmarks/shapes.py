"""The shapes and weights that benchmarks run on: ids and NumPy arrays, no file of a peer.

FLAN      the shape of FLAN-T5-small in our family; see the constant for what differs
DEFAULT   the shape of the default model
TINY      for trying a benchmark out (--quick); its figures mean nothing
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from duologue.benchmark import step_names
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.weights import Weights
from duologue.config import ModelConfig

# FLAN-T5-small has 6 heads of 64 (384 wide inside 512) where our family has d_model / 64 = 8, and
# an output matrix of its own where ours is the embedding. So a step of ours reads 41.6 M weights,
# one of FLAN-T5-small 38.5 M.
FLAN = ModelConfig(
    vocab_size=32_128,
    d_model=512,
    d_ff=1024,
    num_heads=8,
    num_encoder_layers=8,
    num_decoder_layers=8,
    max_positions=4096,
)
DEFAULT = ModelConfig(
    vocab_size=10_000,
    d_model=256,
    d_ff=768,
    num_heads=4,
    num_encoder_layers=4,
    num_decoder_layers=2,
    max_positions=4096,
)
TINY = replace(FLAN, vocab_size=500, d_model=64, d_ff=96, num_heads=2, num_encoder_layers=2)
TINY = replace(TINY, num_decoder_layers=2)

# The first decides the goals.
SHAPES = {"FLAN-T5-small": FLAN, "default": DEFAULT}
QUICK_SHAPES = {"FLAN-T5-small": TINY, "default": replace(TINY, num_encoder_layers=1)}

START_ID, END_ID = 3, 1  # of models with random weights; any two ids would do


def random_weights(config: ModelConfig, seed: int = 0) -> Weights:
    """Float32 weights of a sane scale: matrices N(0, 1 / fan_in), what ends a branch smaller.

    What such a model says means nothing; how long it takes does not depend on it. The signs of the
    last norm are random: the tied output matrix would otherwise repeat its input for ever. Queries
    are smaller where scores are not divided by sqrt(head_dim), positions as strong as tokens.
    """
    generator = np.random.default_rng(seed)
    branches = 3 * max(config.num_encoder_layers, config.num_decoder_layers)
    last = f"decoder.layers.{config.num_decoder_layers - 1}.ff_norm"
    last_norm = "decoder.norm.weight" if config.final_norm else f"{last}.weight"
    weights: Weights = {}
    for name, shape in weight_spec(config).items():
        if len(shape) == 1:
            vector = 0.1 * generator.standard_normal(shape, np.float32)
            if name.endswith(".weight"):
                vector += 1
            if name == last_norm:
                vector *= generator.choice([-1, 1], shape)
            weights[name] = vector.astype(np.float32)
            continue
        scale = shape[1] ** -0.5
        if name.endswith(("out.weight", "down.weight")):
            scale *= branches**-0.5
        if name.endswith("relative.weight"):
            scale = 1.0
        if name.endswith("positions.weight") and config.embed_scale is None:
            scale = 1.0
        matrix = generator.standard_normal(shape, np.float32)
        matrix *= np.float32(scale)
        if name.endswith(("qkv.weight", ".q.weight")) and config.attn_scale is not None:
            matrix[: config.num_heads * config.head_dim] *= (
                config.head_dim**-0.5 / config.attn_scale
            )
        weights[name] = matrix
    return weights


def reply_end(config: ModelConfig) -> int:
    """The token that ends a reply."""
    return END_ID if config.generation is None else config.generation.eos_ids[0]


def random_ids(config: ModelConfig, count: int, seed: int = 0) -> list[int]:
    """Token ids, neither START_ID nor END_ID."""
    return np.random.default_rng(seed).integers(4, config.vocab_size, count).tolist()


def step_bytes(config: ModelConfig) -> int:
    """Bytes of int8 weights that one decoding step reads: decoder layers and output matrix.

    Keys and values of the memory are made when it is encoded, so their weights do not count.
    """
    shapes = weight_spec(config)
    return sum(math.prod(shapes[name]) for name in step_names(config))
