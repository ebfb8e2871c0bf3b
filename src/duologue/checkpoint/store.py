"""A model is a folder: write it whole or not at all, read it mapped and checked.

    config.json         ModelConfig
    tokenizer.json      standard tokenizer file
    model.safetensors   weights in one of PRECISIONS; tensors.py says as which arrays
    README.md           model card

save_model          atomic: a reader sees the old folder or the new one, never a mixture
load_model          weights are read-only views of the mapped file where no conversion is needed
model_info          what `duologue info` prints
The rest is in spec.py (names and shapes), weights.py (precisions) and tensors.py (checks,
fingerprint), and can be imported from here.

Never pickle. Knows nothing of PyTorch: training hands over and receives NumPy arrays.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from duologue.checkpoint.card import read_license
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.tensors import (
    Tensors,
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
from duologue.text.tokenizer import Tokenizer
from duologue.types import PRECISIONS, Precision

__all__ = [
    "PRECISIONS",
    "Bf16Weight",
    "Int4Weight",
    "Int8Weight",
    "LoadedModel",
    "ModelInfo",
    "Precision",
    "Weight",
    "Weights",
    "dequantize",
    "fingerprint",
    "load_config",
    "load_model",
    "model_info",
    "read_card",
    "save_model",
    "to_precision",
    "weight_spec",
]

CONFIG, TOKENIZER, TENSORS, CARD = "config.json", "tokenizer.json", "model.safetensors", "README.md"
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "U16": np.dtype("<u2"),
    "I8": np.dtype("int8"),
    "U8": np.dtype("uint8"),
}


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """What a model folder holds, ready for the engine or as the start of a training run.

    file  that the weights are views of; None if they are arrays of their own
    """

    config: ModelConfig
    weights: Weights
    tokenizer: Tokenizer
    file: mmap.mmap | None = None

    def let_go(self) -> None:
        """Give the memory of the mapped file back; it is read again where it is looked at again."""
        if self.file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.file.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class ModelInfo:
    """What a model folder says of itself.

    parameters    numbers in the weights; scales are not counted
    bytes         size of model.safetensors
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
    weights: Weights,
    tokenizer: Tokenizer,
    card: str,
    precision: Precision = "f32",
) -> None:
    """Write a model folder beside its final place, then move it there.

    weights   every name of weight_spec(config), in any precision; converted to `precision`
    card      Markdown of README.md

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
    folder = folder.resolve()  # a link keeps pointing at the model
    _check_replaceable(folder)
    tensors = tensors_of(to_precision(weights, precision))
    with _write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
        fresh.mkdir()
        try:
            (fresh / CONFIG).write_text(_to_json(to_dict(config)), encoding="utf-8")
            (fresh / CARD).write_text(card, encoding="utf-8")
            tokenizer.save(fresh / TOKENIZER)
            safetensors.numpy.save_file(tensors, fresh / TENSORS)
            shutil.copymode(fresh / CONFIG, fresh / TENSORS)  # the library makes it private
            for path in (*fresh.iterdir(), fresh):
                _sync(path)
            _swap(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; the old one comes back if that fails."""
    if not folder.exists():
        os.replace(fresh, folder)
    else:
        # No portable call exchanges two folders: for an instant the name is free.
        old = fresh.with_name(f"{fresh.name}.old")
        os.replace(folder, old)
        try:
            os.replace(fresh, folder)
        except BaseException:
            os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _sync(folder.parent)


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; name a folder for the model")
    names = {path.name for path in folder.iterdir()}
    foreign = sorted(names - {CONFIG, TOKENIZER, TENSORS, CARD})
    if foreign or (names and not {CONFIG, TENSORS} <= names):
        found = listed(foreign or sorted(names))
        raise CheckpointError(
            f"{folder}: will not be replaced, because it is not just a model folder "
            f"(it holds {found}); name another folder"
        )


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CheckpointError(
            f"{folder}: the model could not be written: {problem}; nothing was changed"
        ) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


# --- reading -----------------------------------------------------------------------------------


def load_model(folder: Path, precision: Precision = "int8") -> LoadedModel:
    """Read a model folder; weights come in `precision`, whatever the file holds.

    Weights already stored in `precision` are read-only views of the mapped file; a replaced
    folder does not disturb them. Raises CheckpointError if anything is missing, damaged, foreign
    or does not fit together, and names all weights that are at fault.
    """
    config = load_config(folder)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{folder}: {TOKENIZER} has {tokenizer.vocab_size} entries, but {CONFIG} says "
            f"{config.vocab_size}; the files come from different models"
        )
    weights, file = _read_weights(folder / TENSORS, config)
    return LoadedModel(config, to_precision(weights, precision), tokenizer, file)


def load_config(folder: Path) -> ModelConfig:
    """Read config.json; unknown keys raise CheckpointError, like every other fault.

    A licence that it does not state is that of the model card.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: not a model folder ({CONFIG} is missing)") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: damaged (not valid JSON)") from None
    try:
        config = from_dict(ModelConfig, values, str(path))
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
    config = load_config(folder)
    path = folder / TENSORS
    weights, _ = _read_weights(path, config)
    return ModelInfo(
        path=str(folder),
        config=config,
        parameters=sum(int(np.prod(shape)) for shape in weight_spec(config).values()),
        bytes=path.stat().st_size,
        precision=stored_precision(weights),
        fingerprint=fingerprint(config, weights),
    )


def _read_weights(path: Path, config: ModelConfig) -> tuple[Weights, mmap.mmap]:
    tensors, file = _map_tensors(path)
    check_tensors(tensors, config, str(path))
    return weights_of(tensors, config), file


def _map_tensors(path: Path) -> tuple[Tensors, mmap.mmap]:
    """Read-only views of the tensors of a file, nothing copied, and the mapped file.

    safetensors checks the header (sizes, offsets, no holes) but would copy each tensor for
    NumPy, so the views are made here. Format: u64 header length, JSON header, data.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.parent}: not a model folder ({path.name} is missing)")
    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path}: damaged or cut short ({error}); copy or download the model again"
        ) from None
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    entries.pop("__metadata__", None)
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
    arrays: Tensors = {}
    for name, entry in entries.items():
        dtype = _DTYPES[entry["dtype"]]
        shape = tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype, count, start + entry["data_offsets"][0]).reshape(shape)
        arrays[name] = np.require(array, requirements="A")
    return arrays, data
