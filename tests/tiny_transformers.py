"""Tiny random models of the transformers library: what imported families must equal.

TINY          kind, as docs/families.md calls it -> function that makes one
make_tiny     one of them, seeded
save_tiny     the same, and its folder as published
draw_weights  makes every weight of a model matter

Distances and windows are small enough that short texts pass them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 96
FIRST_TEXT_ID = 8  # smaller ids are special somewhere
SIDE = {"d_model": 24, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40,
        "vocab_size": VOCAB, "max_position_embeddings": 256}  # fmt: skip
T5 = {"vocab_size": VOCAB, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 3,
      "num_decoder_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8,
      "relative_attention_max_distance": 20, "decoder_start_token_id": 0}  # fmt: skip
GEMMA = {"vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16,
         "query_pre_attn_scalar": 9, "max_position_embeddings": 256, "pad_token_id": 0,
         "eos_token_id": 1, "bos_token_id": 2,
         "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}  # fmt: skip


def _t5() -> Any:
    config = transformers.T5Config(**T5, feed_forward_proj="relu", tie_word_embeddings=True)
    return transformers.T5ForConditionalGeneration(config)


def _t5_gated() -> Any:
    config = transformers.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    return transformers.T5ForConditionalGeneration(config)


def _mt5() -> Any:
    config = transformers.MT5Config(**T5, tie_word_embeddings=False)
    return transformers.MT5ForConditionalGeneration(config)


def _umt5() -> Any:
    config = transformers.UMT5Config(**T5, tie_word_embeddings=False)
    return transformers.UMT5ForConditionalGeneration(config)


def _bart() -> Any:
    return transformers.BartForConditionalGeneration(transformers.BartConfig(**SIDE))


def _bart_scaled() -> Any:
    config = transformers.BartConfig(**SIDE, scale_embedding=True, activation_function="relu")
    return transformers.BartForConditionalGeneration(config)


def _mbart() -> Any:
    config = transformers.MBartConfig(**SIDE, scale_embedding=True, decoder_start_token_id=2)
    return transformers.MBartForConditionalGeneration(config)


def _pegasus() -> Any:
    config = transformers.PegasusConfig(**SIDE, scale_embedding=True, activation_function="relu")
    return transformers.PegasusForConditionalGeneration(config)


def _marian() -> Any:
    config = transformers.MarianConfig(
        **SIDE, scale_embedding=True, activation_function="swish",
        pad_token_id=7, decoder_start_token_id=7, eos_token_id=0, forced_eos_token_id=0,
    )  # fmt: skip
    return transformers.MarianMTModel(config)


def _marian_two_vocabularies() -> Any:
    config = transformers.MarianConfig(
        **SIDE, scale_embedding=True, decoder_vocab_size=72, share_encoder_decoder_embeddings=False,
        tie_word_embeddings=False, pad_token_id=7, decoder_start_token_id=7,
        eos_token_id=0, forced_eos_token_id=0,
    )  # fmt: skip
    return transformers.MarianMTModel(config)


def _m2m_100() -> Any:
    return transformers.M2M100ForConditionalGeneration(transformers.M2M100Config(**SIDE))


def _whisper() -> Any:
    sizes = {key: value for key, value in SIDE.items() if key != "max_position_embeddings"}
    config = transformers.WhisperConfig(
        **sizes, num_mel_bins=10, max_source_positions=50, max_target_positions=64,
        pad_token_id=1, bos_token_id=2, eos_token_id=3, decoder_start_token_id=4,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config)


def _t5gemma() -> Any:
    side = {**GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
    config = transformers.T5GemmaConfig(encoder=side, decoder=side, vocab_size=VOCAB)
    return transformers.T5GemmaForConditionalGeneration(config)


def _t5gemma2() -> Any:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    }
    text = {**GEMMA, "rope_parameters": rope}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    config = transformers.T5Gemma2Config(
        encoder={"text_config": text, "vision_config": vision, "vocab_size": VOCAB,
                 "image_token_index": 95, "mm_tokens_per_image": 4},
        decoder=text, image_token_index=95, eoi_token_index=94,
    )  # fmt: skip
    return transformers.T5Gemma2ForConditionalGeneration(config)


def _byt5() -> Any:
    config = transformers.T5Config(
        **{**T5, "num_layers": 4, "num_decoder_layers": 1},
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        tokenizer_class="ByT5Tokenizer",
    )
    return transformers.T5ForConditionalGeneration(config)


TINY: dict[str, Callable[[], Any]] = {
    "T5 v1.0": _t5,
    "T5 v1.1, FLAN-T5, MADLAD-400": _t5_gated,
    "ByT5": _byt5,
    "mT5": _mt5,
    "UMT5": _umt5,
    "BART": _bart,
    "BART, scaled embeddings": _bart_scaled,
    "mBART-50": _mbart,
    "PEGASUS": _pegasus,
    "Marian (OPUS-MT)": _marian,
    "Marian, two vocabularies": _marian_two_vocabularies,
    "M2M100, NLLB": _m2m_100,
    "Whisper": _whisper,
    "T5Gemma": _t5gemma,
    "T5Gemma 2 (text)": _t5gemma2,
}
# Their output has a table of its own, which transformers 5 makes one with the embeddings unless a
# file that it loads has both.
UNTIED = ("T5 v1.1, FLAN-T5, MADLAD-400", "ByT5", "mT5", "UMT5")


def make_tiny(name: str) -> Any:
    """A model whose every weight matters, in evaluation mode, with plain attention."""
    torch.manual_seed(sum(name.encode()))
    model = TINY[name]()
    if name in UNTIED:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    model.set_attn_implementation("eager")
    draw_weights(model)
    if name in UNTIED:  # far enough apart that no beam is chosen by the last bit
        model.lm_head.weight.data *= model.config.d_model**0.5
    return model.eval()


@torch.no_grad()
def draw_weights(model: Any) -> None:
    """Draw again what is too small by default to be missed; what the source says counts most."""
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if weight.dim() >= 2:
            weight.normal_(std=weight[0].numel() ** -0.5)
            if any(
                part in name for part in ("encoder_attn.out", "EncDecAttention.o", "cross_attn.o")
            ):
                weight.mul_(4)
        else:
            weight.add_(0.1 * torch.randn_like(weight))
    for key, buffer in model.named_buffers():
        if key.endswith("final_logits_bias"):
            buffer.normal_(std=0.3)


def save_tiny(name: str, folder: Path) -> Any:
    """Write the folder of a tiny model and return the model."""
    model = make_tiny(name)
    model.save_pretrained(folder)
    return model
