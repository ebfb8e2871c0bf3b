"""A Whisper of random weights, in a folder as it would be published: `publish(folder)`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf

LANGUAGES = ("en", "zh", "de")
CONTROLS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMES = tuple(f"<|{number / 50:.2f}|>" for number in range(1501))
PIECES = tuple(chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x144)))
ID_OF = {token: number for number, token in enumerate((*PIECES, *CONTROLS, *TIMES))}


def publish(folder: Path) -> Any:
    """Write model and tokenizer; returns the model of transformers, the same at each call."""
    end = ID_OF["<|endoftext|>"]
    config = hf.WhisperConfig(
        vocab_size=len(ID_OF),
        num_mel_bins=80,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_source_positions=1500,
        max_target_positions=64,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=ID_OF["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
        attn_implementation="eager",
    )
    torch.manual_seed(11)
    model = hf.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn_like(weight) * weight[0].numel() ** -0.5)
    model.generation_config = hf.GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        max_length=64,
        suppress_tokens=[ID_OF["#"], *(ID_OF[token] for token in CONTROLS[1:])],
        begin_suppress_tokens=[ID_OF["Ġ"], end],
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ID_OF[f"<|{code}|>"] for code in LANGUAGES},
        task_to_id={task: ID_OF[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=ID_OF["<|notimestamps|>"],
        max_initial_timestamp_index=50,
        alignment_heads=[[1, 0], [1, 1], [0, 1]],
    )
    model.save_pretrained(folder)
    _write(folder / "vocab.json", {piece: ID_OF[piece] for piece in PIECES})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    _write(folder / "added_tokens.json", {token: ID_OF[token] for token in (*CONTROLS, *TIMES)})
    return model


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
