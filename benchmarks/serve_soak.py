"""Ten minutes of visitors who come, leave, read slowly and type: what grows, and what stays behind?

    python benchmarks/serve_soak.py [--minutes 10] [--visitors 16] [--quick]

`duologue serve` runs in a process of its own, with the default model in int8, and so do the
visitors (serve_crowd.py). The memory of the server (resident, once a second) is fitted by a line,
by least squares, after a fifth of the time. At the end everything must be as before the first
visitor: no stream, request or job is left, all keys and values are given back, and no file or
connection is open that was not. Whoever was admitted must have been served. Writes
benchmarks/results/serve_soak.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import harness
import numpy as np
from harness import Report, log
from serve_site import FOLDER, Site, serving

WARM_UP = 0.2  # of the time
SETTLE_S = 30.0  # until what is left is looked at, at most
GONE = ("duologue_active_requests", "duologue_open_streams")


def soak(
    site: Site, plan: dict[str, Any], every_s: float
) -> tuple[dict[str, Any], list[list[float]]]:
    """What the visitors found, and samples: seconds, megabytes, open files."""
    samples = []
    command = [sys.executable, str(FOLDER / "serve_crowd.py")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as visitors:
        assert visitors.stdin is not None
        json.dump(plan, visitors.stdin)
        visitors.stdin.close()
        visitors.stdin = None
        begun_s = time.monotonic()
        while visitors.poll() is None:
            samples.append([time.monotonic() - begun_s, site.rss_bytes / 1e6, site.files.total()])
            time.sleep(every_s)
        found, _ = visitors.communicate()
    assert visitors.returncode == 0, "the visitors failed"
    return json.loads(found), samples


def slope(samples: Sequence[Sequence[float]], seconds: float) -> float:
    """Megabytes a minute, by least squares, between the warm-up and the end of the visits."""
    late = [sample for sample in samples if WARM_UP * seconds <= sample[0] <= seconds]
    times, megabytes, _ = np.array(late).T
    return float(np.polyfit(times / 60, megabytes, 1)[0])


def left(site: Site, before: dict[str, float]) -> dict[str, float]:
    """What is left of the visitors, by name; what is as before is left out."""
    end_s = time.monotonic() + SETTLE_S
    while (found := _differences(site, before)) and time.monotonic() < end_s:
        time.sleep(0.5)
    return found


def _differences(site: Site, before: dict[str, float]) -> dict[str, float]:
    now = state(site)
    return {
        name: value - before.get(name, 0)
        for name, value in now.items()
        if value > before.get(name, 0)
    }


def state(site: Site) -> dict[str, float]:
    """Requests, streams, jobs, bytes of keys and values, files."""
    kept = (*GONE, "duologue_engine_jobs", "duologue_memory_bytes")
    found = {
        name: value
        for name, value in site.metrics().items()
        if name.startswith(kept) and '"disk"' not in name
    }
    return {**found, **{f"open: {name}": number for name, number in site.files.items()}}


def main() -> None:
    parser = harness.options(__doc__, rounds=1)
    parser.add_argument("--model", default="duo-s", help="name or folder")
    parser.add_argument("--minutes", type=float, default=10, help="of visits")
    parser.add_argument("--visitors", type=int, default=16, help="at the same time")
    arguments = parser.parse_args()
    every_s = 1.0
    if arguments.quick:
        arguments.minutes, arguments.visitors, every_s = 0.05, 3, 0.1
    seconds = 60 * arguments.minutes
    settings = {"model": arguments.model, "minutes": arguments.minutes}
    settings |= {"visitors": arguments.visitors, "threads": arguments.threads}
    report = Report("serve_soak", harness.output_folder(arguments), settings)
    with serving(arguments.model, arguments.threads) as site:
        before = state(site)
        plan = {"port": site.port, "model": site.model, "seconds": seconds, "seed": 1}
        found, samples = soak(site, {**plan, "visitors": arguments.visitors}, every_s)
        remains = left(site, before)
    log(f"{found['done']}, {found['refused']} refused, {len(found['failed'])} failed")
    for problem in found["failed"][:10]:
        log(problem)
    log(f"left: {remains}")
    report.extra = {**found, "left": remains}
    report.extra["megabytes"] = [[round(value, 1) for value in one] for one in samples[::15]]
    report.extra["first_mb"], report.extra["last_mb"] = samples[0][1], samples[-1][1]
    report.goals["S6"] = max(0.0, slope(samples, seconds))
    report.goals["S6l"] = float(len(found["failed"]) + len(remains))
    report.finish()


if __name__ == "__main__":
    main()
