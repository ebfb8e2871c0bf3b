"""Examples to token ids, and long dialogues to windows that fit.

Encoded, EncodedTarget   token ids of one row of a batch
encode                   Example to Encoded, of whatever length
encode_all               the same for every kind of model: imported ones read each target's source
windows                  Encoded to the pieces that fit the limits

Ids come from text.template and text.imported_template alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from duologue.data.rows import Example, Target
from duologue.errors import DataError, InputError
from duologue.text.imported import ImportedTokenizer
from duologue.text.imported_template import ImportedTemplate
from duologue.text.template import MASK, prefix_ids, segment_ids
from duologue.text.templates import AnyTokenizer
from duologue.text.tokenizer import Tokenizer
from duologue.types import Turn


@dataclass(frozen=True, slots=True)
class EncodedTarget:
    """Ids of one target: decoder prefix, text without the end token, segments it may see.

    task, language  as in data.rows.Target; they decide no loss, but how a result is scored
    """

    prefix: tuple[int, ...]
    text: tuple[int, ...]
    limit: int
    task: str = field(default="reply", compare=False)
    language: str | None = field(default=None, compare=False)

    @property
    def num_tokens(self) -> int:
        """Decoder positions it takes: prefix and text (the end token is only predicted)."""
        return len(self.prefix) + len(self.text)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids of one row of a batch: the segments, and every target that reads them.

    segments       ids of each segment, role token first
    num_documents  the first so many segments are documents
    """

    set: str
    segments: tuple[tuple[int, ...], ...]
    num_documents: int
    targets: tuple[EncodedTarget, ...]

    @property
    def num_source_tokens(self) -> int:
        """Encoder positions of all segments."""
        return sum(map(len, self.segments))

    @property
    def num_target_tokens(self) -> int:
        """Decoder positions of all targets."""
        return sum(target.num_tokens for target in self.targets)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one row of a batch may be; see config.DataConfig.

    single_target  every target has a row of its own and no segment stands behind its limit, as
                   encoder_mask `full` needs, where packed targets would see their own future
    """

    max_source: int
    max_target: int
    max_turns: int
    single_target: bool = False


def encode(example: Example, tokenizer: Tokenizer) -> Encoded:
    """Token ids of an example, uncut."""
    segments = []
    for turn in example.segments:
        ids = segment_ids(tokenizer, turn.role, "" if example.gaps else turn.text)
        if example.gaps:
            ids += _with_masks(turn.text, example.gaps, tokenizer)
        segments.append(tuple(ids))
    targets = []
    for target in example.targets:
        prefix = prefix_ids(tokenizer, target.task, target.language)
        following = example.segments[target.limit : target.limit + 1]
        if following and following[0].text == target.text:
            text = segments[target.limit][1:]  # a reply is the next segment, encoded already
        else:
            text = tuple(tokenizer.encode(target.text))
        targets.append(
            EncodedTarget(tuple(prefix), text, target.limit, target.task, target.language)
        )
    num_documents = sum(turn.role == "document" for turn in example.segments)
    return Encoded(example.set, tuple(segments), num_documents, tuple(targets))


def encode_all(
    example: Example, tokenizer: AnyTokenizer, template: ImportedTemplate | None, path: Path
) -> list[Encoded]:
    """Token ids of an example, uncut, in as many parts as its model needs.

    template  of an imported model, which reads what it is to do in the source: each target gets a
              part of its own. None: one part
    path      the file of the example

    Raises DataError where the template has no such task or language.
    """
    if isinstance(tokenizer, Tokenizer):
        return [encode(example, tokenizer)]
    assert template is not None  # an imported tokenizer comes with one
    try:
        return [_imported(example, target, tokenizer, template) for target in example.targets]
    except InputError as error:
        raise DataError(path, example.line, str(error)) from None


def _imported(
    example: Example, target: Target, tokenizer: ImportedTokenizer, template: ImportedTemplate
) -> Encoded:
    text = as_one_text(example.segments[: target.limit])
    languages = (example.language, target.language)
    source = template.source(text, target.task, *languages)
    prefix = template.prefix(target.task, *languages)
    encoded = EncodedTarget(
        prefix=(*prefix.ids, *prefix.forced),
        text=tuple(tokenizer.encode(target.text)),
        limit=1,
        task=target.task,
        language=target.language,
    )
    return Encoded(example.set, (source.ids,), 0, (encoded,))


def as_one_text(turns: Sequence[Turn]) -> str:
    """What imported models read of several turns: a line `role: text` for each.

    A single turn is its text.
    """
    if len(turns) == 1:
        return turns[0].text
    return "\n".join(f"{turn.role}: {turn.text}" for turn in turns)


def _with_masks(text: str, gaps: tuple[int, ...], tokenizer: Tokenizer) -> list[int]:
    """Ids of a text with a `<mask>` at each gap; the pieces between lose their outer blanks."""
    mask_id = tokenizer.control_id(MASK)
    ids: list[int] = []
    start = 0
    for gap in gaps:
        ids += [*tokenizer.encode(text[start:gap].strip()), mask_id]
        start = gap
    return ids + tokenizer.encode(text[start:].strip())


def windows(example: Encoded, limits: Limits) -> tuple[list[Encoded], int]:
    """The example in pieces that fit the limits, and how many targets fit in none.

    Each target is in at most one piece. A piece that does not start at the first turn gives its
    first target up to half of max_turns as history, fewer (oldest first) where max_source is
    short. Documents are in every piece. A target is left out if it is longer than max_target, or
    if the documents and the one turn before it are longer than max_source.
    """
    pieces: list[Encoded] = []
    num_left_out = 0
    targets = list(example.targets)
    while targets:
        first = _oldest_turn(example, targets[0], limits)
        if first is None:
            num_left_out += 1
            del targets[0]
            continue
        taken = _num_fitting(example, first, targets, limits)
        pieces.append(_piece(example, first, targets[:taken]))
        del targets[:taken]
    return pieces, num_left_out


def _oldest_turn(example: Encoded, target: EncodedTarget, limits: Limits) -> int | None:
    """Index of the segment that a piece for this target starts with; None if nothing fits."""
    if target.num_tokens > limits.max_target:
        return None
    history = limits.max_turns if limits.single_target else max(1, limits.max_turns // 2)
    oldest = max(example.num_documents, target.limit - history)
    room = limits.max_source - _num_tokens(example, 0, example.num_documents)
    room -= _num_tokens(example, oldest, target.limit)
    while room < 0 and oldest < target.limit - 1:
        room += len(example.segments[oldest])
        oldest += 1
    return oldest if room >= 0 else None


def _num_fitting(example: Encoded, first: int, targets: list[EncodedTarget], limits: Limits) -> int:
    """How many of the next targets one piece that starts at segment `first` can hold."""
    room_source = limits.max_source - _num_tokens(example, 0, example.num_documents)
    room_target = limits.max_target
    last = first
    for taken, target in enumerate(targets):
        room_source -= _num_tokens(example, last, target.limit)
        room_target -= target.num_tokens
        last = max(last, target.limit)
        fits = room_source >= 0 and room_target >= 0 and last - first <= limits.max_turns
        alone = limits.single_target and target.limit != targets[0].limit
        if taken and (alone or not fits):
            return taken
    return len(targets)


def _piece(example: Encoded, first: int, targets: list[EncodedTarget]) -> Encoded:
    documents = example.segments[: example.num_documents]
    dropped = first - example.num_documents
    return replace(
        example,
        segments=(*documents, *example.segments[first : targets[-1].limit]),
        targets=tuple(replace(target, limit=target.limit - dropped) for target in targets),
    )


def _num_tokens(example: Encoded, start: int, stop: int) -> int:
    return sum(map(len, example.segments[start:stop]))
