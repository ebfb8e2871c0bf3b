"""Between plain values and the dataclasses of settings: build, dump, change."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import pydantic

from duologue.errors import ConfigError

T = TypeVar("T")
STRICT = pydantic.ConfigDict(extra="forbid")


def require(condition: bool, problem: str) -> None:
    """Raise ValueError, which from_dict and replace turn into ConfigError."""
    if not condition:
        raise ValueError(problem)


def from_dict(kind: type[T], values: Any, where: str) -> T:
    """Build the dataclass `kind` from plain values; `where` names the origin in errors."""
    try:
        return pydantic.TypeAdapter(kind).validate_python(values)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error)}") from None


def _explain(error: pydantic.ValidationError) -> str:
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            message = "unknown key (check the spelling)"
        problems.append(f"{key}: {message}" if key else message)
    return "; ".join(problems)


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as plain values, ready for JSON or YAML."""
    values: dict[str, Any] = pydantic.TypeAdapter(type(config)).dump_python(config, mode="json")
    return values


def replace(config: T, **changes: Any) -> T:
    """A copy with some fields changed; the checks of the dataclass run again."""
    try:
        return dataclasses.replace(config, **changes)  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
