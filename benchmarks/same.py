"""Are CTranslate2's copy of a model and ours the same model? Asserted before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers import CTranslate2, converted
from peers_speech import Whisper
from shapes import END_ID, START_ID, random_ids, random_weights

import duologue
from duologue.checkpoint.store import load_model
from duologue.checkpoint.weights import Float32, Weights, dequantize
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.text.template import prefix_ids, segment_ids
from duologue.text.tokenizer import Tokenizer

TIE = 1e-4  # logits closer than this may be ranked either way by float32
MOST_TOKENS = 48
SENTENCES = (
    ("Where is the station?", "translate", "zh"),
    ("Two dogs are playing in the snow.", "translate", "de"),
    ("我想订一张两个人的桌子。", "translate", "en"),
    ("I want to book a hotel room in London.", "reply", None),
    ("The room was clean and quiet, but the food was cold.", "reply", None),
)
DEFAULT_MODEL = Path(duologue.__file__).parent / "pretrained" / "duo-s"


@dataclass(frozen=True)
class Case:
    """One thing to decode both ways: ids of the source, and of the decoder's prefix."""

    source: tuple[int, ...]
    prefix: tuple[int, ...]


def check_same(config: ModelConfig, weights: Weights, cases: Sequence[Case], end_id: int) -> str:
    """compare, with a CTranslate2 copy of the weights that lasts as long as the comparison."""
    with converted(config, weights, end_id) as folder:
        return compare(config, weights, folder, cases, end_id)


def compare(
    config: ModelConfig,
    weights: Weights,
    folder: Path,
    cases: Sequence[Case],
    end_id: int,
    most_tokens: int = MOST_TOKENS,
) -> str:
    """Assert that CTranslate2 and ours say the same in float32, greedy; returns what was compared.

    Tokens must be equal one for one. Where they part, our logits of both tokens must lie within
    TIE of each other, a choice that float32 leaves open; what follows it is not compared.

    folder  CTranslate2's copy of the weights
    """
    forward = _exact(config, weights)
    peer = CTranslate2(folder, "f32", 1)
    found = []
    for case in cases:
        (theirs,) = peer.greedy([case.source], most_tokens, case.prefix, may_end=True)
        theirs = [*theirs, end_id][:most_tokens]
        memory = forward.encode(case.source, Memory.empty())
        found.append(_follow(forward, memory, case.prefix, theirs))
    return _told(found, "sources")


def compare_speech(
    config: ModelConfig,
    weights: Weights,
    folder: Path,
    windows: Sequence[Float32],
    most_tokens: int,
) -> str:
    """What `compare` does, of a model that hears: frames [n, mel_bins] of each window."""
    assert config.generation is not None
    forward = _exact(config, weights)
    peer = Whisper(config, folder, "f32", 1)
    found = []
    for frames in windows:
        theirs = peer.transcribe(frames, most_tokens)
        memory = forward.encode_frames(frames)
        found.append(_follow(forward, memory, config.generation.start_ids, theirs))
    return _told(found, "windows")


def _exact(config: ModelConfig, weights: Weights) -> Forward:
    return Forward(config, {name: dequantize(item) for name, item in weights.items()}, 1)


def _follow(
    forward: Forward, memory: Memory, prefix: Sequence[int], theirs: Sequence[int]
) -> tuple[int, bool]:
    """How many tokens were compared, and whether they parted at a tie."""
    state = forward.start(memory)
    for idx in prefix:
        logits = forward.decode_step([state], [idx])[0]
    for count, idx in enumerate(theirs, 1):
        best = int(logits.argmax())
        gap = float(logits[best] - logits[idx])
        assert gap < TIE, f"token {count}: CTranslate2 says {idx}, ours {best}, {gap} better"
        if idx != best:
            return count, True
        logits = forward.decode_step([state], [idx])[0]
    return len(theirs), False


def _told(found: Sequence[tuple[int, bool]], kind: str) -> str:
    compared, ties = (sum(column) for column in zip(*found, strict=True))
    parted = f", parted at {ties} ties" if ties else ""
    return f"{len(found)} {kind}, {compared} tokens: the same in both, float32 greedy{parted}"


def check_random(config: ModelConfig, sources: int = 4) -> str:
    """check_same on random weights and sources of different lengths."""
    cases = [
        Case(
            tuple(random_ids(config, 5 + 9 * seed, seed)), (START_ID, *random_ids(config, 1, seed))
        )
        for seed in range(sources)
    ]
    return f"random weights: {check_same(config, random_weights(config), cases, END_ID)}"


def real_cases(tokenizer: Tokenizer) -> list[Case]:
    """SENTENCES as ids of a tokenizer."""
    return [
        Case(
            tuple(segment_ids(tokenizer, "user", text)),
            tuple(prefix_ids(tokenizer, task, language)),
        )
        for text, task, language in SENTENCES
    ]


def check_real(model: Path) -> str:
    """check_same on a model folder and real sentences."""
    loaded = load_model(model, "f32")
    cases, end_id = real_cases(loaded.tokenizer), loaded.tokenizer.eos_id
    return f"{model.name}: {check_same(loaded.config, loaded.weights, cases, end_id)}"


def checks(configs: Sequence[ModelConfig]) -> list[str]:
    """check_random on each shape and check_real on the default model; prints what was compared."""
    done = [check_random(config) for config in configs]
    done.append(check_real(DEFAULT_MODEL))
    print("\n".join(done))
    return done
