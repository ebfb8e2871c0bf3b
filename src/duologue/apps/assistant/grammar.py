"""What a model may say for an utterance: `intent; slot: value; slot: value`, and nothing else.

CommandRule  an engine.rules.TokenRule that holds every hypothesis to the grammar
Vocabulary   the pieces of a tokenizer as a trie of bytes; made once for a model

The grammar is made for one utterance and one intent: values of typed slots are the stretches that
were recognised in it, values of free slots are runs of its words. It is walked byte by byte, so
that it does not matter how a tokenizer cuts words; where a text can be read in two ways both are
kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from duologue.apps.assistant.declaration import Slot
from duologue.apps.assistant.utterance import MAX_FREE_TOKENS, Candidate, Utterance
from duologue.engine.sampling import Floats
from duologue.text.template import label_text
from duologue.text.tokenizer import with_lead

_NEXT = ord(";")


@dataclass
class _Node:
    """A node of a trie of bytes. end: what the text that ends here stands for."""

    children: dict[int, _Node] = field(default_factory=dict)
    end: Any = None

    def add(self, data: bytes) -> _Node:
        """The node at the end of some bytes."""
        node = self
        for byte in data:
            node = node.children.setdefault(byte, _Node())
        return node


class Vocabulary:
    """Every token that stands for text, found by its bytes.

    token_bytes  the bytes of each id, empty for ids that stand for no text
    eos_id       ends a command
    """

    def __init__(self, token_bytes: Sequence[bytes], eos_id: int) -> None:
        self.token_bytes = token_bytes
        self.eos_id = eos_id
        self.root = _Node()
        for idx, data in enumerate(token_bytes):
            if data:
                node = self.root.add(data)
                node.end = (*(node.end or ()), idx)


class _State(NamedTuple):
    """One way to read what was produced.

    node    where in a trie: of the intent, of the names of slots, or of the values of `slot`
    slot    the slot whose value is being said; empty in other tries
    filled  slots with their values so far
    """

    node: _Node
    slot: str = ""
    filled: tuple[tuple[str, Candidate], ...] = ()

    @property
    def may_end(self) -> bool:
        """Whether the command is complete here."""
        return self.node.end is not None

    def done(self) -> tuple[tuple[str, Candidate], ...]:
        """The slots, that which ends here included."""
        return (*self.filled, (self.slot, self.node.end)) if self.slot else self.filled


class CommandRule:
    """The grammar of one utterance and one intent; see the module docstring.

    The order of slots is free, each comes at most once, and the command may end behind any value.
    """

    def __init__(
        self, vocabulary: Vocabulary, utterance: Utterance, intent: str, slots: Mapping[str, Slot]
    ) -> None:
        self._vocabulary = vocabulary
        tries = {name: _value_trie(utterance, slot) for name, slot in slots.items()}
        self._values = {name: trie for name, trie in tries.items() if trie.children}
        root = _Node()
        root.add(with_lead(label_text(intent)).encode()).end = True
        self._after: dict[tuple[int, ...], tuple[_State, ...]] = {(): (_State(root),)}

    def apply(self, logits: Floats, ids: tuple[int, ...]) -> Floats:
        """See engine.rules.TokenRule."""
        states = self._states(ids)
        allowed = list(self._allowed(states))
        if any(state.may_end for state in states):
            allowed.append(self._vocabulary.eos_id)
        result = np.full_like(logits, -np.inf)
        result[allowed] = logits[allowed]
        return result

    def slots(self, ids: tuple[int, ...]) -> dict[str, Candidate]:
        """The slots that some produced ids give; of an unfinished command those that are whole."""
        states = self._states(ids)
        ended = [state for state in states if state.may_end]
        if ended:
            return dict(ended[0].done())
        return dict(states[0].filled) if states else {}

    def _states(self, ids: tuple[int, ...]) -> tuple[_State, ...]:
        """Every way to read some ids; beginnings that were asked for before are remembered."""
        if ids not in self._after:
            states = self._states(ids[:-1])
            for byte in self._vocabulary.token_bytes[ids[-1]]:
                states = self._advance(states, byte)
            self._after[ids] = states
        return self._after[ids]

    def _allowed(self, states: tuple[_State, ...]) -> Iterator[int]:
        """Tokens whose bytes the grammar can take from here."""
        open_nodes = [(self._vocabulary.root, states)]
        while open_nodes:
            node, here = open_nodes.pop()
            yield from node.end or ()
            for byte, child in node.children.items():
                after = self._advance(here, byte)
                if after:
                    open_nodes.append((child, after))

    def _advance(self, states: tuple[_State, ...], byte: int) -> tuple[_State, ...]:
        after: list[_State] = []
        for state in states:
            child = state.node.children.get(byte)
            if child is not None and not state.slot and child.end in self._values:
                after.append(_State(self._values[child.end], child.end, state.filled))
            elif child is not None:
                after.append(state._replace(node=child))
            if byte == _NEXT and state.may_end:
                after += self._next_slot(state)
        return tuple(after)

    def _next_slot(self, state: _State) -> Iterator[_State]:
        filled = state.done()
        names = _Node()
        for name in self._values.keys() - {used for used, _ in filled}:
            names.add(f" {label_text(name)}: ".encode()).end = name
        if names.children:
            yield _State(names, "", filled)


def _value_trie(utterance: Utterance, slot: Slot) -> _Node:
    """The texts that may stand for a slot, each with the candidate that it is."""
    root = _Node()
    most = MAX_FREE_TOKENS.get(slot.kind)
    if most is None:
        for candidate in utterance.candidates(slot):
            node = root.add(utterance.text[candidate.start : candidate.end].encode())
            node.end = node.end or candidate
        return root
    num = len(utterance.tokens)
    for first in range(num):
        start = utterance.tokens[first].start
        node, done = root, start
        for stop in range(first + 1, min(num, first + most) + 1):
            end = utterance.tokens[stop - 1].end
            node = node.add(utterance.text[done:end].encode())
            node.end = node.end or utterance.free_candidate(first, stop)
            done = end
    return root
