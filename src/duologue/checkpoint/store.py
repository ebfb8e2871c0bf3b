"""A model is a folder: write it whole or not at all, read it mapped and checked.

    config.json         ModelConfig
    tokenizer.json      standard tokenizer file; imported families: the files as published
    model.safetensors   weights in one of PRECISIONS; tensors.py says as which arrays
    README.md           model card

A folder as others publish it, with a `model_type` in its config.json, is read just as well.

save_model          atomic: a reader sees the old folder or the new one, never a mixture
load_model          weights are read-only views of the mapped file where no conversion is needed
open_model          leaves the weights in the files until they are asked for
model_info          what `duologue info` prints
The rest is in spec.py (names and shapes), weights.py (precisions) and tensors.py (checks,
fingerprint), and can be imported from here; published.py reads what others wrote.

Knows nothing of PyTorch: training hands over and receives NumPy arrays.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from duologue.checkpoint.card import read_license
from duologue.checkpoint.files import give_back, map_file, view
from duologue.checkpoint.folder import (
    CARD,
    CONFIG,
    TENSORS,
    is_published,
    new_folder,
    read_json,
    to_json,
)
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.tensors import (
    check_tensors,
    check_weights,
    fingerprint,
    listed,
    tensors_of,
    weights_of,
)
from duologue.checkpoint.weights import (
    Bf16Weight,
    Int4Weight,
    Int8Weight,
    Weight,
    Weights,
    dequantize,
    stored_precision,
    to_precision,
)
from duologue.config import ModelConfig, from_dict, replace, to_dict
from duologue.errors import CheckpointError, ConfigError
from duologue.text.imported import ImportedTokenizer, load_imported_tokenizer
from duologue.text.tokenizer import Tokenizer
from duologue.types import PRECISIONS, Precision

if TYPE_CHECKING:
    from duologue.checkpoint.published import PublishedModel

__all__ = [
    "PRECISIONS",
    "Bf16Weight",
    "Int4Weight",
    "Int8Weight",
    "LoadedModel",
    "ModelInfo",
    "Precision",
    "StoredModel",
    "Weight",
    "Weights",
    "dequantize",
    "fingerprint",
    "load_config",
    "load_model",
    "model_info",
    "open_model",
    "read_card",
    "save_model",
    "to_precision",
    "weight_spec",
]

TOKENIZER = "tokenizer.json"
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "U16": np.dtype("<u2"),
    "I8": np.dtype("int8"),
    "U8": np.dtype("uint8"),
}


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """What a model folder holds, ready for the engine or as the start of a training run.

    weights  by their names; see load_model
    file     that the weights are views of; None if they are arrays of their own
    """

    config: ModelConfig
    weights: Mapping[str, Weight]
    tokenizer: Tokenizer | ImportedTokenizer
    file: mmap.mmap | None = None

    def let_go(self) -> None:
        """Give the memory of the mapped file back; it is read again where it is looked at again."""
        if self.file is not None:
            give_back(self.file)


@dataclass(frozen=True)
class ModelInfo:
    """What a model folder says of itself.

    parameters    numbers in the weights; scales are not counted
    bytes         size of model.safetensors; of all tensors of a published model
    precision     how the weights are stored: the coarsest that is in the file
    fingerprint   see fingerprint()
    """

    path: str
    config: ModelConfig
    parameters: int
    bytes: int
    precision: Precision
    fingerprint: str


# --- writing -----------------------------------------------------------------------------------


def save_model(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Weight],
    tokenizer: Tokenizer | ImportedTokenizer,
    card: str,
    precision: Precision = "f32",
    check: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a model folder beside its final place, then move it there.

    weights   every name of weight_spec(config), in any precision; converted to `precision`
    card      Markdown of README.md
    check     looks at what was written before it takes its place; what it raises prevents that

    An existing folder is replaced only when it is empty or a model folder with nothing else in
    it. On any failure what was there before is untouched and nothing half-written remains.
    Raises CheckpointError for wrong weights, a foreign folder, a full disk, missing rights.
    """
    check_weights(weights, config, str(folder))
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} entries, "
            f"config.vocab_size is {config.vocab_size}"
        )
    tensors = tensors_of(to_precision(weights, precision))
    with new_folder(folder) as fresh:
        (fresh / CONFIG).write_text(to_json(to_dict(config)), encoding="utf-8")
        (fresh / CARD).write_text(card, encoding="utf-8")
        if isinstance(tokenizer, ImportedTokenizer):
            tokenizer.save(fresh)
        else:
            tokenizer.save(fresh / TOKENIZER)
        safetensors.numpy.save_file(tensors, fresh / TENSORS)
        check(fresh)


# --- reading -----------------------------------------------------------------------------------


