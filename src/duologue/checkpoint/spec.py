"""The names and shapes of the weights of a configuration; docs/architecture.md explains them."""

from __future__ import annotations

from duologue.config import ModelConfig

Spec = dict[str, tuple[int, ...]]


def weight_spec(config: ModelConfig) -> Spec:
    """Name -> shape of every weight; linear weights are [out, in], a bias is [out].

    Matrices that end in `positions.weight` or `relative.weight` are tables that are added, and are
    float32 in every precision.
    """
    width = config.d_model
    layers = transformer_spec(config) if config.cell == "transformer" else gru_spec(config)
    spec: Spec = {"embed.weight": (config.vocab_size, width)}
    if not config.shared_embedding and config.front_end == "tokens":
        spec["encoder.embed.weight"] = (config.source_vocab_size or config.vocab_size, width)
    if config.front_end == "mel":
        spec |= _linear("encoder.conv1", width, 3 * config.mel_bins, True)
        spec |= _linear("encoder.conv2", width, 3 * width, True)
    spec |= layers
    if config.final_norm:
        spec |= _norm(config, "encoder.norm") | _norm(config, "decoder.norm")
    if not config.tied_output:
        spec["output.weight"] = (config.vocab_size, width)
    if config.output_bias:
        spec["output.bias"] = (config.vocab_size,)
    return spec


def _linear(name: str, num_outputs: int, num_inputs: int, bias: bool) -> Spec:
    spec: Spec = {f"{name}.weight": (num_outputs, num_inputs)}
    return spec | {f"{name}.bias": (num_outputs,)} if bias else spec


def _norm(config: ModelConfig, name: str) -> Spec:
    spec: Spec = {f"{name}.weight": (config.d_model,)}
    return spec | {f"{name}.bias": (config.d_model,)} if config.norm == "layer" else spec


def transformer_spec(config: ModelConfig) -> Spec:
    """The layers of cell `transformer`, and what belongs to a side as a whole.

    Rows of q, k and v are fused (H, G and G heads, G those of keys and values), and those of gate
    and up. With merged_attention q stands alone, because k and v also read the memory.
    """
    spec: Spec = {}
    sides = (
        ("encoder", config.num_encoder_layers, config.max_positions, _encoder_layer(config)),
        ("decoder", config.num_decoder_layers, config.target_positions, _decoder_layer(config)),
    )
    for side, num_layers, num_positions, layer in sides:
        if config.positions in ("learned", "sinusoidal"):
            spec[f"{side}.positions.weight"] = (num_positions, config.d_model)
        if config.positions == "relative" and not config.relative_per_layer:
            spec[f"{side}.relative.weight"] = (config.relative_buckets, config.num_heads)
        if config.embed_norm:
            spec |= _norm(config, f"{side}.embed_norm")
        for index in range(num_layers):
            spec |= {f"{side}.layers.{index}.{name}": shape for name, shape in layer.items()}
    return spec


def _encoder_layer(config: ModelConfig) -> Spec:
    return {
        **_norms(config, "attn"),
        **_self_attention(config, "attn", is_merged=False),
        **_feed_forward(config),
    }


def _decoder_layer(config: ModelConfig) -> Spec:
    width, heads = config.d_model, config.num_heads * config.head_dim
    layer = {
        **_norms(config, "self"),
        **_self_attention(config, "self_attn", config.merged_attention),
    }
    if not config.merged_attention:
        layer |= {
            **_norms(config, "cross"),
            **_linear("cross_attn.q", heads, width, config.bias),
            **_linear("cross_attn.kv", 2 * config.kv_heads * config.head_dim, width, config.bias),
            **_linear("cross_attn.out", width, heads, config.bias),
        }
    return layer | _feed_forward(config)


def _norms(config: ModelConfig, name: str) -> Spec:
    """The norms of one residual branch; the first is in its usual place, see norm_place."""
    spec = _norm(config, f"{name}_norm")
    return spec | _norm(config, f"{name}_post_norm") if config.norm_place == "both" else spec


def _self_attention(config: ModelConfig, name: str, is_merged: bool) -> Spec:
    width, heads = config.d_model, config.num_heads * config.head_dim
    keys = 2 * config.kv_heads * config.head_dim
    if is_merged:
        spec = _linear(f"{name}.q", heads, width, config.bias)
        spec |= _linear(f"{name}.kv", keys, width, config.bias)
    else:
        spec = _linear(f"{name}.qkv", heads + keys, width, config.bias)
    spec |= _linear(f"{name}.out", width, heads, config.bias)
    if config.qk_norm:
        head = (config.head_dim,)
        spec |= {f"{name}.q_norm.weight": head, f"{name}.k_norm.weight": head}
    if config.positions == "relative" and config.relative_per_layer:
        spec[f"{name}.relative.weight"] = (config.relative_buckets, config.num_heads)
    return spec


def _feed_forward(config: ModelConfig) -> Spec:
    width, hidden = config.d_model, config.d_ff
    up, num_up = ("ff.gate_up", 2 * hidden) if config.gated else ("ff.up", hidden)
    return {
        **_norms(config, "ff"),
        **_linear(up, num_up, width, config.bias),
        **_linear("ff.down", width, hidden, config.bias),
    }


def gru_spec(config: ModelConfig) -> Spec:
    """The layers of cell `gru`; the first decoder layer also reads the attention's context."""
    width = config.d_model
    spec: Spec = {}
    sides = (("encoder", config.num_encoder_layers), ("decoder", config.num_decoder_layers))
    for side, num_layers in sides:
        for index in range(num_layers):
            inputs = 2 * width if side == "decoder" and index == 0 else width
            spec |= {
                f"{side}.layers.{index}.gru.weight_ih": (3 * width, inputs),
                f"{side}.layers.{index}.gru.weight_hh": (3 * width, width),
                f"{side}.layers.{index}.gru.bias_ih": (3 * width,),
                f"{side}.layers.{index}.gru.bias_hh": (3 * width,),
            }
    return spec | {
        "decoder.attn.query.weight": (width, width),
        "decoder.attn.key.weight": (width, width),
        "decoder.attn.score.weight": (width,),
    }
