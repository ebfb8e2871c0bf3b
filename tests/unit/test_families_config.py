"""What the config.json of each family means, defaults included, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from duologue.checkpoint.families import FAMILIES, export_config, model_config
from duologue.checkpoint.families.generation import export_generation, read_generation
from duologue.config import GenerationConfig, ModelConfig
from duologue.errors import CheckpointError

SIDE = {"num_hidden_layers": 4, "sliding_window": 9, "layer_types": None}
GEMMA = {"encoder": SIDE, "decoder": SIDE}
GEMMA2 = {"encoder": {"text_config": SIDE}, "decoder": SIDE}


def read(kind: str, values: dict[str, Any] | None = None, **advice: Any) -> ModelConfig:
    start = {} if kind.startswith("t5gemma") else {"decoder_start_token_id": 0}
    given = {"model_type": kind, **start, **(values or {})}
    return model_config(given, advice, "here")[0]


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_config_that_omits_everything_has_the_defaults_of_transformers(kind: str) -> None:
    theirs = transformers.AutoConfig.for_model(kind)
    ours = read(kind)
    decoder = getattr(theirs, "decoder", theirs)
    assert ours.vocab_size == decoder.vocab_size
    assert ours.d_model == decoder.hidden_size
    assert ours.num_heads == decoder.num_attention_heads
    assert ours.head_dim == getattr(decoder, "head_dim", ours.d_model // ours.num_heads)
    assert ours.num_decoder_layers == next(
        getattr(decoder, name)
        for name in ("num_decoder_layers", "decoder_layers", "num_hidden_layers")
        if hasattr(decoder, name)
    )
    assert ours.d_ff == next(
        getattr(decoder, name)
        for name in ("d_ff", "decoder_ffn_dim", "intermediate_size")
        if hasattr(decoder, name)
    )
    activation = next(
        getattr(decoder, name)
        for name in ("dense_act_fn", "activation_function", "hidden_activation")
        if hasattr(decoder, name)
    )
    assert ours.activation == {"gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}.get(
        activation, activation
    )
    if not kind.endswith("t5") and not kind.startswith("t5gemma"):
        assert (ours.embed_scale is None) == theirs.scale_embedding


def test_sides_of_t5gemma2_have_the_windows_of_transformers() -> None:
    config = read("t5gemma2", GEMMA2)
    assert config.encoder_window == (4, 4)
    assert config.decoder_window == 8
    assert config.encoder_window_layers == (0, 1, 2, 3)  # each sixth has none
    even = read("t5gemma2", {"encoder": {"text_config": {**SIDE, "sliding_window": 8}}})
    assert even.encoder_window == (3, 4)


def test_layers_of_t5gemma_have_windows_in_turn() -> None:
    config = read("t5gemma", GEMMA)
    assert config.encoder_window == (9, 9)
    assert config.encoder_window_layers == config.decoder_window_layers == (0, 2)
    full = {**SIDE, "layer_types": ["full_attention"] * 4, "sliding_window": None}
    assert read("t5gemma", {"encoder": full, "decoder": full}).encoder_window is None


def test_soft_caps_that_are_null_are_off_and_those_not_given_are_the_defaults() -> None:
    assert read("t5gemma", GEMMA).attn_soft_cap == 50
    off = {**SIDE, "attn_logit_softcapping": None, "final_logit_softcapping": None}
    config = read("t5gemma", {"encoder": off, "decoder": off})
    assert (config.attn_soft_cap, config.logit_soft_cap) == (0, 0)


def test_rotary_positions_are_read_in_the_old_spelling_and_in_the_new() -> None:
    old = {**SIDE, "rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 8.0}}
    new = {
        **SIDE,
        "rope_parameters": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500.0},
    }
    for side in (old, new):
        config = read("t5gemma", {"encoder": side, "decoder": side})
        assert (config.rope_theta, config.rope_factor) == (500.0, 8.0)
    side = {**old, "rope_local_base_freq": 300.0}
    config = read("t5gemma2", {"encoder": {"text_config": side}, "decoder": side})
    found = (config.rope_theta, config.rope_factor, config.window_rope_theta)
    assert found == (500.0, 8.0, 300.0)


def test_feed_forward_of_t5_is_what_its_keys_say() -> None:
    read_t5 = {
        "relu": ("relu", False),
        "gated-gelu": ("gelu_tanh", True),
        "gated-silu": ("silu", True),
        "gelu": ("gelu", False),
    }
    for spelling, expected in read_t5.items():
        config = read("t5", {"feed_forward_proj": spelling})
        assert (config.activation, config.gated) == expected
    exact = read("t5", {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"})
    assert exact.activation == "gelu"


REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "unlike feed-forwards": ("bart", {"encoder_ffn_dim": 12}, ("decoder_ffn_dim 4096", "12")),
    "unlike heads": ("whisper", {"encoder_attention_heads": 2}, ("decoder_attention_heads 6",)),
    "activation": ("marian", {"activation_function": "quick_gelu"}, ("'quick_gelu'", "swish")),
    "feed-forward of T5": ("t5", {"feed_forward_proj": "split-gelu"}, ("'split-gelu'",)),
    "activation of T5": ("t5", {"feed_forward_proj": "gated-tanh"}, ("dense_act_fn 'tanh'",)),
    "first position": ("m2m_100", {"pad_token_id": 0}, ("pad_token_id 0",)),
    "sides of unlike width": (
        "t5gemma",
        {"encoder": {**SIDE, "hidden_size": 8}, "decoder": SIDE},
        ("hidden_size 2304", "the encoder's, 8"),
    ),
    "biases of attention": (
        "t5gemma",
        {"encoder": {**SIDE, "attention_bias": True}, "decoder": SIDE},
        ("attention_bias True",),
    ),
    "kinds of layers": (
        "t5gemma",
        {"encoder": {**SIDE, "layer_types": ["chunked_attention"] * 4}, "decoder": SIDE},
        ("layer_types", "chunked_attention"),
    ),
    "stretched positions": (
        "t5gemma",
        {side: {**SIDE, "rope_scaling": {"rope_type": "yarn"}} for side in GEMMA},
        ("rope_type 'yarn'",),
    ),
    "positions that differ": (
        "t5gemma",
        {"encoder": {**SIDE, "rope_theta": 9.0}, "decoder": SIDE},
        ("rope_parameters",),
    ),
    "a cap that is never applied": (
        "t5gemma2",
        {"decoder": {**SIDE, "attn_logit_softcapping": 5.0}},
        ("attn_logit_softcapping 5.0",),
    ),
    "unlike vocabularies": (
        "t5gemma2",
        {"decoder": {**SIDE, "vocab_size": 300000}},
        ("vocab_size 300000",),
    ),
    "a size that is none": ("t5", {"d_model": "many"}, ("d_model", "'many'")),
    "a size of zero": ("bart", {"encoder_layers": 0}, ("encoder_layers", "0")),
    "a flag that is none": ("bart", {"scale_embedding": "yes"}, ("scale_embedding", "'yes'")),
    "a number that is none": ("t5", {"layer_norm_epsilon": "x"}, ("layer_norm_epsilon",)),
    "a section that is none": ("t5gemma", {"encoder": 5}, ("encoder", "5")),
    "an odd head": ("t5", {"d_kv": 7}, ("must be even",)),
    "ids beyond the vocabulary": ("t5", {"vocab_size": 50, "eos_token_id": 51}, ("[51]", "50")),
    "ids that are none": ("t5", {"eos_token_id": "end"}, ("eos_ids",)),
    "no end": ("t5", {"eos_token_id": None}, ("eos_ids",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_configuration_cannot_express_is_refused_by_name(case: str) -> None:
    kind, values, words = REFUSED[case]
    with pytest.raises(CheckpointError) as caught:
        read(kind, values)
    for word in ("here", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", ["longt5", "switch_transformers", "nllb-moe", 5, None])
def test_a_foreign_kind_is_refused_with_a_list_of_the_known(kind: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        model_config({"model_type": kind}, {}, "here")
    assert repr(kind) in str(caught.value)
    assert all(known in str(caught.value) for known in FAMILIES)


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_exported_configuration_is_read_as_it_was(kind: str) -> None:
    config = read(kind)
    values = export_config(config)
    assert config.generation is not None
    again = model_config(values, export_generation(config.generation), "there")[0]
    assert again == config


def test_a_model_of_ours_is_not_exported() -> None:
    with pytest.raises(CheckpointError, match="imported families"):
        export_config(ModelConfig(vocab_size=9))


# --- generation ----------------------------------------------------------------------------------


def test_generation_config_goes_over_config() -> None:
    generation = read("bart", {"num_beams": 4, "min_length": 9}, num_beams=2).generation
    assert generation is not None
    assert (generation.beam_size, generation.min_tokens) == (2, 8)
    kept = read("bart", {"num_beams": 4}, num_beams=None).generation
    assert kept is not None
    assert kept.beam_size == 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"min_length": 56}, (55, None)),
        ({"min_length": 56, "forced_bos_token_id": 0}, (54, None)),
        ({"min_length": 1, "forced_bos_token_id": 0}, (0, None)),
        ({"min_new_tokens": 5}, (5, None)),
        ({"max_length": 142}, (0, 141)),
        ({"max_length": 142, "forced_bos_token_id": 0, "forced_eos_token_id": 2}, (0, 139)),
        ({"max_new_tokens": 30, "forced_bos_token_id": 0}, (0, 29)),
        ({"max_length": 200, "max_new_tokens": 30}, (0, 30)),
    ],
)
def test_lengths_count_what_the_model_chooses(
    values: dict[str, int], expected: tuple[int, int | None]
) -> None:
    ids = {"decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    generation = read_generation({**ids, **values}, 50, "here")
    assert (generation.min_tokens, generation.max_tokens) == expected


def test_all_advice_of_a_generation_config_is_read() -> None:
    values = {
        "bos_token_id": 3,
        "eos_token_id": [4, 5],
        "forced_bos_token_id": 6,
        "num_beams": 5,
        "length_penalty": 2.0,
        "early_stopping": True,
        "no_repeat_ngram_size": 3,
        "repetition_penalty": 1.2,
        "suppress_tokens": [7, 8, 99],
        "bad_words_ids": [[9], [7], [10, 11]],
        "begin_suppress_tokens": [12],
        "lang_to_id": {"<|en|>": 13, "<|zh|>": 14},
        "alignment_heads": [[0, 1], [1, 0]],
    }
    assert read_generation(values, 50, "here") == GenerationConfig(
        start_ids=(3,),
        eos_ids=(4, 5),
        pad_id=4,
        forced_first_id=6,
        suppressed_ids=(7, 8, 9),
        first_suppressed_ids=(12,),
        languages={"en": 13, "zh": 14},
        beam_size=5,
        length_penalty=2.0,
        early_stopping=True,
        no_repeat_ngram_size=3,
        repetition_penalty=1.2,
        alignment_heads=((0, 1), (1, 0)),
    )


@pytest.mark.parametrize("value", [False, "never"])
def test_beam_search_goes_on_unless_it_is_to_stop_early(value: Any) -> None:
    ids = {"decoder_start_token_id": 2, "eos_token_id": 2}
    assert not read_generation({**ids, "early_stopping": value}, 50, "here").early_stopping


def test_exported_advice_is_read_as_it_was() -> None:
    generation = GenerationConfig(
        start_ids=(3,),
        eos_ids=(4, 5),
        pad_id=1,
        forced_first_id=6,
        suppressed_ids=(7, 8),
        first_suppressed_ids=(12,),
        languages={"en": 13},
        beam_size=5,
        length_penalty=0.6,
        early_stopping=True,
        no_repeat_ngram_size=3,
        repetition_penalty=1.2,
        min_tokens=4,
        max_tokens=90,
        alignment_heads=((0, 1),),
    )
    assert read_generation(export_generation(generation), 50, "here") == generation


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"decoder_start_token_id": 2},
        {"decoder_start_token_id": 99, "eos_token_id": 2},
        {"decoder_start_token_id": 2, "eos_token_id": 2, "lang_to_id": [1]},
        {"decoder_start_token_id": 2, "eos_token_id": 2, "min_length": "9"},
        {"decoder_start_token_id": 2, "eos_token_id": 2, "bad_words_ids": 7},
        {"decoder_start_token_id": 2, "eos_token_id": 2, "num_beams": 0},
        {"decoder_start_token_id": 2, "eos_token_id": 2, "suppress_tokens": ["x"]},
    ],
)
def test_senseless_advice_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="here"):
        read_generation(values, 50, "here")
