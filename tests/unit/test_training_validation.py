"""Validation: which examples, what loss, and how generated text is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from duologue.config import ModelConfig, Recipe, from_dict
from duologue.data.dataset import open_datasets
from duologue.data.encoding import Limits
from duologue.model.seq2seq import Seq2Seq
from duologue.text.tokenizer import Tokenizer
from duologue.training.validation import (
    ValidationSet,
    generate,
    generation_scores,
    loss_scores,
    open_validation,
    validate,
)

CPU = torch.device("cpu")
LIMITS = Limits(64, 64, 12)
PAIRS = [
    {"source": f"hello {n}", "target": f"你好 {n} 火车几点出发", "src_lang": "en", "tgt_lang": "zh"}
    for n in "abcdefgh"
]


def open_sets(
    folder: Path, rows: list[dict[str, Any]], tokenizer: Tokenizer, **changes: Any
) -> tuple[ValidationSet, ...]:
    lines = [json.dumps({"split": "valid", **row}) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = {"root": str(folder), "sets": [{"path": "rows.jsonl", **changes.pop("set", {})}]}
    recipe = from_dict(Recipe, {"output": "x", "data": data, "training": changes}, "test")
    return open_validation(open_datasets(recipe.data), recipe, tokenizer, LIMITS)


def make_model(tokenizer: Tokenizer, cell: str = "transformer") -> Seq2Seq:
    torch.manual_seed(3)
    return Seq2Seq(
        ModelConfig(
            vocab_size=tokenizer.vocab_size,
            d_model=16,
            d_ff=24,
            num_heads=2,
            num_encoder_layers=1,
            num_decoder_layers=1,
            cell=cell,  # type: ignore[arg-type]
        )
    ).eval()


class Oracle(Seq2Seq):
    """Generates what it was told to, whatever the source."""

    def __init__(self, tokenizer: Tokenizer, texts: list[str]) -> None:
        super().__init__(make_model(tokenizer).config)
        self.answers = iter([tokenizer.encode(text) for text in texts])

    def greedy(self, source: Any, prefix: Any, eos_id: int, max_tokens: int) -> list[list[int]]:
        return [next(self.answers) for _ in range(prefix.shape[0])]


def test_examples_are_spread_over_the_valid_split(
    tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    (item,) = open_sets(tmp_path, PAIRS, tiny_tokenizer, validate_examples=4, generate_examples=2)
    assert sum(batch.num_rows for batch in item.batches) == 4
    texts = [tiny_tokenizer.decode(list(request.targets[0].text)) for request in item.requests]
    assert texts == [PAIRS[0]["target"], PAIRS[4]["target"]]


def test_every_other_pair_is_validated_backwards_when_pairs_are_swapped(
    tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    (item,) = open_sets(tmp_path, PAIRS[:2], tiny_tokenizer, set={"augment": {"pair_swap": True}})
    texts = [tiny_tokenizer.decode(list(request.targets[0].text)) for request in item.requests]
    assert texts == [PAIRS[0]["target"], PAIRS[1]["source"]]


def test_plain_text_is_validated_only_if_it_is_denoised(
    tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    rows = [{"text": "one two three four five six"}]
    assert open_sets(tmp_path, rows, tiny_tokenizer) == ()
    (item,) = open_sets(tmp_path, rows, tiny_tokenizer, set={"augment": {"denoise": True}})
    assert len(item.requests) == 1


def test_a_dialogue_gives_a_request_for_each_reply_with_the_turns_before_it(
    tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    roles = ("user", "agent", "user", "agent")
    turns = [{"role": role, "text": f"turn {index}"} for index, role in enumerate(roles)]
    (item,) = open_sets(tmp_path, [{"turns": turns}], tiny_tokenizer)
    assert [len(request.segments) for request in item.requests] == [1, 3]
    assert [batch.num_rows for batch in item.batches] == [1]


def test_right_answers_score_a_hundred(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    labels = [{"text": "hello", "label": "good"}]
    (item,) = open_sets(tmp_path, [*PAIRS[:2], *labels], tiny_tokenizer)
    # Requests are decoded by length of prefix: the label comes first.
    model = Oracle(tiny_tokenizer, ["good", PAIRS[0]["target"], PAIRS[1]["target"]])
    scores = generation_scores(model, item.requests, tiny_tokenizer, CPU)
    assert scores == pytest.approx({"accuracy": 100, "bleu": 100, "chrf": 100, "exact": 100})


def test_wrong_answers_score_less(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    labels = [{"text": "hello", "label": "good"}, {"text": "hello you", "label": "good"}]
    (item,) = open_sets(tmp_path, [*PAIRS[:2], *labels], tiny_tokenizer)
    model = Oracle(tiny_tokenizer, ["good", "bad", PAIRS[0]["target"], "nothing like it"])
    scores = generation_scores(model, item.requests, tiny_tokenizer, CPU)
    assert scores["accuracy"] == 50
    assert scores["exact"] == 50
    assert 0 < scores["chrf"] < 100


def test_replies_have_no_bleu(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    turns = [{"role": "user", "text": "hello"}, {"role": "agent", "text": "how are you"}]
    (item,) = open_sets(tmp_path, [{"turns": turns}], tiny_tokenizer)
    scores = generation_scores(
        Oracle(tiny_tokenizer, ["how are you"]), item.requests, tiny_tokenizer, CPU
    )
    assert scores.keys() == {"chrf", "exact"}


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_generation_in_batches_equals_generation_one_by_one(
    tmp_path: Path, tiny_tokenizer: Tokenizer, cell: str
) -> None:
    rows = [*PAIRS, *({"text": "the card " * n, "label": "x"} for n in (1, 5, 3))]
    (item,) = open_sets(tmp_path, rows, tiny_tokenizer)
    model = make_model(tiny_tokenizer, cell)
    together = generate(model, item.requests, tiny_tokenizer, CPU)
    # The most that may be produced follows from the longest row of a batch.
    for request, ids in zip(item.requests, together, strict=True):
        (alone,) = generate(model, [request], tiny_tokenizer, CPU)
        assert ids[: len(alone)] == alone


def test_loss_is_the_mean_over_target_tokens(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    (item,) = open_sets(tmp_path, PAIRS, tiny_tokenizer)
    model = make_model(tiny_tokenizer)
    total, count, scores = loss_scores(model, item.batches, CPU)
    assert count == sum(batch.num_target_tokens for batch in item.batches)
    assert scores["loss"] == pytest.approx(total / count)


def test_a_model_that_ignores_the_source_has_no_source_sensitivity(
    tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    (item,) = open_sets(tmp_path, PAIRS, tiny_tokenizer)
    model = make_model(tiny_tokenizer)
    assert abs(loss_scores(model, item.batches, CPU)[2]["source_sensitivity"]) > 1e-4
    torch.nn.init.zeros_(model.decoder.layers[0].cross_attn.out.weight)
    assert abs(loss_scores(model, item.batches, CPU)[2]["source_sensitivity"]) < 1e-6


def test_the_total_loss_weighs_sets_by_their_tokens(
    tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    (item,) = open_sets(tmp_path, PAIRS, tiny_tokenizer)
    small = ValidationSet("small", item.batches[:1], ())
    large = ValidationSet("large", item.batches[:1] * 3, ())
    other = open_sets(tmp_path, [{"text": "hi", "label": "x"}], tiny_tokenizer)[0]
    model = make_model(tiny_tokenizer)
    scores = validate(model, (small, large, other), tiny_tokenizer, CPU)
    assert scores is not None
    counts = [item.batches[0].num_target_tokens * n for n in (1, 3)]
    counts.append(other.batches[0].num_target_tokens)
    losses = [scores.sets[name]["loss"] for name in ("small", "large", other.name)]
    mean = sum(n * loss for n, loss in zip(counts, losses, strict=True)) / sum(counts)
    assert scores.loss == pytest.approx(mean)
    assert not model.training
