"""What a live draft is worth: how soon its translation stands there, and how soon the reply begins.

    python benchmarks/serve_live.py [--typists 1 4] [--texts 4] [--sends 16] [--quick]

`duologue serve` runs in a process of its own, with the default model in int8, and so do the people
(serve_typing.py). Each key sends the draft as it stands, 12 keys a second, and after every third
word the typist stops for 0.6 s. What counts is the time from the last key before a stop to the
last change of the translation of all that stands there; the draft was encoded before that.

Then texts are sent in conversations of eleven exchanges, all but one the same: by POST, and by
`send` on a WebSocket that has the draft since 0.3 s; in turn. The time to the first text of the
reply counts from the sending. Three lengths of texts; S4 is about the longest. Writes
benchmarks/results/serve_live.json.
"""

from __future__ import annotations

from typing import Any

import harness
from harness import Report, log, percentile, ratio
from serve_site import Site, run_client, serving
from serve_texts import SAID

KEY_S, PAUSE_S, WORDS = 1 / 12, 0.6, 3
ENGLISH = [text for text in SAID if text.isascii()]
EXCHANGES = 10
PARTS = (1, 3, 6)  # of SAID in one text: about 35, 110 and 220 tokens


def typing(site: Site, typists: int, texts: int, speed: float) -> list[dict[str, Any]]:
    """All pauses of so many people, who type so many texts each."""
    drafts = [
        [ENGLISH[(typist + number) % len(ENGLISH)] for number in range(texts)]
        for typist in range(typists)
    ]
    times = {"key_s": KEY_S / speed, "pause_s": PAUSE_S, "words": WORDS}
    found: list[dict[str, Any]] = run_client(
        "serve_typing", {"port": site.port, "typists": drafts, **times}
    )
    return found


def sending(site: Site, count: int, exchanges: int, parts: int) -> list[dict[str, float]]:
    """Milliseconds to the first text of each reply to so many texts in one, in both ways."""
    base = site.begin()
    short = {"max_tokens": 8}
    for number in range(exchanges):
        text = SAID[number % len(SAID)]
        site.post(f"/v1/conversations/{base}/messages", text=text)
    sends = []
    for number in range(count):
        text = " ".join(ENGLISH[(number + place) % len(ENGLISH)] for place in range(parts))
        forks = [str(site.post(f"/v1/conversations/{base}/fork")["id"]) for _ in range(2)]
        for fork in forks:  # a conversation that is led just now
            site.post(f"/v1/conversations/{fork}/messages", text=f"{fork}?", options=short)
        sends.append([f"{text} ({number})", *forks])
    found: list[dict[str, float]] = run_client("serve_typing", {"port": site.port, "sends": sends})
    return found


def main() -> None:
    parser = harness.options(__doc__, rounds=1)
    parser.add_argument("--model", default="duo-s", help="name or folder")
    parser.add_argument("--typists", type=int, nargs="+", default=[1, 4], help="at the same time")
    parser.add_argument("--texts", type=int, default=4, help="that each types")
    parser.add_argument("--sends", type=int, default=16, help="of each length, in both ways")
    arguments = parser.parse_args()
    exchanges, speed = EXCHANGES, 1.0
    if arguments.quick:
        arguments.typists, arguments.texts, arguments.sends = [1], 1, 2
        exchanges, speed = 1, 100.0
    settings = {"model": arguments.model, "texts": arguments.texts, "threads": arguments.threads}
    settings |= {"key_s": KEY_S, "pause_s": PAUSE_S, "words": WORDS, "exchanges": exchanges}
    report = Report("serve_live", harness.output_folder(arguments), settings)
    with serving(arguments.model, arguments.threads) as site:
        for typists in arguments.typists:
            log(f"{typists} typing")
            pauses = typing(site, typists, arguments.texts, speed)
            told(report, typists, pauses)
        for parts in PARTS:
            log(f"sending {parts} texts in one")
            sends = sending(site, arguments.sends, exchanges, parts)
            times = {name: [one[name] for one in sends] for name in ("post", "draft")}
            report.add(f"first text of a reply to {parts} texts in one", "ms", times, "post")
            report.goals["S4"] = ratio(times["post"], times["draft"])
    report.finish()


def told(report: Report, typists: int, pauses: list[dict[str, Any]]) -> None:
    """Add what was found of pauses; S3 is about the first number of typists."""
    missing = sum(pause["translated"] is None or pause["encoded"] is None for pause in pauses)
    assert not missing, f"{missing} of {len(pauses)} drafts were not translated in time"
    for kind in ("encoded", "translated", "sentiment"):
        times = [pause[kind] for pause in pauses if pause[kind] is not None]
        shares = {"p50": [percentile(times, 0.5)], "p95": [percentile(times, 0.95)]}
        report.add(f"{typists} typing, {len(times)} pauses, {kind}", "ms", shares)
        if kind == "translated":
            report.goals.setdefault("S3", shares["p95"][0])


if __name__ == "__main__":
    main()
