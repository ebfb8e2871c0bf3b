"""The endless stream of training batches: sets mixed, shuffled, encoded, cut.

ShuffledRows   one data set in random order, epoch after epoch
BatchStream    the mix as batches, resumable at any batch, shared out among ranks

Everything drawn by chance follows from the seed and a position, so a stream that is restored from
its state goes on exactly as the one that was left.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any

from duologue.config import DataConfig
from duologue.data.augment import augment, can_train, join
from duologue.data.batching import Batch, collate, cut
from duologue.data.dataset import Dataset, open_datasets
from duologue.data.encoding import Encoded, Limits, encode_all, windows
from duologue.data.rows import Example
from duologue.data.survey import count_rows
from duologue.errors import CheckpointError, DataError
from duologue.text.imported_template import ImportedTemplate
from duologue.text.template import LANGUAGES
from duologue.text.templates import AnyTokenizer

MAX_BLOCK_CHARS = 16_000_000  # of text in one block; bounds memory where rows are long


@dataclass
class _Cursor:
    """Where one data set stands: rows are read in blocks, and a block is drawn in random order.

    epoch   times the set was read to its end
    line    line of the file that the block in use starts at
    taken   rows of this epoch in earlier blocks
    offset  rows drawn from the block
    """

    epoch: int = 0
    line: int = 1
    taken: int = 0
    offset: int = 0


class ShuffledRows:
    """The train rows of one data set without end, in an order that the seed decides.

    A block of `block_rows` rows is held in memory and drawn at random, so a set that is no longer
    is shuffled whole, anew in each epoch; a longer one is shuffled block by block.
    """

    def __init__(self, dataset: Dataset, seed: int, block_rows: int) -> None:
        self._dataset = dataset
        self._seed = seed
        self._block_rows = block_rows
        self._cursor = _Cursor()
        self._block: list[Example] = []
        self._order: list[int] = []
        self._rows: Iterator[Example] | None = None

    @property
    def epoch(self) -> int:
        """Times the set was read to its end."""
        return self._cursor.epoch

    def state(self) -> list[int]:
        """Where the set stands; a few numbers."""
        cursor = self._cursor
        return [cursor.epoch, cursor.line, cursor.taken, cursor.offset]

    def restore(self, state: Sequence[int]) -> None:
        """Go to where `state()` was asked for."""
        self._cursor = _Cursor(*state)
        self._block, self._rows = [], None

    def draw(self) -> Example:
        """The next row. Raises DataError if the set has no row to train on."""
        if not self._block:
            self._read_block()
        if self._cursor.offset >= len(self._block):
            self._cursor.line = max(example.line for example in self._block) + 1
            self._cursor.taken += len(self._block)
            self._cursor.offset = 0
            self._read_block()
        example = self._block[self._order[self._cursor.offset]]
        self._cursor.offset += 1
        return example

    def _read_block(self) -> None:
        cursor = self._cursor
        self._block = self._next_rows()
        if not self._block and cursor.line > 1:
            self._cursor = cursor = _Cursor(epoch=cursor.epoch + 1)
            self._rows = None
            self._block = self._next_rows()
        if not self._block:
            raise DataError(self._dataset.path, None, "no train rows")
        key = f"{self._seed}/{self._dataset.name}/{cursor.epoch}/{cursor.line}"
        self._order = list(range(len(self._block)))
        random.Random(key).shuffle(self._order)

    def _next_rows(self) -> list[Example]:
        config = self._dataset.config
        if self._rows is None:
            rows = self._dataset.examples_from("train", self._cursor.line)
            left = None if config.limit is None else max(0, config.limit - self._cursor.taken)
            self._rows = islice(rows, left)
        block: list[Example] = []
        num_chars = 0
        while len(block) < self._block_rows and num_chars < MAX_BLOCK_CHARS:
            row = next(self._rows, None)
            if row is None:
                break
            block.append(row)
            num_chars += sum(len(turn.text) for turn in row.segments)
            num_chars += sum(len(target.text) for target in row.targets)
        return block


@dataclass
class Counts:
    """What became of the rows drawn from one set.

    rows      rows drawn
    targets   targets that went into batches
    left_out  targets that were too long for max_source or max_target
    """

    rows: int = 0
    targets: int = 0
    left_out: int = 0


class BatchStream:
    """Training batches without end; an iterator.

    A pool of about bucket_batches batches is drawn, sorted by length, cut into batches, and the
    batches are shuffled. Batch n of the stream goes to rank n mod world_size, so that ranks see
    disjoint batches and always the same number of them.

    template  of an imported model; see encode_all
    counts    (attribute) per data set, what was drawn; the same on all ranks
    """

    def __init__(
        self,
        config: DataConfig,
        tokenizer: AnyTokenizer,
        seed: int,
        *,
        template: ImportedTemplate | None = None,
        single_target: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._config = config
        self._tokenizer, self._template = tokenizer, template
        self._seed = seed
        self._limits = limits_of(config, single_target)
        self._rank, self._world_size = rank, world_size
        self._datasets = open_datasets(config, LANGUAGES if template is None else None)
        self._sets = [ShuffledRows(item, seed, config.shuffle_buffer) for item in self._datasets]
        self._weights: list[float] = []
        self.counts = {dataset.name: Counts() for dataset in self._datasets}
        self._pool_idx = 0
        self._pool_start = self._snapshot()
        self._batches: list[list[Encoded]] = []
        self._used = 0
        self._last_dialogue: Example | None = None  # of the pool that is being filled

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch of this rank.

        Raises DataError for a broken row, and for a set that has nothing to train on.
        """
        own: list[Encoded] = []
        for rank in range(self._world_size):
            if self._used == len(self._batches):
                self._fill_pool()
            if rank == self._rank:
                own = self._batches[self._used]
            self._used += 1
        return collate(own, self._tokenizer.pad_id, self._tokenizer.eos_id)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON-ready values; the same on every rank."""
        return {**self._pool_start, "used": self._used}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where `state()` was asked for; data and settings must be the same as then.

        Draws one pool again and skips lines that were read, a matter of seconds. Raises
        CheckpointError if the state belongs to another seed or another mix of sets.
        """
        try:
            if state["seed"] != self._seed or set(state["sets"]) != set(self.counts):
                raise CheckpointError("the batches were drawn with another seed or other data sets")
            for dataset, rows in zip(self._datasets, self._sets, strict=True):
                rows.restore(state["sets"][dataset.name])
                self.counts[dataset.name] = Counts(*state["counts"][dataset.name])
            self._pool_idx, used = int(state["pool"]), int(state["used"])
            self._weights = list(map(float, state["weights"]))
        except (KeyError, TypeError, ValueError):
            raise CheckpointError("the place in the training data is damaged") from None
        self._pool_start = self._snapshot()
        self._batches, self._used = [], 0
        if used:
            self._fill_pool()
            self._used = used
        if used > len(self._batches):
            raise CheckpointError("the data sets have changed since the checkpoint was written")

    def _snapshot(self) -> dict[str, Any]:
        cursors = zip(self._datasets, self._sets, strict=True)
        return {
            "seed": self._seed,
            "pool": self._pool_idx,
            "weights": self._weights,
            "sets": {dataset.name: rows.state() for dataset, rows in cursors},
            "counts": {name: list(astuple(counts)) for name, counts in self.counts.items()},
        }

    def _fill_pool(self) -> None:
        if not self._weights:
            self._weights = mixing_weights(self._datasets, self._config.temperature)
        self._pool_start = self._snapshot()
        rng = random.Random(f"{self._seed}/pool {self._pool_idx}")
        room = self._config.bucket_batches * self._config.batch_tokens
        pool: list[Encoded] = []
        self._last_dialogue = None  # a pool that is drawn again must not depend on the one before
        while room > 0:
            chosen = rng.choices(range(len(self._sets)), self._weights)[0]
            for piece in self._draw(chosen, rng):
                pool.append(piece)
                room -= piece.num_source_tokens + piece.num_target_tokens
        rng.shuffle(pool)  # equal lengths are then in random order, because sorting keeps it
        self._batches = cut(pool, self._config.batch_tokens)
        rng.shuffle(self._batches)
        self._pool_idx += 1
        self._used = 0

    def _draw(self, chosen: int, rng: random.Random) -> list[Encoded]:
        """The pieces of one row of a set, augmented."""
        dataset, rows = self._datasets[chosen], self._sets[chosen]
        counts = self.counts[dataset.name]
        if rows.epoch and not counts.targets:
            raise DataError(dataset.path, None, "every row is longer than max_source or max_target")
        pieces = []
        row = self._joined(rows.draw(), rng)
        for example in augment(row, dataset.config.augment, rng):
            for part in encode_all(example, self._tokenizer, self._template, dataset.path):
                fitting, num_left_out = windows(part, self._limits)
                pieces += fitting
                counts.left_out += num_left_out
        counts.rows += 1
        counts.targets += sum(len(piece.targets) for piece in pieces)
        return pieces

    def _joined(self, row: Example, rng: random.Random) -> Example:
        """The row, by chance after the last turns of the dialogue that was drawn before it."""
        chance, earlier = self._config.join_dialogues, self._last_dialogue
        if not chance or not any(target.task == "reply" for target in row.targets):
            return row
        self._last_dialogue = row
        if earlier is None or rng.random() >= chance:
            return row
        return join(earlier, row, max(1, self._config.max_turns // 2), rng)


def limits_of(config: DataConfig, single_target: bool) -> Limits:
    """The limits of one row of a batch."""
    return Limits(config.max_source, config.max_target, config.max_turns, single_target)


def mixing_weights(datasets: Sequence[Dataset], temperature: float) -> list[float]:
    """The chance of each set to give the next row, not normalised.

    A set's own weight counts as it is. Sets without one share out by size ** (1 / temperature),
    with a mean of 1: a weight of 2 is twice what such a set gets on average. Their rows are
    counted by reading them once, which finds broken rows before training begins.
    """
    sizes = [_size(dataset) ** (1 / temperature) for dataset in datasets]
    num_unweighted = sum(dataset.config.weight is None for dataset in datasets)
    scale = num_unweighted / (sum(sizes) or 1.0)
    weights = [
        size * scale if dataset.config.weight is None else dataset.config.weight
        for dataset, size in zip(datasets, sizes, strict=True)
    ]
    if not sum(weights) > 0:
        raise DataError(datasets[0].path, None, "the weights of all sets are 0")
    return weights


def _size(dataset: Dataset) -> float:
    """Train rows of a set without a weight, else 0. Raises DataError if nothing can be trained."""
    if dataset.config.weight is None:
        size = count_rows(dataset)
        is_usable = size > 0
    else:
        size = 0
        rows = dataset.examples("train")
        is_usable = any(can_train(row, dataset.config.augment) for row in rows)
    if not is_usable:
        problem = "no train rows to learn from; plain text needs the option augment.denoise"
        raise DataError(dataset.path, None, problem)
    return float(size)
