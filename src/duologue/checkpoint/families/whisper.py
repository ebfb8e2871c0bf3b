"""Whisper, whose encoder hears. Radford et al. 2022 (arXiv:2212.04356)."""

from __future__ import annotations

from typing import Any

from duologue.checkpoint.families.bart import export_sizes, layers, sizes
from duologue.checkpoint.families.mapping import NameMap, Tables, plain
from duologue.checkpoint.families.published import Family, Published
from duologue.config import ModelConfig

_WHISPER = {
    "vocab_size": 51865,
    "num_mel_bins": 80,
    "d_model": 384,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "decoder_ffn_dim": 1536,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "activation_function": "gelu",
    "scale_embedding": False,
    "bos_token_id": 50256,
    "pad_token_id": 50256,
    "eos_token_id": 50256,
    "decoder_start_token_id": 50257,
    "begin_suppress_tokens": (220, 50256),
}
_DECODER, _OUTPUT = "model.decoder.embed_tokens.weight", "proj_out.weight"


def _config(published: Published) -> dict[str, Any]:
    return sizes(published) | {
        "front_end": "mel",
        "mel_bins": published.size("num_mel_bins"),
        "max_positions": published.size("max_source_positions"),
        "max_target_positions": published.size("max_target_positions"),
        "positions": "learned",
    }


def _tables(published: Published) -> Tables:
    is_tied = published.get("tie_word_embeddings", True)
    return Tables(
        encoder=(),
        decoder=(_DECODER, _OUTPUT),
        output=(_OUTPUT, _DECODER) if is_tied else (_OUTPUT,),
        shared=(_DECODER,),
    )


def _weights(config: ModelConfig, _: Published) -> NameMap:
    names = layers(config, has_key_bias=False)
    for conv in ("conv1", "conv2"):
        names[f"encoder.{conv}.weight"] = plain(f"model.encoder.{conv}.weight", layout="conv")
        names[f"encoder.{conv}.bias"] = plain(f"model.encoder.{conv}.bias")
    names["encoder.positions.weight"] = plain(
        "model.encoder.embed_positions.weight", fill="spaced_sinusoids"
    )
    names["decoder.positions.weight"] = plain("model.decoder.embed_positions.weight")
    return names


def _export(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        **export_sizes(config),
        "num_mel_bins": config.mel_bins,
        "max_source_positions": config.max_positions,
        "max_target_positions": config.target_positions,
    }


WHISPER = Family("whisper", _WHISPER, _config, _tables, _weights, _export, prefix="model.")
