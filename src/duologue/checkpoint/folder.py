"""A model folder appears whole or not at all.

new_folder      where its files are written before it takes its place
read_json       an object of a file; to_json the other way
is_published    whether a config.json is another's
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors

from duologue.checkpoint.tensors import listed
from duologue.errors import CheckpointError
from duologue.files import sync

CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
ADVICE = "generation_config.json"
_PUBLISHED = "model_type"  # a key of every config.json that is not a ModelConfig
MADE_HERE = "exported_by"  # a key of those that we wrote all the same

_KNOWN_FILES = {CONFIG, TENSORS, CARD, ADVICE} | {  # those of tokenizers as well
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
}


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A fresh folder beside `folder`, which takes its place when the block ends without an error.

    An existing folder is replaced only when it is empty, or a model folder that was written here
    with nothing else in it. On any failure what was there before is untouched and nothing
    half-written remains. Raises CheckpointError for a foreign folder, a full disk, missing rights.
    """
    folder = folder.resolve()  # a link keeps pointing at the model
    _check_replaceable(folder)
    with _write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
        fresh.mkdir()
        try:
            yield fresh
            shutil.copymode(fresh / CONFIG, fresh / TENSORS)  # safetensors makes it private
            for path in (*fresh.iterdir(), fresh):
                sync(path)
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
    sync(folder.parent)


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file; name a folder for the model")
    names = {path.name for path in folder.iterdir()}
    foreign = sorted(names - _KNOWN_FILES)
    if foreign or (names and not {CONFIG, TENSORS} <= names):
        found = listed(foreign or sorted(names))
        raise CheckpointError(
            f"{folder}: will not be replaced, because it is not just a model folder "
            f"(it holds {found}); name another folder"
        )
    if names and _is_foreign(folder / CONFIG):
        raise CheckpointError(
            f"{folder}: will not be replaced, because it holds a published model; "
            "name another folder"
        )


def _is_foreign(config: Path) -> bool:
    try:
        values = read_json(config)
    except CheckpointError:
        return False
    return is_published(values) and MADE_HERE not in values


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CheckpointError(
            f"{folder}: the model could not be written: {problem}; nothing was changed"
        ) from None


def to_json(values: dict[str, Any]) -> str:
    """An object as the content of a file."""
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def is_published(values: Mapping[str, Any]) -> bool:
    """Whether these values of a config.json are a published model's, and not a ModelConfig."""
    return _PUBLISHED in values


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; raises CheckpointError for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: not a model folder ({path.name} is missing)"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: damaged (not valid JSON)") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: damaged (no JSON object)")
    return values
