"""Learning rate, decay groups, gradient scaling and averaged weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_shapes import FAMILIES
from torch import nn

from duologue.config import ModelConfig, TrainConfig
from duologue.model.seq2seq import Seq2Seq
from duologue.training.optimizer import (
    AveragedWeights,
    build_optimizer,
    learning_rate,
    scale_gradients,
)

COSINE = TrainConfig(max_steps=100, warmup_steps=10, learning_rate=2.0, min_lr_ratio=0.1)
INVERSE = TrainConfig(max_steps=100, warmup_steps=10, learning_rate=2.0, schedule="inverse_sqrt")


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    rates = [learning_rate(COSINE, step) for step in range(10)]
    assert rates == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert max(learning_rate(COSINE, step) for step in range(100)) == 2.0


def test_cosine_passes_its_middle_and_ends_at_the_lowest_rate() -> None:
    assert learning_rate(COSINE, 54) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert learning_rate(COSINE, 99) == pytest.approx(0.2)
    assert learning_rate(COSINE, 10_000) == pytest.approx(0.2)


def test_cosine_follows_the_time_budget_when_there_is_one() -> None:
    assert learning_rate(COSINE, 50, 0.0) == 2.0
    assert learning_rate(COSINE, 50, 0.5) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert learning_rate(COSINE, 50_000, 1.0) == pytest.approx(0.2)


def test_inverse_sqrt_halves_after_four_times_the_warm_up() -> None:
    assert learning_rate(INVERSE, 9) == 2.0
    assert learning_rate(INVERSE, 39) == pytest.approx(1.0)


@given(
    st.sampled_from([COSINE, INVERSE]),
    st.integers(0, 1000),
    st.none() | st.floats(0, 1),
)
def test_learning_rate_is_positive_and_never_above_the_peak(
    config: TrainConfig, step: int, share: float | None
) -> None:
    assert 0 < learning_rate(config, step, share) <= config.learning_rate


@given(st.sampled_from([COSINE, INVERSE]), st.integers(10, 200))
def test_learning_rate_never_rises_after_the_warm_up(config: TrainConfig, step: int) -> None:
    assert learning_rate(config, step + 1) <= learning_rate(config, step)


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_only_matrices_other_than_the_embedding_decay(cell: str) -> None:
    model = Seq2Seq(ModelConfig(vocab_size=30, d_model=8, d_ff=8, num_heads=2, cell=cell))  # type: ignore[arg-type]
    optimizer = build_optimizer(model, TrainConfig(weight_decay=0.5))
    names = {id(weight): name for name, weight in model.named_parameters()}
    decayed, kept = (
        {names[id(weight)] for weight in group["params"]} for group in optimizer.param_groups
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert decayed | kept == set(names.values())
    assert "embed.weight" in kept
    assert all("norm" not in name and "bias" not in name for name in decayed)
    assert any("attn" in name for name in decayed)


def test_tables_do_not_decay_and_sinusoids_do_not_train() -> None:
    model = Seq2Seq(FAMILIES["marian-two-vocabularies"])
    optimizer = build_optimizer(model, TrainConfig())
    names = {id(weight): name for name, weight in model.named_parameters()}
    decayed, kept = (
        {names[id(weight)] for weight in group["params"]} for group in optimizer.param_groups
    )
    assert {"embed.weight", "encoder.embed.weight", "output.bias"} <= kept
    assert "output.weight" in decayed
    assert not any("positions" in name for name in decayed | kept)
    average = AveragedWeights(model, 0.9)
    assert len(average.values) == len(decayed | kept)


def test_gradients_become_means_per_token() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert scale_gradients(gradients, 10, clip_norm=1.0) == pytest.approx(0.5)
    assert gradients[0].tolist() == pytest.approx([0.3, 0.0])
    assert gradients[1].item() == pytest.approx(0.4)


def test_gradients_above_the_limit_are_scaled_down_together() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert scale_gradients(gradients, 1, clip_norm=0.5) == pytest.approx(5.0)
    assert gradients[0].tolist() == pytest.approx([0.3, 0.0])
    assert gradients[1].item() == pytest.approx(0.4)


def test_gradients_of_zero_stay_zero() -> None:
    gradients = [torch.zeros(3)]
    assert scale_gradients(gradients, 7, clip_norm=1.0) == 0
    assert not gradients[0].any()


def test_a_non_finite_gradient_is_told() -> None:
    assert not math.isfinite(scale_gradients([torch.tensor([1.0, math.inf])], 5, clip_norm=1.0))


def test_averaged_weights_follow_the_weights_and_give_them_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    average = AveragedWeights(model, decay=0.5)
    nn.init.constant_(model.weight, 3.0)
    average.update(step=1000)
    assert average.values[0].item() == pytest.approx(2.0)
    with average.applied():
        assert model.weight.item() == pytest.approx(2.0)
    assert model.weight.item() == 3.0


def test_averaged_weights_forget_the_first_weights_fast() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = AveragedWeights(model, decay=0.999)
    nn.init.constant_(model.weight, 1.0)
    average.update(step=0)
    assert average.values[0].item() == pytest.approx(0.9)
