"""The values of a published config.json, read with care.

Published   a value by its key, or the default of the kind where the file omits it
Family      all that is known of one kind of checkpoint
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from duologue.checkpoint.families.mapping import NameMap, Tables
from duologue.config import ModelConfig
from duologue.config.model import Family as FamilyName
from duologue.errors import CheckpointError

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}


class Published:
    """The values of a config.json.

    values    as the file has them
    defaults  what absent keys mean; a key that is null is not absent
    where     the origin, for errors
    """

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
        self.values: dict[str, Any] = {**defaults, **values}
        self.where = where

    def get(self, key: str, default: Any = None) -> Any:
        """A value of any type."""
        return self.values.get(key, default)

    def size(self, key: str) -> int:
        """A count. Raises CheckpointError for anything but a positive whole number."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(f"{self.where}: {key} must be a positive number, not {value!r}")
        return value

    def real(self, key: str) -> float:
        """A number. Raises CheckpointError for anything else."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"{self.where}: {key} must be a number, not {value!r}")
        return float(value)

    def flag(self, key: str) -> bool:
        """Yes or no, which null is too. Raises CheckpointError for anything else."""
        value = self.values.get(key)
        if not isinstance(value, bool | None):
            raise CheckpointError(f"{self.where}: {key} must be true or false, not {value!r}")
        return bool(value)

    def section(self, key: str, defaults: Mapping[str, Any]) -> Published:
        """An object inside. Raises CheckpointError if it is something else."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.where}: {key} must be an object, not {value!r}")
        return Published(value, defaults, f"{self.where}, {key}")

    def activation(self, key: str) -> str:
        """Our name of an activation; raises CheckpointError for one that we do not have."""
        value = self.values.get(key)
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            self.refuse(key, f"known: {', '.join(_ACTIVATIONS)}")
        return _ACTIVATIONS[value]

    def equal(self, first: str, second: str) -> int:
        """The count that two keys agree on; raises CheckpointError if they do not."""
        if self.size(first) != self.size(second):
            self.refuse(second, f"it must be {first}, {self.size(first)}")
        return self.size(first)

    def refuse(self, key: str, reason: str) -> NoReturn:
        """Raise the CheckpointError that says that the value of a key is not supported."""
        raise CheckpointError(
            f"{self.where}: {key} {self.values.get(key)!r} is not supported ({reason})"
        )


@dataclass(frozen=True)
class Family:
    """All that is known of one kind of published checkpoint.

    name      ModelConfig.family
    defaults  of the keys of config.json
    config    the values of ModelConfig, but for `generation`, which is read apart
    tables    where embeddings lie
    weights   how every other weight is made
    export    a config.json that `config` and `weights` read as what was given
    prefix    of tensors of the model without its output; may be absent from all names
    ignored   patterns (fnmatch) of tensors that are known and not needed
    """

    name: FamilyName
    defaults: Mapping[str, Any]
    config: Callable[[Published], dict[str, Any]]
    tables: Callable[[Published], Tables]
    weights: Callable[[ModelConfig, Published], NameMap]
    export: Callable[[ModelConfig], dict[str, Any]]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
