"""Tiny configurations that together use every option of ModelConfig, with random weights.

FAMILIES        one shape for each family, as its importer makes it
VARIANTS        `duo` with one option changed
SHAPES          both
random_weights  float32 weights of a configuration, the same for the same seed
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.weights import Weights
from duologue.config import GenerationConfig, ModelConfig

VOCAB = 60
DUO = ModelConfig(
    vocab_size=VOCAB,
    d_model=16,
    d_ff=24,
    num_heads=4,
    num_encoder_layers=3,
    num_decoder_layers=2,
    max_positions=64,
)
FULL = replace(DUO, encoder_mask="full")

_T5 = replace(
    FULL,
    generation=GenerationConfig(start_ids=(0,), eos_ids=(1,), pad_id=0),
    family="t5",
    d_head=6,
    positions="relative",
    relative_buckets=8,
    relative_distance=20,
    attn_scale=1.0,
    embed_scale=1.0,
)
_BART = replace(
    _T5,
    family="bart",
    d_head=None,
    positions="learned",
    attn_scale=None,
    norm="layer",
    norm_place="post",
    norm_eps=1e-5,
    final_norm=False,
    embed_norm=True,
    bias=True,
    activation="gelu",
    gated=False,
    output_bias=True,
)
_PRE_BART = replace(_BART, norm_place="pre", final_norm=True, embed_norm=False, embed_scale=None)
_GEMMA = replace(
    _T5,
    family="t5gemma",
    d_head=8,
    num_kv_heads=2,
    positions="rotary",
    attn_scale=0.3,
    attn_soft_cap=5.0,
    logit_soft_cap=3.0,
    norm_place="both",
    embed_scale=None,
    activation="gelu_tanh",
    encoder_window=(5, 5),
    encoder_window_layers=(0, 2),
    decoder_window=4,
    decoder_window_layers=(0,),
    shared_embedding=False,
)

FAMILIES: dict[str, ModelConfig] = {
    "t5": replace(_T5, activation="relu", gated=False),
    "t5-gated": replace(_T5, activation="gelu_tanh", tied_output=False),
    "umt5": replace(
        _T5, family="umt5", relative_per_layer=True, activation="gelu_tanh", tied_output=False
    ),
    "bart": _BART,
    "mbart": replace(_PRE_BART, family="mbart", embed_norm=True),
    "pegasus": replace(_PRE_BART, family="pegasus", positions="sinusoidal", activation="relu"),
    "marian": replace(
        _BART,
        family="marian",
        positions="sinusoidal",
        embed_norm=False,
        embed_scale=None,
        activation="silu",
    ),
    "marian-two-vocabularies": replace(
        _BART,
        family="marian",
        positions="sinusoidal",
        embed_norm=False,
        shared_embedding=False,
        source_vocab_size=44,
        tied_output=False,
    ),
    "m2m_100": replace(
        _PRE_BART, family="m2m_100", positions="sinusoidal", activation="relu", output_bias=False
    ),
    "whisper": replace(
        _PRE_BART,
        family="whisper",
        front_end="mel",
        mel_bins=10,
        embed_scale=1.0,
        output_bias=False,
        max_target_positions=32,
    ),
    "t5gemma": _GEMMA,
    "t5gemma2": replace(
        _GEMMA,
        family="t5gemma2",
        attn_soft_cap=0.0,
        logit_soft_cap=0.0,
        qk_norm=True,
        merged_attention=True,
        rope_factor=8.0,
        rope_theta=1000.0,
        window_rope_theta=100.0,
        encoder_window=(4, 3),
        shared_embedding=True,
    ),
}

VARIANTS: dict[str, ModelConfig] = {
    "duo": DUO,
    "gru": replace(DUO, cell="gru"),
    "full": FULL,
    "grouped heads": replace(DUO, num_kv_heads=2),
    "one key head": replace(DUO, num_kv_heads=1),
    "wide heads": replace(DUO, d_head=10),
    "short targets": replace(FULL, positions="learned", max_target_positions=24),
    "rope theta": replace(DUO, rope_theta=100.0),
    "rope factor": replace(DUO, rope_factor=4.0),
    "relative": replace(FULL, positions="relative", relative_buckets=6, relative_distance=12),
    "relative per layer": replace(
        FULL, positions="relative", relative_buckets=8, relative_distance=9, relative_per_layer=True
    ),
    "learned": replace(FULL, positions="learned"),
    "sinusoidal": replace(FULL, positions="sinusoidal"),
    "encoder window": replace(FULL, encoder_window=(3, 1), encoder_window_layers=(1,)),
    "decoder window": replace(DUO, decoder_window=3, decoder_window_layers=(0, 1)),
    "window theta": replace(
        DUO, decoder_window=9, decoder_window_layers=(1,), window_rope_theta=50.0, rope_factor=2.0
    ),
    "layer norm": replace(DUO, norm="layer"),
    "post norm": replace(DUO, norm_place="post"),
    "norms on both sides": replace(DUO, norm_place="both"),
    "no final norm": replace(DUO, final_norm=False),
    "embedding norm": replace(DUO, embed_norm=True),
    "attention scale": replace(DUO, attn_scale=1.0),
    "attention soft cap": replace(DUO, attn_soft_cap=2.0),
    "logit soft cap": replace(DUO, logit_soft_cap=1.5),
    "query and key norm": replace(DUO, qk_norm=True),
    "merged attention": replace(DUO, merged_attention=True),
    "merged relative": replace(
        FULL, merged_attention=True, positions="relative", relative_per_layer=True
    ),
    "bias": replace(DUO, bias=True),
    "relu": replace(DUO, activation="relu"),
    "gelu": replace(DUO, activation="gelu"),
    "gelu tanh": replace(DUO, activation="gelu_tanh"),
    "no gate": replace(DUO, gated=False),
    "embedding scale": replace(DUO, embed_scale=1.0),
    "two embeddings": replace(DUO, shared_embedding=False),
    "two vocabularies": replace(DUO, shared_embedding=False, source_vocab_size=44),
    "untied": replace(DUO, tied_output=False),
    "output bias": replace(DUO, output_bias=True),
    "mel": replace(FULL, front_end="mel", mel_bins=6),
}

SHAPES = FAMILIES | VARIANTS


def random_weights(config: ModelConfig, seed: int = 7) -> Weights:
    """Norms near one, biases near zero, everything else of unit gain; all of them float32."""
    generator = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in weight_spec(config).items():
        noise = generator.standard_normal(shape, dtype=np.float32)
        if name.endswith("norm.weight"):
            weights[name] = 1 + np.float32(0.1) * noise
        elif name.endswith("relative.weight"):
            weights[name] = noise
        elif name.endswith("bias"):
            weights[name] = np.float32(0.1) * noise
        else:
            weights[name] = noise / np.float32(shape[-1]) ** np.float32(0.5)
    return weights
