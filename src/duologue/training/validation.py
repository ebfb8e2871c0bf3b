"""How good the model is on the valid splits: loss, use of the source, and what it generates.

ValidationSet        the valid split of one data set, encoded once
open_validation      the validation sets of a run
validate             all scores
Scores               what it found; the total loss decides which weights are the best

Generation here is greedy decoding by the PyTorch model: a yardstick during training. The scores
that a model card states come from `duologue evaluate`, which runs the engine that users run.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
import sacrebleu
import torch
from torch import Tensor

from duologue.config import AugmentConfig, Recipe
from duologue.data.augment import augment
from duologue.data.batching import Batch, collate, cut
from duologue.data.dataset import Dataset
from duologue.data.encoding import Encoded, EncodedTarget, Limits, encode_all, windows
from duologue.data.rows import Example
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Source, Target
from duologue.text.imported_template import ImportedTemplate
from duologue.text.templates import AnyTokenizer
from duologue.training.objective import target_loss

T = TypeVar("T")

LABEL_TASKS = ("sentiment", "emotion", "intent")
GENERATE_ROWS = 32  # rows decoded together
MIN_GENERATED = 16  # a greedy decode may be twice as long as the reference, and this much longer


@dataclass(frozen=True)
class ValidationSet:
    """The valid split of one data set.

    batches   for the loss
    requests  for generation: one target each, and only the segments that it may see
    """

    name: str
    batches: tuple[Batch, ...]
    requests: tuple[Encoded, ...]


@dataclass(frozen=True)
class Scores:
    """What a validation found.

    loss  nats per target token, over all sets together (each weighs as many tokens as it has)
    sets  name of the set -> its scores: loss; source_sensitivity, how much the loss rises when
          every target gets another row's source; bleu, chrf, exact or accuracy, each 0 to 100
    """

    loss: float
    sets: dict[str, dict[str, float]]


def tensors(batch: Batch, device: torch.device) -> tuple[Source, Target, Tensor]:
    """A batch as the model takes it, and tgt_out [B, T] int64."""

    def moved(array: np.ndarray) -> Tensor:
        kind = torch.bool if array.dtype == np.bool_ else torch.int64
        return torch.from_numpy(array).to(device, kind, non_blocking=True)

    source = Source(
        moved(batch.src_ids),
        moved(batch.src_segment),
        moved(batch.src_position),
        moved(batch.src_document),
    )
    target = Target(
        moved(batch.tgt_in),
        moved(batch.tgt_block),
        moved(batch.tgt_position),
        moved(batch.tgt_limit),
    )
    return source, target, moved(batch.tgt_out)


def single_targets(piece: Encoded) -> Iterable[Encoded]:
    """One example per target, with the segments up to its limit."""
    for target in piece.targets:
        yield replace(piece, segments=piece.segments[: target.limit], targets=(target,))


def summed_loss(
    model: Seq2Seq, source: Source, target: Target, tgt_out: Tensor
) -> tuple[float, int]:
    """Loss in nats without smoothing, and the target tokens it covers."""
    loss, count = target_loss(model(source, target), tgt_out, model.output_layer(), 0.0)
    return loss.item(), count


def other_source(source: Source) -> Source:
    """The batch's sources, each moved one row on."""
    fields = (source.ids, source.segment, source.position, source.document)
    return Source(*(field.roll(1, dims=0) for field in fields))


def loss_scores(
    model: Seq2Seq, batches: Sequence[Batch], device: torch.device
) -> tuple[float, int, dict[str, float]]:
    """Summed loss and token count of a set, and its loss and source_sensitivity.

    source_sensitivity is over the batches that have more than one row.
    """
    total, count, shuffled, comparable, comparable_count = 0.0, 0, 0.0, 0.0, 0
    for batch in batches:
        source, target, tgt_out = tensors(batch, device)
        loss, num_tokens = summed_loss(model, source, target, tgt_out)
        total, count = total + loss, count + num_tokens
        if batch.num_rows > 1:
            shuffled += summed_loss(model, other_source(source), target, tgt_out)[0]
            comparable, comparable_count = comparable + loss, comparable_count + num_tokens
    scores = {"loss": total / max(1, count)}
    if comparable_count:
        scores["source_sensitivity"] = (shuffled - comparable) / comparable_count
    return total, count, scores


