"""T5, FLAN-T5, mT5, ByT5 and MADLAD, which differ in sizes and tokenizers; and UMT5.

Raffel et al. 2020 (arXiv:1910.10683); gated: Shazeer 2020 (arXiv:2002.05202); Xue et al. 2021
(arXiv:2010.11934), 2022 (arXiv:2105.13626); Kudugunta et al. 2023 (arXiv:2309.04662); UMT5, whose
layers each have a bias of their own: Chung et al. 2023 (arXiv:2304.09151).
"""

from __future__ import annotations

from typing import Any

from duologue.checkpoint.families.mapping import NameMap, Tables, fused, plain
from duologue.checkpoint.families.published import Family, Published
from duologue.config import ModelConfig

_T5 = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
_MT5 = {
    **_T5,
    "vocab_size": 250112,
    "d_ff": 1024,
    "num_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
}
_MAX_POSITIONS = 4096  # the original has no limit
_SHARED, _OUTPUT = "shared.weight", "lm_head.weight"
_ENCODER, _DECODER = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"


def _config(published: Published) -> dict[str, Any]:
    is_gated, activation = _feed_forward(published)
    return {
        "vocab_size": published.size("vocab_size"),
        "d_model": published.size("d_model"),
        "d_ff": published.size("d_ff"),
        "num_heads": published.size("num_heads"),
        "d_head": published.size("d_kv"),
        "num_encoder_layers": published.size("num_layers"),
        "num_decoder_layers": published.size(
            "num_layers" if published.get("num_decoder_layers") is None else "num_decoder_layers"
        ),
        "max_positions": _MAX_POSITIONS,
        "positions": "relative",
        "relative_buckets": published.size("relative_attention_num_buckets"),
        "relative_distance": published.size("relative_attention_max_distance"),
        "norm_eps": published.real("layer_norm_epsilon"),
        "attn_scale": 1.0,
        "embed_scale": 1.0,
        "activation": activation,
        "gated": is_gated,
    }


def _umt5_config(published: Published) -> dict[str, Any]:
    return _config(published) | {"relative_per_layer": True}


def _feed_forward(published: Published) -> tuple[bool, str]:
    """Whether it is gated, and its activation; `gated-gelu` has always meant the approximation."""
    kind = published.get("feed_forward_proj")
    parts = kind.split("-") if isinstance(kind, str) else []
    if len(parts) not in (1, 2) or (len(parts) == 2 and parts[0] != "gated"):
        published.refuse("feed_forward_proj", "known: an activation, or gated-ACTIVATION")
    implied = "gelu_new" if kind == "gated-gelu" else parts[-1]
    read = Published(
        published.values,
        {"is_gated_act": len(parts) == 2, "dense_act_fn": implied},
        published.where,
    )
    return read.flag("is_gated_act"), read.activation("dense_act_fn")


def _tables(_: Published) -> Tables:
    return Tables(
        encoder=(_ENCODER, _SHARED, _DECODER, _OUTPUT),
        decoder=(_DECODER, _SHARED, _OUTPUT, _ENCODER),
        output=(_OUTPUT, _SHARED, _DECODER, _ENCODER),
        shared=(_SHARED,),
    )


def _output_scale(published: Published) -> float:
    """What the decoder's output is multiplied with: d_model ** -0.5 where the tables are one.

    T5 1.1 and its children say with `tie_word_embeddings` false that they do not; newer files of
    them have `scale_decoder_outputs`.
    """
    is_tied = published.get("tie_word_embeddings") is not False
    is_scaled = published.get("scale_decoder_outputs", is_tied)
    return float(published.size("d_model") ** -0.5) if is_scaled else 1.0


def _weights(config: ModelConfig, published: Published) -> NameMap:
    return _layers(config, _output_scale(published))


def _mt5_weights(config: ModelConfig, _: Published) -> NameMap:
    return _layers(config, 1.0)


