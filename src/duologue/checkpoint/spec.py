"""The names and shapes of the weights of a configuration; docs/architecture.md explains them."""

from __future__ import annotations

from duologue.config import ModelConfig


def weight_spec(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight; linear weights are [out, in] and have no bias."""
    width = config.d_model
    layers = transformer_spec(config) if config.cell == "transformer" else gru_spec(config)
    return {
        "embed.weight": (config.vocab_size, width),
        **layers,
        "encoder.norm.weight": (width,),
        "decoder.norm.weight": (width,),
    }


def transformer_spec(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The layers of cell `transformer`: fused q, k, v rows; fused gate and up rows."""
    width, hidden = config.d_model, config.d_ff
    feed_forward = {
        "ff_norm.weight": (width,),
        "ff.gate_up.weight": (2 * hidden, width),
        "ff.down.weight": (width, hidden),
    }
    encoder = {
        "attn_norm.weight": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.out.weight": (width, width),
        **feed_forward,
    }
    decoder = {
        "self_norm.weight": (width,),
        "self_attn.qkv.weight": (3 * width, width),
        "self_attn.out.weight": (width, width),
        "cross_norm.weight": (width,),
        "cross_attn.q.weight": (width, width),
        "cross_attn.kv.weight": (2 * width, width),
        "cross_attn.out.weight": (width, width),
        **feed_forward,
    }
    spec: dict[str, tuple[int, ...]] = {}
    for index in range(config.num_encoder_layers):
        spec |= {f"encoder.layers.{index}.{name}": shape for name, shape in encoder.items()}
    for index in range(config.num_decoder_layers):
        spec |= {f"decoder.layers.{index}.{name}": shape for name, shape in decoder.items()}
    return spec


def gru_spec(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The layers of cell `gru`; the first decoder layer also reads the attention's context."""
    width = config.d_model
    spec: dict[str, tuple[int, ...]] = {}
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
