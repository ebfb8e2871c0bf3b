"""Memories: what trimming keeps, and what comes back from a file."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from duologue.checkpoint.weights import Weights
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory, Segment
from duologue.errors import CheckpointError, EngineError

FINGERPRINT = "ab" * 32
MakeForward = Callable[..., Forward]


@pytest.fixture
def make_forward(
    tiny_config: Callable[..., ModelConfig], tiny_weights: Callable[[ModelConfig], Weights]
) -> MakeForward:
    def make(cell: str, cache_bytes: int | None = None) -> Forward:
        config = tiny_config(cell)
        return Forward(config, tiny_weights(config), threads=1, cache_bytes=cache_bytes)

    return make


def conversation(forward: Forward) -> Memory:
    memory = forward.encode([3, 4, 5], Memory.empty())
    memory = forward.encode([6] * 17, memory, is_document=True)
    return forward.encode([7, 8], memory)


@dataclass(frozen=True)
class Encoded:
    """Stands for native values where only lengths matter."""

    length: int
    num_bytes: int = 0


def segment(length: int, is_document: bool) -> Segment:
    return Segment((1,) * length, is_document, 0, Encoded(length))  # type: ignore[arg-type]


# --- trimming -----------------------------------------------------------------------------------


def test_an_empty_memory_has_nothing() -> None:
    memory = Memory.empty()
    assert (memory.segments, memory.num_tokens, memory.num_bytes) == ((), 0, 0)
    assert memory.trim(0) == memory


def test_trim_forgets_the_oldest_turns_and_no_document() -> None:
    turns = [segment(5, False), segment(4, True), segment(3, False), segment(2, False)]
    trimmed = Memory(tuple(turns)).trim(9)
    assert trimmed.segments == (turns[1], turns[2], turns[3])
    assert trimmed.segments[0].encoded is turns[1].encoded


@given(
    sizes=st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=8),
    max_tokens=st.integers(0, 100),
)
def test_trim_drops_whole_turns_from_the_front_and_no_more_than_it_must(
    sizes: list[tuple[int, bool]], max_tokens: int
) -> None:
    memory = Memory(tuple(segment(*size) for size in sizes))
    trimmed = memory.trim(max_tokens)
    is_kept = [any(kept is part for kept in trimmed.segments) for part in memory.segments]
    turns = [n for n, part in enumerate(memory.segments) if not part.is_document]
    dropped = [n for n in turns if not is_kept[n]]
    assert dropped == turns[: len(dropped)]
    assert all(
        kept for part, kept in zip(memory.segments, is_kept, strict=True) if part.is_document
    )
    assert trimmed.num_tokens <= max_tokens or dropped == turns
    if dropped:
        assert trimmed.num_tokens + len(memory.segments[dropped[-1]].ids) > max_tokens


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_a_loaded_memory_continues_like_the_saved_one(
    cell: str, make_forward: MakeForward, tmp_path: Path
) -> None:
    forward = make_forward(cell)
    memory = conversation(forward)
    memory.save(tmp_path / "memory", FINGERPRINT)
    loaded = Memory.load(tmp_path / "memory", FINGERPRINT, forward)
    assert loaded == memory
    assert loaded.num_bytes == memory.num_bytes
    states = [forward.start(forward.encode([9, 9], each)) for each in (memory, loaded)]
    for idx in (1, 2, 3):
        logits = forward.decode_step(states, [idx, idx])
        assert np.array_equal(logits[0], logits[1])


def test_an_empty_memory_can_be_saved(make_forward: MakeForward, tmp_path: Path) -> None:
    Memory.empty().save(tmp_path / "memory", FINGERPRINT)
    loaded = Memory.load(tmp_path / "memory", FINGERPRINT, make_forward("gru"))
    assert loaded == Memory.empty()


def test_a_saved_memory_is_private_and_leaves_no_other_file(
    make_forward: MakeForward, tmp_path: Path
) -> None:
    path = tmp_path / "memory"
    conversation(make_forward("gru")).save(path, FINGERPRINT)
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_memory_of_another_model_is_refused(make_forward: MakeForward, tmp_path: Path) -> None:
    path = tmp_path / "memory"
    conversation(make_forward("gru")).save(path, FINGERPRINT)
    with pytest.raises(CheckpointError, match="another model"):
        Memory.load(path, "cd" * 32, make_forward("gru"))


def test_a_missing_file_is_refused(make_forward: MakeForward, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such memory"):
        Memory.load(tmp_path / "memory", FINGERPRINT, make_forward("gru"))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_cut_off_file_is_refused(share: float, make_forward: MakeForward, tmp_path: Path) -> None:
    path = tmp_path / "memory"
    conversation(make_forward("gru")).save(path, FINGERPRINT)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="damaged"):
        Memory.load(path, FINGERPRINT, make_forward("gru"))


def test_a_file_of_another_kind_is_refused(make_forward: MakeForward, tmp_path: Path) -> None:
    path = tmp_path / "memory"
    safetensors.numpy.save_file({"embed.weight": np.ones(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="not a saved memory"):
        Memory.load(path, FINGERPRINT, make_forward("gru"))


# 3 tokens, 2 + 2 layers, width 16, float32: 4 planes of one page of 2 * 16 * 16 * 4 bytes.
BAD_TENSORS = {
    "pages of another length": {"0.pages": np.zeros((4, 2, 2048), np.uint8)},
    "pages of another width": {"0.pages": np.zeros((4, 1, 1024), np.uint8)},
    "pages of float32": {"0.pages": np.zeros((4, 1, 2048), np.float32)},
    "pages of no planes": {"0.pages": np.zeros((0, 1, 2048), np.uint8)},
    "flat pages": {"0.pages": np.zeros(8192, np.uint8)},
    "pages that hold no numbers": {"0.pages": np.full((4, 1, 2048), 255, np.uint8)},
    "carried of another width": {"0.carried": np.zeros((2, 8), np.float32)},
    "carried of a gru": {"0.carried": np.zeros((2, 16), np.float32)},
    "too few ids": {"0.ids": np.zeros(0, np.int64)},
    "too many ids": {"0.ids": np.zeros(17, np.int64)},
    "ids of float": {"0.ids": np.zeros(3, np.float32)},
    "a negative position": {"start": np.array([-1, 0, 3])},
    "a position past all counting": {"start": np.array([0, 0, 2**63 - 2])},
    "flags too short": {"is_document": np.zeros(2, bool)},
    "a segment too many": {
        "start": np.zeros(4, np.int64),
        "is_document": np.zeros(4, bool),
    },
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_unfitting_tensors_are_refused(
    name: str, make_forward: MakeForward, tmp_path: Path
) -> None:
    path = tmp_path / "memory"
    conversation(make_forward("transformer")).save(path, FINGERPRINT)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = safetensors.numpy.load_file(path) | BAD_TENSORS[name]
    safetensors.numpy.save_file(tensors, path, metadata)
    forward = make_forward("transformer")
    with pytest.raises(CheckpointError, match="damaged"):
        Memory.load(path, FINGERPRINT, forward)
    assert forward.pool.used_bytes == 0


def test_a_memory_of_other_sizes_is_refused(make_forward: MakeForward, tmp_path: Path) -> None:
    conversation(make_forward("gru")).save(tmp_path / "memory", FINGERPRINT)
    with pytest.raises(CheckpointError, match="do not fit this model"):
        Memory.load(tmp_path / "memory", FINGERPRINT, make_forward("transformer"))


def test_a_memory_larger_than_the_cache_is_refused(
    make_forward: MakeForward, tmp_path: Path
) -> None:
    forward = make_forward("transformer")
    conversation(forward).save(tmp_path / "memory", FINGERPRINT)
    small = make_forward("transformer", cache_bytes=forward.pool.page_bytes * 5)
    with pytest.raises(EngineError, match="the cache is full"):
        Memory.load(tmp_path / "memory", FINGERPRINT, small)
    assert small.pool.used_bytes == 0


def test_a_failed_save_keeps_the_old_file(
    make_forward: MakeForward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory"
    Memory.empty().save(path, FINGERPRINT)

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(CheckpointError, match="cannot be written: No space left"):
        conversation(make_forward("gru")).save(path, FINGERPRINT)
    assert Memory.load(path, FINGERPRINT, make_forward("gru")) == Memory.empty()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        Memory.empty().save(tmp_path / "nowhere" / "memory", FINGERPRINT)
