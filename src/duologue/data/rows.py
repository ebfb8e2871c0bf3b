"""What one row of a data set becomes: an Example of source segments and targets.

Target, Example    what a row trains
Row                the fields of a row and where it stands, for errors that name the line
example_of         Row to Example, one small function per kind of row

Texts lose their outer blanks; nothing else is changed.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from duologue.config import DatasetConfig
from duologue.errors import DataError
from duologue.text.template import LANGUAGES, command_text, label_text
from duologue.types import Role, Turn

SPLITS = ("train", "valid", "test")
MAX_KB_CHARS = 800  # of a knowledge-base table or result; whole entries are kept up to here


@dataclass(frozen=True, slots=True)
class Target:
    """One text that the decoder learns to produce from an example's segments.

    task        one of text.template
    text        what is to be produced; empty for a question that the document does not answer
    limit       source segments that this target may see: segments[:limit]
    language    of the text, for `translate`, and for `reply` where the row names one that there is
                a control token for; None for other tasks
    references  other texts that are as right; training ignores them, evaluation counts them
    """

    task: str
    text: str
    limit: int
    language: str | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """One row: what is read once, and everything that is learnt from it.

    set       name of the data set
    line      line of the file it stands on
    segments  source turns, documents first
    targets   by rising limit; empty for plain text and for dialogues without a reply
    language  of the source, where the row states it
    labels    the labels of the row as the data spells them
    gaps      denoise: offsets into the text of the only segment, where a `<mask>` stands
    """

    set: str
    line: int
    segments: tuple[Turn, ...]
    targets: tuple[Target, ...]
    language: str | None = None
    labels: tuple[str, ...] = ()
    gaps: tuple[int, ...] = ()

    @property
    def is_plain_text(self) -> bool:
        """Whether it trains nothing by itself, but could by augment.denoise."""
        return not self.targets and len(self.segments) == 1


@dataclass(frozen=True, slots=True)
class Row:
    """The fields of one row, and where it stands."""

    path: Path
    line: int
    fields: dict[str, Any]

    def fail(self, problem: str) -> NoReturn:
        """Raise DataError for this row."""
        raise DataError(self.path, self.line, problem)

    def text(self, key: str) -> str:
        """A text that must be there and not be empty."""
        if key not in self.fields:
            self.fail(f"field {key!r} is missing")
        text = self.checked(self.fields[key], key)
        if not text:
            self.fail(f"field {key!r} is empty")
        return text

    def texts(self, key: str) -> list[str]:
        """A list of texts that must be there; it may be empty, its texts may not."""
        values = self.fields.get(key)
        if not isinstance(values, list):
            self.fail(f"field {key!r} must be a list of texts")
        texts = [self.checked(value, key) for value in values]
        if not all(texts):
            self.fail(f"field {key!r} holds an empty text")
        return texts

    def checked(self, value: Any, key: str) -> str:
        """The value as a text that a tokenizer can take, without outer blanks."""
        if not isinstance(value, str):
            self.fail(f"field {key!r} must be a text, not {type(value).__name__}")
        if "\x00" in value:
            self.fail(f"field {key!r} holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"field {key!r} holds half of a character (a lone surrogate)")
        return value.strip()


def split_of(row: Row, default: str) -> str:
    """The split that a row names, or the default."""
    split = row.fields.get("split", default)
    if split not in SPLITS:
        row.fail(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    return str(split)


def example_of(
    row: Row,
    set_name: str,
    config: DatasetConfig,
    languages: tuple[str, ...] | None = LANGUAGES,
) -> Example:
    """The example of a row. Raises DataError for missing fields and wrong types.

    languages  that translations may be between; None: any
    """
    task = row.fields.get("task") or _guessed_task(row)
    if not isinstance(task, str) or task not in _KINDS:
        row.fail(f"task {task!r} cannot be trained on; tasks are {', '.join(_KINDS)}")
    language = row.fields.get("lang") or config.src_lang
    if language is not None and not isinstance(language, str):
        row.fail("field 'lang' must be a text")
    try:
        example: Example = _KINDS[task](_Origin(set_name, language, config, languages), row)
    except RecursionError:
        row.fail("lists or objects are nested too deeply")
    return example


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the examples of one data set have in common."""

    set_name: str
    language: str | None
    config: DatasetConfig
    languages: tuple[str, ...] | None

    @property
    def reply_language(self) -> str | None:
        """What a reply's prefix says of its language."""
        return self.language if self.language in LANGUAGES else None


