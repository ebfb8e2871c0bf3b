"""Train, run and talk to encoder-decoder language models, privately, on your own machine.

The names of __all__ are imported when they are first used: `import duologue` loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duologue.api import Model, load
    from duologue.apps.translate import Glossary
    from duologue.conversation import Conversation
    from duologue.engine.memory import Memory
    from duologue.errors import DuologueError
    from duologue.explain import Explanation
    from duologue.explain.erasure import ErasureOptions
    from duologue.types import (
        Alternative,
        Checks,
        Commit,
        Done,
        Event,
        Options,
        Result,
        Revise,
        Span,
        Turn,
        Usage,
    )

__version__ = "0.1.0"

__all__ = [
    "Alternative",
    "Checks",
    "Commit",
    "Conversation",
    "Done",
    "DuologueError",
    "ErasureOptions",
    "Event",
    "Explanation",
    "Glossary",
    "Memory",
    "Model",
    "Options",
    "Result",
    "Revise",
    "Span",
    "Turn",
    "Usage",
    "__version__",
    "load",
]

_MODULES = {
    "Conversation": "conversation",
    "DuologueError": "errors",
    "ErasureOptions": "explain.erasure",
    "Explanation": "explain",
    "Glossary": "apps.translate",
    "Memory": "engine.memory",
    "Model": "api",
    "load": "api",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'types')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
