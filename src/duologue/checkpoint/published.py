"""A folder as others publish it, read as a model of ours.

open_published     the model of a folder, checked, with its weights still in the files
read_published     its configuration and weights alone
PublishedWeights   makes one weight at a time

Of the tensors nothing is held but a piece of the one that is being converted, and what was made.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duologue.checkpoint.card import model_name, read_license
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
from duologue.checkpoint.folder import ADVICE, CONFIG, read_json
from duologue.checkpoint.spec import weight_spec
from duologue.checkpoint.tensors import faults_text
from duologue.checkpoint.weights import Float32, Weight, Weights, from_rows, precision_of
from duologue.config import ModelConfig, replace
from duologue.errors import CheckpointError
from duologue.text.describe import describe
from duologue.text.imported import ImportedTokenizer, load_imported_tokenizer
from duologue.types import Precision

_ROWS_AT_ONCE = 1024
_SECOND_VOCABULARY = "target_vocab.json"


class NotFiniteError(CheckpointError):
    """A weight of a published model holds what is no number."""

    def __init__(self, where: str, name: str) -> None:
        super().__init__(faults_text({"not finite": [name]}, where))


class PublishedWeights(Mapping[str, Weight]):
    """The weights of a published model, each made when it is asked for, and not kept.

    Raises CheckpointError for one that is not finite.
    """

    def __init__(self, model: PublishedModel, precision: Precision) -> None:
        self._model = model
        self._spec = weight_spec(model.config)
        self._precision = precision

    def __len__(self) -> int:
        return len(self._spec)

    def __iter__(self) -> Iterator[str]:
        return iter(self._spec)

    def __getitem__(self, name: str) -> Weight:
        precision = precision_of(name, self._precision)
        return from_rows(self._spec[name], precision, self._rows(name))

    def _rows(self, name: str) -> Iterator[Float32]:
        files = self._model.files
        for piece in rows_of(self._model.names[name], files.tensors, self._spec[name]):
            if not np.isfinite(piece).all():
                raise NotFiniteError(str(self._model.folder), name)
            yield piece
            files.let_go()


@dataclass(frozen=True, eq=False)
class PublishedModel:
    """A published folder that was opened and checked, but for numbers that are not finite.

    values  config.json, and generation_config.json over it
    """

    folder: Path
    values: dict[str, Any]
    config: ModelConfig
    names: NameMap
    files: TensorFiles

    def weights(self, precision: Precision) -> PublishedWeights:
        """The weights in `precision`, one at a time."""
        return PublishedWeights(self, precision)

    def load(self, precision: Precision) -> Weights:
        """All weights. Raises CheckpointError that lists those that are not finite."""
        weights = self.weights(precision)
        loaded: Weights = {}
        not_finite = []
        for name in weights:
            try:
                loaded[name] = weights[name]
            except NotFiniteError:
                not_finite.append(name)
        if not_finite:
            faults = {"not finite": sorted(not_finite)}
            raise CheckpointError(faults_text(faults, str(self.folder)))
        return loaded


def read_published(
    folder: Path, precision: Precision, is_lazy: bool = False
) -> tuple[ModelConfig, Mapping[str, Weight]]:
    """The configuration of a published folder without what its tokenizer tells, and its weights.

    is_lazy  as of store.load_model

    Raises CheckpointError for a kind or value that is not supported, and for files that are
    missing or damaged; and one that lists all tensors that are missing, unknown, misshapen, of a
    type that is not read, or not finite.
    """
    model, problem = _open(folder)
    if problem:
        raise CheckpointError(problem)
    return model.config, model.weights(precision) if is_lazy else model.load(precision)


def open_published(folder: Path) -> tuple[PublishedModel, ImportedTokenizer]:
    """The model of a published folder and its tokenizer.

    Raises what read_published raises, with what is wrong with the tokenizer in the same error.
    """
    model, problem = _open(folder)
    config = model.config
    try:
        tokenizer = load_imported_tokenizer(folder, config.family, config.vocab_size)
    except CheckpointError as error:
        raise CheckpointError("; ".join(filter(None, (problem, str(error))))) from None
    if problem:
        raise CheckpointError(problem)
    if config.family == "marian" and (folder / _SECOND_VOCABULARY).exists():
        raise CheckpointError(
            f"{folder}: a vocabulary for each side ({_SECOND_VOCABULARY}) is not supported"
        )
    told = describe(model.values, config.family, tokenizer, model_name(folder))
    generation = config.generation
    assert generation is not None  # every imported family has one
    config = replace(
        config,
        tasks=told.tasks,
        languages=told.languages,
        license=read_license(folder).name,
        generation=replace(
            generation,
            languages=told.language_ids or generation.languages,
            prompts=told.prompts,
        ),
    )
    return dataclasses.replace(model, config=config), tokenizer


def _open(folder: Path) -> tuple[PublishedModel, str]:
    """A model, and what is wrong with its tensors, if anything is."""
    values = read_json(folder / CONFIG)
    advice = read_json(folder / ADVICE) if (folder / ADVICE).is_file() else {}
    config, family, published = model_config(values, advice, str(folder / CONFIG))
    files = open_tensors(folder)
    if config.num_encoder_layers + config.num_decoder_layers > len(files.tensors):
        raise CheckpointError(f"{folder}: {CONFIG} has more layers than there are weights")
    files = replace(files, tensors=_prefixed(files.tensors, family.prefix))
    tables = family.tables(published)
    found = _find_tables(tables, files.tensors)
    config = replace(
        config,
        shared_embedding=found.get("encoder", found["decoder"]) == found["decoder"],
        tied_output=found["output"] == found["decoder"],
    )
    names = family.weights(config, published) | _table_names(config, found)
    faults = _faults(config, names, files.tensors, (*family.ignored, *tables.names))
    model = PublishedModel(folder, values | advice, config, names, files)
    return model, faults_text(faults, str(folder))


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


def _faults(
    config: ModelConfig,
    names: NameMap,
    tensors: Mapping[str, StoredTensor],
    ignored: tuple[str, ...],
) -> dict[str, list[str]]:
    """All that does not fit: kind of fault -> tensors."""
    missing: list[str] = []
    misshapen, unread, used = [], [], set()
    for ours, shape in weight_spec(config).items():
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
    return faults | {"of a type that is not read": unread}
