"""A model as evaluation sees it: the same calls that answer people, in batches.

ModelPredictor    evaluation.evaluate.Predictor on a Runtime
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from duologue.api import Model
from duologue.apps.labels import Choice, choices_of, classify_batch
from duologue.apps.sentiment import LABELS, choice
from duologue.conversation import Conversation
from duologue.engine.memory import Memory
from duologue.errors import EngineError, InputError
from duologue.evaluation.cases import Case, Cases
from duologue.evaluation.evaluate import Forced, force_decode
from duologue.explain import has_loop
from duologue.runtime import Runtime
from duologue.text.imported_template import Prefix
from duologue.types import Checks, Options, Result, Turn, Usage


class ModelPredictor:
    """Predicts the cases of one evaluation, in their order.

    options    decoding of translations and replies
    label_set  name of it; None: for intents that of the cases, for sentiment the labels of the
               cases and LABELS

    settings  (attribute) the choices that labels are predicted with
    """

    def __init__(
        self, runtime: Runtime, cases: Cases, options: Options, label_set: str | None
    ) -> None:
        self._runtime = runtime
        self._model = Model(runtime)
        self._options = options
        self._choice: Choice | None = None
        self.settings: dict[str, Any] = {}
        if cases.task == "intent":
            self._choice = choices_of(runtime, "intent", label_set or cases.set)
            self.settings = {"labels": label_set or cases.set}
        elif cases.task == "sentiment":
            found = sorted({case.expected for case in cases.items}.union(LABELS))
            self._choice = choice(runtime, None if label_set else found, label_set)
            self.settings = {"labels": label_set} if label_set else {}
        if self._choice is not None:
            temperatures = self._choice.temperatures
            self.settings["temperature"] = temperatures.common
            if temperatures.by_language:
                self.settings["temperature_by_language"] = dict(temperatures.by_language)
        self._dialogue = _Dialogue(runtime)
        self._read_for: Sequence[Case] = ()
        self._readings: list[tuple[Memory, Checks]] = []

    def texts(self, cases: Sequence[Case], task: str) -> list[Result]:
        """Translations, or replies to the turns of each case."""
        if task == "translate":
            return [
                result
                for languages, group in groupby(cases, self._languages)
                for result in self._model.translate_batch(
                    [case.segments[0].text for case in group], *languages, options=self._options
                )
            ]
        readings = self._read(cases)
        prefixes = [self._runtime.reply_prefix(memory) for memory, _ in readings]
        longest = max(prefixes, key=lambda prefix: len(prefix.ids))
        options = self._runtime.fit(self._options, longest)
        requests = [
            (memory, prefix.ids) for (memory, _), prefix in zip(readings, prefixes, strict=True)
        ]
        finished = self._runtime.engine.generate_batch(requests, options)
        results = []
        for (memory, checks), item in zip(readings, finished, strict=True):
            if item.best.finish_reason in ("abort", "error"):
                raise EngineError("a reply was ended from outside")
            usage = Usage(memory.encoded_tokens, memory.reused_tokens)
            result = self._runtime.result(item, checks, (), usage)
            checks = replace(checks, repetition=has_loop(result.text))
            results.append(replace(result, checks=checks))
        return results

    def labels(self, cases: Sequence[Case], task: str) -> list[Result]:
        """The most probable label of each case."""
        if self._choice is None:
            raise InputError(f"{task} has no labels")
        texts = [case.segments[0].text for case in cases]
        return classify_batch(self._runtime, texts, self._choice, has_evidence=False)

    def logprobs(self, cases: Sequence[Case], task: str) -> list[list[float]]:
        """Log-probabilities of the expected tokens, as many as the model has positions for."""
        tokenizer = self._runtime.tokenizer
        items = []
        for case, memory, begin in self._begun(cases, task):
            prefix = (*begin.ids, *begin.forced)
            room = self._runtime.config.target_positions - len(prefix) + 1
            target = [*tokenizer.encode(case.expected), tokenizer.eos_id][:room]
            items.append(Forced(memory, prefix, tuple(target)))
        return [row.tolist() for row in force_decode(self._runtime.forward, items)]

    def _begun(self, cases: Sequence[Case], task: str) -> Iterator[tuple[Case, Memory, Prefix]]:
        """The cases with what the decoder reads and starts from."""
        if task != "translate":
            for case, (memory, _) in zip(cases, self._read(cases), strict=True):
                yield case, memory, self._runtime.reply_prefix(memory)
            return
        for case in cases:
            to, from_ = self._languages(case)
            source = self._runtime.source(case.segments[0].text.strip(), task, from_, to)
            prefix = self._runtime.template.prefix(task, from_, to)
            yield case, self._runtime.read(source).memory, prefix

    def _languages(self, case: Case) -> tuple[str | None, str | None]:
        """Into what and from what to translate; Duologue's own models see what they read."""
        is_told = self._runtime.config.generation is not None
        return case.language, case.source_language if is_told else None

    def _read(self, cases: Sequence[Case]) -> list[tuple[Memory, Checks]]:
        """The memory of each case; the last batch is kept, because it is asked for twice."""
        if self._read_for is not cases:
            self._readings = [self._dialogue.read(case.segments) for case in cases]
            self._read_for = cases
        return self._readings


class _Dialogue:
    """Reads the turns of a case; turns that it shares with the case before are not read again."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._turns: tuple[Turn, ...] = ()
        self._conversation = Conversation(runtime)
        self._checks = Checks()

    def read(self, turns: tuple[Turn, ...]) -> tuple[Memory, Checks]:
        known = len(self._turns)
        if turns[:known] != self._turns:
            known = 0
            self._conversation, self._checks = Conversation(self._runtime), Checks()
        for turn in turns[known:]:
            checks = self._conversation.add(turn.role, turn.text)
            self._checks = Checks(
                source_truncated=self._checks.source_truncated + checks.source_truncated,
                trimmed_turns=self._checks.trimmed_turns + checks.trimmed_turns,
            )
        self._turns = turns
        return self._conversation.memory, self._checks