def load_model(folder: Path, precision: Precision = "int8", is_lazy: bool = False) -> LoadedModel:
    """Read a model folder; weights come in `precision`, whatever the file holds.

    is_lazy  weights are made when they are asked for, each time, and not kept: for who copies them
             one after another. What is not finite in a published model is refused only then

    Weights already stored in `precision` are read-only views of the mapped file; a replaced
    folder does not disturb them. Raises CheckpointError if anything is missing, damaged, foreign
    or does not fit together, and names all weights that are at fault.
    """
    values = _read_config(folder)
    if is_published(values):
        model, published_tokenizer = _open_published(folder)
        made = model.weights(precision) if is_lazy else model.load(precision)
        return LoadedModel(model.config, made, published_tokenizer)
    config = _model_config(values, folder)
    tokenizer = _load_tokenizer(folder, config)
    stored, file = _read_weights(folder / TENSORS, config)
    weights = _Converted(stored, precision, file)
    return LoadedModel(config, weights if is_lazy else dict(weights), tokenizer, file)


class _Converted(Mapping[str, Weight]):
    """Weights of a file in some precision, each made when it is asked for."""

    def __init__(self, stored: Weights, precision: Precision, file: mmap.mmap) -> None:
        self._stored = stored
        self._precision: Precision = precision
        self._file = file

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __getitem__(self, name: str) -> Weight:
        weight = to_precision({name: self._stored[name]}, self._precision)[name]
        give_back(self._file)
        return weight


def _open_published(folder: Path) -> tuple[PublishedModel, ImportedTokenizer]:
    from duologue.checkpoint.published import open_published  # here: our own models start without

    return open_published(folder)


def _load_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer | ImportedTokenizer:
    if config.family != "duo":
        return load_imported_tokenizer(folder, config.family, config.vocab_size)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size} entries, but {CONFIG} says "
            f"{config.vocab_size}; the files come from different models"
        )
    return tokenizer


def load_config(folder: Path) -> ModelConfig:
    """The configuration alone; unknown keys raise CheckpointError, like every other fault.

    A licence that it does not state is that of the model card.
    """
    values = _read_config(folder)
    if is_published(values):
        return _open_published(folder)[0].config
    return _model_config(values, folder)


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder")
    return read_json(folder / CONFIG)


def _model_config(values: dict[str, Any], folder: Path) -> ModelConfig:
    try:
        config = from_dict(ModelConfig, values, str(folder / CONFIG))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    return config if config.license else replace(config, license=read_license(folder).name)


def read_card(folder: Path) -> str:
    """The model card (Markdown); empty if the folder has none."""
    try:
        return (folder / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def model_info(folder: Path) -> ModelInfo:
    """Read a model folder as it is stored and say what it holds; raises like load_model."""
    stored = open_model(folder)
    return ModelInfo(
        path=str(folder),
        config=stored.config,
        parameters=sum(int(np.prod(shape)) for shape in weight_spec(stored.config).values()),
        bytes=stored.bytes,
        precision=stored.precision,
        fingerprint=fingerprint(stored.config, stored.weights),
    )


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A model whose weights are still in its files.

    weights    each is read when it is asked for; those of a published model come in float32
    bytes, precision   see ModelInfo
    """

    config: ModelConfig
    weights: Mapping[str, Weight]
    bytes: int
    precision: Precision


def open_model(folder: Path) -> StoredModel:
    """A model folder, checked, with its weights as they are stored; raises like load_model."""
    values = _read_config(folder)
    if is_published(values):
        model, _ = _open_published(folder)
        weights, files = model.weights("f32"), model.files
        return StoredModel(model.config, weights, files.num_bytes, files.precision)
    config = _model_config(values, folder)
    path = folder / TENSORS
    stored, _ = _read_weights(path, config)
    return StoredModel(config, stored, path.stat().st_size, stored_precision(stored))


def _read_weights(path: Path, config: ModelConfig) -> tuple[Weights, mmap.mmap]:
    """Read-only views of the weights of a file, nothing copied, and the mapped file."""
    if not path.is_file():
        raise CheckpointError(f"{path.parent}: not a model folder ({path.name} is missing)")
    entries, data, start = map_file(path)
    foreign = [
        f"{name} {entry['dtype']}"
        for name, entry in sorted(entries.items())
        if entry["dtype"] not in _DTYPES
    ]
    if foreign:
        raise CheckpointError(
            f"{path}: stored in types that Duologue does not read (it reads "
            f"{', '.join(_DTYPES)}): {listed(foreign)}"
        )
    tensors = {
        name: view(data, start, entry, _DTYPES[entry["dtype"]]) for name, entry in entries.items()
    }
    check_tensors(tensors, config, str(path), lambda: give_back(data))
    return weights_of(tensors, config), data