def _guessed_task(row: Row) -> str:
    """The kind of a row that names no task, by the fields it has."""
    for task, needed in (
        ("translate", ("source", "target")),
        ("dialogue", ("turns",)),
        ("qa", ("context", "question")),
        ("qa", ("contexts", "questions")),
        ("intent", ("text", "intent")),
        ("emotion", ("text", "labels")),
        ("sentiment", ("text", "label")),
        ("text", ("text",)),
    ):
        if all(key in row.fields for key in needed):
            return task
    row.fail(f"no kind of row has just the fields {', '.join(sorted(row.fields)) or '(none)'}")


def _translate(origin: _Origin, row: Row) -> Example:
    codes = []
    for key, default in (
        ("src_lang", origin.config.src_lang),
        ("tgt_lang", origin.config.tgt_lang),
    ):
        code = row.fields.get(key) or default
        if origin.languages is not None and code not in origin.languages:
            row.fail(f"{key} must be one of {', '.join(origin.languages)}, not {code!r}")
        if not code or not isinstance(code, str):
            row.fail(f"{key} must be the code of a language, such as en, not {code!r}")
        codes.append(str(code))
    return Example(
        set=origin.set_name,
        line=row.line,
        segments=(Turn("user", row.text("source")),),
        targets=(Target("translate", row.text("target"), 1, language=codes[1]),),
        language=codes[0],
    )


def _labelled(task: str, key: str) -> Callable[[_Origin, Row], Example]:
    """Reads rows of a text and one label, or a list of labels under the key's plural."""

    def example(origin: _Origin, row: Row) -> Example:
        several = f"{key}s"
        labels = row.texts(several) if several in row.fields else [row.text(key)]
        if not labels:
            row.fail(f"field {several!r} is empty")
        wanted = ", ".join(sorted(label_text(label) for label in labels))
        targets = [Target(task, wanted, 1)]
        if task == "intent" and row.fields.get("slots") is not None:
            targets.append(Target("command", command_text(labels[0], _slots(row)), 1))
        if row.fields.get("response") is not None:
            targets.append(Target("reply", row.text("response"), 1, origin.reply_language))
        return Example(
            set=origin.set_name,
            line=row.line,
            segments=(Turn("user", row.text("text")),),
            targets=tuple(targets),
            language=origin.language,
            labels=tuple(labels),
        )

    return example


def _slots(row: Row) -> list[tuple[str, str]]:
    """Names and values of the slots whose value the text says, spelled as the text has it.

    Data sets normalise some values ("on" for "switch it on"); such a slot is left out, because
    nothing that was said could be copied.
    """
    text = row.text("text")
    slots = []
    for slot in _objects(row, row.fields["slots"], "slots"):
        name, value = (row.checked(slot.get(key), f"{key} of a slot") for key in ("slot", "value"))
        # Blanks do not count: some sets keep values word by word, or without any.
        pattern = r"\s*".join(map(re.escape, "".join(value.split())))
        if name and pattern and (said := re.search(pattern, text, re.IGNORECASE)):
            slots.append((name, said[0]))
    return slots


def _objects(row: Row, values: Any, key: str) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        row.fail(f"field {key!r} must be a list of objects")
    return values


