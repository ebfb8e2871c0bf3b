"""A Whisper model without weights: what it says of each window stands in a script.

It has what the transcriber asks of a runtime. The window that is decoded is known by the loudest
sample in it, so that a test sees which stretch of the sound was looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from duologue.config import GenerationConfig
from duologue.engine.engine import Constraints, Finished, Hypothesis
from duologue.errors import CheckpointError
from duologue.types import Options

# Text is one id a letter; then the end, then what says what to do, then 0 s to 30 s.
LETTERS = " abcdefghijklmnopqrstuvwxyz.,!?'"
END = len(LETTERS)
CONTROLS = {
    name: END + number
    for number, name in enumerate(
        [
            "<|endoftext|>",
            "<|startoftranscript|>",
            "<|en|>",
            "<|de|>",
            "<|translate|>",
            "<|transcribe|>",
            "<|startofprev|>",
            "<|nospeech|>",
            "<|notimestamps|>",
        ]
    )
}
FIRST_TIME = END + len(CONTROLS)
VOCAB_SIZE = FIRST_TIME + 1501


def spell(text: str) -> list[int]:
    """Ids of a text in which <1.5> is a time."""
    ids: list[int] = []
    while text:
        if text.startswith("<"):
            seconds, _, text = text[1:].partition(">")
            ids.append(FIRST_TIME + round(float(seconds) * 50))
        else:
            ids.append(LETTERS.index(text[0]))
            text = text[1:]
    return ids


@dataclass(frozen=True)
class Says:
    """What one window gives at the first temperature that is at least `from_temperature`."""

    text: str
    mean_logprob: float = -0.2
    from_temperature: float = 0.0


@dataclass
class Window:
    says: list[Says]
    no_speech: float = 0.01
    german: float = 0.1


@dataclass
class Call:
    """One request of the engine."""

    window: int
    prefix: list[int]
    options: Options


@dataclass
class FakeWhisper:
    """A runtime; windows are answered in their order."""

    windows: list[Window]
    is_multilingual: bool = True
    target_positions: int = 448
    calls: list[Call] = field(default_factory=list)
    frames: list[Any] = field(default_factory=list)
    finish_reason: str = "stop"

    def __post_init__(self) -> None:
        languages = {code: CONTROLS[f"<|{code}|>"] for code in ("en", "de")}
        self.config = SimpleNamespace(
            vocab_size=VOCAB_SIZE,
            front_end="mel",
            mel_bins=80,
            target_positions=self.target_positions,
            num_decoder_layers=2,
            num_heads=1,
            generation=GenerationConfig(
                (CONTROLS["<|startoftranscript|>"],),
                (END,),
                END,
                languages=languages if self.is_multilingual else {},
            ),
        )
        self.tokenizer = self.forward = self.engine = self

    # --- tokenizer ---------------------------------------------------------------------------

    def control_id(self, token: str) -> int:
        if token not in CONTROLS:
            raise CheckpointError(f"tokenizer: the control token {token} is missing")
        return CONTROLS[token]

    def token_bytes(self, idx: int) -> bytes:
        return LETTERS[idx].encode() if idx < END else b""

    # --- forward -----------------------------------------------------------------------------

    def encode_frames(self, frames: np.ndarray) -> int:
        assert frames.shape == (3000, 80)
        self.frames.append(frames)
        return len(self.frames) - 1

    def start(self, memory: int, recorded_heads: Any = ()) -> SimpleNamespace:
        return SimpleNamespace(
            memory=memory,
            fed=[],
            heads=recorded_heads,
            head_attention=lambda: self._attention(memory, len(recorded_heads)),
        )

    def decode_step(self, states: list[SimpleNamespace], ids: list[int]) -> np.ndarray:
        (state,) = states
        state.fed += ids
        self.fed = state.fed
        window = self.windows[state.memory]
        probabilities = np.full(VOCAB_SIZE, 1e-9)
        probabilities[CONTROLS["<|nospeech|>"]] = window.no_speech
        rest = 1 - window.no_speech
        probabilities[CONTROLS["<|de|>"]] = window.german * rest
        probabilities[CONTROLS["<|en|>"]] = (1 - window.german) * rest
        if state.heads:
            probabilities[:END] = 1
            probabilities[1] = END  # an "a" is as likely as all letters together
        return np.log(probabilities / probabilities.sum()).astype(np.float32)[None]

    def _attention(self, memory: int, num_heads: int) -> np.ndarray:
        """Each token that was fed is half a second long."""
        rows = len(self.fed)
        attention = np.full((rows, num_heads, 1500), 1e-4, np.float32)
        num_given = rows - sum(idx < END for idx in self.fed)
        for row in range(rows):
            begin = max(0, 25 * (row - num_given + 1))
            attention[row, :, begin : begin + 25] = 1
        return attention

    # --- engine ------------------------------------------------------------------------------

    def generate(
        self, memory: int, prefix: tuple[int, ...], options: Options, constraints: Constraints
    ) -> Finished:
        assert constraints.rule is not None
        self.calls.append(Call(memory, list(prefix), options))
        says = [
            says
            for says in self.windows[memory].says
            if says.from_temperature <= options.temperature
        ][-1]
        ids = tuple(spell(says.text))
        logprob = says.mean_logprob * (len(ids) + 1)
        worse = Hypothesis((1,), -50.0, (-50.0,), "stop")
        best = Hypothesis(ids, logprob, (), self.finish_reason)  # type: ignore[arg-type]
        return Finished((worse, best) if options.temperature > 0 else (best, worse))
