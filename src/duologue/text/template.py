"""Roles, decoder prefixes and control tokens: one place, shared by training and serving.

A source is a sequence of segments, each `[role token] + text ids`.
A decoder input is `prefix + text ids`, and what it must produce is `text ids + </s>`;
the prefix says what to do with the memory: `<reply>`, `<translate> <zh>`, `<sentiment>`, ...

Control tokens reach the ids through this module alone; a text never produces them, because
the tokenizer never joins "<" with what follows it (see tokenizer_train.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from duologue.errors import InputError
from duologue.text.tokenizer import Tokenizer

PAD, EOS, MASK = "<pad>", "</s>", "<mask>"
ROLES = ("system", "user", "agent", "document", "speech", "image")
TASKS = (
    "reply",
    "answer",
    "translate",
    "sentiment",
    "emotion",
    "intent",
    "transcribe",
    "describe",
    "denoise",
    "command",
)
LANGUAGES = ("en", "zh", "de")
NUM_SPARE = 15

CONTROL_TOKENS = (
    PAD,
    EOS,
    MASK,
    *(f"<{name}>" for name in (*ROLES, *TASKS, *LANGUAGES)),
    *(f"<spare_{index}>" for index in range(NUM_SPARE)),
)


def segment_ids(tokenizer: Tokenizer, role: str, text: str) -> list[int]:
    """Ids of one source segment: the role token, then the text."""
    if role not in ROLES:
        raise InputError(f"unknown role {role!r}; roles are {', '.join(ROLES)}")
    return [tokenizer.control_id(f"<{role}>"), *tokenizer.encode(text)]


def prefix_ids(tokenizer: Tokenizer, task: str, language: str | None = None) -> list[int]:
    """Ids the decoder starts from: the task, and for `translate` the target language."""
    if task not in TASKS:
        raise InputError(f"unknown task {task!r}; tasks are {', '.join(TASKS)}")
    if language is None:
        if task == "translate":
            raise InputError("translate needs a target language, such as zh")
        return [tokenizer.control_id(f"<{task}>")]
    if language not in LANGUAGES:
        raise InputError(f"unknown language {language!r}; languages are {', '.join(LANGUAGES)}")
    return [tokenizer.control_id(f"<{task}>"), tokenizer.control_id(f"<{language}>")]


def label_text(label: str) -> str:
    """A label as the decoder spells it: `card_arrival` -> `card arrival`."""
    return label.replace("_", " ").strip()


def command_text(intent: str, slots: Sequence[tuple[str, str]]) -> str:
    """A command as the decoder spells it: `set timer; duration: ten minutes`.

    slots  names and values in the order in which they are spelled
    """
    spelled = (f"{label_text(name)}: {value}" for name, value in slots)
    return "; ".join((label_text(intent), *spelled))
