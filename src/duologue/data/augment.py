"""Text augmentation: one example to the examples that are trained in its place.

Every kind is an option of config.AugmentConfig and off by default. All chance comes from the
generator that is passed in: the same seed gives the same examples.

A word is a run of characters without a blank; in scripts that write no blanks (from U+2E80 on,
as in the tokenizer) every character is a word. Noise changes user turns alone: never a target,
a document, or what the agent said; text with masks gets none on top.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import replace

from duologue.config import AugmentConfig
from duologue.data.rows import Example, Target
from duologue.text.tokenizer import FIRST_CJK
from duologue.types import Turn

_WORD = re.compile(rf"([{FIRST_CJK}-\U0010ffff]|[^\s{FIRST_CJK}-\U0010ffff]+)(\s*)")


def augment(example: Example, config: AugmentConfig, rng: random.Random) -> list[Example]:
    """The examples to train instead of this one; usually one, two with pair_swap.

    The list is empty for what trains nothing: see can_train().
    """
    if not can_train(example, config):
        return []
    if example.is_plain_text:
        return [denoise(example, config, rng)]
    if config.truncate_turns and rng.random() < config.truncate_turns:
        example = forget_turns(example, rng)
    examples = [example]
    if config.pair_swap and example.targets[0].task == "translate":
        examples.append(swap_pair(example))
    return [_noisy(item, config, rng) for item in examples]


def can_train(example: Example, config: AugmentConfig) -> bool:
    """Whether there is a target to learn; plain text has one with `denoise` alone."""
    return bool(example.targets) or (config.denoise and example.is_plain_text)


def swap_pair(example: Example) -> Example:
    """The other direction of a translation pair."""
    target = example.targets[0]
    return replace(
        example,
        segments=(Turn("user", target.text),),
        targets=(Target("translate", example.segments[0].text, 1, language=example.language),),
        language=target.language,
    )


def forget_turns(example: Example, rng: random.Random) -> Example:
    """A dialogue without a random number of its oldest turns; replies among them go as well.

    At least the last reply and the turn before it stay. Documents stay.
    """
    num_documents = sum(turn.role == "document" for turn in example.segments)
    most = example.targets[-1].limit - 1 - num_documents
    if example.targets[0].task != "reply" or most < 1:
        return example
    forgotten = rng.randint(1, most)
    kept = [target for target in example.targets if target.limit - forgotten > num_documents]
    return replace(
        example,
        segments=(
            *example.segments[:num_documents],
            *example.segments[num_documents + forgotten :],
        ),
        targets=tuple(replace(target, limit=target.limit - forgotten) for target in kept),
    )


def join(earlier: Example, example: Example, max_turns: int, rng: random.Random) -> Example:
    """A dialogue that begins with the last turns, one to max_turns, of another one.

    Its own replies are what is learnt; the earlier dialogue is there to be read. Documents of
    either would be read for the wrong one, so an example with any stays as it is, and so does one
    that is no dialogue.
    """
    if not (_is_dialogue(earlier) and _is_dialogue(example)):
        return example
    turns = earlier.segments[-rng.randint(1, max_turns) :]
    return replace(
        example,
        segments=(*turns, *example.segments),
        targets=tuple(
            replace(target, limit=target.limit + len(turns)) for target in example.targets
        ),
    )


def _is_dialogue(example: Example) -> bool:
    return {target.task for target in example.targets} == {"reply"} and not any(
        turn.role == "document" for turn in example.segments
    )


def denoise(example: Example, config: AugmentConfig, rng: random.Random) -> Example:
    """Text infilling: spans of the text become one `<mask>` each; the target is the whole text.

    Lewis et al. 2019 (arXiv:1910.13461, section 2.2). Span lengths are Poisson with mean
    `mean_span`, as theirs; we differ in that no span is empty, and no two touch.
    """
    text = example.segments[0].text
    words = _WORD.findall(text)
    num_masked = min(len(words), round(config.mask_ratio * len(words)))
    lengths = _span_lengths(num_masked, len(words) - num_masked + 1, config.mean_span, rng)
    kept = len(words) - num_masked
    slots = dict(zip(sorted(rng.sample(range(kept + 1), len(lengths))), lengths, strict=True))
    corrupted = ""
    gaps = []
    position = 0
    for slot in range(kept + 1):
        if slot in slots:
            gaps.append(len(corrupted))
            position += slots[slot]
        if slot < kept:
            corrupted += "".join(words[position])
            position += 1
    return replace(
        example,
        segments=(Turn(example.segments[0].role, corrupted),),
        targets=(Target("denoise", text, 1),),
        gaps=tuple(gaps),
    )


def _span_lengths(total: int, most: int, mean: float, rng: random.Random) -> list[int]:
    """At most `most` lengths of at least 1 that sum to `total`."""
    lengths: list[int] = []
    while total:
        length = min(total, max(1, _poisson(mean, rng)))
        if len(lengths) == most - 1:
            length = total
        lengths.append(length)
        total -= length
    return lengths


def _poisson(mean: float, rng: random.Random) -> int:
    """Knuth's method, in steps of at most 500 because exp(-mean) must not underflow."""
    count = 0
    while mean > 0:
        step = min(mean, 500.0)
        mean -= step
        floor, product = math.exp(-step), rng.random()
        while product > floor:
            count += 1
            product *= rng.random()
    return count


def _noisy(example: Example, config: AugmentConfig, rng: random.Random) -> Example:
    steps: list[tuple[float, Callable[[str, float, random.Random], str]]] = [
        (config.drop_word, drop_words),
        (config.swap_words, swap_words),
        (config.drop_char, drop_chars),
        (config.swap_chars, swap_chars),
    ]
    steps = [(chance, step) for chance, step in steps if chance > 0]
    if not steps:
        return example
    segments = []
    for turn in example.segments:
        text = turn.text
        if turn.role == "user":
            for chance, step in steps:
                text = step(text, chance, rng).strip() or text
        segments.append(Turn(turn.role, text))
    return replace(example, segments=tuple(segments))


def drop_words(text: str, chance: float, rng: random.Random) -> str:
    """The text without some of its words, each dropped by this chance."""
    return "".join(word + blank for word, blank in _WORD.findall(text) if rng.random() >= chance)


def swap_words(text: str, chance: float, rng: random.Random) -> str:
    """The text with some words in the place of the next; a word moves at most one place."""
    pairs = _WORD.findall(text)
    words = _swapped([word for word, _ in pairs], chance, rng)
    return "".join(word + blank for word, (_, blank) in zip(words, pairs, strict=True))


def drop_chars(text: str, chance: float, rng: random.Random) -> str:
    """The text without some of its characters, each dropped by this chance."""
    return "".join(char for char in text if rng.random() >= chance)


def swap_chars(text: str, chance: float, rng: random.Random) -> str:
    """The text with some characters in the place of the next; each moves at most one place."""
    return "".join(_swapped(list(text), chance, rng))


def _swapped(items: list[str], chance: float, rng: random.Random) -> list[str]:
    index = 0
    while index < len(items) - 1:
        if rng.random() < chance:
            items[index], items[index + 1] = items[index + 1], items[index]
            index += 1
        index += 1
    return items
