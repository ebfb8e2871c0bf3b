"""What an assistant can do, as declared: intents, their slots, and what is done about them.

Declaration  all intents, checked to fit each other
Intent       one thing that people may want, with examples of how they say it
Slot         one detail of it
Example      a way to say it, with the places of the slots
Webhook      an action that is somewhere else

Plain values; reader.py makes them from YAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from duologue.apps.assistant.values import KINDS, LANGUAGES
from duologue.errors import ConfigError

SLOT_KINDS = (*KINDS, "place", "choice", "text")
MAX_INTENTS = 500
MAX_EXAMPLES = 50_000

_MARK = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Slot:
    """One detail of an intent.

    kind        one of SLOT_KINDS
    prompts     language -> the question that asks for it
    choices     kind choice: value -> language -> ways to say it; the value itself is one, too
    preference  name of a person's preference that fills the slot if nothing is said
    """

    name: str
    kind: str
    required: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    preference: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in SLOT_KINDS:
            raise ConfigError(
                f"slot {self.name!r}: unknown kind {self.kind!r}; there are {', '.join(SLOT_KINDS)}"
            )
        if (self.kind == "choice") != bool(self.choices):
            raise ConfigError(f"slot {self.name!r}: a choice, and nothing else, needs values")

    def ways(self, language: str) -> dict[str, str]:
        """Every way to say a choice, casefolded, with its value."""
        said: dict[str, str] = {}
        for value, by_language in self.choices.items():
            for way in (*by_language.get(language, ()), value.replace("_", " ")):
                said.setdefault(way.casefold(), value)
        return said


@dataclass(frozen=True)
class Example:
    """A way to say an intent.

    parts  what stands before the first slot, then (slot, what stands behind it) for each
    values  what the slots hold in this example, where that is known; else empty texts
    """

    language: str
    lead: str
    parts: tuple[tuple[str, str], ...] = ()
    values: tuple[str, ...] = ()

    @classmethod
    def marked(cls, text: str, language: str) -> Example:
        """From a text with slot marks: "set a timer for {duration}"."""
        pieces = _MARK.split(text)
        slots, between = pieces[1::2], pieces[2::2]
        marks = tuple(zip((slot.strip() for slot in slots), between, strict=True))
        return cls(language, pieces[0], marks, ("",) * len(slots))

    @classmethod
    def labelled(cls, text: str, slots: Mapping[str, str], language: str) -> Example:
        """From a real text and the values that stand in it; values that do not are left out."""
        places: list[tuple[int, int, str]] = []
        for name, value in slots.items():
            start = text.find(value) if value else -1
            end = start + len(value)
            if start >= 0 and all(end <= a or start >= b for a, b, _ in places):
                places.append((start, end, name))
        places.sort()
        stops = [*(start for start, _, _ in places[1:]), len(text)]
        parts = tuple(
            (name, text[end:stop]) for (_, end, name), stop in zip(places, stops, strict=False)
        )
        lead = text[: places[0][0]] if places else text
        return cls(language, lead, parts, tuple(text[start:end] for start, end, _ in places))

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots that occur, in order."""
        return tuple(name for name, _ in self.parts)

    @property
    def text(self) -> str:
        """As it was written, marks included."""
        return self.lead + "".join(f"{{{name}}}{after}" for name, after in self.parts)


@dataclass(frozen=True)
class Webhook:
    """An address that is told of the command, in JSON."""

    url: str
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Intent:
    """One thing that people may want.

    title    language -> what it does, in a few words
    confirm  ask before it is done
    action   name of an action, "module:function", a Webhook, or None: only recognise it
    undo     the action that takes it back
    answers  language -> outcome ("done", "failed", or what the action says) -> template
    """

    name: str
    examples: tuple[Example, ...]
    slots: Mapping[str, Slot] = field(default_factory=dict)
    title: Mapping[str, str] = field(default_factory=dict)
    confirm: bool = False
    action: str | Webhook | None = None
    undo: str | Webhook | None = None
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.examples:
            raise ConfigError(f"intent {self.name!r}: there are no examples")
        for example in self.examples:
            if not example.text.strip():
                raise ConfigError(f"intent {self.name!r}: an example is empty")
            for name in example.slots:
                if name not in self.slots:
                    raise ConfigError(
                        f"intent {self.name!r}: example {example.text!r} has {{{name}}}, which is "
                        f"no slot of it; slots are {', '.join(self.slots) or 'none'}"
                    )


@dataclass(frozen=True)
class Declaration:
    """All that one assistant can do. Raises ConfigError for what contradicts itself.

    out_of_scope  things that people say and that are none of the intents
    """

    intents: Mapping[str, Intent]
    out_of_scope: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        if not self.intents:
            raise ConfigError("no intents are declared")
        if len(self.intents) > MAX_INTENTS:
            raise ConfigError(f"{len(self.intents)} intents are declared; at most {MAX_INTENTS}")
        if self.num_examples > MAX_EXAMPLES:
            raise ConfigError(f"{self.num_examples} examples are declared; at most {MAX_EXAMPLES}")
        kinds: dict[str, tuple[str, str]] = {}
        for intent in self.intents.values():
            for slot in intent.slots.values():
                kind, first = kinds.setdefault(slot.name, (slot.kind, intent.name))
                if kind != slot.kind:
                    raise ConfigError(
                        f"slot {slot.name!r} is of kind {kind} in {first!r} and {slot.kind} in "
                        f"{intent.name!r}: slots of one name must be of one kind"
                    )

    @property
    def num_examples(self) -> int:
        """Of all intents together."""
        return sum(len(intent.examples) for intent in self.intents.values())

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that there are examples in."""
        spoken = {e.language for intent in self.intents.values() for e in intent.examples}
        return tuple(language for language in LANGUAGES if language in spoken)

    def words(self, language: str) -> set[str]:
        """Every word of the examples and the choices of a language, casefolded."""
        texts = [
            e.text for i in self.intents.values() for e in i.examples if e.language == language
        ]
        for intent in self.intents.values():
            for slot in intent.slots.values():
                ways = [by_language.get(language, ()) for by_language in slot.choices.values()]
                texts += [way for said in ways for way in said]
        return {word for text in texts for word in _WORD.findall(text.casefold())}

    def and_also(self, other: Declaration) -> Declaration:
        """Both together; ConfigError if they declare an intent of the same name."""
        if twice := sorted(set(self.intents) & set(other.intents)):
            raise ConfigError(f"intent {twice[0]!r} is declared twice")
        return Declaration(
            {**self.intents, **other.intents}, (*self.out_of_scope, *other.out_of_scope)
        )
