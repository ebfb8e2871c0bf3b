"""A conversation about commands: text and state in, what to say or do and the next state out.

Dialogue   decides; it runs nothing, keeps nothing, and looks at no clock
State      where a conversation is: what is asked for, and what was done last
Decision   say something, do a command, or take the last one back

    take(text, state) -> Decision --- say ------------------------------> text, state
                                  \\-- run or undo --> the caller acts --> finished(outcome)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal, Protocol

from duologue.apps.assistant.actions import Outcome
from duologue.apps.assistant.declaration import Declaration, Intent, Slot
from duologue.apps.assistant.fits import fit, fitting
from duologue.apps.assistant.phrases import SAYINGS, correction, hears
from duologue.apps.assistant.spoken import marks_of, render, spoken
from duologue.apps.assistant.tagger import Segment
from duologue.apps.assistant.understand import Understood
from duologue.apps.assistant.utterance import MAX_CHARS, Utterance, tokens_of
from duologue.text.language import guess_language
from duologue.types import Command, CommandStatus, Span

NUM_NEAREST = 3  # of what it can do, if nothing was understood
MAX_TRIES = 3  # a question is asked so often
DOUBTFUL = 0.5  # below this a command is confirmed before it is done
SURE = 0.6  # from here on a text is a new command, not the answer to a question
SURE_OF_TEXT = 0.8  # the same, where any words could be the answer


class Reader(Protocol):
    """What understands a text; see understand.Understanding."""

    def read(self, text: str, language: str, today: date) -> Understood:
        """What a text means."""


@dataclass(frozen=True)
class Pending:
    """A command that is not done yet.

    asking  the slot that was asked for; empty: whether to do it was asked
    tries   how often it was asked
    texts   how many texts said it so far
    is_doubtful  whether it was only just understood, so that it is to be confirmed
    """

    intent: str
    slots: Mapping[str, Any]
    spans: Mapping[str, Span]
    asking: str = ""
    tries: int = 1
    texts: int = 1
    is_doubtful: bool = False


@dataclass(frozen=True)
class Last:
    """What was done last; undo: what its undoing needs, None: it cannot be undone."""

    intent: str
    slots: Mapping[str, Any]
    undo: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class State:
    """Where a conversation is; a new one is at State()."""

    language: str = ""
    pending: Pending | None = None
    last: Last | None = None


@dataclass(frozen=True)
class Decision:
    """What is to be done about a text.

    kind        say: `text` is the answer. run: do `command`, then call finished. undo: take `last`
                back, then call finished
    undo_first  run: take this back before, because the command corrects it
    """

    kind: Literal["say", "run", "undo"]
    state: State
    text: str = ""
    command: Command | None = None
    undo_first: Last | None = None
    last: Last | None = None
    understood: Understood | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a text is said in: the day, and what the person prefers."""

    today: date
    preferences: Mapping[str, str] = field(default_factory=dict)


