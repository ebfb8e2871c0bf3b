"""What somebody wants: the declared intent that fits best, and its slots, or that nothing fits.

Understanding  fitted to a declaration and a model
Understood     what it makes of one text

Two judges share the decision. The prior (prior.py) knows the declared examples alone. The model
gives a probability to each declared name (engine/trie.py), which is worth something where it learnt
names of that kind; how much is measured on the declared examples when the assistant is made.
Slots come from the tagger (tagger.py), or from the model's own words under a grammar (grammar.py)
where it has learnt the task `command` and does better on the declared examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from duologue.apps.assistant.declaration import Declaration, Intent, Slot
from duologue.apps.assistant.grammar import CommandRule, Vocabulary
from duologue.apps.assistant.patterns import matched
from duologue.apps.assistant.prior import Features, Floats, Prior, counted, log_softmax
from duologue.apps.assistant.tagger import Segment, Tagger
from duologue.apps.assistant.utterance import NUM_FILLS, Filled, Utterance, filled
from duologue.apps.assistant.values import LANGUAGES
from duologue.engine.engine import Constraints
from duologue.engine.memory import Memory
from duologue.engine.trie import score_labels
from duologue.explain import confidence
from duologue.runtime import Runtime
from duologue.text.template import label_text
from duologue.types import Options

# Below these nothing was understood; fitted on validation parts, see benchmarks/assistant.py.
MIN_PROBABILITY = 0.3
MIN_SUPPORT = 0.2

NUM_PROBES = 100  # examples on which the judges are compared
_NONE = ""  # the class of what is out of scope
_SOME_DAY = date(2001, 1, 1)  # examples are read relative to a day, no matter which
_SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_MAX_COMMAND_TOKENS = 120


@dataclass(frozen=True)
class Understood:
    """What a text means.

    intent         the likeliest, even if it is not likely
    is_understood  whether it is likely enough to act on
    probabilities  of all intents; with that of none of them they sum to 1
    support        about 1 for what is like the examples of the intent, about 0 for what is not
    segments       the slots that were said
    """

    utterance: Utterance
    intent: Intent
    is_understood: bool
    probabilities: Mapping[str, float]
    support: float
    segments: tuple[Segment, ...] = ()

    @property
    def probability(self) -> float:
        """Of the intent."""
        return self.probabilities[self.intent.name]


@dataclass
class _Probe:
    """An example on which judges are compared: index of its row, its memory and its slots."""

    row: int
    utterance: Utterance
    memory: Memory
    example: Filled
    intent: Intent


class Understanding:
    """Fitted to a declaration. Threads may share it.

    model_share  (attribute) how much the model's probabilities of names count; 0: not at all
    uses_model_slots  (attribute) whether slots are in the model's own words
    """

    def __init__(self, runtime: Runtime, declaration: Declaration) -> None:
        self._runtime = runtime
        self._intents = list(declaration.intents.values())
        self._classes = [intent.name for intent in self._intents]
        if declaration.out_of_scope:
            self._classes.append(_NONE)
        tasks = [task for task in ("command", "intent") if task in runtime.config.tasks]
        self._task = tasks[0] if len(self._intents) > 1 and tasks else None
        self._label_ids = [
            runtime.tokenizer.encode(label_text(intent.name)) for intent in self._intents
        ]
        self._vocabulary = self._make_vocabulary() if self._task == "command" else None
        self._slots = {s.name: s for intent in self._intents for s in intent.slots.values()}
        self._lexicons: dict[str, dict[str, str]] = {
            language: {
                way: slot.name
                for intent in self._intents
                for slot in intent.slots.values()
                for way in slot.ways(language)
            }
            for language in LANGUAGES
        }
        self._marked = {
            intent.name: [e for e in intent.examples if not any(e.values)]
            for intent in self._intents
        }
        self._fit(declaration)

    def _make_vocabulary(self) -> Vocabulary:
        tokenizer = self._runtime.tokenizer
        pieces = [tokenizer.token_bytes(idx) for idx in range(tokenizer.vocab_size)]
        return Vocabulary(pieces, tokenizer.eos_id)

    # --- fitting -----------------------------------------------------------------------------

    def _fit(self, declaration: Declaration) -> None:
        said = [(intent, e) for intent in self._intents for e in intent.examples]
        tagged: list[tuple[Utterance, Filled]] = []
        probes: list[_Probe] = []
        every = max(1, len(said) // NUM_PROBES)
        counts, means, targets = [], [], []
        for number, (intent, example) in enumerate(said):
            has_own = not example.parts or all(example.values)
            turns = range(number, number + (1 if has_own else NUM_FILLS))
            fills = [filled(example, intent.slots, turn) for turn in turns]
            utterances = [self._utterance(f.text, f.language, _SOME_DAY) for f in fills]
            tagged += zip(utterances, fills, strict=True)
            memory, mean = self._encode(fills[0].text)
            counts.append(counted(utterances[0], _sampled(fills[0], example.values, intent.slots)))
            means.append(mean)
            targets.append(self._classes.index(intent.name))
            if number % every == 0:
                probes.append(_Probe(number, utterances[0], memory, fills[0], intent))
        for example in declaration.out_of_scope:
            counts.append(counted(self._utterance(example.text, example.language, _SOME_DAY)))
            means.append(self._encode(example.text)[1])
            targets.append(self._classes.index(_NONE))
        stacked = np.stack(counts), np.stack(means)
        self._features = Features(*stacked)
        rows = self._features(*stacked)
        self._prior = Prior(rows, np.array(targets), len(self._classes))
        self._tagger = Tagger(list(self._slots), tagged)
        self.model_share = self._fitted_share(probes, np.array(targets))
        self.uses_model_slots = self._vocabulary is not None and self._model_finds_more(
            probes, tagged
        )

    def _fitted_share(self, probes: Sequence[_Probe], targets: npt.NDArray[np.int64]) -> float:
        """The share with the least loss, where the prior judges each example by the others."""
        if self._task is None:
            return 0.0
        rows = [probe.row for probe in probes]
        prior = self._prior.logprobs(self._prior.scores_without[rows])
        model = np.stack([self._model_logprobs(probe.memory) for probe in probes])
        losses = []
        for share in _SHARES:
            joint = np.stack([self._joint(p, m, share) for p, m in zip(prior, model, strict=True)])
            losses.append(-float(joint[np.arange(len(rows)), targets[rows]].mean()))
        return _SHARES[int(np.argmin(losses))]

    def _model_finds_more(
        self, probes: Sequence[_Probe], tagged: Sequence[tuple[Utterance, Filled]]
    ) -> bool:
        """Whether the model finds more of the slots of examples than a tagger that knows half."""
        texts = {probe.example.text for probe in probes}
        half = Tagger(list(self._slots), [(u, f) for u, f in tagged if f.text not in texts])
        by_model = by_tagger = 0
        for probe in probes:
            wanted = {
                (name, probe.example.text[start:end]) for name, start, end in probe.example.places
            }
            ours = half.segments(probe.utterance, probe.intent.slots)
            theirs = self._model_segments(probe.utterance, probe.memory, probe.intent)
            by_tagger += _agreement(wanted, ours)
            by_model += _agreement(wanted, theirs)
        return by_model > by_tagger

    # --- one text ----------------------------------------------------------------------------

    def read(self, text: str, language: str, today: date) -> Understood:
        """What a text means, said in a language on a day."""
        utterance = self._utterance(text, language, today)
        memory, mean = self._encode(text)
        rows = self._features(counted(utterance)[None], mean[None])
        scores = self._prior.scores(rows)[0]
        joint = self._prior.logprobs(scores[None])[0]
        if self.model_share:
            joint = self._joint(joint, self._model_logprobs(memory), self.model_share)
        shares = np.exp(joint)
        num = len(self._intents)
        best = int(shares[:num].argmax())
        intent = self._intents[best]
        is_none = num < len(shares) and shares[-1] > shares[best]
        is_understood = (
            not is_none and shares[best] >= MIN_PROBABILITY and scores[best] >= MIN_SUPPORT
        )
        names = self._classes[:num]
        return Understood(
            utterance,
            intent,
            bool(is_understood),
            dict(zip(names, shares[:num].tolist(), strict=True)),
            float(scores[best]),
            tuple(self._segments(utterance, memory, intent)),
        )

    def _segments(self, utterance: Utterance, memory: Memory, intent: Intent) -> list[Segment]:
        if self.uses_model_slots:
            segments = self._model_segments(utterance, memory, intent)
        else:
            segments = self._tagger.segments(utterance, intent.slots)
        by_example = matched(self._marked[intent.name], utterance, intent.slots)
        if by_example is not None and _num_typed(by_example, intent) >= _num_typed(
            segments, intent
        ):
            segments = by_example
        return completed(segments, utterance, intent.slots)

    def _utterance(self, text: str, language: str, today: date) -> Utterance:
        return Utterance(text, language, today, self._lexicons[language])

    def _encode(self, text: str) -> tuple[Memory, Floats]:
        """The memory of a text, and the mean [D] of what the encoder made of its tokens."""
        runtime = self._runtime
        ids = runtime.template.alone(text).ids[: runtime.config.max_positions]
        encoding = runtime.forward.begin_encode(ids, Memory.empty())
        while not encoding.advance():
            pass
        return encoding.memory, encoding.states().mean(axis=0)

    def _model_logprobs(self, memory: Memory) -> npt.NDArray[np.float64]:
        """[intents] what the model says of the names."""
        assert self._task is not None
        prefix = self._runtime.template.prefix(self._task).ids
        eos_id = self._runtime.tokenizer.eos_id
        found = score_labels(self._runtime.forward, memory, prefix, self._label_ids, eos_id)
        return np.log(np.maximum(found, 1e-6))

    def _joint(
        self, prior: npt.NDArray[np.float64], model: npt.NDArray[np.float64], share: float
    ) -> npt.NDArray[np.float64]:
        """[classes] both judges; whether anything fits at all is the prior's to say."""
        num = len(self._intents)
        inside = np.log(np.exp(prior[:num]).sum())
        joint = prior.copy()
        joint[:num] = inside + log_softmax(prior[:num] + share * model)
        return joint

    def _model_segments(
        self, utterance: Utterance, memory: Memory, intent: Intent
    ) -> list[Segment]:
        """The slots in the model's own words, held to what may be said."""
        if not intent.slots or self._vocabulary is None:
            return []
        rule = CommandRule(self._vocabulary, utterance, intent.name, intent.slots)
        prefix = self._runtime.template.prefix("command")
        options = self._runtime.fit(Options(max_tokens=_MAX_COMMAND_TOKENS), prefix)
        finished = self._runtime.engine.generate(
            memory, prefix.ids, options, constraints=Constraints(prefix.forced, rule)
        )
        sure = confidence([finished.best])
        found = rule.slots(finished.best.ids)
        segments = [Segment.of(name, utterance, c, sure) for name, c in found.items()]
        return sorted(segments, key=lambda segment: segment.candidate.first)


