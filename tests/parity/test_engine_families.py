"""The engine against transformers, for every kind of published model, at float32.

Tiny models with random weights: what the encoder makes of a source, the logits of every step, and
the ids that greedy and beam search end with. A kind that is not here is not supported;
docs/families.md is the table of what was compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from families_table import PAGE, ParityTable
from tiny_transformers import FIRST_TEXT_ID, TINY, VOCAB, save_tiny
from transformers.generation.utils import GenerationMixin

from duologue.checkpoint.published import read_published
from duologue.config import ModelConfig
from duologue.engine.engine import Constraints, Engine, SpecialIds
from duologue.engine.forward import Encoding, Forward
from duologue.engine.memory import Memory
from duologue.types import Options

NUM_SOURCES = 60
MAX_TOKENS = 24
LENGTHS = (1, 2, 5, 16, 17, 40, 200)  # past the first relative bucket, past the windows


@dataclass(frozen=True)
class Pair:
    """One model, twice."""

    theirs: Any
    config: ModelConfig
    forward: Forward

    def sources(self, count: int, lengths: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Random ids, or frames of speech, of these lengths in turn."""
        generator = np.random.default_rng(5)
        for index in range(count):
            if self.config.front_end == "mel":
                shape = 2 * self.config.max_positions, self.config.mel_bins
                profile = generator.standard_normal((1, shape[1]), dtype=np.float32)
                yield profile + generator.standard_normal(shape, dtype=np.float32)
            else:
                yield random_ids(generator, lengths[index % len(lengths)])

    def encode(self, source: np.ndarray) -> Encoding:
        if self.config.front_end == "mel":
            encoding = self.forward.begin_encode_frames(source)
        else:
            encoding = self.forward.begin_encode(source.tolist(), Memory.empty())
        while not encoding.advance():
            pass
        return encoding

    def inputs(self, sources: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """The sources as transformers takes them, the shorter ones padded."""
        if self.config.front_end == "mel":
            return {"input_features": torch.tensor(np.stack(sources)).transpose(1, 2)}
        longest = max(map(len, sources))
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in sources])
        pad = self.theirs.config.pad_token_id
        pad = self.config.generation.pad_id if pad is None else pad
        rows = [ids.tolist() + [pad] * (longest - len(ids)) for ids in sources]
        return {"input_ids": torch.tensor(rows), "attention_mask": mask}


def random_ids(generator: np.random.Generator, count: int) -> np.ndarray:
    """Ids of texts, in the vocabularies of both sides."""
    return generator.integers(FIRST_TEXT_ID, VOCAB - 26, count)


@pytest.fixture(scope="module", params=TINY)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def pair(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("published")
    theirs = save_tiny(kind, folder)
    config, weights = read_published(folder, "f32")
    return Pair(theirs, config, Forward(config, weights, threads=1))


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("length", LENGTHS)
def test_encoder_and_every_step_are_those_of_transformers(
    pair: Pair, kind: str, length: int, parity_table: ParityTable
) -> None:
    (source,) = pair.sources(1, (length,))
    target = random_ids(np.random.default_rng(length), 60)
    with torch.no_grad():
        theirs = pair.theirs(**pair.inputs([source]), decoder_input_ids=torch.tensor(target[None]))
    encoding = pair.encode(source)
    state = pair.forward.start(encoding.memory)
    logits = [pair.forward.decode_step([state], [idx])[0] for idx in target.tolist()]

    of_encoder = difference(encoding.states(), theirs.encoder_last_hidden_state[0].numpy())
    of_logits = difference(np.stack(logits), theirs.logits[0].numpy())
    assert of_encoder < 1e-4
    assert of_logits < 1e-4
    parity_table.differs(kind, "encoder", of_encoder)
    parity_table.differs(kind, "logits", of_logits)


# (check, ours, theirs)
SEARCHES: list[tuple[str, Options, dict[str, Any]]] = [
    ("greedy", Options(max_tokens=MAX_TOKENS), {}),
    (
        "beam of 4",
        Options(max_tokens=MAX_TOKENS, beam_size=4, early_stopping=False),
        {"num_beams": 4, "early_stopping": False},
    ),
    (
        "beam of 4",
        Options(max_tokens=MAX_TOKENS, beam_size=4, length_penalty=0.6),
        {"num_beams": 4, "early_stopping": True, "length_penalty": 0.6},
    ),
]


def their_ids(pair: Pair, sources: list[np.ndarray], how: dict[str, Any]) -> list[list[int]]:
    """What transformers generates for a ragged batch, from behind the start to the end id.

    The end id is not forced onto what is too long: a result that was cut must not look whole.
    """
    forced = pair.config.generation.forced_first_id is not None
    length = {"max_new_tokens": MAX_TOKENS + forced, "max_length": None}
    with torch.no_grad():
        rows = GenerationMixin.generate(  # Whisper's own would look for its prompt
            pair.theirs, **pair.inputs(sources), forced_eos_token_id=None, **length, **how
        )
    results = []
    for row in rows.tolist():
        row = row[1 + forced :][:MAX_TOKENS]
        ends = [row.index(idx) for idx in pair.config.generation.eos_ids if idx in row]
        results.append(row[: min(ends, default=MAX_TOKENS)])
    return results


@pytest.mark.parametrize(("check", "options", "how"), SEARCHES)
def test_generated_ids_are_those_of_transformers(
    pair: Pair,
    kind: str,
    check: str,
    options: Options,
    how: dict[str, Any],
    parity_table: ParityTable,
) -> None:
    sources = list(pair.sources(NUM_SOURCES, (1, 4, 9, 16, 30)))
    generation = pair.config.generation
    forced = () if generation.forced_first_id is None else (generation.forced_first_id,)
    engine = Engine(pair.forward, SpecialIds(generation.eos_ids))
    finished = engine.generate_batch(
        ((pair.encode(source).memory, generation.start_ids) for source in sources),
        options,
        Constraints(forced_ids=forced),
    )
    ours = [list(item.best.ids) for item in finished]

    assert ours == their_ids(pair, sources, how)
    assert len({tuple(ids) for ids in ours}) > 1
    parity_table.equals(kind, check, len(ours))


def test_the_page_lists_what_is_compared_and_nothing_else() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- parity -->")[2]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    assert [row.removeprefix("| ") for row in rows[2:]] == list(TINY)
