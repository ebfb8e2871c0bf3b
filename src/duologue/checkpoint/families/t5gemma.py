"""T5Gemma (arXiv:2504.06225) and the text part of T5Gemma 2 (arXiv:2512.14856).

Both have Gemma's layers: Gemma 2 (arXiv:2408.00118) and Gemma 3 (arXiv:2503.19786).
"""

from __future__ import annotations

from typing import Any

from duologue.checkpoint.families.mapping import NameMap, Tables, fused, plain
from duologue.checkpoint.families.published import Family, Published
from duologue.config import ModelConfig

_IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
_SIDE = {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 2,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}
_SIDE_2 = {
    **_SIDE,
    "vocab_size": 262208,
    "max_position_embeddings": 131072,
    "sliding_window_pattern": 6,
    "final_logit_softcapping": None,
    "attn_logit_softcapping": None,
}
_SAME = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_activation",
    "rms_norm_eps",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
)
_NO_EYES = {  # no weights are written for it; transformers needs one
    "model_type": "siglip_vision_model",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 8,
    "patch_size": 4,
}
_SLIDING, _FULL = "sliding_attention", "full_attention"


# --- config ------------------------------------------------------------------------------------


def _config(published: Published) -> dict[str, Any]:
    """The values for T5Gemma, whose layers all turn their positions alike."""
    encoder, decoder = (published.section(side, _SIDE) for side in ("encoder", "decoder"))
    rope = _rope(decoder, decoder.get("rope_parameters"))
    if _rope(encoder, encoder.get("rope_parameters")) != rope:
        decoder.refuse("rope_parameters", "the encoder's are others")
    sizes = _sizes(encoder, decoder)
    if sizes["encoder_window_layers"]:
        sizes["encoder_window"] = (encoder.size("sliding_window"),) * 2
    return sizes | {
        "source_vocab_size": encoder.size("vocab_size"),
        "rope_theta": rope[0],
        "rope_factor": rope[1],
        "attn_soft_cap": decoder.get("attn_logit_softcapping") or 0.0,
        "shared_embedding": False,
    }


