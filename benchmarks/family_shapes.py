"""The shapes of published models that benchmarks/families.py runs, with random weights.

TEXT     OPUS-MT (base), FLAN-T5-base, NLLB-200-distilled-600M; each reads and writes tokens
SPEECH   Whisper tiny and base
QUICK_TEXT, QUICK_SPEECH   small siblings, the same in all but their sizes; figures mean nothing

Sizes are those of the published configurations. Start and end tokens are START_ID and END_ID, and
in Whisper those of its vocabulary, so that its peers find them.
"""

from __future__ import annotations

from dataclasses import replace

from conversion import WHISPER_SPECIALS
from shapes import END_ID, START_ID, random_weights

from duologue.checkpoint.weights import Weights
from duologue.config import GenerationConfig, ModelConfig

_GENERATION = GenerationConfig((START_ID,), (END_ID,), pad_id=0)

# Junczys-Dowmunt et al. 2018 (arXiv:1804.00344); sizes of Helsinki-NLP/opus-mt-en-zh.
OPUS = ModelConfig(
    vocab_size=65_001,
    d_model=512,
    d_ff=2048,
    num_heads=8,
    num_encoder_layers=6,
    num_decoder_layers=6,
    max_positions=512,
    encoder_mask="full",
    positions="sinusoidal",
    norm="layer",
    norm_place="post",
    norm_eps=1e-5,
    final_norm=False,
    bias=True,
    gated=False,
    output_bias=True,
    family="marian",
    generation=_GENERATION,
)
# Chung et al. 2022 (arXiv:2210.11416); google/flan-t5-base.
FLAN_BASE = ModelConfig(
    vocab_size=32_128,
    d_model=768,
    d_ff=2048,
    num_heads=12,
    d_head=64,
    num_encoder_layers=12,
    num_decoder_layers=12,
    max_positions=4096,
    encoder_mask="full",
    positions="relative",
    attn_scale=1.0,
    embed_scale=1.0,
    activation="gelu_tanh",
    tied_output=False,
    family="t5",
    generation=_GENERATION,
)
# NLLB Team 2022 (arXiv:2207.04672); facebook/nllb-200-distilled-600M.
NLLB = ModelConfig(
    vocab_size=256_206,
    d_model=1024,
    d_ff=4096,
    num_heads=16,
    num_encoder_layers=12,
    num_decoder_layers=12,
    max_positions=1024,
    encoder_mask="full",
    positions="sinusoidal",
    norm="layer",
    norm_eps=1e-5,
    bias=True,
    activation="relu",
    gated=False,
    family="m2m_100",
    generation=replace(_GENERATION, pad_id=1),
)


def _whisper(d_model: int, heads: int, layers: int, vocab_size: int = 51_865) -> ModelConfig:
    """Radford et al. 2022 (arXiv:2212.04356, table 1)."""
    places = dict(WHISPER_SPECIALS)
    # 1,501 marks of time follow the last special token.
    end_id = vocab_size - 1_502 - places["<|notimestamps|>"]
    names = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
    start_ids = tuple(end_id + places[name] for name in names)
    return ModelConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        d_ff=4 * d_model,
        num_heads=heads,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        max_positions=1500,
        max_target_positions=448,
        encoder_mask="full",
        positions="learned",
        norm="layer",
        norm_eps=1e-5,
        bias=True,
        activation="gelu",
        gated=False,
        embed_scale=1.0,
        front_end="mel",
        mel_bins=80,
        family="whisper",
        generation=GenerationConfig(start_ids, (end_id,), pad_id=end_id),
    )


TEXT = {"OPUS-MT": OPUS, "FLAN-T5-base": FLAN_BASE, "NLLB-200-distilled-600M": NLLB}
SPEECH = {"Whisper tiny": _whisper(384, 6, 4), "Whisper base": _whisper(512, 8, 6)}


def _small(config: ModelConfig) -> ModelConfig:
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 2}
    small = replace(config, vocab_size=500, d_model=64, d_ff=96, num_heads=2, **layers)
    return replace(small, d_head=None if config.d_head is None else 32)


QUICK_TEXT = {name: _small(config) for name, config in TEXT.items()}
QUICK_SPEECH = {"Whisper tiny": _whisper(64, 2, 2, vocab_size=2_000)}


def speech_weights(config: ModelConfig) -> Weights:
    """random_weights for Whisper, where no token of which its peers know a meaning is the best."""
    weights = random_weights(config)
    assert config.generation is not None
    weights["embed.weight"][config.generation.eos_ids[0] :] *= 0.01
    return weights
