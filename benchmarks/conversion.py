"""Our weights as CTranslate2 model folders, as far as its specifications go.

CTranslate2 computes the `transformer` cell with RMSNorm or LayerNorm before or after each branch,
rotary, relative, learned and sinusoidal positions, biases, gated or plain feed-forwards, one table
for input and output or two, a bias of the output, and the two convolutions of Whisper. It knows no
segments, no windows and no soft caps. The folders are in float32, and their tokens are our ids.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from duologue.checkpoint.weights import Float32, Weights, dequantize
from duologue.config import ModelConfig

# From the end token on, Whisper's vocabulary is special: (token, place after the end token).
WHISPER_SPECIALS = (
    ("<|endoftext|>", 0),
    ("<|startoftranscript|>", 1),
    ("<|en|>", 2),
    ("<|translate|>", 101),
    ("<|transcribe|>", 102),
    ("<|startoflm|>", 103),
    ("<|startofprev|>", 104),
    ("<|nospeech|>", 105),
    ("<|notimestamps|>", 106),
)


def convert(config: ModelConfig, weights: Weights, folder: Path, end_id: int) -> None:
    """Write a model that reads and writes tokens; its tokens are our ids as text.

    end_id  ends a hypothesis
    """
    from ctranslate2.specs import TransformerSpec, transformer_spec

    common = _common(config)
    encoder = transformer_spec.TransformerEncoderSpec(config.num_encoder_layers, **common)
    decoder = transformer_spec.TransformerDecoderSpec(config.num_decoder_layers, **common)
    spec = TransformerSpec(encoder, decoder)
    arrays = {name: dequantize(weight) for name, weight in weights.items()}
    encoder.embeddings[0].weight = arrays.get("encoder.embed.weight", arrays["embed.weight"])
    _fill_side(encoder, config, arrays, "encoder")
    _fill_decoder(decoder, config, arrays)
    spec.register_source_vocabulary(_ids(config.source_vocab_size or config.vocab_size))
    tokens = _ids(config.vocab_size)
    spec.register_target_vocabulary(tokens)
    spec.config.layer_norm_epsilon = config.norm_eps
    spec.config.add_source_eos = False
    spec.config.decoder_start_token = None  # the prefix begins
    spec.config.bos_token = spec.config.unk_token = tokens[0]
    spec.config.eos_token = tokens[end_id]
    _save(spec, folder)


def convert_whisper(config: ModelConfig, weights: Weights, folder: Path, end_id: int) -> None:
    """Write a model that hears; tokens are our ids as text, but for WHISPER_SPECIALS."""
    from ctranslate2.specs import WhisperSpec

    heads = config.num_heads
    spec = WhisperSpec(config.num_encoder_layers, heads, config.num_decoder_layers, heads)
    arrays = {name: dequantize(weight) for name, weight in weights.items()}
    for conv in ("conv1", "conv2"):
        part = getattr(spec.encoder, conv)
        weight = arrays[f"encoder.{conv}.weight"]
        by_tap = weight.reshape(len(weight), 3, -1)
        part.weight = np.ascontiguousarray(by_tap.transpose(0, 2, 1))
        part.bias = arrays[f"encoder.{conv}.bias"]
    _fill_side(spec.encoder, config, arrays, "encoder")
    _fill_decoder(spec.decoder, config, arrays)
    spec.register_vocabulary(whisper_tokens(config, end_id))
    spec.config.suppress_ids = spec.config.suppress_ids_begin = spec.config.lang_ids = []
    last = range(config.num_decoder_layers // 2, config.num_decoder_layers)
    spec.config.alignment_heads = list(product(last, range(heads)))
    _save(spec, folder)


def whisper_tokens(config: ModelConfig, end_id: int) -> list[str]:
    """A text for each id: the special ones at their places behind `end_id`."""
    tokens = [f" {idx}" for idx in range(config.vocab_size)]
    for token, place in WHISPER_SPECIALS:
        tokens[end_id + place] = token
    return tokens


def _ids(count: int) -> list[str]:
    return [str(idx) for idx in range(count)]


def _save(spec: Any, folder: Path) -> None:
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def _common(config: ModelConfig) -> dict[str, Any]:
    """What the specifications of both sides are made with."""
    from ctranslate2.specs.common_spec import Activation

    activation = {
        "silu": Activation.SWISH,
        "relu": Activation.RELU,
        "gelu": Activation.GELU,
        "gelu_tanh": Activation.GELUTanh,
    }
    is_pre_norm = config.norm_place == "pre"
    common: dict[str, Any] = {
        "num_heads": config.num_heads,
        "pre_norm": is_pre_norm,
        "no_final_norm": is_pre_norm and not config.final_norm,
        "activation": activation[config.activation],
        "layernorm_embedding": config.embed_norm,
        "relative_attention_bias": config.positions == "relative",
        "ffn_glu": config.gated,
        "rms_norm": config.norm == "rms",
    }
    if config.positions == "rotary":
        common |= {"rotary_dim": config.head_dim, "rotary_interleave": False}
        common["rotary_base"] = config.rope_theta
    return common


# --- weights -----------------------------------------------------------------------------------


def _fill_decoder(decoder: Any, config: ModelConfig, arrays: dict[str, Float32]) -> None:
    decoder.embeddings.weight = arrays["embed.weight"]
    decoder.projection.weight = arrays.get("output.weight", arrays["embed.weight"])
    if config.output_bias:
        decoder.projection.bias = arrays["output.bias"]
    _fill_side(decoder, config, arrays, "decoder")


def _fill_side(part: Any, config: ModelConfig, arrays: dict[str, Float32], side: str) -> None:
    """All of an encoder or a decoder but the embeddings."""
    if hasattr(part, "scale_embeddings"):
        scale = config.embed_scale
        part.scale_embeddings = math.sqrt(config.d_model) if scale is None else scale
    if f"{side}.positions.weight" in arrays:
        part.position_encodings.encodings = arrays[f"{side}.positions.weight"]
    if config.embed_norm:
        _fill_norm(part.layernorm_embedding, arrays, f"{side}.embed_norm")
    if config.final_norm:
        _fill_norm(part.layer_norm, arrays, f"{side}.norm")
    for index, layer in enumerate(part.layer):
        _fill_layer(layer, config, arrays, f"{side}.layers.{index}.")


def _fill_layer(layer: Any, config: ModelConfig, arrays: dict[str, Float32], name: str) -> None:
    """The weights of one layer; `name` is its prefix in our folder."""
    side = name.partition(".")[0]
    own, norm = ("self_attn", "self_norm") if side == "decoder" else ("attn", "attn_norm")
    _fill_norm(layer.self_attention.layer_norm, arrays, name + norm)
    _fill_linear(layer.self_attention.linear[0], arrays, f"{name}{own}.qkv")
    _fill_linear(layer.self_attention.linear[1], arrays, f"{name}{own}.out")
    attentions = [layer.self_attention]
    if config.positions == "relative":
        table = (
            f"{name}{own}.relative.weight"
            if config.relative_per_layer
            else f"{side}.relative.weight"
        )
        layer.self_attention.relative_attention_bias = arrays[table]
        distance = np.int32(config.relative_distance)
        layer.self_attention.relative_attention_max_distance = distance
    if side == "decoder":
        attentions.append(layer.attention)
        _fill_norm(layer.attention.layer_norm, arrays, f"{name}cross_norm")
        for linear, part in zip(layer.attention.linear, ("q", "kv", "out"), strict=True):
            _fill_linear(linear, arrays, f"{name}cross_attn.{part}")
    for attention in attentions:
        if config.attn_scale is not None:
            attention.queries_scale = config.attn_scale
    _fill_norm(layer.ffn.layer_norm, arrays, f"{name}ff_norm")
    if config.gated:
        gate, up = np.split(arrays[f"{name}ff.gate_up.weight"], 2)
        layer.ffn.linear_0.weight = np.ascontiguousarray(gate)
        layer.ffn.linear_0_noact.weight = np.ascontiguousarray(up)
    else:
        _fill_linear(layer.ffn.linear_0, arrays, f"{name}ff.up")
    _fill_linear(layer.ffn.linear_1, arrays, f"{name}ff.down")


def _fill_linear(linear: Any, arrays: dict[str, Float32], name: str) -> None:
    linear.weight = arrays[f"{name}.weight"]
    if f"{name}.bias" in arrays:
        linear.bias = arrays[f"{name}.bias"]


def _fill_norm(norm: Any, arrays: dict[str, Float32], name: str) -> None:
    norm.gamma = arrays[f"{name}.weight"]
    if f"{name}.bias" in arrays:
        norm.beta = arrays[f"{name}.bias"]
