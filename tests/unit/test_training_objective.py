"""The chunked loss must equal the plain one, whatever the chunks, smoothing and precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from duologue.model.values import OutputLayer
from duologue.training import objective
from duologue.training.objective import smoothed_loss, smoothed_loss_plain, target_loss


def draw(num_positions: int, vocab_size: int = 50, d_model: int = 8) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(num_positions)
    states = torch.randn(num_positions, d_model, generator=generator, dtype=torch.float64)
    embedding = torch.randn(vocab_size, d_model, generator=generator, dtype=torch.float64)
    labels = torch.randint(vocab_size, (num_positions,), generator=generator)
    return states.float().requires_grad_(), labels, embedding.float().requires_grad_()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft_cap", [0.0, 2.0])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_chunked_loss_and_gradients_equal_the_plain_ones(
    monkeypatch: pytest.MonkeyPatch, smoothing: float, soft_cap: float, has_bias: bool, rows: int
) -> None:
    states, labels, embedding = draw(7)
    monkeypatch.setitem(objective.CHUNK_BYTES, "cpu", rows * 4 * embedding.shape[0])
    bias = torch.linspace(-1, 1, embedding.shape[0]).requires_grad_() if has_bias else None
    weights = [states, embedding] + ([] if bias is None else [bias])

    def gradients(function: object) -> list[Tensor]:
        output = OutputLayer(embedding, bias, soft_cap)
        loss = function(states, labels, output, smoothing)  # type: ignore[operator]
        factor = 0.25  # from above: must reach all gradients
        return [loss.detach(), *torch.autograd.grad(loss * factor, weights)]

    for fast, plain in zip(gradients(smoothed_loss), gradients(smoothed_loss_plain), strict=True):
        torch.testing.assert_close(fast, plain)


@pytest.mark.parametrize("trained", [0, 1])
def test_a_frozen_side_gets_no_gradient(trained: int) -> None:
    states, labels, embedding = draw(5)
    sides = [states.detach(), embedding.detach()]
    sides[trained].requires_grad_()
    smoothed_loss(sides[0], labels, OutputLayer(sides[1]), 0.1).backward()
    assert sides[trained].grad is not None
    assert sides[1 - trained].grad is None


def test_loss_without_smoothing_is_the_negative_log_probability() -> None:
    states, labels, embedding = draw(5)
    expected = -(states @ embedding.T).log_softmax(dim=1)[torch.arange(5), labels].sum()
    torch.testing.assert_close(smoothed_loss(states, labels, OutputLayer(embedding), 0.0), expected)


def test_loss_of_a_uniform_model_is_log_vocab_size_with_any_smoothing() -> None:
    states, labels, embedding = draw(4)
    loss = smoothed_loss(torch.zeros_like(states), labels, OutputLayer(embedding), 0.3)
    assert loss.item() == pytest.approx(4 * torch.tensor(50.0).log().item(), rel=1e-6)


def test_positions_without_a_target_change_nothing() -> None:
    states, labels, embedding = draw(6)
    tgt_out = torch.full((2, 5), -1)
    tgt_out[0, 1:4], tgt_out[1, 2:5] = labels[:3], labels[3:]
    padded = torch.full((2, 5, 8), 1e3)
    padded[0, 1:4], padded[1, 2:5] = states.detach()[:3], states.detach()[3:]
    loss, count = target_loss(padded, tgt_out, OutputLayer(embedding), 0.1)
    assert count == 6
    torch.testing.assert_close(loss, smoothed_loss(states, labels, OutputLayer(embedding), 0.1))


def test_a_batch_without_targets_has_no_loss_and_no_gradient() -> None:
    states, _, embedding = draw(6)
    loss, count = target_loss(
        states.view(2, 3, 8), torch.full((2, 3), -1), OutputLayer(embedding), 0.1
    )
    loss.backward()
    assert (loss.item(), count) == (0.0, 0)
    assert embedding.grad is not None
    assert not embedding.grad.any()


def test_no_gradient_is_computed_when_none_is_wanted() -> None:
    states, labels, embedding = draw(3)
    with torch.no_grad():
        assert not smoothed_loss(states, labels, OutputLayer(embedding), 0.1).requires_grad


def test_loss_under_autocast_is_float32_and_close() -> None:
    states, labels, embedding = draw(40)
    exact = smoothed_loss(states, labels, OutputLayer(embedding), 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = smoothed_loss(states, labels, OutputLayer(embedding), 0.1)
    loss.backward()
    assert loss.dtype == torch.float32
    assert states.grad is not None
    assert states.grad.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)


def test_a_non_finite_state_gives_a_non_finite_loss() -> None:
    states, labels, embedding = draw(3)
    broken = states.detach().clone()
    broken[1, 0] = float("nan")
    assert not smoothed_loss(broken, labels, OutputLayer(embedding), 0.1).isfinite()
