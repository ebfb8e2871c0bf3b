"""Other engines beside ours: CTranslate2 on our very weights, transformers on the same shape.

    pip install -c constraints.txt ctranslate2 transformers

What is identical and what is not:

CTranslate2   Computes our own model, and the published ones that families.py runs. conversion.py
              writes our weights as its model folder, and same.py asserts that greedy search in
              float32 gives the same tokens. Different remain its own choices: in int8 it quantises
              the same matrices row by row with its own rounding, so int8 tokens may differ here
              and there; tables of positions and relative biases are float32 in both. It knows no
              segments: a source is read whole, each time.
transformers  Cannot build our family, so it runs its T5ForConditionalGeneration with random weights
              at FLAN-T5-small's shape in float32: as wide and as deep, but with 6 heads instead of
              8 and relative positions instead of rotary. That is a little less work than ours.

Nothing of the peers is imported before it is needed.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conversion import convert, convert_whisper
from shapes import END_ID, START_ID

from duologue.checkpoint.weights import Weights, dequantize
from duologue.config import ModelConfig

PACKAGES = ("ctranslate2", "transformers")


def announce_missing(packages: Sequence[str] = PACKAGES) -> None:
    """One line on stderr that says how to install the peers that are not there."""
    names = [name for name in packages if not has(name)]
    if names:
        command = f"pip install -c constraints.txt {' '.join(names)}"
        print(f"runs without {' and '.join(names)}; to compare: {command}", file=sys.stderr)


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package.replace("-", "_")) is not None


# --- CTranslate2 -------------------------------------------------------------------------------


@contextmanager
def converted(config: ModelConfig, weights: Weights, end_id: int = END_ID) -> Iterator[Path]:
    """A temporary CTranslate2 folder of our weights."""
    with tempfile.TemporaryDirectory() as folder:
        write = convert_whisper if config.front_end == "mel" else convert
        write(config, weights, Path(folder), end_id)
        yield Path(folder)


class CTranslate2:
    """A converted model; ids in, ids out, greedy.

    precision  "int8", or "f32"
    threads    OpenMP threads of one worker (intra_threads)
    workers    batches that run at the same time (inter_threads)
    """

    def __init__(self, folder: Path, precision: str, threads: int, workers: int = 1) -> None:
        import ctranslate2

        kind = {"int8": "int8", "f32": "float32"}[precision]
        self._translator = ctranslate2.Translator(
            str(folder), compute_type=kind, inter_threads=workers, intra_threads=threads
        )

    def greedy(
        self,
        sources: Sequence[Sequence[int]],
        num_tokens: int,
        prefix: Sequence[int] = (START_ID,),
        *,
        may_end: bool = False,
        rows: int = 0,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[list[int]]:
        """Ids after the prefix for each source.

        num_tokens  how many to produce; fewer only if may_end
        rows        sources in one batch; 0 is all of them
        on_token    called with the index of a source in its batch at each of its new tokens
        """
        # What comes back begins with the prefix, but for the token that the decoder starts from.
        known = len(prefix) - 1
        seen = [0] * len(sources)

        def told(step: Any) -> bool:
            seen[step.batch_id] += 1
            if seen[step.batch_id] > known and on_token is not None:
                on_token(step.batch_id)
            return False

        results = self._translator.translate_batch(
            [[str(idx) for idx in source] for source in sources],
            target_prefix=[[str(idx) for idx in prefix]] * len(sources),
            max_batch_size=rows,
            beam_size=1,
            max_input_length=0,
            max_decoding_length=num_tokens + known,
            min_decoding_length=1 if may_end else num_tokens + known,
            callback=None if on_token is None else told,
        )
        return [[int(token) for token in result.hypotheses[0]][known:] for result in results]


# --- PyTorch -----------------------------------------------------------------------------------


class T5:
    """transformers' own model at the shape of `config`, with three quarters of its heads; float32.

    FLAN-T5-small has 6 heads of 64 where our model of its width has 8.
    """

    def __init__(self, config: ModelConfig, threads: int) -> None:
        from transformers import T5Config, T5ForConditionalGeneration

        shape = T5Config(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            d_kv=config.head_dim,
            d_ff=config.d_ff,
            num_layers=config.num_encoder_layers,
            num_decoder_layers=config.num_decoder_layers,
            num_heads=max(1, config.num_heads * 3 // 4),
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            pad_token_id=0,
            eos_token_id=END_ID,
            decoder_start_token_id=0,
        )
        self.threads = threads
        self._model = T5ForConditionalGeneration(shape).eval()

    def encode(self, source: Sequence[int]) -> None:
        """The encoder alone."""
        import torch

        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            self._model.encoder(torch.tensor([list(source)]))

    def greedy(self, sources: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        """num_tokens ids for each source; all sources are equally long."""
        import torch

        torch.set_num_threads(self.threads)
        ids = torch.tensor([list(source) for source in sources])
        with torch.inference_mode():
            made = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                do_sample=False,
                num_beams=1,
            )
        result: list[list[int]] = made[:, 1:].tolist()
        return result


class Twin:
    """Our model in PyTorch, float32: the definition that the engine must equal, as it is."""

    def __init__(self, config: ModelConfig, weights: Weights, threads: int) -> None:
        import torch

        from duologue.model.seq2seq import Seq2Seq

        self.threads = threads
        self._model = Seq2Seq(config).eval()
        tensors = {name: torch.from_numpy(dequantize(item)) for name, item in weights.items()}
        self._model.load_state_dict(tensors)

    def encode(self, source: Sequence[int]) -> None:
        """The encoder alone."""
        self._encode([source])

    def _encode(self, sources: Sequence[Sequence[int]]) -> Any:
        import torch

        from duologue.model.values import Source

        torch.set_num_threads(self.threads)
        ids = torch.tensor([list(source) for source in sources])
        position = torch.arange(ids.shape[1]).expand_as(ids)
        with torch.inference_mode():
            zeros = torch.zeros_like(ids)
            return self._model.encode(Source(ids, zeros, position, zeros.bool()))

    def greedy(self, sources: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        """num_tokens ids for each source; all sources are equally long."""
        import torch

        memory = self._encode(sources)
        ids = torch.full((len(sources),), START_ID)
        columns = []
        with torch.inference_mode():
            state = self._model.start(memory)
            for _ in range(num_tokens):
                logits, state = self._model.decode_step(state, ids)
                logits[:, END_ID] = -torch.inf
                ids = logits.argmax(dim=1)
                columns.append(ids)
        result: list[list[int]] = torch.stack(columns, dim=1).tolist()
        return result