def _num_typed(segments: Sequence[Segment], intent: Intent) -> int:
    return sum(intent.slots[s.slot].kind not in ("text", "place") for s in segments)


def completed(
    segments: Sequence[Segment], utterance: Utterance, slots: Mapping[str, Slot]
) -> list[Segment]:
    """The slots, and for typed ones that are still empty what was recognised and nobody took."""
    result = list(segments)
    for name, slot in slots.items():
        if slot.kind == "text" or any(name == segment.slot for segment in result):
            continue
        rivals = [s for s in slots.values() if s.kind == slot.kind and s.kind != "choice"]
        if len(rivals) > 1 and not slot.required:
            continue
        for candidate in utterance.candidates(slot):
            taken = [segment.candidate for segment in result]
            if all(candidate.stop <= c.first or candidate.first >= c.stop for c in taken):
                result.append(Segment.of(name, utterance, candidate))
                break
    return sorted(result, key=lambda segment: segment.candidate.first)


def _sampled(
    example: Filled, own: Sequence[str], slots: Mapping[str, Slot]
) -> list[tuple[int, int]]:
    """Where sample words stand that say nothing of the intent: those of free slots."""
    return [
        (start, end)
        for (name, start, end), value in zip(example.places, own, strict=True)
        if not value and slots[name].kind in ("text", "place")
    ]


def _agreement(wanted: set[tuple[str, str]], segments: Sequence[Segment]) -> int:
    """Slots found less slots invented."""
    found = {(segment.slot, segment.text) for segment in segments}
    return len(wanted & found) - len(found - wanted)