def generation_scores(
    model: Seq2Seq, requests: Sequence[Encoded], tokenizer: AnyTokenizer, device: torch.device
) -> dict[str, float]:
    """bleu, chrf and exact of text, accuracy of labels; a set may have both kinds."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for request, ids in zip(requests, generate(model, requests, tokenizer, device), strict=True):
        target = request.targets[0]
        pair = (tokenizer.decode(ids), tokenizer.decode(list(target.text)))
        found[_kind(target)].append(pair)
    scores: dict[str, float] = {}
    labels = found.pop("label", [])
    if labels:
        scores["accuracy"] = _exact(labels)
    texts = [pair for pairs in found.values() for pair in pairs]
    if texts:
        bleu = [_bleu(pairs, kind) for kind, pairs in found.items() if kind != "text"]
        if bleu:
            scores["bleu"] = sum(bleu) / len(bleu)
        outputs, references = zip(*texts, strict=True)
        scores["chrf"] = sacrebleu.corpus_chrf(outputs, [references]).score
        scores["exact"] = _exact(texts)
    return scores


def _kind(target: EncodedTarget) -> str:
    """`label`, `text`, or for a translation its target language."""
    if target.task in LABEL_TASKS:
        return "label"
    return (target.task == "translate" and target.language) or "text"


def _exact(pairs: list[tuple[str, str]]) -> float:
    return 100 * sum(output == reference for output, reference in pairs) / len(pairs)


def _bleu(pairs: list[tuple[str, str]], language: str) -> float:
    outputs, references = zip(*pairs, strict=True)
    tokenize = "zh" if language.startswith("zh") else "13a"
    return sacrebleu.corpus_bleu(outputs, [references], tokenize=tokenize).score


def generate(
    model: Seq2Seq, requests: Sequence[Encoded], tokenizer: AnyTokenizer, device: torch.device
) -> list[list[int]]:
    """Greedy ids of each request, in order; rows of like length and equal prefix go together."""
    produced: list[list[int]] = [[] for _ in requests]
    order = sorted(range(len(requests)), key=lambda index: _generation_key(requests[index]))
    while order:
        width = len(requests[order[0]].targets[0].prefix)
        rows = [
            index
            for index in islice(order, GENERATE_ROWS)
            if len(requests[index].targets[0].prefix) == width
        ]
        del order[: len(rows)]
        chosen = [requests[index] for index in rows]
        source, _, _ = tensors(collate(chosen, tokenizer.pad_id, tokenizer.eos_id), device)
        prefix = torch.tensor([item.targets[0].prefix for item in chosen], device=device)
        longest = max(len(item.targets[0].text) for item in chosen)
        outputs = model.greedy(source, prefix, tokenizer.eos_id, 2 * longest + MIN_GENERATED)
        for index, ids in zip(rows, outputs, strict=True):
            produced[index] = ids
    return produced


def _generation_key(request: Encoded) -> tuple[int, int]:
    return len(request.targets[0].prefix), request.num_source_tokens


def open_validation(
    datasets: Sequence[Dataset],
    recipe: Recipe,
    tokenizer: AnyTokenizer,
    limits: Limits,
    template: ImportedTemplate | None = None,
) -> tuple[ValidationSet, ...]:
    """Up to training.validate_examples examples of every valid split, spread over it.

    Of these, up to training.generate_examples targets are generated.
    template  of an imported model; see encode_all
    """
    training = recipe.training
    sets = []
    for dataset in datasets:
        pieces = []
        for example in _spread(_examples(dataset), training.validate_examples):
            for part in encode_all(example, tokenizer, template, dataset.path):
                pieces += windows(part, limits)[0]
        if not pieces:
            continue
        batches = tuple(
            collate(group, tokenizer.pad_id, tokenizer.eos_id)
            for group in cut(pieces, recipe.data.batch_tokens)
        )
        requests = [request for piece in pieces for request in single_targets(piece)]
        sets.append(
            ValidationSet(dataset.name, batches, _spread(requests, training.generate_examples))
        )
    return tuple(sets)


def _examples(dataset: Dataset) -> list[Example]:
    """The valid split, as it is trained on but without noise: denoised, every other pair swapped.

    Chance is seeded, so that all validations of a set are of the same examples.
    """
    config = dataset.config.augment
    kinds = AugmentConfig(
        denoise=config.denoise, mask_ratio=config.mask_ratio, mean_span=config.mean_span
    )
    rng = random.Random(dataset.name)
    found: list[Example] = []
    for index, example in enumerate(dataset.examples("valid")):
        is_swapped = config.pair_swap and index % 2 == 1
        found += augment(example, replace(kinds, pair_swap=is_swapped), rng)[-1:]
    return found


def _spread(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` items, at equal distances."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[index * len(items) // count] for index in range(count))


@torch.no_grad()
def validate(
    model: Seq2Seq, sets: Sequence[ValidationSet], tokenizer: AnyTokenizer, device: torch.device
) -> Scores | None:
    """Scores of the model in evaluation mode; None when there are no validation sets."""
    if not sets:
        return None
    model.eval()
    total, count = 0.0, 0
    scores: dict[str, dict[str, float]] = {}
    for item in sets:
        loss, num_tokens, scores[item.name] = loss_scores(model, item.batches, device)
        total, count = total + loss, count + num_tokens
        if item.requests:
            scores[item.name] |= generation_scores(model, item.requests, tokenizer, device)
    return Scores(total / max(1, count), scores)
