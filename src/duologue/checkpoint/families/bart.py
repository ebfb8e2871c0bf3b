"""BART, mBART, PEGASUS, Marian (OPUS-MT), M2M100 and NLLB: one shape with a few switches.

Lewis et al. 2020 (arXiv:1910.13461); Tang et al. 2020 (arXiv:2008.00401); Zhang et al. 2020
(arXiv:1912.08777); Junczys-Dowmunt et al. 2018 (arXiv:1804.00344); Fan et al. 2020
(arXiv:2010.11125); NLLB Team 2022 (arXiv:2207.04672).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from duologue.checkpoint.families.mapping import Block, Fill, NameMap, Tables, plain
from duologue.checkpoint.families.published import Family, Published
from duologue.config import ModelConfig

NORM_EPS = 1e-5  # of every norm of these families; no key says so
_BART = {
    "vocab_size": 50265,
    "d_model": 1024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "scale_embedding": False,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "forced_eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_MBART = {key: value for key, value in _BART.items() if key != "decoder_start_token_id"}
_PEGASUS = {
    **_BART,
    "bos_token_id": None,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "forced_eos_token_id": 1,
    "decoder_start_token_id": 0,
}
_MARIAN = {
    **_BART,
    "vocab_size": 58101,
    "bos_token_id": None,
    "pad_token_id": 58100,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "decoder_start_token_id": 58100,
    "share_encoder_decoder_embeddings": True,
}
_M2M100 = {
    **_BART,
    "vocab_size": 128112,
    "activation_function": "relu",
    "scale_embedding": True,
    "forced_eos_token_id": None,
}
_ENCODER, _DECODER = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"
_SHARED, _OUTPUT = "model.shared.weight", "lm_head.weight"


@dataclass(frozen=True)
class _Switches:
    """What sets one of the families apart.

    first_position  rows of the table of positions before that of the first token
    positions       how the table is filled that a checkpoint does not hold; None: it is learned
    is_stored       whether checkpoints may hold the table
    """

    norm_place: str
    final_norm: bool
    embed_norm: bool
    output_bias: bool = True
    first_position: int = 0
    positions: Fill | None = None
    is_stored: bool = True


# --- config ------------------------------------------------------------------------------------


def sizes(published: Published) -> dict[str, Any]:
    """What the configs of these families and of Whisper have in common."""
    return {
        "vocab_size": published.size("vocab_size"),
        "d_model": published.size("d_model"),
        "d_ff": published.equal("encoder_ffn_dim", "decoder_ffn_dim"),
        "num_heads": published.equal("encoder_attention_heads", "decoder_attention_heads"),
        "num_encoder_layers": published.size("encoder_layers"),
        "num_decoder_layers": published.size("decoder_layers"),
        "norm": "layer",
        "norm_eps": NORM_EPS,
        "bias": True,
        "activation": published.activation("activation_function"),
        "gated": False,
        "embed_scale": None if published.flag("scale_embedding") else 1.0,
    }


def _config(switches: _Switches) -> Callable[[Published], dict[str, Any]]:
    def read(published: Published) -> dict[str, Any]:
        values = sizes(published) | {
            "max_positions": published.size("max_position_embeddings"),
            "positions": "sinusoidal" if switches.positions else "learned",
            "norm_place": switches.norm_place,
            "final_norm": switches.final_norm,
            "embed_norm": switches.embed_norm,
            "output_bias": switches.output_bias,
        }
        if switches.positions == "spaced_sinusoids" and published.get("pad_token_id") != 1:
            published.refuse("pad_token_id", "positions count from the one after it, 2")
        if not published.get("share_encoder_decoder_embeddings", True):
            values["source_vocab_size"] = values["vocab_size"]
            if published.get("decoder_vocab_size") is not None:
                values["vocab_size"] = published.size("decoder_vocab_size")
        return values

    return read


def _tables(published: Published) -> Tables:
    """Where embeddings lie; without tied ones, newer files hold each use apart."""
    is_tied = bool(published.get("tie_word_embeddings", True))
    if not published.get("share_encoder_decoder_embeddings", True):
        output = (_OUTPUT, _DECODER) if is_tied else (_OUTPUT,)
        return Tables(encoder=(_ENCODER,), decoder=(_DECODER,), output=output)
    return Tables(
        encoder=(_ENCODER, _SHARED, _DECODER, _OUTPUT),
        decoder=(_DECODER, _SHARED, _OUTPUT, _ENCODER),
        output=(_OUTPUT, _SHARED, _DECODER, _ENCODER) if is_tied else (_OUTPUT,),
        shared=(_SHARED,) if is_tied else (_SHARED, _ENCODER, _DECODER),
    )


# --- weights -----------------------------------------------------------------------------------


def _weights(switches: _Switches) -> Callable[[ModelConfig, Published], NameMap]:
    def make(config: ModelConfig, _: Published) -> NameMap:
        names = layers(config)
        for side in ("encoder", "decoder"):
            table = (f"model.{side}.embed_positions.weight",) if switches.is_stored else ()
            names[f"{side}.positions.weight"] = plain(
                *table, skip=switches.first_position, fill=switches.positions
            )
            if switches.embed_norm:
                names |= both(f"{side}.embed_norm", f"model.{side}.layernorm_embedding")
        if switches.output_bias:
            names["output.bias"] = plain("final_logits_bias", layout="row", fill="zeros")
        return names

    return make


def both(ours: str, theirs: str) -> NameMap:
    """Weight and bias of a norm or a linear layer."""
    return {f"{ours}.{part}": plain(f"{theirs}.{part}") for part in ("weight", "bias")}


def layers(config: ModelConfig, has_key_bias: bool = True) -> NameMap:
    """All layers, and the final norms if there are any."""
    names: NameMap = {}
    for index in range(config.num_encoder_layers):
        ours, theirs = f"encoder.layers.{index}", f"model.encoder.layers.{index}"
        names |= _attention(config, f"{ours}.attn", f"{theirs}.self_attn", has_key_bias)
        names |= both(f"{ours}.attn_norm", f"{theirs}.self_attn_layer_norm")
        names |= _feed_forward(ours, theirs)
    for index in range(config.num_decoder_layers):
        ours, theirs = f"decoder.layers.{index}", f"model.decoder.layers.{index}"
        names |= _attention(config, f"{ours}.self_attn", f"{theirs}.self_attn", has_key_bias)
        names |= both(f"{ours}.self_norm", f"{theirs}.self_attn_layer_norm")
        names |= _cross_attention(config, ours, theirs, has_key_bias)
        names |= _feed_forward(ours, theirs)
    if config.final_norm:
        for side in ("encoder", "decoder"):
            names |= both(f"{side}.norm", f"model.{side}.layer_norm")
    return names


def _attention(config: ModelConfig, ours: str, theirs: str, has_key_bias: bool) -> NameMap:
    return _fused(config, f"{ours}.qkv", theirs, "qkv", has_key_bias) | both(
        f"{ours}.out", f"{theirs}.out_proj"
    )


def _cross_attention(config: ModelConfig, ours: str, theirs: str, has_key_bias: bool) -> NameMap:
    return {
        **both(f"{ours}.cross_attn.q", f"{theirs}.encoder_attn.q_proj"),
        **_fused(config, f"{ours}.cross_attn.kv", f"{theirs}.encoder_attn", "kv", has_key_bias),
        **both(f"{ours}.cross_attn.out", f"{theirs}.encoder_attn.out_proj"),
        **both(f"{ours}.cross_norm", f"{theirs}.encoder_attn_layer_norm"),
    }


def _fused(config: ModelConfig, ours: str, theirs: str, parts: str, has_key_bias: bool) -> NameMap:
    width = config.d_model
    weight = tuple(Block((f"{theirs}.{part}_proj.weight",), width) for part in parts)
    bias = tuple(
        Block((f"{theirs}.{part}_proj.bias",), width)
        if has_key_bias or part != "k"
        else Block((), width, fill="zeros")
        for part in parts
    )
    return {f"{ours}.weight": weight, f"{ours}.bias": bias}


def _feed_forward(ours: str, theirs: str) -> NameMap:
    return {
        **both(f"{ours}.ff_norm", f"{theirs}.final_layer_norm"),
        **both(f"{ours}.ff.up", f"{theirs}.fc1"),
        **both(f"{ours}.ff.down", f"{theirs}.fc2"),
    }


# --- export ------------------------------------------------------------------------------------


def export_sizes(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `sizes`."""
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "encoder_layers": config.num_encoder_layers,
        "decoder_layers": config.num_decoder_layers,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "activation_function": config.activation.replace("gelu_tanh", "gelu_new"),
        "scale_embedding": config.embed_scale is None,
        "tie_word_embeddings": config.tied_output,
    }


