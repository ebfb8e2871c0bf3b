"""Beam search finds what transformers finds with the same settings, scores included."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from duologue.engine.engine import Constraints, Engine, Hypothesis, SpecialIds
from duologue.engine.sampling import Scores
from duologue.types import Options

START, EOS, OTHER_EOS, FORCED, PAD = 0, 1, 2, 3, 4
VOCAB = 24
MAX_TOKENS = 7


def logits_after(seed: int, ids: tuple[int, ...]) -> np.ndarray:
    """[VOCAB] float32; end tokens are likelier than others, so that several end at a step."""
    noise = np.random.default_rng([seed, *ids]).standard_normal(VOCAB, dtype=np.float32) * 2
    noise[[EOS, OTHER_EOS]] += 2
    return noise


class TableModel(PreTrainedModel, GenerationMixin):
    """The same logits as a model of transformers."""

    config_class = PretrainedConfig

    def __init__(self, seed: int) -> None:
        super().__init__(PretrainedConfig(vocab_size=VOCAB))
        self.seed = seed
        self.nothing = torch.nn.Parameter(torch.zeros(1))  # it wants to know where it runs

    def forward(self, input_ids: torch.Tensor, **_: object) -> CausalLMOutput:
        rows = [logits_after(self.seed, tuple(row)) for row in input_ids.tolist()]
        return CausalLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None])


class TableState:
    def __init__(self, ids: tuple[int, ...] = ()) -> None:
        self.ids = ids

    def fork(self) -> TableState:
        return TableState(self.ids)


@dataclass
class TablePool:
    limit_bytes: int = 1
    used_bytes: int = 0


class TableMemory:
    num_tokens = num_bytes = 0


class TableForward:
    """The same logits as a model of the engine."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.pool = TablePool()
        self.config = PretrainedConfig(
            vocab_size=VOCAB, target_positions=64, max_positions=64, encoder_mask="full"
        )

    def request_bytes(self, *_: int) -> int:
        return 0

    def start(self, memory: TableMemory, record_attention: bool = False) -> TableState:
        return TableState()

    def decode_step(self, states: list[TableState], ids: list[int]) -> np.ndarray:
        for state, idx in zip(states, ids, strict=True):
            state.ids = (*state.ids, idx)
        return np.stack([logits_after(self.seed, state.ids) for state in states])

    def score(self, logits: np.ndarray, suppressed_ids: list[int]) -> Scores:
        return Scores.of(logits, suppressed_ids)


def ours(seed: int, options: Options, special: SpecialIds, forced: tuple[int, ...]) -> list:
    engine = Engine(TableForward(seed), special)  # type: ignore[arg-type]
    finished = engine.generate(
        TableMemory(),  # type: ignore[arg-type]
        (START,),
        options,
        constraints=Constraints(forced),
    )
    return [found(hypothesis, options, len(forced)) for hypothesis in finished.hypotheses]


def found(hypothesis: Hypothesis, options: Options, num_forced: int) -> tuple:
    length = hypothesis.num_scored + num_forced
    return (
        hypothesis.ids,
        hypothesis.finish_reason,
        pytest.approx(hypothesis.logprob / length**options.length_penalty, abs=1e-4),
    )


def theirs(seed: int, options: Options, special: SpecialIds, forced: tuple[int, ...]) -> list:
    settings = GenerationConfig(
        num_beams=options.beam_size,
        num_return_sequences=options.num_hypotheses,
        early_stopping=options.early_stopping,
        length_penalty=options.length_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        min_new_tokens=len(forced) + options.min_tokens if options.min_tokens else None,
        max_new_tokens=len(forced) + options.max_tokens,
        forced_bos_token_id=forced[0] if forced else None,
        eos_token_id=list(special.eos_ids),
        pad_token_id=PAD,
        suppress_tokens=list(special.suppressed_ids),
        begin_suppress_tokens=list(special.first_suppressed_ids) or None,
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    start = torch.tensor([[START]])
    made = TableModel(seed).generate(
        start, attention_mask=torch.ones_like(start), generation_config=settings
    )
    results = []
    for row, score in zip(made.sequences.tolist(), made.sequences_scores.tolist(), strict=True):
        ids = [idx for idx in row[1 + len(forced) :] if idx != PAD]
        is_ended = ids[-1] in special.eos_ids
        results.append((tuple(ids[: len(ids) - is_ended]), "stop" if is_ended else "length", score))
    return results


CASES = {
    "plain": (Options(), SpecialIds((EOS,), (), (PAD,)), ()),
    "several ends": (Options(), SpecialIds((EOS, OTHER_EOS), (), (PAD,)), ()),
    "least length": (Options(min_tokens=4), SpecialIds((EOS,), (), (PAD,)), ()),
    "forced": (Options(), SpecialIds((EOS,), (), (PAD,)), (FORCED,)),
    "all at once": (
        Options(min_tokens=2, no_repeat_ngram_size=2),
        # Theirs counts the start id as produced, ours does not: a model never produces it again.
        SpecialIds((EOS, OTHER_EOS), (), (PAD, START), (7, 8, EOS)),
        (FORCED,),
    ),
}


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_beams_are_those_of_transformers(case: str, early_stopping: bool) -> None:
    options, special, forced = CASES[case]
    draw = np.random.default_rng(len(case) + early_stopping)
    reasons = set()
    for seed in range(60):
        beam_size = int(draw.integers(2, 5))
        options = replace(
            options,
            beam_size=beam_size,
            num_hypotheses=beam_size,
            early_stopping=early_stopping,
            length_penalty=float(draw.choice([0.5, 1.0, 1.3, 2.0])),
            max_tokens=int(draw.integers(5, 9)),
        )
        expected = theirs(seed, options, special, forced)
        assert ours(seed, options, special, forced) == expected, (seed, options)
        reasons |= {reason for _, reason, _ in expected}
    assert reasons == {"stop", "length"}, "the cases are too easy"
