"""How fast this machine reads memory: the ceiling under a decoder that reads all its weights."""

from __future__ import annotations

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np


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
    part = num_bytes // (2 * threads)
    data = np.ones(2 * threads * part, np.uint8)
    begins = [data.ctypes.data + 2 * part * index for index in range(threads)]

    def compare(begin: int) -> None:
        assert library.memcmp(begin, begin + part, part) == 0

    def find(begin: int) -> None:
        assert library.memchr(begin, 0, 2 * part) is None

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(passes):
            for read in (compare, find):
                start = time.perf_counter()
                list(pool.map(read, begins))
                best = max(best, len(data) / (time.perf_counter() - start) / 1e9)
    return best
