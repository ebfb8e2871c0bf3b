"""Does a model that was rounded still compute what the original computes?

check_agreement   raises if not; tells how far the two are apart
Agreement         what it tells
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from duologue.checkpoint.store import LoadedModel, dequantize, load_model, open_model, weight_spec
from duologue.checkpoint.weights import Weight, rows_of_weight
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.errors import CheckpointError
from duologue.types import Precision

# Relative errors: zeros have 1, another model about 1.4. Rounding stays far below in every model.
_LARGEST_WEIGHT_ERROR = 0.5
_LARGEST_LOGIT_ERROR: dict[Precision, float] = {"f32": 0.05, "bf16": 0.3, "int8": 0.6, "int4": 0.95}

_SOURCES = ("Where is the station?", "The room was clean and quiet, and I liked it.", "你好！")
_NUM_FRAMES = 40  # of speech; noise will do
_NUM_TOKENS = 8
_ROWS_AT_ONCE = 4096
_REFERENCES: tuple[tuple[Precision, int], ...] = (("f32", 4), ("bf16", 2))

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How far a rounded model is from the original.

    weight_error  largest relative error of a weight: norm of the difference over the norm
    logit_error   the same for logits less their mean; None: the original does not fit into memory
    same_choices  how many of the original's first choices are those of the rounded model, 0 to 1
    """

    weight_error: float
    logit_error: float | None = None
    same_choices: float | None = None


def check_agreement(original: Path, rounded: Path, precision: Precision) -> Agreement:
    """Compare two model folders: weight by weight, and what they say to a few short sources.

    precision  that `rounded` is stored in and computed with

    Where half of this machine's memory is too little for the original in float32, its logits are
    those in bf16; where that does not fit either, only weights are compared. Raises
    CheckpointError for a model that is broken.
    """
    config, weight_error = _compare_weights(original, rounded)
    reference = _reference_precision(config)
    if reference is None:
        return Agreement(weight_error)
    model = load_model(original, reference)
    tokens: list[list[int]] = []
    expected = np.concatenate(list(_logits(model, tokens)))
    del model
    found = np.concatenate(list(_logits(load_model(rounded, precision), tokens)))
    logit_error = _relative_error(_centred(found), _centred(expected))
    if not logit_error <= _LARGEST_LOGIT_ERROR[precision]:
        raise CheckpointError(
            f"{original}: does not survive {precision}: its logits are off by {logit_error:.0%}; "
            "take a finer precision"
        )
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    return Agreement(weight_error, logit_error, float(same.mean()))


# --- weights -----------------------------------------------------------------------------------


def _compare_weights(original: Path, rounded: Path) -> tuple[ModelConfig, float]:
    """The configuration, and the largest relative error of a weight."""
    before, after = open_model(original), open_model(rounded)
    worst = 0.0
    for name, weight in before.weights.items():
        error = _weight_error(after.weights[name], weight)
        if not error <= _LARGEST_WEIGHT_ERROR:
            raise CheckpointError(
                f"{original}: {name} does not survive {after.precision}: it is off by {error:.0%}"
            )
        worst = max(worst, error)
    return before.config, worst


def _weight_error(found: Weight, expected: Weight) -> float:
    difference, norm = 0.0, 0.0
    for start in range(0, expected.shape[0], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        part, other = (dequantize(rows_of_weight(weight, rows)) for weight in (expected, found))
        difference += float(np.square(other - part, dtype=np.float64).sum())
        norm += float(np.square(part, dtype=np.float64).sum())
    return float(np.sqrt(difference / norm)) if norm else float(difference > 0)


# --- logits ------------------------------------------------------------------------------------


def _reference_precision(config: ModelConfig) -> Precision | None:
    """The finest in which the original fits, its weights and what the engine makes of them."""
    parameters = sum(int(np.prod(shape)) for shape in weight_spec(config).values())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for precision, num_bytes in _REFERENCES:
        if 2 * num_bytes * parameters <= memory // 2:
            return precision
    return None


def _logits(model: LoadedModel, tokens: list[list[int]]) -> Iterator[Logits]:
    """Logits [tokens, V] for each source, after tokens that are chosen, or those that are given.

    tokens  of each source; empty: the model's first choices, which are put into it
    """
    forward = Forward(model.config, model.weights, threads=None)
    generation = model.config.generation
    starts = generation.start_ids if generation else (model.tokenizer.eos_id,)
    memories = list(_memories(model, forward))
    is_given = bool(tokens)
    for index, memory in enumerate(memories):
        if not is_given:
            tokens.append([])
        yield from _decode(forward, memory, starts, tokens[index])


def _decode(
    forward: Forward, memory: Memory, starts: Sequence[int], tokens: list[int]
) -> Iterator[Logits]:
    state = forward.start(memory)
    for idx in starts[:-1]:
        forward.decode_step([state], [idx])
    idx = starts[-1]
    room = forward.config.target_positions - len(starts) + 1
    for position in range(min(_NUM_TOKENS, room)):
        logits = forward.decode_step([state], [idx])
        yield logits
        if position == len(tokens):
            tokens.append(int(logits[0].argmax()))
        idx = tokens[position]


def _memories(model: LoadedModel, forward: Forward) -> Iterator[Memory]:
    if model.config.front_end == "mel":
        num_frames = min(_NUM_FRAMES, 2 * model.config.max_positions)
        shape = (num_frames, model.config.mel_bins)
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        yield forward.encode_frames(noise)
        return
    tokenizer = model.tokenizer
    for text in _SOURCES:
        ids = [*tokenizer.encode(text), tokenizer.eos_id][: model.config.max_positions]
        yield forward.encode(ids, Memory.empty())


def _centred(logits: Logits) -> Logits:
    centred: Logits = logits - logits.mean(axis=1, keepdims=True)
    return centred


def _relative_error(found: Logits, expected: Logits) -> float:
    norm = float(np.linalg.norm(expected))
    difference = float(np.linalg.norm(found - expected))
    return difference / norm if norm else difference