def _layers(config: ModelConfig, output_scale: float) -> NameMap:
    names: NameMap = {}
    sides = (("encoder", config.num_encoder_layers), ("decoder", config.num_decoder_layers))
    for side, num_layers in sides:
        is_decoder = side == "decoder"
        attn, norm = ("self_attn", "self_norm") if is_decoder else ("attn", "attn_norm")
        for index in range(num_layers):
            ours, theirs = f"{side}.layers.{index}", f"{side}.block.{index}.layer"
            names |= _self_attention(config, f"{ours}.{attn}", f"{theirs}.0.SelfAttention")
            names[f"{ours}.{norm}.weight"] = plain(f"{theirs}.0.layer_norm.weight")
            if is_decoder:
                names |= _cross_attention(config, f"{ours}.cross_attn", f"{theirs}.1")
                names[f"{ours}.cross_norm.weight"] = plain(f"{theirs}.1.layer_norm.weight")
            last = f"{theirs}.{2 if is_decoder else 1}"
            names[f"{ours}.ff_norm.weight"] = plain(f"{last}.layer_norm.weight")
            names |= _feed_forward_weights(config, f"{ours}.ff", f"{last}.DenseReluDense")
        if not config.relative_per_layer:
            bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            names[f"{side}.relative.weight"] = plain(bias)
        names[f"{side}.norm.weight"] = plain(
            f"{side}.final_layer_norm.weight", factor=output_scale if is_decoder else 1.0
        )
    return names


def _self_attention(config: ModelConfig, ours: str, theirs: str) -> NameMap:
    width = config.num_heads * config.head_dim
    names: NameMap = {
        f"{ours}.qkv.weight": fused(
            (f"{theirs}.",), *((f"{part}.weight", width) for part in "qkv")
        ),
        f"{ours}.out.weight": plain(f"{theirs}.o.weight"),
    }
    if config.relative_per_layer:
        names[f"{ours}.relative.weight"] = plain(f"{theirs}.relative_attention_bias.weight")
    return names


def _cross_attention(config: ModelConfig, ours: str, theirs: str) -> NameMap:
    width = config.num_heads * config.head_dim
    theirs = f"{theirs}.EncDecAttention"
    return {
        f"{ours}.q.weight": plain(f"{theirs}.q.weight"),
        f"{ours}.kv.weight": fused((f"{theirs}.",), *((f"{part}.weight", width) for part in "kv")),
        f"{ours}.out.weight": plain(f"{theirs}.o.weight"),
    }


def _feed_forward_weights(config: ModelConfig, ours: str, theirs: str) -> NameMap:
    down: NameMap = {f"{ours}.down.weight": plain(f"{theirs}.wo.weight")}
    if not config.gated:
        return {f"{ours}.up.weight": plain(f"{theirs}.wi.weight")} | down
    gate_up = fused((f"{theirs}.wi_",), ("0.weight", config.d_ff), ("1.weight", config.d_ff))
    return {f"{ours}.gate_up.weight": gate_up} | down


def _export(config: ModelConfig) -> dict[str, Any]:
    """A T5 config.json; the output is scaled where the tables are one, whatever it was before."""
    activation = {"gelu_tanh": "gelu_new"}.get(config.activation, config.activation)
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "d_kv": config.head_dim,
        "d_ff": config.d_ff,
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "layer_norm_epsilon": config.norm_eps,
        "feed_forward_proj": f"gated-{activation}" if config.gated else activation,
        "is_gated_act": config.gated,
        "dense_act_fn": activation,
        "tie_word_embeddings": config.tied_output,
    }


def _umt5_export(config: ModelConfig) -> dict[str, Any]:
    """A UMT5 config.json; transformers 5 scales its output always, and ties only equal tables."""
    return _export(config) | {
        "architectures": ["UMT5ForConditionalGeneration"],
        "model_type": "umt5",
        "tie_word_embeddings": True,
    }


_IGNORED = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)

T5 = Family("t5", _T5, _config, _tables, _weights, _export, ignored=_IGNORED)
MT5 = Family("t5", _MT5, _config, _tables, _mt5_weights, _export, ignored=_IGNORED)
UMT5 = Family("umt5", _MT5, _umt5_config, _tables, _weights, _umt5_export, ignored=_IGNORED)
