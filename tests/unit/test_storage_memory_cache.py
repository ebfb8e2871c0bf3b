"""Cached memories: what comes back, what is shared, what leaves first, and what damage does."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.checkpoint.weights import Weights
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.errors import CheckpointError, ConfigError, EngineError, StorageError
from duologue.storage.memory_cache import CachedTurn, MemoryCache
from duologue.storage.records import chain_hash, chain_root

MODEL = "ab" * 32
HELPER = Path(__file__).with_name("storage_writer.py")


@dataclass(frozen=True)
class FakePart:
    """Stands for a memory of num_tokens bytes."""

    num_tokens: int

    def save(self, path: Path, fingerprint: str) -> None:
        path.write_bytes(bytes([self.num_tokens % 251]) * self.num_tokens)


def read(path: Path) -> FakePart:
    return FakePart(path.stat().st_size)


def path_of(text: str) -> list[str]:
    """Hashes of a path whose turns are the letters of a text."""
    hashes = [chain_root("local")]
    for letter in text:
        hashes.append(chain_hash(hashes[-1], "user", letter))
    return hashes[1:]


def turns_of(text: str, size: int = 100, num_left: int = 0) -> list[CachedTurn[FakePart]]:
    """Such a path; the first num_left turns have left the memory."""
    return [
        CachedTurn(name, FakePart(size) if index >= num_left else None)
        for index, name in enumerate(path_of(text))
    ]


def loaded(cache: MemoryCache, text: str, model: str = MODEL) -> int:
    """How many turns come back."""
    return len(cache.load(model, path_of(text), read))


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def taken(folder: Path) -> int:
    return sum(file.stat().st_size for entry in entries(folder) for file in entry.iterdir())


# --- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_a_memory_goes_on_after_a_restart_as_if_nothing_had_happened(
    cell: str,
    tiny_config: Callable[..., ModelConfig],
    tiny_weights: Callable[[ModelConfig], Weights],
    tmp_path: Path,
) -> None:
    config = tiny_config(cell)
    forward = Forward(config, tiny_weights(config), threads=1)
    memory = forward.encode([3, 4, 5], Memory.empty())
    memory = forward.encode([6] * 17, memory, is_document=True)
    memory = forward.encode([7, 8], memory).trim(20)  # the first turn leaves
    hashes = path_of("abc")
    parts = [None, *(Memory((segment,)) for segment in memory.segments)]
    turns = [CachedTurn(name, part) for name, part in zip(hashes, parts, strict=True)]
    MemoryCache(tmp_path, 10**6).save(MODEL, turns)

    again = Forward(config, tiny_weights(config), threads=1)
    cache = MemoryCache(tmp_path, 10**6)
    found = cache.load(MODEL, hashes, lambda path: Memory.load(path, MODEL, again))
    assert found == turns
    restored = Memory(tuple(s for turn in found if turn.part for s in turn.part.segments))
    assert restored == memory
    logits = [
        model.decode_step([model.start(model.encode([9, 9], each))], [1])
        for model, each in ((forward, memory), (again, restored))
    ]
    assert np.array_equal(logits[0], logits[1])


def test_the_longest_part_of_a_path_comes_back(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 10**6)
    assert loaded(cache, "abcd") == 0
    cache.save(MODEL, turns_of("ab"))
    assert cache.load(MODEL, path_of("abcd"), read) == turns_of("ab")
    cache.save(MODEL, turns_of("abcd", num_left=1))
    assert cache.load(MODEL, path_of("abcd"), read) == turns_of("abcd", num_left=1)
    assert cache.load(MODEL, path_of("abxy"), read) == turns_of("ab")
    assert loaded(cache, "a") == 0  # what was in the memory after "a" alone was never told
    assert loaded(cache, "") == 0


def test_another_model_has_memories_of_its_own(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 10**6)
    cache.save(MODEL, turns_of("ab"))
    assert loaded(cache, "ab", "other") == 0
    cache.save("other", turns_of("ab", size=50))
    assert cache.load(MODEL, path_of("ab"), read) == turns_of("ab")
    assert cache.load("other", path_of("ab"), read) == turns_of("ab", size=50)


def test_branches_share_what_they_have_in_common(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 10**6)
    cache.save(MODEL, turns_of("abcd"))
    written = {path.name: path.stat().st_ino for path in entries(tmp_path)}
    cache.save(MODEL, turns_of("abce"))
    after = {path.name: path.stat().st_ino for path in entries(tmp_path)}
    assert len(after) == 5
    assert written.items() <= after.items()


def test_files_are_for_their_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "memories"
    MemoryCache(folder, 10**6).save(MODEL, turns_of("ab"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o700}
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "part.safetensors",
        "entry.json",
    }
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("entry.json")}
    assert modes == {0o600}
    assert len(list(folder.iterdir())) == 2


# --- the budget ---------------------------------------------------------------------------------

SIZE = 10_000  # of a part; an entry takes about a hundred bytes more


def test_the_least_recently_used_leave_first(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 5 * SIZE)
    for letter in "abcd":
        cache.save(MODEL, turns_of(letter, SIZE))
    assert loaded(cache, "a") == 1
    cache.save(MODEL, turns_of("b", SIZE))  # is there: it is used, not written
    for letter in "ef":
        cache.save(MODEL, turns_of(letter, SIZE))
    assert [letter for letter in "abcdef" if loaded(cache, letter)] == list("abef")


def test_of_one_path_the_last_turns_leave_first(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 5 * SIZE)
    cache.save(MODEL, turns_of("a", SIZE))
    cache.save(MODEL, turns_of("ab", SIZE))
    cache.save(MODEL, turns_of("abcd", SIZE))
    cache.save(MODEL, turns_of("x", SIZE))
    cache.save(MODEL, turns_of("y", SIZE))
    assert (loaded(cache, "x"), loaded(cache, "y")) == (1, 1)
    assert loaded(cache, "abcd") == 2


@given(
    sizes=st.lists(st.integers(1, 4_000), min_size=1, max_size=30),
    max_bytes=st.integers(200, 12_000),
)
def test_the_budget_holds_and_the_newest_is_kept(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], max_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("budget")
    cache = MemoryCache(folder, max_bytes)
    for number, size in enumerate(sizes):
        text = chr(0x4E00 + number)
        cache.save(MODEL, turns_of(text, size))
        assert taken(folder) <= max_bytes
        assert cache.num_bytes == taken(folder)
        num_written = size + 150  # with room for entry.json
        if num_written <= max_bytes:
            assert loaded(cache, text) == 1


def test_what_is_there_counts_after_a_restart(tmp_path: Path) -> None:
    MemoryCache(tmp_path, 10 * SIZE).save(MODEL, turns_of("abcd", SIZE))
    cache = MemoryCache(tmp_path, 10 * SIZE)
    assert cache.num_bytes == taken(tmp_path) > 4 * SIZE
    smaller = MemoryCache(tmp_path, 3 * SIZE)
    assert smaller.num_bytes == taken(tmp_path) <= 3 * SIZE
    assert loaded(smaller, "ab") == 0  # only "abcd" was told, and it is not whole any more


def test_a_lazy_cache_looks_at_the_folder_when_it_is_to_write_or_to_tell(tmp_path: Path) -> None:
    MemoryCache(tmp_path, 10 * SIZE).save(MODEL, turns_of("abcd", SIZE))
    smaller = MemoryCache(tmp_path, 3 * SIZE, is_lazy=True)
    assert loaded(smaller, "abcd") == 4  # nothing has left yet
    smaller.save(MODEL, turns_of("x", SIZE))
    assert loaded(smaller, "x") == 1
    assert taken(tmp_path) <= 3 * SIZE
    assert MemoryCache(tmp_path, 3 * SIZE, is_lazy=True).num_bytes == taken(tmp_path)


def test_what_is_larger_than_the_budget_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 2 * SIZE)
    cache.save(MODEL, turns_of("a", SIZE))
    cache.save(MODEL, turns_of("b", 3 * SIZE))
    assert (loaded(cache, "a"), loaded(cache, "b")) == (1, 0)


def test_other_things_in_the_folder_stay_and_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * SIZE)
    (tmp_path / "mine").mkdir()
    cache = MemoryCache(tmp_path, SIZE)
    assert cache.num_bytes == 0
    for letter in "abc":
        cache.save(MODEL, turns_of(letter, SIZE // 2))
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "mine").exists()


def test_what_a_dead_process_left_half_written_is_removed_after_a_while(tmp_path: Path) -> None:
    old, new = tmp_path / ".duologue-old", tmp_path / ".duologue-new"
    for path in (old, new):
        path.mkdir()
        (path / "part.safetensors").write_bytes(b"half")
    long_ago = time.time() - 7_200
    os.utime(old, (long_ago, long_ago))
    MemoryCache(tmp_path, SIZE)
    assert not old.exists()
    assert new.exists()


def test_a_budget_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be positive, not 0"):
        MemoryCache(tmp_path, 0)


# --- damage -------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(**values: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return write


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("part.safetensors", truncate),
        ("part.safetensors", flip),
        ("part.safetensors", Path.unlink),
        ("entry.json", truncate),
        ("entry.json", Path.unlink),
        ("entry.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("entry.json", lambda path: path.write_bytes(b"[" * 100_000)),
        ("entry.json", change(kept=[100])),
        ("entry.json", change(kept="100")),
        ("entry.json", change(sha256=None)),
        ("entry.json", change(other=1)),
    ],
)
def test_a_damaged_entry_is_dropped_and_can_be_written_again(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    cache = MemoryCache(tmp_path, 10**6)
    cache.save(MODEL, turns_of("a"))
    cache.save(MODEL, turns_of("ab"))
    (entry,) = tmp_path.glob(f"{path_of('ab')[-1]}.*")
    damage(entry / name)
    assert cache.load(MODEL, path_of("ab"), read) == turns_of("a")
    assert not entry.exists()
    cache.save(MODEL, turns_of("ab"))
    assert cache.load(MODEL, path_of("ab"), read) == turns_of("ab")


def test_a_part_that_the_model_refuses_is_dropped(tmp_path: Path) -> None:
    def refuse(path: Path) -> FakePart:
        raise CheckpointError("of another version")

    cache = MemoryCache(tmp_path, 10**6)
    cache.save(MODEL, turns_of("a"))
    assert cache.load(MODEL, path_of("a"), refuse) == []
    assert entries(tmp_path) == []


def test_a_part_for_which_there_is_no_room_now_stays(tmp_path: Path) -> None:
    def no_room(path: Path) -> FakePart:
        raise EngineError("the cache is full")

    cache = MemoryCache(tmp_path, 10**6)
    cache.save(MODEL, turns_of("a"))
    with pytest.raises(EngineError, match="full"):
        cache.load(MODEL, path_of("a"), no_room)
    assert loaded(cache, "a") == 1


def test_a_path_whose_parts_do_not_fit_what_it_says_is_not_used(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 10**6)
    cache.save(MODEL, turns_of("a", 50))
    cache.save(MODEL, turns_of("ab", 100))  # finds "a" of 50 tokens there
    assert loaded(cache, "ab") == 1


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file: the memory cache cannot be used: File exists"):
        MemoryCache(tmp_path / "file", 10)


def test_a_write_that_fails_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    class Full(FakePart):
        def save(self, path: Path, fingerprint: str) -> None:
            path.write_bytes(b"half")
            raise CheckpointError("no space left on device")

    cache = MemoryCache(tmp_path, 10**6)
    with pytest.raises(StorageError, match="no space left"):
        cache.save(MODEL, [CachedTurn(path_of("a")[0], Full(5))])
    assert list(tmp_path.iterdir()) == []


# --- erasing ------------------------------------------------------------------------------------


def test_erasing_takes_these_turns_of_every_model_and_no_others(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 10**6)
    for model in (MODEL, "other"):
        cache.save(model, turns_of("ab"))
        cache.save(model, turns_of("abc"))
    cache.erase(path_of("abc")[2:])
    assert (loaded(cache, "abc"), loaded(cache, "abc", "other")) == (2, 2)
    assert len(entries(tmp_path)) == 4
    cache.erase(path_of("ab"))
    assert entries(tmp_path) == []


def test_a_sweep_drops_what_no_message_has(tmp_path: Path) -> None:
    cache = MemoryCache(tmp_path, 10**6)
    for text in ("ab", "xy"):
        cache.save(MODEL, turns_of(text))
    asked: list[str] = []

    def known(hashes: list[str]) -> set[str]:
        asked.extend(hashes)
        return set(path_of("xy"))

    cache.sweep(known)
    assert sorted(asked) == sorted(path_of("ab") + path_of("xy"))
    assert (loaded(cache, "ab"), loaded(cache, "xy")) == (0, 2)
    assert len(entries(tmp_path)) == 2


# --- at the same time ---------------------------------------------------------------------------


def test_threads_and_caches_share_a_folder(tmp_path: Path) -> None:
    caches = [MemoryCache(tmp_path, 20 * SIZE) for _ in range(2)]
    problems: list[object] = []

    def work(thread: int) -> None:
        chosen = random.Random(thread)
        cache = caches[thread % 2]
        try:
            for _ in range(60):
                text = "".join(chosen.choice("ab") for _ in range(4))
                found = cache.load(MODEL, path_of(text), read)
                if found != turns_of(text[: len(found)], SIZE):
                    problems.append(found)
                cache.save(MODEL, turns_of(text, SIZE))
                if chosen.random() < 0.1:
                    cache.erase(path_of(text))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert taken(tmp_path) <= 2 * 20 * SIZE
    assert MemoryCache(tmp_path, 20 * SIZE).num_bytes == taken(tmp_path) <= 20 * SIZE
    assert all(path.name[0] != "." for path in tmp_path.iterdir())


def test_processes_share_a_folder_and_one_may_be_killed(tmp_path: Path) -> None:
    folder = tmp_path / "memories"
    processes = [
        subprocess.Popen(
            [sys.executable, str(HELPER), "cache", str(folder), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        for _ in range(20):  # each saves so often at least, beside the others
            assert process.stdout.readline() == "saved\n"
    for process in processes:
        process.kill()
        process.communicate()
    cache = MemoryCache(folder, 20 * SIZE)
    assert cache.num_bytes == taken(folder) <= 20 * SIZE
    for entry in entries(folder):  # what is there is whole
        content = json.loads((entry / "entry.json").read_text())
        assert content.keys() == {"sha256", "kept"}
        assert read(entry / "part.safetensors") == FakePart(SIZE)
