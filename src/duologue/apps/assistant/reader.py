"""YAML to declarations: everything is checked, and every problem names its line.

read_commands   one file
parse_commands  its text

YAML is read as nodes and never constructed: tags have no meaning here, scalars are texts ("off"
stays "off"), aliases are followed as long as the whole stays small, and a cycle is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import yaml

from duologue.apps.assistant.declaration import Declaration, Example, Intent, Slot, Webhook
from duologue.apps.assistant.values import LANGUAGES
from duologue.data.text_file import read_text
from duologue.errors import ConfigError, DataError

MAX_FILE_BYTES = 2 * 2**20
MAX_NODES = 100_000  # aliases counted as often as they are used
MAX_DEPTH = 12
MAX_TEXT_CHARS = 1000
MAX_TIMEOUT_S = 60.0

_Made = TypeVar("_Made")
_NAME = re.compile(r"[A-Za-z][\w/.-]{0,63}")
_ACTION = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?")


def read_commands(path: Path) -> Declaration:
    """The declaration in a file; raises DataError, with the line, for anything that is wrong."""
    return parse_commands(read_text(path, MAX_FILE_BYTES), path)


def parse_commands(text: str, path: Path | str = "commands") -> Declaration:
    """The declaration in a text; `path` is what errors call it."""
    reader = _Reader(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise DataError(path, line, f"is no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = str(error).partition("\n")[0]
        raise DataError(path, None, f"is no YAML: {problem}") from None
    if root is None:
        raise DataError(path, None, "is empty")
    reader.check_size(root)
    return reader.declaration(root)


@dataclass
class _Reader:
    path: Path | str
    num_nodes: int = 0

    def fail(self, node: yaml.Node, problem: str) -> DataError:
        return DataError(self.path, node.start_mark.line + 1, problem)

    # --- nodes -------------------------------------------------------------------------------

    def check_size(self, node: yaml.Node, above: tuple[int, ...] = ()) -> None:
        """Refuse cycles, deep nesting, and aliases that make the whole too large."""
        self.num_nodes += 1
        if id(node) in above:
            raise self.fail(node, "a cycle: an alias stands inside of what it names")
        if self.num_nodes > MAX_NODES:
            raise self.fail(node, f"aliases unfold to more than {MAX_NODES:,} values")
        if len(above) > MAX_DEPTH:
            raise self.fail(node, f"is nested more than {MAX_DEPTH} levels deep")
        below: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            below = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            below = node.value
        for part in below:
            self.check_size(part, (*above, id(node)))

    def mapping(
        self, node: yaml.Node, what: str, known: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        """A mapping with text keys; if known ones are given, no others are taken."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{what} must be a mapping")
        pairs: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self.text(key_node, f"a key of {what}")
            if key in pairs:
                raise self.fail(key_node, f"{what} has {key!r} twice")
            if known and key not in known:
                raise self.fail(key_node, f"{what} has no {key!r}; it has {', '.join(known)}")
            pairs[key] = value
        return pairs

    def text(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.fail(node, f"{what} must be a text")
        value: str = node.value
        if not value.strip():
            raise self.fail(node, f"{what} is empty")
        if len(value) > MAX_TEXT_CHARS:
            raise self.fail(node, f"{what} has more than {MAX_TEXT_CHARS} characters")
        return value.strip()

    def texts(self, node: yaml.Node, what: str) -> list[tuple[yaml.Node, str]]:
        """One text, or a list of them."""
        if isinstance(node, yaml.SequenceNode):
            return [(item, self.text(item, what)) for item in node.value]
        return [(node, self.text(node, what))]

    def flag(self, node: yaml.Node, what: str) -> bool:
        text = self.text(node, what)
        if text not in ("true", "false"):
            raise self.fail(node, f"{what} must be true or false")
        return text == "true"

    def by_language(self, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
        return self.mapping(node, what, LANGUAGES)

    def phrases(self, node: yaml.Node, what: str) -> dict[str, str]:
        """language -> text"""
        found = self.by_language(node, what)
        return {language: self.text(item, what) for language, item in found.items()}

    # --- the declaration ---------------------------------------------------------------------

    def declaration(self, root: yaml.Node) -> Declaration:
        top = self.mapping(root, "the file", ("intents", "out_of_scope"))
        if "intents" not in top:
            raise self.fail(root, "the file has no intents")
        intents = {}
        for name, node in self.mapping(top["intents"], "intents").items():
            if not _NAME.fullmatch(name):
                raise self.fail(node, f"{name!r} is no name: letters, digits and _ / . - are")
            intents[name] = self.intent(name, node)
        strays: list[Example] = []
        if "out_of_scope" in top:
            strays = [example for _, example in self.examples(top["out_of_scope"], "out_of_scope")]
        return self.checked(root, lambda: Declaration(intents, tuple(strays)))

    def checked(self, node: yaml.Node, make: Callable[[], _Made]) -> _Made:
        """What `make` returns; its ConfigError becomes a DataError that names the node's line."""
        try:
            return make()
        except ConfigError as error:
            raise self.fail(node, str(error)) from None

    def intent(self, name: str, node: yaml.Node) -> Intent:
        what = f"intent {name!r}"
        known = "title", "examples", "slots", "confirm", "action", "undo", "answers"
        fields = self.mapping(node, what, known)
        if "examples" not in fields:
            raise self.fail(node, f"{what} has no examples")
        slots: dict[str, Slot] = {}
        if "slots" in fields:
            for slot, slot_node in self.mapping(fields["slots"], f"slots of {what}").items():
                if not re.fullmatch(r"[A-Za-z]\w{0,63}", slot):
                    raise self.fail(slot_node, f"{slot!r} is no name of a slot")
                slots[slot] = self.slot(slot, slot_node)
        examples = list(self.examples(fields["examples"], f"examples of {what}"))
        for place, example in examples:
            for slot in example.slots:
                if slot not in slots:
                    known_slots = ", ".join(slots) or "none"
                    problem = f"{{{slot}}} is no slot of {what}; slots are {known_slots}"
                    raise self.fail(place, problem)
        answers = fields.get("answers")
        return self.checked(
            node,
            lambda: Intent(
                name,
                tuple(example for _, example in examples),
                slots,
                self.phrases(fields["title"], "title") if "title" in fields else {},
                self.flag(fields["confirm"], "confirm") if "confirm" in fields else False,
                self.action(fields["action"]) if "action" in fields else None,
                self.action(fields["undo"]) if "undo" in fields else None,
                {} if answers is None else self.answers(answers, what),
            ),
        )

    def slot(self, name: str, node: yaml.Node) -> Slot:
        if isinstance(node, yaml.ScalarNode):
            return self.checked(node, lambda: Slot(name, self.text(node, f"slot {name!r}")))
        what = f"slot {name!r}"
        known = "kind", "required", "prompt", "values", "preference"
        fields = self.mapping(node, what, known)
        if "kind" not in fields:
            raise self.fail(node, f"{what} has no kind")
        choices = {}
        if "values" in fields:
            for value, ways in self.mapping(fields["values"], f"values of {what}").items():
                choices[value] = {
                    language: tuple(text for _, text in self.texts(item, f"value {value!r}"))
                    for language, item in self.by_language(ways, f"value {value!r}").items()
                }
        prompts = self.phrases(fields["prompt"], "prompt") if "prompt" in fields else {}
        required = self.flag(fields["required"], "required") if "required" in fields else False
        preference = fields.get("preference")
        kind = self.text(fields["kind"], "kind")
        filled = None if preference is None else self.text(preference, "preference")
        return self.checked(
            fields["kind"], lambda: Slot(name, kind, required, prompts, choices, filled)
        )

    def examples(self, node: yaml.Node, what: str) -> Iterator[tuple[yaml.Node, Example]]:
        for language, item in self.by_language(node, what).items():
            for place, text in self.texts(item, what):
                if text.count("{") != text.count("}"):
                    raise self.fail(place, f"{what}: a brace is not closed in {text!r}")
                yield place, Example.marked(text, language)

    def action(self, node: yaml.Node) -> str | Webhook:
        if isinstance(node, yaml.ScalarNode):
            return self.action_name(node)
        fields = self.mapping(node, "action", ("webhook", "timeout_s"))
        if "webhook" not in fields:
            raise self.fail(node, "action must be a name or have a webhook")
        url = self.text(fields["webhook"], "webhook")
        problem = webhook_problem(url)
        if problem:
            raise self.fail(fields["webhook"], f"webhook {url!r}: {problem}")
        timeout_s = Webhook.timeout_s
        if "timeout_s" in fields:
            text = self.text(fields["timeout_s"], "timeout_s")
            try:
                timeout_s = float(text)
            except ValueError:
                timeout_s = 0.0
            if not 0 < timeout_s <= MAX_TIMEOUT_S:
                limit = f"above 0 and at most {MAX_TIMEOUT_S:g}"
                raise self.fail(fields["timeout_s"], f"timeout_s must be a number {limit}")
        return Webhook(url, timeout_s)

    def action_name(self, node: yaml.Node) -> str:
        name = self.text(node, "action")
        if not _ACTION.fullmatch(name):
            raise self.fail(node, f"{name!r} is no name of an action, and no module:function")
        return name

    def answers(self, node: yaml.Node, what: str) -> dict[str, dict[str, str]]:
        """language -> outcome -> template; a text alone is the answer for "done"."""
        result: dict[str, dict[str, str]] = {}
        for language, item in self.by_language(node, f"answers of {what}").items():
            if isinstance(item, yaml.ScalarNode):
                result[language] = {"done": self.text(item, "an answer")}
            else:
                cases = self.mapping(item, f"answers of {what}")
                result[language] = {key: self.text(case, key) for key, case in cases.items()}
        return result


def webhook_problem(url: str) -> str:
    """Why an address cannot be a webhook; empty if it can."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "must not hold a password"
    return ""
