"""Weight files of a published checkpoint, read where they lie.

StoredTensor   one tensor as it is stored; rows of it as float32
open_tensors   all tensors of a folder: one file or shards, safetensors or what torch.save wrote
map_file       the header and the mapped bytes of one safetensors file

Nothing is read before it is asked for, and mapped memory can be given back at any time. Pickles
are read by PyTorch alone, with weights_only, so that nothing in them runs.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from duologue.checkpoint.weights import Bf16Weight, Float32, dequantize
from duologue.errors import CheckpointError
from duologue.types import Precision

SAFE, PICKLE = "model.safetensors", "pytorch_model.bin"
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_HALVES = ("F16", "BF16")


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor of a file.

    values  as stored; for types that are not read, as bytes
    dtype   F32, F16, BF16 (the upper halves of float32), or another that is not read
    shape   as stored
    """

    values: npt.NDArray[Any]
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_known(self) -> bool:
        """Whether `read` can read it."""
        return self.dtype in _DTYPES

    def read(self, rows: slice) -> Float32:
        """Some rows as float32."""
        values = self.values[rows]
        if self.dtype == "BF16":
            return dequantize(Bf16Weight(values))
        return values.astype(np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class TensorFiles:
    """The tensors of a folder by name, and the mapped files that they lie in."""

    tensors: dict[str, StoredTensor]
    files: list[mmap.mmap] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        """Size of all tensors as stored."""
        return sum(tensor.values.nbytes for tensor in self.tensors.values())

    @property
    def precision(self) -> Precision:
        """The coarsest that any of them is stored in, as far as ours go: bf16 stands for halves."""
        return "bf16" if any(x.dtype in _HALVES for x in self.tensors.values()) else "f32"

    def let_go(self) -> None:
        """Give the memory of the mapped files back; it is read again where it is looked at."""
        for file in self.files:
            give_back(file)


def give_back(file: mmap.mmap) -> None:
    """Give the memory of a mapped file back."""
    if hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


def open_tensors(folder: Path) -> TensorFiles:
    """The tensors of a published folder; safetensors if it has them.

    Raises CheckpointError, which lists all files that are missing or damaged.
    """
    for name, read in ((SAFE, _map_tensors), (PICKLE, _load_pickle)):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return _join([read(folder / name)])
        if index.is_file():
            return _join([read(path) for path in _shards(index)])
    raise CheckpointError(f"{folder}: no weights here ({SAFE} is missing)")


def _join(parts: list[TensorFiles]) -> TensorFiles:
    tensors = {name: tensor for part in parts for name, tensor in part.tensors.items()}
    return TensorFiles(tensors, [file for part in parts for file in part.files])


def _shards(index: Path) -> list[Path]:
    """The files that an index names. Raises CheckpointError for those that are missing."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        paths = [index.parent / name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{index}: damaged; download it again") from None
    if any(path.parent != index.parent for path in paths):
        raise CheckpointError(f"{index}: names files outside of its folder")
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise CheckpointError(f"{index.parent}: shards are missing: {', '.join(missing)}")
    return paths


def map_file(path: Path) -> tuple[dict[str, dict[str, Any]], mmap.mmap, int]:
    """Tensor -> entry of the header; the mapped file; where its data begin.

    safetensors checks the header (sizes, offsets, no holes) but would copy each tensor for NumPy,
    so views are made by the caller. Format: u64 header length, JSON header, data. Raises
    CheckpointError for a file that is damaged or cut short.
    """
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
    return entries, data, start


def view(data: mmap.mmap, start: int, entry: dict[str, Any], dtype: np.dtype[Any]) -> Any:
    """The tensor of a header entry, read-only and aligned; not copied if it lies aligned."""
    shape = tuple(entry["shape"])
    count = int(np.prod(shape, dtype=np.int64))
    array = np.frombuffer(data, dtype, count, start + entry["data_offsets"][0]).reshape(shape)
    return np.require(array, requirements="A")


def _map_tensors(path: Path) -> TensorFiles:
    entries, data, start = map_file(path)
    tensors = {}
    for name, entry in entries.items():
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        begin, end = (start + offset for offset in entry["data_offsets"])
        if dtype in _DTYPES:
            values = view(data, start, entry, _DTYPES[dtype])
        else:
            values = np.frombuffer(data, np.uint8, end - begin, begin)
        tensors[name] = StoredTensor(values, dtype, shape)
    return TensorFiles(tensors, [data])


def _load_pickle(path: Path) -> TensorFiles:
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"{path}: only PyTorch reads this file; install duologue[train], or take a revision "
            f"of the model that has {SAFE}"
        ) from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # whatever the unpickler meets
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a file of weights, or damaged: {reason}") from None
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds no named tensors")
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    tensors = {}
    for name, tensor in loaded.items():
        if not isinstance(tensor, torch.Tensor):
            raise CheckpointError(f"{path}: {name} is no tensor")
        plain = tensor.detach().view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        values = plain.detach().numpy()
        is_half = tensor.dtype == torch.bfloat16
        tensors[str(name)] = StoredTensor(
            values.view(np.uint16) if is_half else values,
            kinds.get(tensor.dtype, str(tensor.dtype)),
            tuple(tensor.shape),
        )
    return TensorFiles(tensors)


def _is_zip(path: Path) -> bool:
    """Whether torch can map the file: older ones are no archives."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"
