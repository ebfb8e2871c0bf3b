"""What the model makes of one window of sound.

WindowDecoder   encodes 30 s, decodes them, and again if the result is poor, and times the words
Heard           an encoded window, and what the model says of it before the first word
Decoded         the best result

Radford et al. 2022 (arXiv:2212.04356, section 4.5). We differ: the no-speech probability is that of
the window alone, without what was said before it; the mean log-probability is that of the model
itself, before rules.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duologue.apps.transcribe.alignment import align, split_words
from duologue.apps.transcribe.rules import SpeechRule
from duologue.apps.transcribe.values import TranscribeOptions, Word
from duologue.apps.transcribe.vocabulary import STEPS_PER_S, Vocabulary
from duologue.engine.engine import Constraints, Hypothesis
from duologue.engine.memory import Memory
from duologue.engine.sampling import Floats, Ints, log_softmax
from duologue.errors import EngineError
from duologue.explain import has_loop
from duologue.media.audio import SAMPLE_RATE_HZ
from duologue.media.features import log_mel
from duologue.runtime import Runtime
from duologue.types import Options


@dataclass(frozen=True)
class Heard:
    """One encoded window.

    no_speech   probability that nobody speaks
    languages   code -> probability; empty for a model that knows English alone
    """

    memory: Memory
    num_samples: int
    no_speech: float
    languages: dict[str, float]


@dataclass(frozen=True)
class Decoded:
    """A result, and what there is to judge it by; see Segment."""

    ids: tuple[int, ...]
    text: str
    mean_logprob: float
    compression: float
    temperature: float


class WindowDecoder:
    """The work on one window; what lies between windows is the transcriber's.

    language  (attribute) what is spoken; None: ask Heard.languages
    """

    def __init__(self, runtime: Runtime, options: TranscribeOptions) -> None:
        self.vocabulary = Vocabulary.of(runtime)
        self.language = self.vocabulary.language(options.language, options.translate)
        self._runtime = runtime
        self._options = options
        self._room = runtime.config.target_positions
        self._rule = SpeechRule(self.vocabulary, with_times=options.timestamps != "none")

    # --- listening ---------------------------------------------------------------------------

    def listen(self, samples: Floats) -> Heard:
        """Encode a window [n] and look at what would come first."""
        known = self.vocabulary
        forward = self._runtime.forward
        memory = forward.encode_frames(log_mel(samples, self._runtime.config.mel_bins))
        logits = forward.decode_step([forward.start(memory)], [known.start])[0]
        codes = list(known.languages)
        ids = [known.languages[code] for code in codes]
        languages = np.exp(log_softmax(logits[ids])).tolist() if ids else []
        no_speech = float(np.exp(log_softmax(logits)[known.no_speech]))
        return Heard(memory, len(samples), no_speech, dict(zip(codes, languages, strict=True)))

    # --- decoding ----------------------------------------------------------------------------

    def decode(self, heard: Heard, language: str, said: Sequence[int]) -> Decoded:
        """The first result that is good enough, or else the last.

        said  ids of what was said before the window; the last ones that fit are used
        """
        prefix = self._prefix(language, said)
        for temperature in self._options.temperatures:
            decoded = self._decode_once(heard.memory, prefix, temperature)
            if not self._is_poor(decoded) or self.is_noise(heard, decoded):
                break
        return decoded

    def is_noise(self, heard: Heard, decoded: Decoded) -> bool:
        """Whether the window holds no speech, by what the model says of it and makes of it."""
        options = self._options
        is_unsure = decoded.mean_logprob < options.min_logprob
        return is_unsure and heard.no_speech > options.max_no_speech

    def is_loop(self, decoded: Decoded) -> bool:
        """Whether the text runs in circles, which no temperature could help."""
        return decoded.compression > self._options.max_compression and has_loop(decoded.text)

    def _is_poor(self, decoded: Decoded) -> bool:
        options = self._options
        return (
            decoded.compression > options.max_compression
            or decoded.mean_logprob < options.min_logprob
        )

    def _prefix(self, language: str, said: Sequence[int]) -> tuple[int, ...]:
        known = self.vocabulary
        last = list(said)[-(self._room // 2 - 1) :]
        before = [known.previous, *last] if last else []
        without = [known.no_times] if self._options.timestamps == "none" else []
        return (*before, *known.task(language, self._options.translate), *without)

    def _decode_once(self, memory: Memory, prefix: tuple[int, ...], temperature: float) -> Decoded:
        wanted = self._options
        most = min(self._room // 2, self._room - len(prefix))
        options = Options(max_tokens=most, beam_size=wanted.beam_size)
        if temperature > 0:
            options = Options(
                max_tokens=most,
                temperature=temperature,
                num_hypotheses=wanted.num_samples,
                seed=wanted.seed,
            )
        finished = self._runtime.engine.generate(
            memory, prefix, options, constraints=Constraints(rule=self._rule)
        )
        if finished.best.finish_reason in ("abort", "error"):
            raise EngineError(finished.problem or "the transcription was ended from outside")
        samples = finished.hypotheses if temperature > 0 else finished.hypotheses[:1]
        best = max(samples, key=_mean_logprob)
        text = self.text(best.ids)
        return Decoded(best.ids, text, _mean_logprob(best), compression(text), temperature)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, a blank in front included; times have none."""
        raw = b"".join(map(self._runtime.tokenizer.token_bytes, self._only_text(ids)))
        return raw.decode(errors="replace")

    def _only_text(self, ids: Sequence[int]) -> list[int]:
        return [idx for idx in ids if idx < self.vocabulary.end]

    # --- words -------------------------------------------------------------------------------

    def words(
        self, heard: Heard, language: str, segments: Sequence[Sequence[int]]
    ) -> list[tuple[Word, ...]]:
        """The words of each segment's ids; times in seconds from the beginning of the window."""
        texts = [self._only_text(ids) for ids in segments]
        tokens = [idx for text in texts for idx in text]
        if not tokens:
            return [() for _ in texts]
        given = [*self.vocabulary.task(language, self._options.translate), self.vocabulary.no_times]
        positions, probabilities = self._follow(heard, given, tokens)
        written = "en" if self._options.translate else language
        result = []
        done = 0
        for text in texts:
            words = []
            for word in split_words(text, self._runtime.tokenizer.token_bytes, written):
                begin, done = done, done + len(word.tokens)
                start, end = (int(positions[place]) / STEPS_PER_S for place in (begin, done))
                probability = float(np.mean(probabilities[begin:done]))
                words.append(Word(start, end, word.text, probability))
            result.append(tuple(words))
        return result

    def _follow(
        self, heard: Heard, given: Sequence[int], tokens: Sequence[int]
    ) -> tuple[Ints, list[float]]:
        """Feed what was decoded once more: where each token begins [n + 1], and its probability."""
        forward = self._runtime.forward
        state = forward.start(heard.memory, recorded_heads=self._alignment_heads())
        probabilities = []
        fed = [*given, *tokens]
        for number, idx in enumerate(fed, 1):
            logits = forward.decode_step([state], [idx])[0]
            if len(given) <= number < len(fed):
                text = log_softmax(logits[: self.vocabulary.end])
                probabilities.append(float(np.exp(text[fed[number]])))
        num_positions = max(1, heard.num_samples * STEPS_PER_S // SAMPLE_RATE_HZ)
        attention = state.head_attention()[:, :, :num_positions]
        return align(attention, len(given)), probabilities

    def _alignment_heads(self) -> tuple[tuple[int, int], ...]:
        config = self._runtime.config
        if config.generation is not None and config.generation.alignment_heads:
            return config.generation.alignment_heads
        layers = range(config.num_decoder_layers // 2, config.num_decoder_layers)
        return tuple((layer, head) for layer in layers for head in range(config.num_heads))


def _mean_logprob(hypothesis: Hypothesis) -> float:
    return hypothesis.logprob / hypothesis.num_scored


def compression(text: str) -> float:
    """How many times smaller zlib makes a text; what repeats itself gets much smaller."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))
