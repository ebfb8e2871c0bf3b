"""The shape of a model, and how an imported one wants to be decoded.

Every difference between families is a value here; encoder, decoder and engine have no other way to
tell them apart. The defaults are those of `duo`, the family that Duologue trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from duologue.config.values import STRICT, require

Family = Literal[
    "duo",
    "t5",
    "umt5",
    "bart",
    "mbart",
    "pegasus",
    "marian",
    "m2m_100",
    "whisper",
    "t5gemma",
    "t5gemma2",
]
FAMILIES: tuple[Family, ...] = get_args(Family)


# Keys of ModelConfig that tell what a model has learnt; the others tell how it computes.
LEARNT = (
    "languages",
    "reply_languages",
    "tasks",
    "label_sets",
    "calibration",
    "calibration_by_language",
)


@dataclass(frozen=True)
class GenerationConfig:
    """How an imported model is decoded unless the caller says otherwise. Ids are token ids.

    start_ids             what the decoder input begins with
    eos_ids               each of them ends a target
    pad_id                stands for nothing
    forced_first_id       the first id that is produced, whatever the model says; None: its choice
    suppressed_ids        never produced; first_suppressed_ids: not as the first id
    languages             language code -> id of its token; empty: the model has no such tokens
    prompts               task -> text that goes in front of the source
    beam_size, length_penalty, early_stopping, no_repeat_ngram_size, repetition_penalty, min_tokens,
    max_tokens            see types.Options; max_tokens None: no advice
    alignment_heads       (layer, head) of the cross-attention that follows the time of speech
    """

    __pydantic_config__ = STRICT

    start_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]
    pad_id: int
    forced_first_id: int | None = None
    suppressed_ids: tuple[int, ...] = ()
    first_suppressed_ids: tuple[int, ...] = ()
    languages: dict[str, int] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    beam_size: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    min_tokens: int = 0
    max_tokens: int | None = None
    alignment_heads: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        require(len(self.start_ids) > 0, "start_ids must name at least one id")
        require(len(self.eos_ids) > 0, "eos_ids must name at least one id")
        require(self.beam_size >= 1, "beam_size must be at least 1")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of an encoder-decoder model. Sizes are counts, not bytes.

    d_model, d_ff         width of the model; of the feed-forward's inside
    num_heads             heads of every attention; num_kv_heads: of its keys and values, each
                          shared by num_heads / num_kv_heads queries; None is num_heads. Ainslie et
                          al. 2023 (arXiv:2305.13245)
    d_head                width of a head; None is d_model / num_heads. Read it as head_dim
    max_positions         longest memory in tokens
    max_target_positions  longest decoder input in tokens; None is max_positions
    cell                  transformer, or gru (recurrent, additive attention; takes the sizes alone)
    encoder_mask          block_causal: a position sees its own segment and earlier dialogue
                          segments, so earlier turns are never encoded again; full: everything

    positions             of self-attention; cross-attention has none.
                          rotary      Su et al. 2021 (arXiv:2104.09864, section 3.4)
                          relative    a learned bias for each bucket of distances; Raffel et al.
                                      2020 (arXiv:1910.10683, section 2.1)
                          learned     a table that is added to the embeddings
                          sinusoidal  the same, but fixed; Vaswani et al. 2017 (arXiv:1706.03762,
                                      section 3.5)
    rope_theta            base of the rotary positions; rope_factor divides the positions
    window_rope_theta     base in layers with a window, whose positions are not divided; None is
                          rope_theta
    relative_buckets      how many; from relative_distance on all distances share one
    relative_per_layer    each layer has a bias of its own; otherwise a side has one for all layers
    encoder_window        (before, after): how many neighbours the encoder_window_layers see on
                          each side; decoder_window: how many earlier tokens the
                          decoder_window_layers see. None is all

    norm                  rms (Zhang & Sennrich 2019, arXiv:1910.07467), or layer with a bias (Ba
                          et al. 2016, arXiv:1607.06450); norm_eps is added to the mean square
    norm_place            pre: x + f(norm(x)); post: norm(x + f(x)); both: x + norm(f(norm(x)))
    final_norm, embed_norm   a norm after the last layer; of the embeddings

    attn_scale            factor of the scores; None is 1 / sqrt(head_dim)
    attn_soft_cap         c in c * tanh(score / c); 0 is off. Gemma Team 2024 (arXiv:2408.00118,
                          section 2.2)
    logit_soft_cap        the same for the logits
    qk_norm               RMSNorm over each head of queries and keys, before rotary positions
    merged_attention      the decoder's self- and cross-attention are one, with shared weights
    bias                  linear layers have a bias (the output: output_bias)
    activation, gated     of the feed-forward: down(act(up(x))), or down(act(gate(x)) * up(x));
                          gelu is exact, gelu_tanh its usual approximation
    embed_scale           factor of the embeddings; None is sqrt(d_model)
    shared_embedding      encoder and decoder embed alike; otherwise the encoder has a table of its
                          own, of source_vocab_size (None is vocab_size)
    tied_output           logits come from the decoder's embedding
    front_end             of the encoder. tokens: an embedding. mel: log-mel frames of mel_bins
                          through two convolutions of width 3, the second of stride 2, each with
                          gelu

    languages             codes that the model can translate into
    reply_languages       codes that `<reply>` may be followed by; empty: the data did not say which
                          language its replies are in, and `<reply>` stands alone
    tasks                 what the model was trained for
    label_sets            name of a label set -> its labels, for `sentiment` and `intent`
    calibration           name of a label set -> temperature of its probabilities; see
                          evaluation.calibration. calibration_by_language: name of a label set ->
                          language code -> temperature for texts in that language
    generation            of imported families
    """

    __pydantic_config__ = STRICT

    vocab_size: int
    d_model: int = 256
    d_ff: int = 768
    num_heads: int = 4
    num_encoder_layers: int = 4
    num_decoder_layers: int = 2
    max_positions: int = 1024
    num_kv_heads: int | None = None
    d_head: int | None = None
    max_target_positions: int | None = None
    source_vocab_size: int | None = None
    cell: Literal["transformer", "gru"] = "transformer"
    encoder_mask: Literal["block_causal", "full"] = "block_causal"

    positions: Literal["rotary", "relative", "learned", "sinusoidal"] = "rotary"
    rope_theta: float = 10000.0
    rope_factor: float = 1.0
    window_rope_theta: float | None = None
    relative_buckets: int = 32
    relative_distance: int = 128
    relative_per_layer: bool = False
    encoder_window: tuple[int, int] | None = None
    decoder_window: int | None = None
    encoder_window_layers: tuple[int, ...] = ()
    decoder_window_layers: tuple[int, ...] = ()

    norm: Literal["rms", "layer"] = "rms"
    norm_place: Literal["pre", "post", "both"] = "pre"
    norm_eps: float = 1e-6
    final_norm: bool = True
    embed_norm: bool = False

    attn_scale: float | None = None
    attn_soft_cap: float = 0.0
    logit_soft_cap: float = 0.0
    qk_norm: bool = False
    merged_attention: bool = False
    bias: bool = False
    activation: Literal["silu", "relu", "gelu", "gelu_tanh"] = "silu"
    gated: bool = True
    embed_scale: float | None = None
    shared_embedding: bool = True
    tied_output: bool = True
    output_bias: bool = False
    front_end: Literal["tokens", "mel"] = "tokens"
    mel_bins: int = 0

    family: Family = "duo"
    languages: tuple[str, ...] = ()
    reply_languages: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    label_sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    calibration_by_language: dict[str, dict[str, float]] = field(default_factory=dict)
    license: str = ""
    generation: GenerationConfig | None = None

    def __post_init__(self) -> None:
        self._check_sizes()
        if self.cell == "gru":
            self._check_gru()
        _check_windows(self.encoder_window_layers, self.num_encoder_layers, self.encoder_window)
        _check_windows(self.decoder_window_layers, self.num_decoder_layers, self.decoder_window)
        require(
            self.encoder_mask == "full"
            or (self.positions == "rotary" and self.encoder_window is None),
            "encoder_mask block_causal needs rotary positions and no encoder_window",
        )
        require(
            self.positions != "relative" or self.relative_buckets >= 4,
            "relative_buckets must be at least 4",
        )
        require(
            self.positions != "relative" or not (self.encoder_window or self.decoder_window),
            "relative positions and windows exclude each other",
        )
        require(
            self.front_end == "tokens" or (self.mel_bins >= 1 and self.encoder_mask == "full"),
            "front_end mel needs mel_bins and encoder_mask full",
        )
        require(self.attn_soft_cap >= 0 and self.logit_soft_cap >= 0, "a soft cap is not negative")
        require(self.family == "duo" or self.generation is not None, "generation is missing")
        self._check_calibration()

    def _check_calibration(self) -> None:
        temperatures = [*self.calibration.values()]
        for name, by_language in self.calibration_by_language.items():
            require(
                name in self.calibration,
                f"calibration_by_language names {name}, which calibration does not",
            )
            temperatures += by_language.values()
        require(
            all(0 < temperature < math.inf for temperature in temperatures),
            "a temperature of calibration must be positive",
        )

    def _check_sizes(self) -> None:
        sizes = ("vocab_size", "d_model", "d_ff", "num_heads", "num_encoder_layers")
        for name in (*sizes, "num_decoder_layers", "max_positions"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1")
        for name in ("num_kv_heads", "d_head", "max_target_positions", "source_vocab_size"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1")
        require(
            self.d_head is not None or self.d_model % self.num_heads == 0,
            "d_model must be a multiple of num_heads, or d_head be given",
        )
        require(self.head_dim % 2 == 0, "the width of a head must be even")
        require(self.num_heads % self.kv_heads == 0, "num_heads must be a multiple of num_kv_heads")

    def _check_gru(self) -> None:
        require(
            self.encoder_mask == "block_causal",
            "a gru reads left to right: encoder_mask must be block_causal",
        )
        plain = ModelConfig(vocab_size=1)
        kept = ("positions", "norm", "norm_place", "final_norm", "embed_norm", "embed_scale")
        for name in (*kept, "num_kv_heads", "d_head", "shared_embedding", "tied_output"):
            require(getattr(self, name) == getattr(plain, name), f"a gru has no other {name}")
        require(not self.output_bias and self.logit_soft_cap == 0, "a gru has a plain output")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_head or self.d_model // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def target_positions(self) -> int:
        """Longest decoder input in tokens."""
        return self.max_target_positions or self.max_positions


def _check_windows(
    layers: tuple[int, ...], num_layers: int, window: tuple[int, int] | int | None
) -> None:
    require(
        all(0 <= layer < num_layers for layer in layers), "a window is in no layer of the model"
    )
    require(not layers or window is not None, "layers with a window need to know its size")
    sizes = window if isinstance(window, tuple) else (window or 0,)
    require(all(size >= 0 for size in sizes), "a window must not be negative")
