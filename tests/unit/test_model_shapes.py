"""Every option of ModelConfig in PyTorch: names, shapes, and what must hold for all of them."""

from __future__ import annotations

import pytest
import torch
from model_shapes import SHAPES, random_weights

from duologue.checkpoint.spec import weight_spec
from duologue.config import ModelConfig
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Memory, Source, Target

every_shape = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
LENGTH = 18


def make_model(config: ModelConfig) -> Seq2Seq:
    torch.manual_seed(0)
    model = Seq2Seq(config).eval()
    arrays = random_weights(config)
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return model


def make_source(config: ModelConfig, batch: int = 2, length: int = LENGTH, pad: int = 0) -> Source:
    generator = torch.Generator().manual_seed(length)
    total = length + pad
    vocab = config.source_vocab_size or config.vocab_size
    segment = torch.zeros(batch, total, dtype=torch.int64)
    position = torch.arange(total).repeat(batch, 1)
    segment[:, length:], position[:, length:] = -1, 0
    features = None
    if config.front_end == "mel":
        features = torch.zeros(batch, 2 * total, config.mel_bins)
        features[:, : 2 * length] = torch.randn(
            batch, 2 * length, config.mel_bins, generator=generator
        )
    ids = torch.zeros(batch, total, dtype=torch.int64)
    ids[:, :length] = torch.randint(vocab, (batch, length), generator=generator)
    return Source(ids, segment, position, torch.zeros_like(segment, dtype=torch.bool), features)


def make_target(rows: list[list[int]]) -> Target:
    ids = torch.tensor(rows)
    position = torch.arange(ids.shape[1]).expand(ids.shape)
    return Target(ids, torch.zeros_like(ids), position, torch.ones_like(ids))


@every_shape
def test_weights_have_the_names_and_shapes_of_the_specification(config: ModelConfig) -> None:
    state = Seq2Seq(config).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == weight_spec(config)
    assert all(value.isfinite().all() for value in state.values())


@every_shape
def test_only_sinusoids_do_not_train(config: ModelConfig) -> None:
    model = Seq2Seq(config)
    fixed = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    tables = {"encoder.positions.weight", "decoder.positions.weight"}
    assert fixed == (tables if config.positions == "sinusoidal" else set())


@every_shape
def test_every_weight_gets_a_gradient(config: ModelConfig) -> None:
    model = make_model(config)
    states = model(make_source(config, batch=1), make_target([[3, 1, 4, 1, 5, 9, 2, 6]]))
    model.logits(states).square().sum().backward()
    idle = [
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and (weight.grad is None or not weight.grad.any())
    ]
    assert idle == []


@every_shape
def test_training_in_bfloat16_stays_close(config: ModelConfig) -> None:
    model, source = make_model(config), make_source(config, pad=2)
    target = make_target([[3, 1, 4, 1, 5, 9, 2, 6]] * 2)
    with torch.no_grad():
        exact = model.logits(model(source, target))
    with torch.autocast("cpu", torch.bfloat16):
        states = model(source, target)
    logits = model.logits(states.float())
    logits.square().sum().backward()
    assert (logits - exact).abs().max() < 0.1 * exact.abs().max()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_shape
def test_decoding_step_by_step_equals_the_forward_pass(config: ModelConfig) -> None:
    model, source = make_model(config), make_source(config, batch=1, pad=3)
    ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    with torch.no_grad():
        expected = model.logits(model(source, make_target([ids])))[0]
        state = model.start(model.encode(source))
        for place, idx in enumerate(ids):
            logits, state = model.decode_step(state, torch.tensor([idx]))
            torch.testing.assert_close(logits[0], expected[place], atol=2e-5, rtol=1e-4)


@every_shape
def test_padding_changes_neither_memory_nor_decoder(config: ModelConfig) -> None:
    model, target = make_model(config), make_target([[3, 1, 4, 1]])
    with torch.no_grad():
        plain: Memory = model.encode(make_source(config, batch=1))
        padded: Memory = model.encode(make_source(config, batch=1, pad=5))
        assert padded.states.isfinite().all()
        torch.testing.assert_close(padded.states[:, :LENGTH], plain.states, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            model.decode(target, padded), model.decode(target, plain), atol=1e-5, rtol=1e-4
        )


@every_shape
def test_packed_targets_equal_targets_of_their_own(config: ModelConfig) -> None:
    model, source = make_model(config), make_source(config, batch=1)
    parts = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7]]
    packed = Target(
        torch.tensor([[idx for part in parts for idx in part]]),
        torch.tensor([[index for index, part in enumerate(parts) for _ in part]]),
        torch.tensor([[place for part in parts for place in range(len(part))]]),
        torch.ones(1, sum(map(len, parts)), dtype=torch.int64),
    )
    with torch.no_grad():
        together = model(source, packed)[0].split([len(part) for part in parts])
        for part, states in zip(parts, together, strict=True):
            alone = model(source, make_target([part]))[0]
            torch.testing.assert_close(states, alone, atol=1e-5, rtol=1e-4)
