"""How fast a model runs on this machine: what `duologue bench` measures.

measure         Forward and its weights to Figures
Figures         everything that was measured, in parts: Decoding, Encoding, Reading
step_names      the weights that a decoding step reads
read_gb_per_s   how fast this machine reads memory: the ceiling under a decoder that reads all its
                weights for each token

Token ids are random and replies never end early: how long a token takes does not depend on what it
says. Memories are encoded before decoding is timed.
"""

from __future__ import annotations

import ctypes
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.tensors import tensors_of
from duologue.checkpoint.weights import Weight
from duologue.config import ModelConfig
from duologue.engine.engine import Engine, SpecialIds
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.errors import InputError
from duologue.types import EngineOptions, Options

SOURCE_TOKENS, PRODUCED_TOKENS = 32, 64
ENCODED_TOKENS = (32, 512)
TURN_TOKENS, REMEMBERED_TOKENS = 20, 400
MAX_USERS = 1024

# Each figure is measured again and again for so long, the run before the first included.
BUDGET_S, MAX_RUNS = 3.0, 100
# Far more than the caches of a few cores hold.
MEMORY_BYTES = 512 * 2**20

_NEVER = -1  # an end token that no reply can choose

# --- what is measured --------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Milliseconds of one thing, done `runs` times."""

    median_ms: float
    min_ms: float
    max_ms: float
    runs: int


@dataclass(frozen=True)
class Decoding:
    """Users who decode together, each a reply of produced_tokens.

    ms_per_token   between two tokens of a user, which is one step for all of them
    tokens_per_s   of all users together
    reply          times of the whole reply
    """

    users: int
    source_tokens: int
    produced_tokens: int
    ms_per_token: float
    tokens_per_s: float
    reply: Times


@dataclass(frozen=True)
class Encoding:
    """One turn of new_tokens, read after a memory of remembered_tokens.

    reused_tokens  those of the memory that are not encoded again; 0 for encoder_mask "full"
    """

    new_tokens: int
    remembered_tokens: int
    reused_tokens: int
    times: Times


@dataclass(frozen=True)
class Reading:
    """What a decoding step of one user reads, beside what the machine can read.

    bytes_per_step         of the weights; those of keys and values are not counted
    step_gb_per_s          bytes_per_step over the median time of a step
    memory_gb_per_s        the best of several passes over MEMORY_BYTES: the ceiling
    share                  step_gb_per_s over memory_gb_per_s; a cache can bring it above 1
    same_bytes_gb_per_s    the best of several passes over bytes_per_step, whatever cache has them
    """

    bytes_per_step: int
    step_gb_per_s: float
    memory_gb_per_s: float
    share: float
    same_bytes_gb_per_s: float


@dataclass(frozen=True)
class Figures:
    """Everything that was measured.

    many_users           the same as one_user, if no more were asked for
    bytes_per_token      of a memory, with the unused rest of its last pages
    peak_process_bytes   most memory that the process has taken so far, the model included
    """

    one_user: Decoding
    many_users: Decoding
    encoding: tuple[Encoding, ...]
    bytes_per_token: float
    peak_process_bytes: int
    reading: Reading


