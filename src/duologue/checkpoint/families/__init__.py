"""The kinds of published checkpoints that can be read, each as data.

published.py   the values of a config.json; Family, what is known of a kind
mapping.py     how our weights are made of their tensors, and the way back
generation.py  how a checkpoint wants to be decoded
t5.py          T5, FLAN-T5, mT5, ByT5, MADLAD, UMT5
bart.py        BART, mBART, PEGASUS, Marian, M2M100, NLLB
whisper.py     Whisper
t5gemma.py     T5Gemma, the text part of T5Gemma 2

family_of, model_config         what a published config.json says
export_config, export_tensors   the way back
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from duologue.checkpoint.families.bart import BART, M2M100, MARIAN, MBART, PEGASUS
from duologue.checkpoint.families.generation import read_generation
from duologue.checkpoint.families.mapping import tensors_from
from duologue.checkpoint.families.published import Family, Published
from duologue.checkpoint.families.t5 import MT5, T5, UMT5
from duologue.checkpoint.families.t5gemma import T5GEMMA, T5GEMMA2
from duologue.checkpoint.families.whisper import WHISPER
from duologue.checkpoint.weights import Float32, Weight, dequantize
from duologue.config import ModelConfig, from_dict
from duologue.errors import CheckpointError, ConfigError
from duologue.text.describe import PAIR

__all__ = ["FAMILIES", "export_config", "export_tensors", "family_of", "model_config"]

FAMILIES: dict[str, Family] = {
    "t5": T5,
    "mt5": MT5,
    "umt5": UMT5,
    "bart": BART,
    "mbart": MBART,
    "pegasus": PEGASUS,
    "marian": MARIAN,
    "m2m_100": M2M100,
    "whisper": WHISPER,
    "t5gemma": T5GEMMA,
    "t5gemma2": T5GEMMA2,
}


def family_of(values: Mapping[str, Any], where: str) -> Family:
    """The family of a published config.json. Raises CheckpointError, which lists those known."""
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(
            f"{where}: model_type {kind!r} is not supported; known: {', '.join(FAMILIES)}"
        )
    return FAMILIES[kind]


def model_config(
    values: Mapping[str, Any], advice: Mapping[str, Any], where: str
) -> tuple[ModelConfig, Family, Published]:
    """What a published folder says of its model.

    values  of config.json;  advice  of generation_config.json, which may be empty

    Whether the tables of embeddings are one is what config.json says; the tensors know better.
    Raises CheckpointError for a kind, a key or a value that is not supported.
    """
    family = family_of(values, where)
    published = Published(values, family.defaults, where)
    read = family.config(published)
    given = {key: value for key, value in advice.items() if value is not None}
    side = published.section("decoder", {}).values
    ids = {**family.defaults, **side, **values, **given}
    generation = read_generation(ids, read["vocab_size"], where)
    try:
        config = from_dict(
            ModelConfig,
            {
                "tied_output": bool(published.get("tie_word_embeddings", True)),
                "shared_embedding": "source_vocab_size" not in read,
                **read,
                "encoder_mask": "full",
                "family": family.name,
                "generation": generation,
            },
            where,
        )
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    return config, family, published


def export_config(config: ModelConfig) -> dict[str, Any]:
    """A config.json from which transformers makes the model.

    Raises CheckpointError for a model of ours, which it does not have.
    """
    generation = config.generation
    if generation is None:
        raise CheckpointError("only models of imported families can be exported")
    ids = {
        "decoder_start_token_id": generation.start_ids[0],
        "eos_token_id": generation.eos_ids[0],
        "pad_token_id": generation.pad_id,
        "bos_token_id": generation.start_ids[0],
    }
    values = _family(config).export(config) | ids | {"is_encoder_decoder": True}
    prompts = {_published_task(task): text for task, text in generation.prompts.items()}
    if prompts:
        settings = {task: {"prefix": text} for task, text in prompts.items()}
        values["task_specific_params"] = settings
    return values


def export_tensors(config: ModelConfig, weights: Mapping[str, Weight]) -> dict[str, Float32]:
    """The tensors of a published checkpoint with these weights, float32; see tensors_from.

    Raises what export_config raises.
    """
    family = _family(config)
    published = Published(export_config(config), family.defaults, "export")
    tables = family.tables(published)
    tensors = tensors_from(family.weights(config, published), weights)
    embedding = dequantize(weights["embed.weight"])
    if config.shared_embedding:
        tensors |= dict.fromkeys(tables.shared, embedding)
    else:
        tensors[tables.encoder[0]] = dequantize(weights["encoder.embed.weight"])
        tensors[tables.decoder[0]] = embedding
    if not config.tied_output:
        tensors[tables.output[0]] = dequantize(weights["output.weight"])
    return tensors


def _published_task(task: str) -> str:
    """The name under which task_specific_params has the prompt of a task."""
    pair = PAIR.fullmatch(task)
    return f"translation_{pair['source']}_to_{pair['target']}" if pair else "summarization"


def _family(config: ModelConfig) -> Family:
    return next(family for family in FAMILIES.values() if family.name == config.family)
