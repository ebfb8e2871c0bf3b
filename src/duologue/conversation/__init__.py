"""One turn, read in one go: template, encode what is new, decode, check, remember.

Conversation   say or stream a turn; fork, save, load, restore, explain, forget
reply.py       a reply on its way, for those that wait in ways of their own
why.py         which turns made a reply what it is
state.py       what a conversation knows, and how a turn fits into its memory
saved.py       the file that lists the turns

The reply joins the memory, so the next turn starts from there and only new turns are ever encoded.
When the memory is full the oldest turns leave it, whole, and the result says how many did.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from duologue.conversation.reply import Asked, Reply
from duologue.conversation.saved import FORMAT, TURNS, Saved, SavedTurn, read_saved, write
from duologue.conversation.state import Said, State, place, read
from duologue.conversation.why import NO_REPLY, Influence, influencing
from duologue.engine.memory import Memory, Segment
from duologue.errors import CheckpointError, EngineError, InputError
from duologue.explain import Explanation
from duologue.explain.erasure import ErasureOptions, finished
from duologue.files import sync
from duologue.runtime import Runtime, check_text
from duologue.types import Checks, Done, Event, Options, Result, Role, Turn

__all__ = ["Conversation", "Part", "Reply"]

MAX_MEMORY_BYTES = 2**30

Part = tuple[Turn, Memory | None]


class Conversation:
    """A dialogue with one model.

    What was delivered is what is remembered: a finished reply joins the memory just before its
    Done; of a stream that is closed early the committed text does, or nothing, not even what was
    asked, if there was none yet. An error or Ctrl-C inside leaves everything as it was before the
    turn. The state is replaced as a whole and never half changed.

    Conversations share a model and may run in different threads; one conversation takes one turn
    at a time. Segments in the spans of a result count the segments of the memory that the reply
    was made from; offsets are into the texts of `turns`.

    REPLY_OPTIONS  greedy: the same question gets the same answer. Six tokens in a row are never
                   said twice, which ends loops but lets times, prices and names be repeated
    """

    REPLY_OPTIONS: ClassVar[Options] = Options(max_tokens=128, no_repeat_ngram_size=6)

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._state = State()

    @property
    def memory(self) -> Memory:
        """What the next reply will be made from."""
        return self._state.memory

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Everything that was said, also what has left the memory."""
        return tuple(said.turn for said in self._state.said)

    def fork(self) -> Conversation:
        """A conversation that goes on from here by itself; shares the memory, costs nothing."""
        fork = Conversation(self._runtime)
        fork._state = self._state
        return fork

    def forget(self) -> None:
        """Forget everything: turns, memory, and the last explanation."""
        self._state = State()

    def why(self, erasure: bool = False, options: ErasureOptions | None = None) -> Explanation:
        """What the last reply leaned on and how sure each piece of it was.

        erasure  find out as well what it would be less likely without: influence and turns
        options  how much that may cost; None: ErasureOptions()

        Raises InputError before the first reply. Explanations are not saved.
        """
        if self._state.explanation is None:
            raise InputError(NO_REPLY)
        if not erasure:
            return self._state.explanation
        found = finished(self.influencing(options))
        return replace(self._state.explanation, influence=found.spans, turns=found.turns)

    def influencing(
        self, options: ErasureOptions | None = None
    ) -> Generator[None, None, Influence]:
        """What the last reply would be less likely without, also one from a file.

        Yields between pieces of its work. Raises InputError if the last turn is no reply, or has
        left the memory.
        """
        return influencing(self._runtime, self._state, options or ErasureOptions())

    # --- turns -------------------------------------------------------------------------------

    def add(self, role: Role, text: str) -> Checks:
        """Put a turn into the memory without replying: history, a document, an instruction."""
        source = self._runtime.turn(role, check_text(text))
        placed = place(self._runtime, self._state, role, source)
        self._state, _ = read(self._runtime, placed.state)
        return Checks(source_truncated=placed.truncated, trimmed_turns=placed.num_trimmed)

    def say(self, text: str, options: Options | None = None) -> Result:
        """Say something and get the whole reply; see stream."""
        *_, last = self.stream(text, options)
        assert isinstance(last, Done)  # a stream that ends, ends so
        return last.result

    def stream(self, text: str, options: Options | None = None) -> Generator[Event, None, None]:
        """Say something and get the reply as it is made: Commit and Revise events, then Done.

        options  None: REPLY_OPTIONS

        The commits in a row are the text of the result. Raises InputError for a text that cannot
        be read, EngineError if the reply could not be made.
        """
        return self._events(self.begin([Turn("user", text)], options))

    def begin(self, turns: Sequence[Turn] = (), options: Options | None = None) -> Reply:
        """The reply to this conversation after some more turns; nothing is computed yet.

        turns    what is new, the user's last; none if the last turn was the user's already
        options  None: REPLY_OPTIONS

        History that would have to leave the memory before the reply is never encoded. Raises
        InputError for a text that cannot be read, a turn of another that is the last one, and a
        model that does not reply; EngineError if documents leave no room.
        """
        runtime, before = self._runtime, self._state
        runtime.template.prefix("reply")  # refuses a model that cannot
        state, checks = before, Checks()
        for turn in turns:
            source = runtime.turn(turn.role, check_text(turn.text))
            placed = place(runtime, state, turn.role, source)
            state = placed.state
            checks = Checks(
                source_truncated=checks.source_truncated + placed.truncated,
                trimmed_turns=checks.trimmed_turns + placed.num_trimmed,
            )
        last = state.said[-1].turn.role if state.said else None
        if last != "user":
            raise InputError(f"the last turn must be the user's, not one of role {last!r}")

        def keep(reached: State) -> bool:
            if self._state is not before:
                return False
            self._state = reached
            return True

        return Reply(runtime, Asked(state, checks), options or self.REPLY_OPTIONS, keep)

    def _events(self, reply: Reply) -> Generator[Event, None, None]:
        opened = self._runtime.engine.open_stream(
            reply.memory,
            reply.prefix_ids,
            reply.options,
            record_attention=True,
            sources=reply.sources,
        )
        with contextlib.closing(opened) as stream:
            while not reply.is_finished:
                begun_s = time.perf_counter()
                progress = next(stream)
                waited_s = time.perf_counter() - begun_s  # not what the reader does in between
                try:
                    yield from reply.digest(progress, waited_s)
                except GeneratorExit:
                    reply.stop()
                    raise
        yield reply.finish()

    # --- parts -------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[Part, ...]:
        """Each turn with its own segment, as a memory; None if it has left the memory.

        Empty for a model that encodes all turns together (encoder_mask "full"): there are no parts.
        """
        if self._runtime.config.encoder_mask == "full":
            return ()
        segments = iter(self._state.memory.segments)
        return tuple(
            (said.turn, Memory((next(segments),)) if said.source else None)
            for said in self._state.said
        )

    def restore(self, parts: Sequence[Part]) -> None:
        """Go on, in place of this conversation, with turns whose segments are encoded already.

        parts  as the property gave them for this model

        Raises CheckpointError, and changes nothing, if the segments are not those of the turns.
        """
        said: list[Said] = []
        segments: list[Segment] = []
        for turn, part in parts:
            inside = () if part is None else part.segments
            ids = [idx for segment in inside for idx in segment.ids]
            said.append(self._restored(turn, len(ids)))
            segments += inside
        self._put(Memory(tuple(segments)), tuple(said), "the parts of a memory")

    # --- files -------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write the conversation into a folder that only its owner may read.

        What was saved there before is replaced at once or, on any failure, not at all.
        Raises CheckpointError if it cannot be written.
        """
        folder = Path(path)
        memory = f"memory-{secrets.token_hex(8)}.safetensors"
        saved = Saved(
            format=FORMAT,
            fingerprint=self._runtime.fingerprint,
            memory=memory,
            turns=tuple(
                SavedTurn(said.turn.role, said.turn.text, len(said.ids))
                for said in self._state.said
            ),
        )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._state.memory.save(folder / memory, saved.fingerprint)
            sync(folder / memory)
            write(folder / TURNS, saved)
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot be written: {error.strerror}") from None
        for old in folder.glob("memory-*.safetensors"):
            if old.name != memory:
                old.unlink(missing_ok=True)

    def load(self, path: Path | str) -> None:
        """Go on with a saved conversation in place of this one.

        Raises CheckpointError, and changes nothing, if it is missing, damaged, too large, or was
        led with another model.
        """
        folder = Path(path)
        saved = read_saved(folder / TURNS)
        if saved.fingerprint != self._runtime.fingerprint:
            raise CheckpointError(f"{folder}: this conversation was led with another model")
        memory_path = folder / Path(saved.memory).name
        if memory_path.is_file() and memory_path.stat().st_size > MAX_MEMORY_BYTES:
            raise CheckpointError(
                f"{memory_path}: larger than any memory ({MAX_MEMORY_BYTES} bytes)"
            )
        memory = Memory.load(memory_path, saved.fingerprint, self._runtime.forward)
        said = tuple(
            self._restored(Turn(turn.role, turn.text), turn.num_tokens) for turn in saved.turns
        )
        self._put(memory, said, str(folder))

    def _restored(self, turn: Turn, num_tokens: int) -> Said:
        source = self._runtime.turn(turn.role, turn.text)
        if not 0 <= num_tokens <= len(source.ids):
            raise CheckpointError("the saved conversation is damaged: a turn has too many tokens")
        return Said(turn, source.cut(num_tokens) if num_tokens else None)

    def _put(self, memory: Memory, said: tuple[Said, ...], where: str) -> None:
        """Take a memory and turns from elsewhere, if they fit each other and the model."""
        ids = [idx for segment in memory.segments for idx in segment.ids]
        if ids != [idx for one in said for idx in one.ids]:
            raise CheckpointError(f"{where}: damaged: the turns are not those of the memory")
        try:
            self._runtime.forward.start(memory)
        except EngineError as error:
            raise CheckpointError(f"{where}: damaged: {error}") from None
        self._state = State(memory, said)