def _qa(origin: _Origin, row: Row) -> Example:
    """Documents, then questions; every question is a turn, and its answer one to learn."""
    documents = row.texts("contexts") if "contexts" in row.fields else [row.text("context")]
    rows = [row]
    if "questions" in row.fields:
        questions = _objects(row, row.fields["questions"], "questions")
        rows = [Row(row.path, row.line, fields) for fields in questions]
    if not rows or not documents:
        row.fail("a context and a question are needed")
    segments = [Turn("document", text) for text in documents]
    targets = []
    for item in rows:
        segments.append(Turn("user", item.text("question")))
        answer, *others = item.texts("answers") or [""]
        targets.append(Target("answer", answer, len(segments), references=tuple(others)))
    return Example(
        origin.set_name, row.line, tuple(segments), tuple(targets), language=origin.language
    )


def _text(origin: _Origin, row: Row) -> Example:
    segments = (Turn("user", row.text("text")),)
    return Example(origin.set_name, row.line, segments, (), language=origin.language)


_TURN_ROLES: dict[str, Role] = {
    "user": "user",
    "agent": "agent",
    "system": "system",
    "kb": "system",
}


def _dialogue(origin: _Origin, row: Row) -> Example:
    """Every turn is a segment; every agent turn that follows another is also a reply to learn."""
    turns = row.fields.get("turns")
    if not isinstance(turns, list) or not turns:
        row.fail("field 'turns' must be a list of turns that is not empty")
    segments: list[Turn] = []
    targets: list[Target] = []
    if table := _flattened(row, row.fields.get("kb") or ""):
        segments.append(Turn("document", table))
    num_documents = len(segments)
    for turn in turns:
        role = turn.get("role") if isinstance(turn, dict) else None
        if not isinstance(role, str) or role not in _TURN_ROLES:
            row.fail(f"a turn has a text and a role, one of {', '.join(_TURN_ROLES)}")
        text = row.checked(turn.get("text"), "text of a turn")
        if role == "kb":
            text = _flattened(row, text)
        if not text:
            continue
        if role == "agent" and len(segments) > num_documents:
            targets.append(Target("reply", text, len(segments), origin.reply_language))
        segments.append(Turn(_TURN_ROLES[role], text))
    return Example(
        origin.set_name, row.line, tuple(segments), tuple(targets), language=origin.language
    )


def _flattened(row: Row, value: Any) -> str:
    """A knowledge-base result as plain text: one entry a line, whole entries up to MAX_KB_CHARS.

    An object becomes `key: value; key: value`. Several objects with the same keys become a table:
    a line `key; key`, then a line `value; value` for each.
    """
    if isinstance(value, str) and value[:1] in ("{", "["):
        with contextlib.suppress(ValueError):  # a text that merely begins like JSON stays
            value = json.loads(value)
    lines = _table(value) if isinstance(value, list) else [_flat(value)]
    text = lines[0][:MAX_KB_CHARS] if lines else ""
    for line in lines[1:]:
        if len(text) + 1 + len(line) > MAX_KB_CHARS:
            break
        text += f"\n{line}"
    return row.checked(text, "kb")


def _table(entries: list[Any]) -> list[str]:
    is_table = len(entries) > 1 and all(isinstance(entry, dict) for entry in entries)
    if not is_table or any(entry.keys() != entries[0].keys() for entry in entries):
        return [_flat(entry) for entry in entries]
    keys = list(entries[0])
    return ["; ".join(keys), *("; ".join(_flat(entry[key]) for key in keys) for entry in entries)]


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_flat, value))
    return str(value)


_KINDS: dict[str, Callable[[_Origin, Row], Example]] = {
    "translate": _translate,
    "sentiment": _labelled("sentiment", "label"),
    "emotion": _labelled("emotion", "label"),
    "intent": _labelled("intent", "intent"),
    "assistant": _labelled("intent", "intent"),
    "dialogue": _dialogue,
    "qa": _qa,
    "text": _text,
}