class Dialogue:
    """See the module docstring. Threads may share it.

    language  of answers to people whose texts give no sign of theirs
    """

    def __init__(self, declaration: Declaration, reader: Reader, language: str = "en") -> None:
        self._declaration = declaration
        self._intents = declaration.intents
        self._reader = reader
        self._language = language
        self._words = {code: declaration.words(code) for code in declaration.languages}

    # --- what was said -----------------------------------------------------------------------

    def take(self, text: str, state: State, around: Surroundings) -> Decision:
        """What to do about a text."""
        state = replace(state, language=self._spoken_language(text, state))
        if len(text) > MAX_CHARS:
            return self._say("too_long", state)
        if state.pending is not None:
            return self._go_on(text, state, state.pending, around)
        if hears(text, "undo"):
            return self._undo(state)
        if hears(text, "cancel"):
            return self._say("nothing", state)
        if state.last is not None and (said := correction(text)) is not None:
            corrected = self._corrected(said, state, state.last, around)
            if corrected is not None:
                return corrected
        return self._new(text, state, around)

    def _spoken_language(self, text: str, state: State) -> str:
        """By its function words, else by the words of the examples, else as it was before."""
        before = state.language or self._language
        guess = guess_language(text, self._declaration.languages)
        if guess is not None:
            return guess
        words = {token.text.casefold() for token in tokens_of(text[:MAX_CHARS])}
        known = {code: len(words & vocabulary) for code, vocabulary in self._words.items()}
        return max(known, key=lambda code: (known[code], code == before), default=before)

    def _new(self, text: str, state: State, around: Surroundings) -> Decision:
        if hears(text, "help"):
            return self._say("help", state, list=self._abilities(state.language))
        understood = self._reader.read(text, state.language, around.today)
        if not understood.is_understood:
            nearest = sorted(understood.probabilities.items(), key=lambda item: -item[1])
            names = [name for name, _ in nearest[:NUM_NEAREST]]
            abilities = self._abilities(state.language, names)
            decision = self._say("not_understood", state, list=abilities)
            return replace(decision, understood=understood)
        return replace(self._begin(understood, state, around), understood=understood)

    def _begin(self, understood: Understood, state: State, around: Surroundings) -> Decision:
        slots, spans = _slots(understood.segments, 0)
        is_doubtful = understood.probability < DOUBTFUL
        pending = Pending(understood.intent.name, slots, spans, is_doubtful=is_doubtful)
        return self._next(pending, state, around)

    def _next(self, pending: Pending, state: State, around: Surroundings) -> Decision:
        """Ask for what is missing, then whether to do it at all, then do it."""
        intent = self._intents[pending.intent]
        filled = dict(pending.slots)
        for name, slot in intent.slots.items():
            if name not in filled and slot.preference in around.preferences:
                filled[name] = around.preferences[str(slot.preference)]
        pending = replace(pending, slots=filled)
        for name, slot in intent.slots.items():
            if slot.required and name not in filled:
                return self._ask(replace(pending, asking=name, tries=1), slot, state)
        if intent.confirm or pending.is_doubtful:
            asking = replace(pending, asking="", tries=1)
            return self._confirm(asking, state, around)
        return self._run(pending, state)

    def _ask(self, pending: Pending, slot: Slot, state: State) -> Decision:
        prompt = slot.prompts.get(state.language) or self._saying(
            "ask", state.language, slot=slot.name.replace("_", " ")
        )
        state = replace(state, pending=pending)
        return Decision("say", state, prompt, _command(pending, "asking"))

    def _confirm(
        self, pending: Pending, state: State, around: Surroundings, saying: str = "confirm"
    ) -> Decision:
        intent = self._intents[pending.intent]
        template = intent.answers.get(state.language, {}).get(saying)
        if template is not None and marks_of(template) <= set(pending.slots):
            slots = self._spoken_slots(intent, pending.slots, state.language, around.today)
            text = render(template, slots, lambda _, value: str(value))
        else:
            text = self._saying(saying, state.language, title=self._title(intent, state.language))
        state = replace(state, pending=pending)
        return Decision("say", state, text, _command(pending, "confirming"))

    def _run(self, pending: Pending, state: State, undo_first: Last | None = None) -> Decision:
        state = replace(state, pending=None)
        return Decision("run", state, command=_command(pending, "done"), undo_first=undo_first)

    # --- in the middle of a command ----------------------------------------------------------

    def _go_on(self, text: str, state: State, pending: Pending, around: Surroundings) -> Decision:
        if hears(text, "cancel") or (pending.asking and hears(text, "no")):
            return self._cancelled(state, pending)
        if hears(text, "undo"):
            return self._undo(replace(state, pending=None))
        pending = replace(pending, texts=pending.texts + 1)
        intent = self._intents[pending.intent]
        said = correction(text)
        if said is not None:
            segments = fitting(self._utterance(said, state, around), intent.slots, pending.slots)
            if segments:
                return self._filled(pending, segments, state, around)
        if pending.asking:
            return self._answered(said or text, state, pending, around)
        if hears(text, "yes"):
            return self._run(pending, state)
        if hears(text, "no"):
            return self._cancelled(state, pending)
        understood = self._reader.read(text, state.language, around.today)
        if understood.is_understood and understood.probability >= SURE:
            fresh = self._begin(understood, replace(state, pending=None), around)
            return replace(fresh, understood=understood)
        if pending.tries >= MAX_TRIES:
            return self._given_up(state, pending)
        again = replace(pending, tries=pending.tries + 1)
        return self._confirm(again, state, around, "confirm_again")

    def _answered(
        self, text: str, state: State, pending: Pending, around: Surroundings
    ) -> Decision:
        """The answer to a question, a new command, or neither."""
        intent = self._intents[pending.intent]
        slot = intent.slots[pending.asking]
        utterance = self._utterance(text, state, around)
        found = fit(utterance, slot)
        if found is not None and found.is_whole:
            return self._filled(pending, [found.segment], state, around)
        understood = self._reader.read(text, state.language, around.today)
        is_text = slot.kind in ("text", "place")
        threshold = SURE_OF_TEXT if is_text else SURE
        if understood.is_understood and understood.probability >= threshold:
            if understood.intent.name == pending.intent and understood.segments:
                return self._filled(pending, list(understood.segments), state, around)
            if understood.intent.name != pending.intent:
                fresh = self._begin(understood, replace(state, pending=None), around)
                return replace(fresh, understood=understood)
        if found is not None:
            return self._filled(pending, [found.segment], state, around)
        if pending.tries >= MAX_TRIES:
            return self._given_up(state, pending)
        return self._ask(replace(pending, tries=pending.tries + 1), slot, state)

    def _filled(
        self, pending: Pending, segments: list[Segment], state: State, around: Surroundings
    ) -> Decision:
        """The command with more slots, or with other values in them."""
        slots, spans = _slots(segments, pending.texts - 1)
        filled = replace(
            pending, slots={**pending.slots, **slots}, spans={**pending.spans, **spans}
        )
        return self._next(filled, state, around)

    def _cancelled(self, state: State, pending: Pending) -> Decision:
        decision = self._say("cancelled", replace(state, pending=None))
        return replace(decision, command=_command(pending, "cancelled"))

    def _given_up(self, state: State, pending: Pending) -> Decision:
        decision = self._say("given_up", replace(state, pending=None))
        return replace(decision, command=_command(pending, "cancelled"))

    # --- what was done already -----------------------------------------------------------------

    def _undo(self, state: State) -> Decision:
        last = state.last
        if last is None or last.undo is None or self._intents[last.intent].undo is None:
            return self._say("no_undo", state)
        command = Command(last.intent, dict(last.slots), status="undone")
        return Decision("undo", replace(state, last=None), command=command, last=last)

    def _corrected(
        self, said: str, state: State, last: Last, around: Surroundings
    ) -> Decision | None:
        """The last command again with another value; None if nothing of the text fits it."""
        intent = self._intents[last.intent]
        segments = fitting(self._utterance(said, state, around), intent.slots, last.slots)
        if not segments:
            return None
        slots, spans = _slots(segments, 0)
        pending = Pending(intent.name, {**last.slots, **slots}, spans)
        if intent.confirm:
            return self._confirm(pending, state, around)
        return self._run(pending, state, last if last.undo is not None else None)

    def finished(
        self, decision: Decision, outcome: Outcome, around: Surroundings
    ) -> tuple[str, Command, State]:
        """What to say after a command was done or undone, the command, and the state then."""
        command, state = decision.command, decision.state
        assert command is not None  # there is one whatever was run
        intent = self._intents[command.intent]
        if decision.kind == "undo":
            if outcome.case == "failed":
                failed = replace(command, status="failed")
                return self._saying("failed", state.language), failed, state
            title = self._title(intent, state.language)
            return self._saying("undone", state.language, title=title), command, state
        if outcome.case == "failed":
            command = replace(command, status="failed")
        else:
            can_undo = intent.undo is not None and outcome.undo is not None
            undo = outcome.undo if can_undo else None
            state = replace(state, last=Last(intent.name, command.slots, undo))
        return self._answer(intent, command, outcome, state.language, around), command, state

    # --- words -------------------------------------------------------------------------------

    def _answer(
        self,
        intent: Intent,
        command: Command,
        outcome: Outcome,
        language: str,
        around: Surroundings,
    ) -> str:
        if outcome.text:
            return outcome.text
        answers = intent.answers.get(language) or next(iter(intent.answers.values()), {})
        template = answers.get(outcome.case)
        if template is None:
            problem = outcome.values.get("problem")
            if outcome.case == "failed" and problem:
                return self._saying("problem", language, problem=str(problem))
            return self._saying("failed" if outcome.case != "done" else "done", language)
        # What an action says is said already; only slots are still to be put into words.
        slots = self._spoken_slots(intent, command.slots, language, around.today)
        values = {**around.preferences, **slots, **outcome.values}
        return render(
            template, values, lambda _, value: spoken(value, None, language, around.today)
        )

    def _spoken_slots(
        self, intent: Intent, slots: Mapping[str, Any], language: str, today: date
    ) -> dict[str, str]:
        return {
            name: spoken(value, intent.slots.get(name), language, today)
            for name, value in slots.items()
        }

    def _saying(self, name: str, language: str, **values: str) -> str:
        return render(SAYINGS[language][name], values, lambda _, value: str(value))

    def _say(self, name: str, state: State, **values: str) -> Decision:
        return Decision("say", state, self._saying(name, state.language, **values))

    def _title(self, intent: Intent, language: str) -> str:
        return intent.title.get(language) or intent.name.replace("_", " ")

    def _abilities(self, language: str, names: Iterable[str] | None = None) -> str:
        """What it can do, all of it or some; the sign between is that of the language."""
        intents = self._intents if names is None else names
        sign = "；" if language == "zh" else "; "
        return sign.join(self._title(self._intents[name], language) for name in intents)

    def _utterance(self, text: str, state: State, around: Surroundings) -> Utterance:
        return Utterance(text, state.language, around.today)


def _command(pending: Pending, status: CommandStatus) -> Command:
    return Command(pending.intent, dict(pending.slots), dict(pending.spans), status)


def _slots(
    segments: tuple[Segment, ...] | list[Segment], text_number: int
) -> tuple[dict[str, Any], dict[str, Span]]:
    """Values and spans of segments."""
    slots = {segment.slot: segment.candidate.value for segment in segments}
    spans = {
        s.slot: Span(text_number, s.candidate.start, s.candidate.end, s.text, s.score)
        for s in segments
    }
    return slots, spans
