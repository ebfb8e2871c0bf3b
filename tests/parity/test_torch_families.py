"""Our PyTorch model of an imported checkpoint against transformers, which wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families_table import ParityTable
from tiny_transformers import FIRST_TEXT_ID, TINY, save_tiny
from torch import Tensor

from duologue.checkpoint.published import read_published
from duologue.config import ModelConfig
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Source, Target

SOURCE_LENGTHS, TARGET_LENGTHS = (200, 137, 3), (60, 41, 9)
TOLERANCE = 1e-5
every_family = pytest.mark.parametrize("name", TINY)


def padded_ids(lengths: tuple[int, ...], vocab_size: int, pad_id: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), max(lengths)), pad_id)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(
            FIRST_TEXT_ID, vocab_size - 4, (length,), generator=generator
        )
    return ids


def is_text(lengths: tuple[int, ...]) -> Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def make_source(config: ModelConfig) -> Source:
    lengths, features = SOURCE_LENGTHS, None
    if config.front_end == "mel":  # always as long as the table of positions
        lengths = (config.max_positions,) * 3
        generator = torch.Generator().manual_seed(5)
        features = torch.randn(3, 2 * max(lengths), config.mel_bins, generator=generator)
    pad_id = config.generation.pad_id if config.generation else 0
    ids = padded_ids(lengths, config.source_vocab_size or config.vocab_size, pad_id, seed=3)
    seen = is_text(lengths)
    segment = torch.where(seen, 0, -1)
    position = torch.arange(ids.shape[1]) * seen
    return Source(ids, segment, position, torch.zeros_like(seen), features)


def make_target(config: ModelConfig) -> Target:
    pad_id = config.generation.pad_id if config.generation else 0
    ids = padded_ids(TARGET_LENGTHS, config.vocab_size, pad_id, seed=4)
    seen = is_text(TARGET_LENGTHS)
    position = torch.arange(ids.shape[1]) * seen
    return Target(ids, torch.where(seen, 0, -1), position, seen.long())


def their_states_and_logits(model: Any, source: Source, target: Target) -> tuple[Tensor, Tensor]:
    inputs: dict[str, Tensor] = {
        "input_ids": source.ids,
        "attention_mask": (source.segment >= 0).long(),
    }
    if source.features is not None:
        inputs = {"input_features": source.features.transpose(1, 2)}
    output = model(
        **inputs,
        decoder_input_ids=target.ids,
        decoder_attention_mask=(target.block >= 0).long(),
        use_cache=False,
    )
    return output.encoder_last_hidden_state, output.logits


def load(folder: Path) -> Seq2Seq:
    config, weights = read_published(folder, "f32")
    model = Seq2Seq(config).eval()
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return model


def assert_equal(ours: Tensor, theirs: Tensor, where: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    error = float((ours - theirs)[where].abs().max() / theirs[where].abs().max())
    assert error < TOLERANCE
    return error


@every_family
@torch.no_grad()
def test_encoder_states_and_logits_equal_those_of_transformers(
    name: str, tmp_path: Path, parity_table: ParityTable
) -> None:
    theirs = save_tiny(name, tmp_path)
    ours = load(tmp_path)
    source, target = make_source(ours.config), make_target(ours.config)
    states, logits = their_states_and_logits(theirs, source, target)
    memory = ours.encode(source)
    assert_equal(memory.states, states, source.segment >= 0)
    error = assert_equal(ours.logits(ours.decode(target, memory)), logits, target.block >= 0)
    parity_table.differs(name, "PyTorch model", error)


@every_family
@torch.no_grad()
def test_a_row_of_a_batch_equals_the_row_alone_step_by_step(name: str, tmp_path: Path) -> None:
    theirs = save_tiny(name, tmp_path)
    ours = load(tmp_path)
    source, target = make_source(ours.config), make_target(ours.config)
    _, logits = their_states_and_logits(theirs, source, target)
    row, length = 1, int((source.segment[1] >= 0).sum())
    alone = Source(
        source.ids[[row], :length],
        source.segment[[row], :length],
        source.position[[row], :length],
        source.document[[row], :length],
        None if source.features is None else source.features[[row]],
    )
    state = ours.start(ours.encode(alone))
    steps = []
    for idx in target.ids[row, : TARGET_LENGTHS[row]]:
        step, state = ours.decode_step(state, idx[None])
        steps.append(step[0])
    expected = logits[row, : TARGET_LENGTHS[row]]
    assert_equal(torch.stack(steps), expected, torch.ones(len(steps), dtype=torch.bool))
