"""A server in a process of its own, whose model decodes one step in PACE_S seconds at best.

server_process.py PACE_S [options of `duologue serve`]
"""

from __future__ import annotations

import sys
import time
from typing import Any

from duologue.cli import run
from duologue.engine.forward import Forward


def slow_down(pace_s: float) -> None:
    decode_step = Forward.decode_step

    def slow(self: Forward, states: Any, ids: Any) -> Any:
        time.sleep(pace_s)
        return decode_step(self, states, ids)

    Forward.decode_step = slow  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down(float(sys.argv[1]))
    sys.exit(run(["serve", *sys.argv[2:]]))
