"""A folder as others publish it: read as a model of ours, or written from one.

is_published      whether a config.json is another's
read_published    ModelConfig and weights, one weight at a time

Of the tensors nothing is held but the one that is being converted, a piece of it in float32, and
what has been made.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from duologue.checkpoint.families import model_config
from duologue.checkpoint.families.mapping import (
    NameMap,
    Tables,
    find,
    plain,
    rows_of,
    stored_shape,
)
from duologue.checkpoint.files import StoredTensor, TensorFiles, open_tensors
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.tensors import raise_faults
from duologue.checkpoint.weights import Float32, Weights, from_rows, precision_of
from duologue.config import ModelConfig, replace
from duologue.errors import CheckpointError
from duologue.types import Precision

CONFIG, ADVICE = "config.json", "generation_config.json"
_ROWS_AT_ONCE = 1024


def is_published(values: Any) -> bool:
    """Whether these values of a config.json are a published model's, and not a ModelConfig."""
    return isinstance(values, Mapping) and "model_type" in values


def read_published(folder: Path, precision: Precision) -> tuple[ModelConfig, Weights]:
    """The model of a published folder, its weights in `precision`.

    Raises CheckpointError for a kind or value that is not supported, and for files that are
    missing or damaged; and one that lists all tensors that are missing, unknown, misshapen, of a
    type that is not read, or not finite.
    """
    config, names, files = _open(folder)
    spec = weight_spec(config)
    weights: Weights = {}
    not_finite = []
    for name, shape in spec.items():
        rows = _Watched(rows_of(names[name], files.tensors, shape))
        weights[name] = from_rows(shape, precision_of(name, precision), rows)
        files.let_go()
        if not rows.is_finite:
            not_finite.append(name)
    raise_faults({"not finite": not_finite}, str(folder))
    return config, weights


def published_config(folder: Path) -> ModelConfig:
    """What read_published says of the model; raises what it raises, but for what is not finite."""
    return _open(folder)[0]


class _Watched:
    """Rows as they pass by, and whether all of their numbers were finite."""

    def __init__(self, rows: Iterator[Float32]) -> None:
        self._rows = rows
        self.is_finite = True

    def __iter__(self) -> Iterator[Float32]:
        for piece in self._rows:
            if not np.isfinite(piece).all():
                self.is_finite = False
                piece = np.nan_to_num(piece, posinf=0, neginf=0)
            yield piece


def _open(folder: Path) -> tuple[ModelConfig, NameMap, TensorFiles]:
    """Everything but the weights, checked."""
    values = read_json(folder / CONFIG)
    advice = read_json(folder / ADVICE) if (folder / ADVICE).is_file() else {}
    config, family, published = model_config(values, advice, str(folder / CONFIG))
    files = open_tensors(folder)
    if config.num_encoder_layers + config.num_decoder_layers > len(files.tensors):
        raise CheckpointError(f"{folder}: {CONFIG} has more layers than there are weights")
    files = TensorFiles(_prefixed(files.tensors, family.prefix), files.files)
    tables = family.tables(published)
    found = _find_tables(tables, files.tensors)
    config = replace(
        config,
        shared_embedding=found.get("encoder", found["decoder"]) == found["decoder"],
        tied_output=found["output"] == found["decoder"],
    )
    names = family.weights(config, published) | _table_names(config, found)
    _check(config, names, files.tensors, (*family.ignored, *tables.names), str(folder))
    return config, names, files


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file; raises CheckpointError for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: damaged (not valid JSON)") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: damaged (no object)")
    return values


def _prefixed(tensors: dict[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """The tensors with the prefix that files of a model without its output lack."""
    if not prefix or any(name.startswith(prefix) for name in tensors):
        return tensors
    bare = ("encoder.", "decoder.", "shared.")
    return {
        prefix + name if name.startswith(bare) else name: tensor for name, tensor in tensors.items()
    }


# --- embeddings --------------------------------------------------------------------------------


def _find_tables(tables: Tables, tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Use -> name of its table; one name for tables that hold the same numbers.

    What is not there gets the name that it should have.
    """
    found: dict[str, str] = {}
    for use in ("decoder", "encoder", "output"):
        names: tuple[str, ...] = getattr(tables, use)
        if names:
            name = next((name for name in names if name in tensors), names[0])
            same = (other for other in found.values() if _are_equal(tensors, name, other))
            found[use] = next(same, name)
    return found


def _are_equal(tensors: Mapping[str, StoredTensor], first: str, second: str) -> bool:
    if first == second or first not in tensors or second not in tensors:
        return first == second
    one, other = tensors[first], tensors[second]
    if one.shape != other.shape or one.dtype != other.dtype or not one.shape:
        return False
    if one.values.__array_interface__ == other.values.__array_interface__:
        return True
    for begin in range(0, one.shape[0], _ROWS_AT_ONCE):
        rows = slice(begin, begin + _ROWS_AT_ONCE)
        if not np.array_equal(one.values[rows], other.values[rows]):
            return False
    return True


def _table_names(config: ModelConfig, found: dict[str, str]) -> NameMap:
    names: NameMap = {"embed.weight": plain(found["decoder"])}
    if not config.shared_embedding and config.front_end == "tokens":
        names["encoder.embed.weight"] = plain(found["encoder"])
    if not config.tied_output:
        names["output.weight"] = plain(found["output"])
    return names


# --- checks ------------------------------------------------------------------------------------


def _check(
    config: ModelConfig,
    names: NameMap,
    tensors: Mapping[str, StoredTensor],
    ignored: tuple[str, ...],
    where: str,
) -> None:
    """Raise one CheckpointError that lists all that does not fit."""
    spec = weight_spec(config)
    missing: list[str] = []
    misshapen, unread, used = [], [], set()
    for ours, shape in spec.items():
        for block in names[ours]:
            theirs = find(block, tensors)
            if theirs is None:
                missing += block.names[:1] if block.fill is None else ()
                continue
            used.add(theirs)
            tensor, expected = tensors[theirs], stored_shape(block, shape)
            if tensor.shape != expected:
                misshapen.append(f"{theirs} {list(tensor.shape)} instead of {list(expected)}")
            if not tensor.is_known:
                unread.append(f"{theirs} {tensor.dtype}")
    surplus = [
        name
        for name in sorted(tensors.keys() - used)
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in ignored)
    ]
    faults = {"missing": missing, "surplus": surplus, "misshapen": misshapen}
    raise_faults(faults | {"of a type that is not read": unread}, where)
