"""Which of what was said made a reply what it is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from duologue.conversation.state import State
from duologue.engine.engine import EncodeItem
from duologue.engine.memory import Memory
from duologue.errors import InputError
from duologue.explain.erasure import Context, ErasureOptions, influence, segment_influence
from duologue.runtime import Runtime
from duologue.types import Span

NO_REPLY = "there is no reply to explain yet"


@dataclass(frozen=True)
class Influence:
    """What a reply would be less likely without; segments count the turns in the memory.

    spans  see Explanation.influence
    turns  see Explanation.turns
    turn_of_segment  for each segment the index of its turn among all turns
    """

    spans: tuple[Span, ...]
    turns: tuple[Span, ...]
    turn_of_segment: tuple[int, ...]


def influencing(
    runtime: Runtime, state: State, options: ErasureOptions
) -> Generator[None, None, Influence]:
    """What the last reply of a state would be less likely without; see Conversation.influencing."""
    inside = [said for said in state.said if said.source is not None]
    if state.pending or not inside or inside[-1] is not state.said[-1]:
        raise InputError(NO_REPLY)
    *before, reply = inside
    if reply.turn.role != "agent" or not before:
        raise InputError(NO_REPLY)
    sources = [said.source for said in before if said.source is not None]
    alone = [said.turn.role == "document" for said in before]
    items = [EncodeItem(source.ids, own) for source, own in zip(sources, alone, strict=True)]
    prefix = runtime.reply_prefix(Memory.empty(), items)
    if runtime.config.encoder_mask == "full":  # the reply is in the only segment
        memory = runtime.forward.encode(
            [idx for source in sources for idx in source.ids], Memory.empty()
        )
    else:
        memory = Memory(state.memory.segments[:-1])
    yield
    assert reply.source is not None  # it is inside
    ids = reply.source.ids[reply.source.start : reply.source.stop]
    ids = ids[: len(runtime.answer_ids(reply.turn.text, prefix))]
    context = Context(runtime.forward, memory, sources, alone)
    effects = yield from runtime.effects(context, prefix, ids, options)
    places = tuple(index for index, said in enumerate(state.said[:-1]) if said.source is not None)
    return Influence(influence(effects, sources), segment_influence(effects, sources), places)