def _config_2(published: Published) -> dict[str, Any]:
    """The values for T5Gemma 2, whose layers without a window have positions of their own."""
    encoder = published.section("encoder", {}).section("text_config", _SIDE_2)
    decoder = published.section("decoder", _SIDE_2)
    if encoder.get("vocab_size") != decoder.get("vocab_size"):
        decoder.refuse("vocab_size", f"it must be the encoder's, {encoder.get('vocab_size')!r}")
    for side in (encoder, decoder):
        if side.get("attn_logit_softcapping"):
            side.refuse("attn_logit_softcapping", "T5Gemma 2 never applies it")
    ropes = [_ropes_2(side) for side in (encoder, decoder)]
    if ropes[0] != ropes[1]:
        decoder.refuse("rope_parameters", "the encoder's are others")
    (theta, factor), (window_theta, window_factor) = ropes[1]
    if window_factor != 1:
        decoder.refuse("rope_parameters", f"a factor in layers of {_SLIDING}")
    sizes = _sizes(encoder, decoder)
    if sizes["encoder_window_layers"]:
        window = encoder.size("sliding_window")
        sizes["encoder_window"] = ((window + 1) // 2 - 1, window // 2)
    return sizes | {
        "rope_theta": theta,
        "rope_factor": factor,
        "window_rope_theta": window_theta,
        "qk_norm": True,
        "merged_attention": True,
    }


def _sizes(encoder: Published, decoder: Published) -> dict[str, Any]:
    """What both have, after a check that the two sides are alike."""
    for key in _SAME:
        if encoder.get(key) != decoder.get(key):
            decoder.refuse(key, f"it must be the encoder's, {encoder.get(key)!r}")
    for side in (encoder, decoder):
        if side.get("attention_bias"):
            side.refuse("attention_bias", "only false is")
    windows = _window_layers(decoder)
    return {
        "vocab_size": decoder.size("vocab_size"),
        "d_model": decoder.size("hidden_size"),
        "d_ff": decoder.size("intermediate_size"),
        "num_heads": decoder.size("num_attention_heads"),
        "num_kv_heads": decoder.size("num_key_value_heads"),
        "d_head": decoder.size("head_dim"),
        "num_encoder_layers": encoder.size("num_hidden_layers"),
        "num_decoder_layers": decoder.size("num_hidden_layers"),
        "max_positions": encoder.size("max_position_embeddings"),
        "max_target_positions": decoder.size("max_position_embeddings"),
        "encoder_window_layers": _window_layers(encoder),
        "decoder_window_layers": windows,
        "decoder_window": decoder.size("sliding_window") - 1 if windows else None,
        "norm_place": "both",
        "norm_eps": decoder.real("rms_norm_eps"),
        "attn_scale": decoder.real("query_pre_attn_scalar") ** -0.5,
        "activation": decoder.activation("hidden_activation"),
        "gated": True,
        "logit_soft_cap": decoder.get("final_logit_softcapping") or 0.0,
    }


def _window_layers(side: Published) -> list[int]:
    """The layers with a window: those that are listed, or all but each n-th."""
    num_layers, types = side.size("num_hidden_layers"), side.get("layer_types")
    if types is None:
        pattern = side.size("sliding_window_pattern")
        return [index for index in range(num_layers) if (index + 1) % pattern]
    if not isinstance(types, list) or len(types) != num_layers or set(types) - {_SLIDING, _FULL}:
        side.refuse("layer_types", f"{num_layers} of {_SLIDING} or {_FULL}")
    return [index for index, kind in enumerate(types) if kind == _SLIDING]


def _rope(side: Published, parameters: Any, theta: float = 10000.0) -> tuple[float, float]:
    """Base and factor of rotary positions, in the new spelling or in the old one."""
    given = parameters or side.get("rope_scaling") or {}
    if not isinstance(given, dict):
        side.refuse("rope_parameters", "an object is")
    read = Published(
        given,
        {"rope_type": given.get("type", "default"), "rope_theta": side.get("rope_theta", theta)},
        f"{side.where}, rope_parameters",
    )
    if read.get("rope_type") not in ("default", "linear"):
        read.refuse("rope_type", "known: default, linear")
    factor = read.real("factor") if read.get("rope_type") == "linear" else 1.0
    return read.real("rope_theta"), factor


def _ropes_2(side: Published) -> tuple[tuple[float, float], tuple[float, float]]:
    """Base and factor in layers without and with a window."""
    parameters = side.section("rope_parameters", {})
    full = parameters.get(_FULL) or side.get("rope_scaling") or {"rope_type": "default"}
    sliding = parameters.get(_SLIDING) or {"rope_type": "default"}
    local = Published({}, {"rope_theta": side.get("rope_local_base_freq", 10000.0)}, side.where)
    return _rope(side, full, 1e6), _rope(local, sliding)


# --- weights -----------------------------------------------------------------------------------


def _tables(published: Published) -> Tables:
    encoder, decoder = (f"model.{side}.embed_tokens.weight" for side in ("encoder", "decoder"))
    output = "lm_head.out_proj.weight"
    if not _is_tied(published):
        return Tables(encoder=(encoder,), decoder=(decoder,), output=(output,))
    return Tables(encoder=(encoder,), decoder=(decoder, output), output=(output, decoder))


def _tables_2(published: Published) -> Tables:
    encoder = tuple(f"model.encoder.{text}embed_tokens.weight" for text in ("", "text_model."))
    decoder, output = "model.decoder.embed_tokens.weight", "lm_head.out_proj.weight"
    others = (*encoder, decoder, output)
    is_tied = _is_tied(published)
    return Tables(
        encoder=others,
        decoder=(decoder, *others),
        output=(output, *others) if is_tied else (output,),
        shared=encoder[:1] if is_tied else (encoder[0], decoder),
    )


def _is_tied(published: Published) -> bool:
    return bool(published.get("tie_word_embeddings", True))


def _weights(config: ModelConfig, _: Published) -> NameMap:
    names: NameMap = {}
    sides = (("encoder", config.num_encoder_layers), ("decoder", config.num_decoder_layers))
    for side, num_layers in sides:
        spellings = _spellings(config, side)
        names[f"{side}.norm.weight"] = _norm(spellings, "norm")
        for index in range(num_layers):
            layer = f"{side}.layers.{index}"
            names |= _layer(config, layer, tuple(f"{start}layers.{index}." for start in spellings))
    return names


def _spellings(config: ModelConfig, side: str) -> tuple[str, ...]:
    if config.family == "t5gemma2" and side == "encoder":
        return ("model.encoder.", "model.encoder.text_model.")
    return (f"model.{side}.",)


def _norm(spellings: tuple[str, ...], name: str) -> Any:
    """A norm's weight, which is stored as the distance from 1."""
    return plain(*(f"{start}{name}.weight" for start in spellings), add=1.0)


def _layer(config: ModelConfig, ours: str, spellings: tuple[str, ...]) -> NameMap:
    is_decoder = ours.startswith("decoder")
    attn, norm = ("self_attn", "self") if is_decoder else ("attn", "attn")
    names = _attention(config, f"{ours}.{attn}", spellings, is_decoder)
    norms = {norm: "self_attn", "ff": "feedforward"}
    if is_decoder and not config.merged_attention:
        names |= _cross_attention(config, ours, spellings[0])
        norms["cross"] = "cross_attn"
    for short, theirs in norms.items():
        names[f"{ours}.{short}_norm.weight"] = _norm(spellings, f"pre_{theirs}_layernorm")
        names[f"{ours}.{short}_post_norm.weight"] = _norm(spellings, f"post_{theirs}_layernorm")
    names[f"{ours}.ff.gate_up.weight"] = fused(
        spellings, ("mlp.gate_proj.weight", config.d_ff), ("mlp.up_proj.weight", config.d_ff)
    )
    names[f"{ours}.ff.down.weight"] = plain(*(f"{s}mlp.down_proj.weight" for s in spellings))
    return names


def _attention(
    config: ModelConfig, ours: str, spellings: tuple[str, ...], is_decoder: bool
) -> NameMap:
    rows = {"q": config.num_heads * config.head_dim}
    rows |= dict.fromkeys("kv", config.kv_heads * config.head_dim)
    groups = ("q", "kv") if is_decoder and config.merged_attention else ("qkv",)
    names: NameMap = {
        f"{ours}.{group}.weight": fused(
            spellings, *((f"self_attn.{part}_proj.weight", rows[part]) for part in group)
        )
        for group in groups
    }
    names[f"{ours}.out.weight"] = plain(*(f"{s}self_attn.o_proj.weight" for s in spellings))
    if config.qk_norm:
        names[f"{ours}.q_norm.weight"] = _norm(spellings, "self_attn.q_norm")
        names[f"{ours}.k_norm.weight"] = _norm(spellings, "self_attn.k_norm")
    return names


def _cross_attention(config: ModelConfig, ours: str, start: str) -> NameMap:
    keys = config.kv_heads * config.head_dim
    return {
        f"{ours}.cross_attn.q.weight": plain(f"{start}cross_attn.q_proj.weight"),
        f"{ours}.cross_attn.kv.weight": fused(
            (start,), *((f"cross_attn.{part}_proj.weight", keys) for part in "kv")
        ),
        f"{ours}.cross_attn.out.weight": plain(f"{start}cross_attn.o_proj.weight"),
    }


# --- export ------------------------------------------------------------------------------------


def _export_side(config: ModelConfig, side: str) -> dict[str, Any]:
    is_encoder = side == "encoder"
    num_layers = config.num_encoder_layers if is_encoder else config.num_decoder_layers
    windows = config.encoder_window_layers if is_encoder else config.decoder_window_layers
    scale = config.attn_scale or config.head_dim**-0.5
    return {
        "vocab_size": (is_encoder and config.source_vocab_size) or config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_activation": config.activation.replace("gelu_tanh", "gelu_pytorch_tanh"),
        "max_position_embeddings": config.max_positions if is_encoder else config.target_positions,
        "rms_norm_eps": config.norm_eps,
        "query_pre_attn_scalar": round(scale**-2),
        "layer_types": [_SLIDING if index in windows else _FULL for index in range(num_layers)],
        "attn_logit_softcapping": config.attn_soft_cap or None,
        "final_logit_softcapping": config.logit_soft_cap or None,
        "tie_word_embeddings": config.tied_output,
        **_export_ids(config),
    }


def _export_ids(config: ModelConfig) -> dict[str, Any]:
    generation = config.generation
    if generation is None:
        return {}
    return {
        "pad_token_id": generation.pad_id,
        "eos_token_id": list(generation.eos_ids),
        "bos_token_id": generation.start_ids[0],
    }


def _rope_values(theta: float, factor: float) -> dict[str, Any]:
    if factor == 1:
        return {"rope_type": "default", "rope_theta": theta}
    return {"rope_type": "linear", "rope_theta": theta, "factor": factor}


def _export(config: ModelConfig) -> dict[str, Any]:
    windows = {"encoder": (config.encoder_window or (1, 1))[0]}
    windows["decoder"] = (config.decoder_window or 0) + 1
    rope = _rope_values(config.rope_theta, config.rope_factor)
    sides = {
        side: _export_side(config, side) | {"sliding_window": window, "rope_parameters": rope}
        for side, window in windows.items()
    }
    return {
        "architectures": ["T5GemmaForConditionalGeneration"],
        "model_type": "t5gemma",
        **sides,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied_output,
    }


def _export_2(config: ModelConfig) -> dict[str, Any]:
    before, after = config.encoder_window or (0, 1)
    rope = {
        _FULL: _rope_values(config.rope_theta, config.rope_factor),
        _SLIDING: _rope_values(config.window_rope_theta or config.rope_theta, 1.0),
    }
    text = _export_side(config, "encoder")
    text |= {"sliding_window": before + after + 1, "rope_parameters": rope}
    decoder = _export_side(config, "decoder")
    decoder |= {"sliding_window": (config.decoder_window or 0) + 1, "rope_parameters": rope}
    return {
        "architectures": ["T5Gemma2ForConditionalGeneration"],
        "model_type": "t5gemma2",
        "encoder": {"text_config": text, "vision_config": _NO_EYES, "mm_tokens_per_image": 4},
        "decoder": decoder,
        "tie_word_embeddings": config.tied_output,
    }


T5GEMMA = Family("t5gemma", _IDS, _config, _tables, _weights, _export, prefix="model.")
T5GEMMA2 = Family(
    "t5gemma2",
    _IDS,
    _config_2,
    _tables_2,
    _weights,
    _export_2,
    prefix="model.",
    ignored=(
        "model.encoder.vision_tower.*",
        "model.encoder.multi_modal_projector.*",
        "*.embed_tokens.eoi_embedding",
    ),
)
