"""Speed of published models beside CTranslate2 and faster-whisper, and the memory to load one.

    python benchmarks/families.py [--rounds 7] [--threads 2] [--quick]

On the shapes of OPUS-MT, FLAN-T5-base, NLLB-200-distilled-600M and Whisper tiny and base, with
random weights in int8. CTranslate2 runs the very same weights: before a shape is timed, greedy
search in float32 must give the same tokens with both. Contenders run in turn in one process, each
at 1 to --threads threads; its best number counts.

    a token       a source of 32 tokens, 128 produced, one user: F1, F2
    first token   from a source of 512 tokens, which is the limit of OPUS-MT: F3, F4
    features      features of 30 s of sound to 100 tokens, encoder and greedy search; as a share of
                  those 30 s (real-time factor)
    samples       the same from samples on, beside the whole of faster-whisper
    loading       peak memory of a process that reads a folder of NLLB's shape as published, float32
                  in shards, as int8; over 1.2 times its size in int8 and 300 MB: F5. Then of one
                  that also packs the weights for the engine

Writes benchmarks/results/families.json.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import decode
import harness
import numpy as np
import peers
import same
from encode import first_token
from families_loading import int8_bytes, write_folder
from family_shapes import NLLB, QUICK_SPEECH, QUICK_TEXT, SPEECH, TEXT, speech_weights
from footprint import peak_mb
from harness import Contender, Report, Times, fastest, in_turn, log, thread_counts
from lineup import Lineup
from ours import Ours
from peers_speech import FasterWhisper, Whisper
from report import ROOT
from shapes import END_ID, START_ID, random_ids, random_weights, reply_end

from duologue.checkpoint.weights import Float32, Weights
from duologue.config import ModelConfig
from duologue.media.audio import SAMPLE_RATE_HZ
from duologue.media.features import WINDOW_S, WINDOW_SAMPLES, log_mel

GOALS_OF = {"OPUS-MT": ("F1", "F3"), "FLAN-T5-base": ("F2", "F4")}
OF_REAL_TIME = "of real time"
PACKAGES = ("ctranslate2", "faster-whisper")
# A model of which one reply takes seconds gets fewer rounds.
LARGE_BYTES, ROUNDS_OF_LARGE = 300 * 10**6, 3


@dataclass(frozen=True)
class Sizes:
    """How much is done: tokens read and produced, tokens of a long source, tokens of speech.

    compared  tokens of each reply that are compared in float32
    """

    source: int = 32
    produced: int = 128
    long_source: int = 512
    spoken: int = 100
    compared: int = 16


QUICK = Sizes(8, 6, 24, 8, 8)


@dataclass(frozen=True)
class Row:
    """Ours and the best peer at one task, each at its best number of threads: medians.

    unit   of `ours` and `peer`
    ratio  ours over the peer, median of the rounds; ratio_min, ratio_max: their least and largest
    """

    model: str
    task: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    ratio_min: float
    ratio_max: float


def row_of(model: str, task: str, unit: str, times: Times) -> Row | None:
    """The row of a task from its times in ms; None if nobody but ours ran."""
    others = {name: values for name, values in times.items() if not name.startswith("ours")}
    if not others:
        return None
    ours, peer = fastest(times, "ours"), fastest(others)
    ratios = [a / b for a, b in zip(times[ours], times[peer], strict=True)]
    scale = 1e-3 / WINDOW_S if unit == OF_REAL_TIME else 1.0
    return Row(
        model=model,
        task=task,
        unit=unit,
        ours=statistics.median(times[ours]) * scale,
        peer=statistics.median(times[peer]) * scale,
        peer_name=peer.partition(" int8")[0],
        ratio=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
    )


@dataclass(frozen=True)
class Run:
    """What the parts of the benchmark share."""

    report: Report
    arguments: argparse.Namespace
    sizes: Sizes

    @property
    def threads(self) -> list[int]:
        """Numbers of threads that everyone is tried with."""
        return thread_counts(self.arguments.threads)

    def rounds(self, config: ModelConfig) -> int:
        """Timed rounds of a shape."""
        rounds: int = self.arguments.rounds
        return min(rounds, ROUNDS_OF_LARGE) if int8_bytes(config) > LARGE_BYTES else rounds

    def same(self, model: str, told: str) -> None:
        """Keep what was compared."""
        log(f"{model}: {told}")
        self.report.extra["checks"].append(f"{model}: {told}")

    def add(self, model: str, task: str, unit: str, times: Times) -> Row | None:
        """Keep times in ms (a token), and the row that comes of them if a peer ran."""
        row = row_of(model, task, unit, times)
        over = fastest(times, "ours" if row is None else row.peer_name)
        self.report.add(f"{model}, {task}", "ms/token" if unit == "ms/token" else "ms", times, over)
        if row is not None:
            self.report.extra["rows"].append(asdict(row))
        return row


@contextmanager
def copied(config: ModelConfig, weights: Weights) -> Iterator[Path | None]:
    """CTranslate2's copy of the weights; None without it."""
    if not peers.has("ctranslate2"):
        yield None
        return
    with peers.converted(config, weights, reply_end(config)) as folder:
        yield folder


# --- text --------------------------------------------------------------------------------------