def _export(model_type: str, architecture: str) -> Callable[[ModelConfig], dict[str, Any]]:
    def write(config: ModelConfig) -> dict[str, Any]:
        values = {
            "architectures": [architecture],
            "model_type": model_type,
            **export_sizes(config),
            "max_position_embeddings": config.max_positions,
        }
        if model_type == "marian":
            values |= {
                "share_encoder_decoder_embeddings": config.shared_embedding,
                "vocab_size": config.source_vocab_size or config.vocab_size,
                "decoder_vocab_size": config.vocab_size,
            }
        return values

    return write


_BART_SWITCHES = _Switches("post", final_norm=False, embed_norm=True, first_position=2)
_MBART_SWITCHES = _Switches("pre", final_norm=True, embed_norm=True, first_position=2)
_PEGASUS_SWITCHES = _Switches("pre", final_norm=True, embed_norm=False, positions="sinusoids")
_MARIAN_SWITCHES = _Switches("post", final_norm=False, embed_norm=False, positions="sinusoids")
_M2M100_SWITCHES = _Switches(
    "pre",
    final_norm=True,
    embed_norm=False,
    output_bias=False,
    first_position=2,
    positions="spaced_sinusoids",
    is_stored=False,
)


def _family(name: Any, defaults: dict[str, Any], switches: _Switches, architecture: str) -> Family:
    return Family(
        name=name,
        defaults=defaults,
        config=_config(switches),
        tables=_tables,
        weights=_weights(switches),
        export=_export(name, architecture),
        prefix="model.",
        ignored=("model.*.embed_positions.weights", "model.*.embed_positions._float_tensor"),
    )


BART = _family("bart", _BART, _BART_SWITCHES, "BartForConditionalGeneration")
MBART = _family("mbart", _MBART, _MBART_SWITCHES, "MBartForConditionalGeneration")
PEGASUS = _family("pegasus", _PEGASUS, _PEGASUS_SWITCHES, "PegasusForConditionalGeneration")
MARIAN = _family("marian", _MARIAN, _MARIAN_SWITCHES, "MarianMTModel")
M2M100 = _family("m2m_100", _M2M100, _M2M100_SWITCHES, "M2M100ForConditionalGeneration")
