"""Engines that run Whisper beside ours: CTranslate2 on our very weights, faster-whisper around it.

    pip install -c constraints.txt ctranslate2 faster-whisper

Whisper         CTranslate2's own: features in, ids out, as Ours.transcribe
FasterWhisper   the same folder behind faster-whisper: samples in, text out. NumPy computes the
                features; voice detection, second tries at higher temperatures and marks of time are
                off, so that exactly the tokens are made that were asked for
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from conversion import WHISPER_SPECIALS, whisper_tokens
from shapes import reply_end

from duologue.config import ModelConfig

Floats = npt.NDArray[np.float32]

_KINDS = {"int8": "int8", "f32": "float32"}


class Whisper:
    """A converted model that hears; greedy.

    precision  "int8", or "f32"
    threads    OpenMP threads
    """

    def __init__(self, config: ModelConfig, folder: Path, precision: str, threads: int) -> None:
        import ctranslate2

        assert config.generation is not None
        self._prefix = list(config.generation.start_ids)
        self._end_id = reply_end(config)
        self._view = ctranslate2.StorageView.from_array
        self._model = ctranslate2.models.Whisper(
            str(folder), compute_type=_KINDS[precision], intra_threads=threads
        )

    def transcribe(self, frames: Floats, num_tokens: int) -> list[int]:
        """num_tokens ids after the start; frames [n, mel_bins], n as long as a window."""
        features = self._view(np.ascontiguousarray(frames.T[None]))
        (result,) = self._model.generate(
            features,
            [self._prefix],
            beam_size=1,
            max_length=_most(num_tokens),
            suppress_blank=False,
            suppress_tokens=[self._end_id],
        )
        ids: list[int] = result.sequences_ids[0]
        return ids


class FasterWhisper:
    """The pipeline of faster-whisper over a converted folder, int8.

    Writes what the pipeline looks for beside the model: a vocabulary and the sizes of the features.
    """

    def __init__(self, config: ModelConfig, folder: Path, threads: int) -> None:
        from faster_whisper import WhisperModel

        self._end_id = reply_end(config)
        _write_tokenizer(config, folder / "tokenizer.json")
        sizes = json.dumps({"feature_size": config.mel_bins, "sampling_rate": 16_000})
        (folder / "preprocessor_config.json").write_text(sizes, encoding="utf-8")
        self._model = WhisperModel(
            str(folder), "cpu", compute_type="int8", cpu_threads=threads, local_files_only=True
        )
        # Language and task are said to large vocabularies alone.
        self._num_prefix = 4 if self._model.model.is_multilingual else 2

    def transcribe(self, samples: Floats, num_tokens: int) -> list[Any]:
        """The segments of one window of samples, num_tokens tokens in all."""
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            suppress_blank=False,
            suppress_tokens=[self._end_id],
            without_timestamps=True,
            max_new_tokens=_most(num_tokens) - self._num_prefix,
        )
        return list(segments)


def _most(num_tokens: int) -> int:
    """The max_length at which CTranslate2 makes so many tokens, at least 4: half of it are text."""
    return 2 * num_tokens


def _write_tokenizer(config: ModelConfig, path: Path) -> None:
    """A vocabulary of one word for each id; the special ones are where the model has them."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    tokens = whisper_tokens(config, reply_end(config))
    words = {token: idx for idx, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=tokens[0]))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token, _ in WHISPER_SPECIALS])
    tokenizer.save(str(path))
