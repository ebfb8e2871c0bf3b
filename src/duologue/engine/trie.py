"""Labels as a trie of allowed tokens, and the probability of each label under the decoder.

At every node the softmax is taken over the allowed continuations alone, so that the probabilities
of all labels sum to 1 whatever else the model would rather say (constrained decoding as in
De Cao et al. 2020, arXiv:2010.00904, section 3.2; we score every leaf, where they search).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from duologue.engine.sampling import Floats, log_softmax
from duologue.errors import EngineError

if TYPE_CHECKING:
    from duologue.engine.forward import DecoderState, Forward
    from duologue.engine.memory import Memory

MAX_ROWS = 64


@dataclass
class TrieNode:
    """One shared beginning of labels.

    children  next id -> node; the end id leads to a leaf
    labels    indices of the labels that go through this node
    """

    children: dict[int, TrieNode] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)


def build_trie(label_ids: Sequence[Sequence[int]], eos_id: int) -> TrieNode:
    """The trie of all labels, each closed by eos_id.

    Raises EngineError if there are no labels or two are equal.
    """
    if not label_ids:
        raise EngineError("there are no labels to choose from")
    root = TrieNode()
    for label, ids in enumerate(label_ids):
        node = root
        node.labels.append(label)
        for idx in (*ids, eos_id):
            node = node.children.setdefault(idx, TrieNode())
            node.labels.append(label)
        if len(node.labels) > 1:
            raise EngineError(f"labels {node.labels[0]} and {label} are the same tokens")
    return root


class _Branch(NamedTuple):
    """A node whose next token is open: a state that lacks one id, the id, the logprob so far.

    row  number of the memory that the state reads
    """

    row: int
    node: TrieNode
    state: DecoderState
    idx: int
    logprob: float


def score_labels(
    forward: Forward,
    memory: Memory,
    prefix_ids: Sequence[int],
    label_ids: Sequence[Sequence[int]],
    eos_id: int,
) -> npt.NDArray[np.float64]:
    """Probability of each label [num_labels] float64; they sum to 1."""
    scores: npt.NDArray[np.float64] = score_labels_batch(
        forward, [memory], prefix_ids, label_ids, eos_id
    )[0]
    return scores


def score_labels_batch(
    forward: Forward,
    memories: Sequence[Memory],
    prefix_ids: Sequence[int],
    label_ids: Sequence[Sequence[int]],
    eos_id: int,
) -> npt.NDArray[np.float64]:
    """Probability of each label for each memory [num_memories, num_labels] float64; rows sum to 1.

    Goes down the trie level by level, one decoding step per level for all memories together (in
    pieces of MAX_ROWS rows), and stops where only one label is left: the rest is certain. As many
    decoder states are held as there are open branches.
    """
    trie = build_trie(label_ids, eos_id)
    logprobs = np.zeros((len(memories), len(label_ids)))
    states = [forward.start(memory) for memory in memories] if len(label_ids) > 1 else []
    for idx in prefix_ids[:-1]:
        for start in range(0, len(states), MAX_ROWS):
            chunk = states[start : start + MAX_ROWS]
            forward.decode_step(chunk, [idx] * len(chunk))
    level = [_Branch(row, trie, state, prefix_ids[-1], 0.0) for row, state in enumerate(states)]
    while level:
        below: list[_Branch] = []
        for start in range(0, len(level), MAX_ROWS):
            branches = level[start : start + MAX_ROWS]
            logits = forward.decode_step(
                [branch.state for branch in branches], [branch.idx for branch in branches]
            )
            for branch, scores in zip(branches, logits, strict=True):
                below.extend(_descend(branch, scores, logprobs[branch.row]))
        level = below
    probabilities = np.exp(logprobs)
    result: npt.NDArray[np.float64] = probabilities / probabilities.sum(axis=1, keepdims=True)
    return result


def _descend(branch: _Branch, logits: Floats, logprobs: npt.NDArray[np.float64]) -> list[_Branch]:
    """Share the branch's probability among its children; returns those that branch again."""
    ids = list(branch.node.children)
    shares = branch.logprob + log_softmax(logits[ids])
    open_branches: list[_Branch] = []
    for idx, share in zip(ids, shares, strict=True):
        child = branch.node.children[idx]
        if len(child.labels) == 1:
            logprobs[child.labels[0]] = share
        else:
            state = branch.state.fork() if open_branches else branch.state
            open_branches.append(_Branch(branch.row, child, state, idx, float(share)))
    return open_branches
