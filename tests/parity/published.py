"""Tiny published models with seeded random weights, one for each kind, as transformers makes them.

The sizes that could be taken for one another differ, and every weight is drawn anew, norms and
biases too, so that no part of a model can be left out unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

VOCAB = 96
IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 0}


def _t5(config: type = hf.T5Config, model: type = hf.T5ForConditionalGeneration, **how: Any) -> Any:
    sizes = {"d_model": 24, "d_kv": 10, "d_ff": 40, "num_layers": 3, "num_decoder_layers": 2}
    buckets = {"relative_attention_num_buckets": 12, "relative_attention_max_distance": 30}
    return model(config(vocab_size=VOCAB, num_heads=3, **sizes, **buckets, **IDS, **how))


def _bart(config: type, model: type, **how: Any) -> Any:
    sizes = {"d_model": 24, "encoder_layers": 3, "decoder_layers": 2, "max_position_embeddings": 90}
    heads = {"encoder_attention_heads": 3, "decoder_attention_heads": 3}
    hidden = {"encoder_ffn_dim": 40, "decoder_ffn_dim": 40}
    return model(config(vocab_size=VOCAB, **sizes, **heads, **hidden, **{**IDS, **how}))


def _marian(**how: Any) -> Any:
    ids = {"pad_token_id": VOCAB - 1, "eos_token_id": 0, "decoder_start_token_id": VOCAB - 1}
    return _bart(hf.MarianConfig, hf.MarianMTModel, scale_embedding=True, **{**ids, **how})


def _whisper() -> Any:
    config = hf.WhisperConfig(
        vocab_size=VOCAB,
        num_mel_bins=16,
        d_model=24,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        encoder_ffn_dim=40,
        decoder_ffn_dim=40,
        max_source_positions=60,
        max_target_positions=90,
        pad_token_id=1,
        eos_token_id=1,
        bos_token_id=1,
        decoder_start_token_id=2,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return hf.WhisperForConditionalGeneration(config)


GEMMA = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 5,
    "sliding_window": 9,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}


def _t5gemma(**how: Any) -> Any:
    caps = {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0}
    encoder = hf.T5GemmaModuleConfig(**GEMMA, **caps, num_hidden_layers=3)
    decoder = hf.T5GemmaModuleConfig(**GEMMA, **caps, num_hidden_layers=2)
    config = hf.T5GemmaConfig(encoder=encoder, decoder=decoder, vocab_size=VOCAB, **how)
    config._attn_implementation = "eager"
    return hf.T5GemmaForConditionalGeneration(config)


def _t5gemma2() -> Any:
    vision = hf.SiglipVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    text = {**GEMMA, "layer_types": None, "num_hidden_layers": 3}
    text["layer_types"] = ["sliding_attention", "full_attention", "sliding_attention"]
    encoder = {"text_config": text, "vision_config": vision.to_dict(), "mm_tokens_per_image": 4}
    decoder = {**GEMMA, "num_hidden_layers": 2}
    decoder["layer_types"] = ["sliding_attention", "full_attention"]
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
    }
    text["rope_parameters"] = decoder["rope_parameters"] = rope
    config = hf.T5Gemma2Config(
        encoder=encoder, decoder=decoder, image_token_index=VOCAB - 1, eoi_token_index=VOCAB - 2
    )
    config._attn_implementation = "eager"
    return hf.T5Gemma2ForConditionalGeneration(config)


# Their output has a table of its own, which transformers 5 makes one with the embeddings unless a file
# that it loads has both.
UNTIED = ("T5 v1.1, FLAN-T5", "mT5", "ByT5", "MADLAD-400", "UMT5")
FLAN = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
MADE: dict[str, Callable[[], Any]] = {
    "T5 v1.0": lambda: _t5(feed_forward_proj="relu"),
    "T5 v1.1, FLAN-T5": lambda: _t5(**FLAN),
    "mT5": lambda: _t5(hf.MT5Config, hf.MT5ForConditionalGeneration, **FLAN),
    "ByT5": lambda: _t5(**FLAN, tokenizer_class="ByT5Tokenizer"),
    "MADLAD-400": lambda: _t5(**FLAN, is_gated_act=True),
    "UMT5": lambda: _t5(hf.UMT5Config, hf.UMT5ForConditionalGeneration, **FLAN),
    "BART": lambda: _bart(hf.BartConfig, hf.BartForConditionalGeneration, forced_bos_token_id=3),
    "mBART-50": lambda: _bart(
        hf.MBartConfig,
        hf.MBartForConditionalGeneration,
        scale_embedding=True,
        activation_function="gelu",
    ),
    "PEGASUS": lambda: _bart(
        hf.PegasusConfig,
        hf.PegasusForConditionalGeneration,
        scale_embedding=True,
        activation_function="relu",
    ),
    "Marian (OPUS-MT)": lambda: _marian(activation_function="swish"),
    "Marian, two vocabularies": lambda: _marian(
        activation_function="relu",
        share_encoder_decoder_embeddings=False,
        decoder_vocab_size=VOCAB,
        tie_word_embeddings=False,
    ),
    "M2M100, NLLB": lambda: _bart(
        hf.M2M100Config,
        hf.M2M100ForConditionalGeneration,
        scale_embedding=True,
        activation_function="relu",
        pad_token_id=1,
        eos_token_id=2,
        bos_token_id=0,
        decoder_start_token_id=2,
    ),
    "Whisper": _whisper,
    "T5Gemma": _t5gemma,
    "T5Gemma 2 (text)": _t5gemma2,
}


def make(kind: str) -> Any:
    """The model of a kind, in evaluation mode; the same at each call."""
    torch.manual_seed(sum(kind.encode()))
    model = MADE[kind]().eval()
    if kind in UNTIED:
        model.lm_head.weight = torch.nn.Parameter(torch.empty(VOCAB, model.config.d_model))
    fixed = ("embed_positions",) if kind.startswith(("PEGASUS", "Marian")) else ()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(part in name for part in fixed):
                continue
            if weight.dim() < 2:
                weight.add_(0.3 * torch.randn_like(weight))
            else:
                weight.copy_(torch.randn_like(weight) * weight[0].numel() ** -0.5)
            if "relative_attention_bias" in name:
                weight.mul_(3)
        for name, weight in model.named_buffers():
            if name == "final_logits_bias":
                weight.copy_(0.3 * torch.randn_like(weight))
    return model


def save(kind: str, folder: Path) -> Any:
    """Write the model of a kind as it would be published; returns it."""
    model = make(kind)
    model.save_pretrained(folder)
    return model