def run_text(run: Run, model: str, config: ModelConfig) -> None:
    """Everything on one shape that reads tokens."""
    log(f"{model}: weights")
    weights, sizes, rounds = random_weights(config), run.sizes, run.rounds(config)
    with copied(config, weights) as folder:
        if folder is not None:
            sources = [random_ids(config, 5 + 9 * seed, seed) for seed in range(2)]
            cases = [same.Case(tuple(source), (START_ID,)) for source in sources]
            told = same.compare(config, weights, folder, cases, END_ID, sizes.compared)
            run.same(model, told)
        lineup = Lineup(model, config, weights, folder, None, model in GOALS_OF)
        engines = lineup.engines([("int8", count) for count in run.threads], [])
        lengths = decode.Sizes(source=sizes.source, produced=sizes.produced)
        log(f"{model}: a token")
        _, further = decode.one_user(config, engines, lengths, rounds)
        each = run.add(model, f"a token, {sizes.source} read", "ms/token", further)
        log(f"{model}: first token")
        long = first_token(config, engines, sizes.long_source, rounds)
        first = run.add(model, f"first token, {sizes.long_source} read", "ms", long)
    if model in GOALS_OF and each is not None and first is not None:
        run.report.goals |= dict(zip(GOALS_OF[model], (each.ratio, first.ratio), strict=True))


# --- speech ------------------------------------------------------------------------------------


def sound() -> Float32:
    """A window of samples [WINDOW_SAMPLES]: noise that swells four times a second."""
    time_s = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(0).standard_normal(len(time_s), np.float32)
    return (0.1 * noise * np.sin(4 * np.pi * time_s)).astype(np.float32)


def run_speech(run: Run, model: str, config: ModelConfig) -> None:
    """Everything on one shape that hears."""
    log(f"{model}: weights")
    weights, samples, count = speech_weights(config), sound(), run.sizes.spoken
    frames = log_mel(samples, config.mel_bins)
    heard, whole = [], []
    with copied(config, weights) as folder:
        if folder is not None:
            told = same.compare_speech(config, weights, folder, [frames], run.sizes.compared)
            run.same(model, told)
        for threads in run.threads:
            name = f"int8, {threads} thr"
            ours = Ours(config, weights, "int8", threads)
            heard.append(Contender(f"ours {name}", partial(ours.transcribe, frames, count)))
            listen = partial(listen_and_transcribe, ours, samples, count)
            whole.append(Contender(f"ours {name}", listen))
            if folder is None:
                continue
            peer = Whisper(config, folder, "int8", threads)
            heard.append(Contender(f"CTranslate2 {name}", partial(peer.transcribe, frames, count)))
            if peers.has("faster-whisper"):
                pipeline = FasterWhisper(config, folder, threads)
                listen = partial(pipeline.transcribe, samples, count)
                whole.append(Contender(f"faster-whisper {name}", listen))
        for task, contenders in (("30 s of features", heard), ("30 s of samples", whole)):
            log(f"{model}: {task}")
            times = in_turn(contenders, run.rounds(config))
            run.add(model, f"{task}, {count} tokens", OF_REAL_TIME, times)


def listen_and_transcribe(ours: Ours, samples: Float32, num_tokens: int) -> list[int]:
    """Ours from the samples on."""
    return ours.transcribe(log_mel(samples, ours.config.mel_bins), num_tokens)


# --- loading -----------------------------------------------------------------------------------


def run_loading(run: Run, model: str, config: ModelConfig) -> None:
    """The peak memory of reading a published folder, and of being ready to run it."""
    needed, size = 5 * int8_bytes(config), int8_bytes(config) / 1e6
    if shutil.disk_usage(tempfile.gettempdir()).free < needed:
        log(f"{model}: no room for {needed / 1e9:.1f} GB in {tempfile.gettempdir()}: not loaded")
        return
    with tempfile.TemporaryDirectory() as folder:
        log(f"{model}: writing a published folder")
        write_folder(config, Path(folder))
        script = str(ROOT / "benchmarks" / "families_loading.py")
        command = [sys.executable, script, folder]
        log(f"{model}: loading it")
        peak, ready = peak_mb(command), peak_mb([*command, "--ready"])
    limit = 1.2 * size + 300
    found = {"int8_mb": size, "limit_mb": limit, "peak_mb": peak, "ready_mb": ready}
    run.report.extra["loading"] = {"model": model} | found
    print("  ".join([model, *(f"{name} {value:.0f}" for name, value in found.items())]))
    run.report.goals["F5"] = peak / limit


def main() -> None:
    arguments = harness.options(__doc__, rounds=7).parse_args()
    texts, speeches = (QUICK_TEXT, QUICK_SPEECH) if arguments.quick else (TEXT, SPEECH)
    sizes = QUICK if arguments.quick else Sizes()
    settings = {"rounds": arguments.rounds, "threads": arguments.threads, "quick": arguments.quick}
    shapes = {name: asdict(config) for name, config in (texts | speeches).items()}
    settings |= asdict(sizes) | {"shapes": shapes}
    report = Report("families", harness.output_folder(arguments), settings)
    report.extra |= {"checks": [], "rows": []}
    peers.announce_missing(PACKAGES)
    run = Run(report, arguments, sizes)
    for model, config in texts.items():
        run_text(run, model, config)
    for model, config in speeches.items():
        run_speech(run, model, config)
    name = next(name for name, config in TEXT.items() if config is NLLB)
    run_loading(run, name, texts[name])
    report.finish()


if __name__ == "__main__":
    main()
