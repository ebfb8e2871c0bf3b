"""Folders of tiny published models: tokenizer files of a kind, and random weights.

KINDS    kind -> the model of transformers that is in its folder
publish  writes one
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from published_tokenizers import NLLB_LANGUAGES, VOCAB_SIZE, Published
from tiny_transformers import SIDE, T5, draw_weights

from duologue.text.imported import ImportedTokenizer

BART_POSITIONS = 40
_SIDE = {**SIDE, "vocab_size": VOCAB_SIZE}
_T5_TASKS = {
    "summarization": {"prefix": "summarize: "},
    "translation_en_to_de": {"prefix": "translate English to German: "},
}


def _nllb(tokenizer: ImportedTokenizer) -> Any:
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = transformers.M2M100Config(**_SIDE, **ids, scale_embedding=True)
    model = transformers.M2M100ForConditionalGeneration(config)
    _advise(model, tokenizer, num_beams=3, max_length=14)
    return model


def _marian(tokenizer: ImportedTokenizer) -> Any:
    pad_id = tokenizer.pad_id
    ids = {"pad_token_id": pad_id, "decoder_start_token_id": pad_id, "eos_token_id": 0}
    size = tokenizer.control_id("<pad>") + 1
    config = transformers.MarianConfig(
        **{**_SIDE, "vocab_size": size},
        **ids,
        decoder_vocab_size=size,
        scale_embedding=True,
        forced_eos_token_id=None,
    )
    model = transformers.MarianMTModel(config)
    _advise(model, tokenizer, num_beams=4, max_length=14, bad_words_ids=[[pad_id]])
    return model


def _t5(tokenizer: ImportedTokenizer) -> Any:
    config = transformers.T5Config(**{**T5, "vocab_size": VOCAB_SIZE})
    config.task_specific_params = _T5_TASKS
    model = transformers.T5ForConditionalGeneration(config)
    _advise(model, tokenizer, max_length=12)
    return model


def _bart(tokenizer: ImportedTokenizer) -> Any:
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    sizes = {**_SIDE, "max_position_embeddings": BART_POSITIONS}
    config = transformers.BartConfig(**sizes, **ids, forced_eos_token_id=None)
    model = transformers.BartForConditionalGeneration(config)
    _advise(
        model,
        tokenizer,
        num_beams=3,
        min_length=8,
        max_length=16,
        length_penalty=2.0,
        early_stopping=True,
        forced_bos_token_id=0,
    )
    return model


def _advise(model: Any, tokenizer: ImportedTokenizer, **settings: Any) -> None:
    """How it is decoded by default: what it says is text, and does not go round in circles."""
    languages = {tokenizer.controls.get(code) for code in NLLB_LANGUAGES}
    kept = {tokenizer.eos_id, settings.get("forced_bos_token_id"), *languages}
    ids = range(model.config.vocab_size)
    settings["suppress_tokens"] = [
        idx for idx in ids if idx not in kept and not tokenizer.token_bytes(idx).strip()
    ]
    settings["no_repeat_ngram_size"] = 2
    for name, value in settings.items():
        setattr(model.generation_config, name, value)


KINDS: Mapping[str, Callable[[ImportedTokenizer], Any]] = {
    "nllb_json": _nllb,
    "marian": _marian,
    "t5": _t5,
    "bart": _bart,
}


def publish(kind: str, tokenizers: Published, folder: Path) -> Path:
    """Write a folder as it would be published."""
    shutil.copytree(tokenizers.folder(kind), folder)
    torch.manual_seed(3)
    model = KINDS[kind](tokenizers.load(kind))
    draw_weights(model)
    model.save_pretrained(folder)
    if kind == "bart":  # what summarizers among them have in their configuration
        path = folder / "config.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        values["task_specific_params"] = {"summarization": {"min_length": 8}}
        path.write_text(json.dumps(values), encoding="utf-8")
    return folder