def measure(
    forward: Forward,
    weights: Mapping[str, Weight],
    eos_id: int,
    users: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Measure a model; takes some seconds for each figure.

    weights   those that `forward` was made from
    eos_id    is never produced
    users     how many decode together
    progress  is told what is measured next

    Raises InputError if the cache has no room for so many users, or the model for a source.
    """
    config = forward.config
    check_users(forward, users)
    progress("decoding, 1 user")
    one = _decoding(forward, eos_id, 1)
    many = one
    if users > 1:
        progress(f"decoding, {users} users")
        many = _decoding(forward, eos_id, users)
    encoding = []
    for new, remembered in turns(config):
        after = f" after {remembered}" if remembered else ""
        progress(f"encoding {new} tokens{after}")
        encoding.append(_encoding(forward, new, remembered))
    longest = forward.encode(random_ids(config, _longest(config)), Memory.empty())
    peak = peak_bytes()  # before the memory's speed is measured, which takes much of it
    progress("reading memory")
    return Figures(
        one_user=one,
        many_users=many,
        encoding=tuple(encoding),
        bytes_per_token=longest.num_bytes / longest.num_tokens,
        peak_process_bytes=peak,
        reading=_reading(forward, weights, one.ms_per_token),
    )


def check_users(forward: Forward, users: int) -> None:
    """Raise InputError, with the sizes, if the cache cannot hold so many users at once."""
    source, produced = _sizes(forward.config)
    needed = users * forward.request_bytes(source, produced + 1, 1)
    if needed > forward.pool.limit_bytes:
        raise InputError(
            f"{users} users need up to {needed:,} bytes of keys and values; there is room for "
            f"{forward.pool.limit_bytes:,}: take fewer users"
        )


def turns(config: ModelConfig) -> Iterator[tuple[int, int]]:
    """What is encoded: (new tokens, remembered tokens), as far as the model has positions."""
    limit = config.max_positions
    for new in dict.fromkeys(min(count, limit) for count in ENCODED_TOKENS):
        yield new, 0
    if limit > TURN_TOKENS:
        yield TURN_TOKENS, min(REMEMBERED_TOKENS, limit - TURN_TOKENS)


def random_ids(config: ModelConfig, count: int, seed: int = 0) -> list[int]:
    """Token ids of the vocabulary, the same for the same seed."""
    generator = np.random.default_rng(seed)
    return [int(idx) for idx in generator.integers(0, config.vocab_size, count)]


def _sizes(config: ModelConfig) -> tuple[int, int]:
    """Tokens of a source and of a reply; the decoder is fed one token before the reply."""
    limit = min(config.max_positions, config.target_positions)
    if limit < 2:
        raise InputError(f"the model reads {limit} token: too few to measure anything")
    return min(SOURCE_TOKENS, config.max_positions), min(
        PRODUCED_TOKENS, config.target_positions - 1
    )


def _longest(config: ModelConfig) -> int:
    return min(max(ENCODED_TOKENS), config.max_positions)


def _decoding(forward: Forward, eos_id: int, users: int) -> Decoding:
    config = forward.config
    source, produced = _sizes(config)
    engine = Engine(forward, SpecialIds((_NEVER,), (eos_id,)), EngineOptions(max_rows=users))
    pairs = [
        (forward.encode(random_ids(config, source, seed), Memory.empty()), random_ids(config, 1))
        for seed in range(users)
    ]
    options = Options(max_tokens=produced)
    times = repeat(lambda: engine.generate_batch(pairs, options))
    return Decoding(
        users=users,
        source_tokens=source,
        produced_tokens=produced,
        ms_per_token=times.median_ms / produced,
        tokens_per_s=1e3 * users * produced / times.median_ms,
        reply=times,
    )


def _encoding(forward: Forward, new: int, remembered: int) -> Encoding:
    config = forward.config
    memory = Memory.empty()
    if remembered:
        memory = forward.encode(random_ids(config, remembered, 1), memory)
    ids = random_ids(config, new)
    reused = forward.encode(ids, memory).reused_tokens
    return Encoding(new, remembered, reused, repeat(lambda: forward.encode(ids, memory)))


def _reading(forward: Forward, weights: Mapping[str, Weight], step_ms: float) -> Reading:
    names = set(step_names(forward.config))
    read = {name: weight for name, weight in weights.items() if name in names}
    num_bytes = sum(array.nbytes for array in tensors_of(read).values())
    rate = num_bytes / step_ms / 1e6
    ceiling = read_gb_per_s(MEMORY_BYTES, forward.threads, passes=5)
    same = read_gb_per_s(num_bytes, forward.threads, passes=50)
    return Reading(num_bytes, rate, ceiling, rate / ceiling, same)


def step_names(config: ModelConfig) -> list[str]:
    """The matrices that a decoding step reads whole: the decoder's, and the output matrix.

    Not those of the memory's keys and values, which are made when it is encoded.
    """
    skipped = ("cross_attn.kv.weight", "attn.key.weight", "positions.weight", "relative.weight")
    names = [
        name
        for name, shape in weight_spec(config).items()
        if name.startswith("decoder.") and len(shape) == 2 and not name.endswith(skipped)
    ]
    return ["embed.weight" if config.tied_output else "output.weight", *names]


# --- how it is measured ------------------------------------------------------------------------


def repeat(run: Callable[[], object], budget_s: float | None = None) -> Times:
    """Time `run` over and over, for about budget_s seconds (None: BUDGET_S); at most MAX_RUNS.

    One run before does not count, unless it has used up the budget alone.
    """
    end_s = time.perf_counter() + (BUDGET_S if budget_s is None else budget_s)
    samples = [_seconds(run)]
    if time.perf_counter() < end_s:
        samples = [_seconds(run)]
    while len(samples) < MAX_RUNS and time.perf_counter() < end_s:
        samples.append(_seconds(run))
    times = [1e3 * seconds for seconds in samples]
    return Times(statistics.median(times), min(times), max(times), len(times))


def _seconds(run: Callable[[], object]) -> float:
    begin_s = time.perf_counter()
    run()
    return time.perf_counter() - begin_s


def peak_bytes() -> int:
    """Most memory that this process has taken at any time so far."""
    status = Path("/proc/self/status")
    if status.exists():  # what follows may count the process that started this one
        for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def read_gb_per_s(num_bytes: int, threads: int, passes: int = 9) -> float:
    """Gigabytes a second that `threads` threads read together from num_bytes bytes, at best.

    The C library's memcmp (two streams) and memchr (one stream) do nothing but read, with the
    widest instructions there are, and Python lets go of its lock meanwhile. The best of all passes
    counts: a ceiling is what the machine can do, not what it did while others were at it.
    """
    library = ctypes.CDLL(None)
    library.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    library.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    library.memchr.restype = ctypes.c_void_p
    part = max(1, num_bytes // (2 * threads))
    data = np.ones(2 * threads * part, np.uint8)
    begins = [data.ctypes.data + 2 * part * index for index in range(threads)]

    def compare(begin: int) -> bool:
        return bool(library.memcmp(begin, begin + part, part) == 0)

    def find(begin: int) -> bool:
        return library.memchr(begin, 0, 2 * part) is None

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(passes):
            for read in (compare, find):
                best = max(best, data.nbytes / _timed(pool, read, begins) / 1e9)
    return best


def _timed(pool: ThreadPoolExecutor, read: Callable[[int], bool], begins: Sequence[int]) -> float:
    """Seconds until all parts were read, each by a thread of its own."""
    begin_s = time.perf_counter()
    was_whole = all(pool.map(read, begins))
    elapsed_s = time.perf_counter() - begin_s
    if not was_whole:
        raise RuntimeError("memory does not hold what was written to it")
    return elapsed_s
