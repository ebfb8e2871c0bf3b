"""Everything one loaded model can do; each app is one call of its package."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duologue.apps import curve, generate, influence, intent, sentiment, summarize, translate
from duologue.apps.curve import CurvePoint
from duologue.apps.translate import Glossary, TranslateOptions
from duologue.config import ModelConfig
from duologue.conversation import Conversation
from duologue.engine.engine import Constraints
from duologue.engine.memory import Memory
from duologue.errors import InputError
from duologue.explain import has_loop
from duologue.explain.erasure import ErasureOptions
from duologue.runtime import Runtime, check_text
from duologue.text.imported_template import Prefix
from duologue.text.templates import AnyTokenizer
from duologue.types import Checks, Options, Result, Role, Turn, Usage

if TYPE_CHECKING:
    import numpy.typing as npt

    from duologue.apps import transcribe as speech
    from duologue.apps.assistant import Assistant, AssistantOptions
    from duologue.apps.documents import translating as documents
    from duologue.apps.support import KnowledgeBase
    from duologue.storage.knowledge import KnowledgeStore


class Model:
    """One loaded model. Made by load.

    Every text is a str that is not blank and at most 4 MiB long; every method raises InputError
    for others, and for languages, labels and tasks that the model does not know. Nothing of a
    text is left unread without a span in `Result.checks`.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def config(self) -> ModelConfig:
        """Shape, languages, tasks, label sets and licence."""
        return self._runtime.config

    @property
    def license(self) -> str:
        """Name of the licence, as its publisher wrote it; empty if none is stated."""
        return self.config.license

    @property
    def tokenizer(self) -> AnyTokenizer:
        """Text to ids and back."""
        return self._runtime.tokenizer

    @property
    def fingerprint(self) -> str:
        """Names what the model computes; another one has another."""
        return self._runtime.fingerprint

    # --- apps --------------------------------------------------------------------------------

    def options(self, task: str) -> Options:
        """How translate, summarize or generate decodes unless it is told otherwise.

        As the model was published, if it was. Change what you like with dataclasses.replace.
        """
        defaults = {
            "translate": translate.OPTIONS,
            "summarize": summarize.OPTIONS,
            "generate": generate.OPTIONS,
        }
        if task not in defaults:
            raise InputError(f"no options for {task!r}; there are some for {', '.join(defaults)}")
        return self._runtime.options(defaults[task])

    def translate(
        self,
        text: str,
        to: str | None = None,
        from_: str | None = None,
        options: Options | None = None,
        check: bool = True,
        glossary: Glossary | None = None,
    ) -> Result:
        """Translate a text of any length, line by line; see apps.translate.

        to        language code; None where the model has but one target
        from_     language code, or "auto" to guess; needed if the model has to be told what it
                  reads, else checked
        options   None: options("translate")
        check     look for what is missing or too much, and decode such pieces again
        glossary  terms that are to come out as told; see duologue.Glossary
        """
        return self.translate_batch([text], to, from_, options, check, glossary)[0]

    def translate_batch(
        self,
        texts: Sequence[str],
        to: str | None = None,
        from_: str | None = None,
        options: Options | None = None,
        check: bool = True,
        glossary: Glossary | None = None,
    ) -> list[Result]:
        """Translate many texts together, which is faster than one by one; results in order."""
        how = TranslateOptions(to, from_, options, check, glossary)
        return translate.translate_batch(self._runtime, texts, how)

    def check_translation(
        self, source: str, translation: str, to: str, from_: str | None = None
    ) -> Checks:
        """What a translation from elsewhere leaves out, adds or repeats; see apps.translate.check.

        to, from_  language codes; from_ None: guessed
        """
        return translate.check(self._runtime, source, translation, to, from_)

    def translate_document(
        self,
        source: str | os.PathLike[str] | bytes,
        to: str | None = None,
        from_: str | None = None,
        format: str | None = None,
        on_progress: documents.Progress | None = None,
        **settings: Any,
    ) -> documents.TranslatedDocument:
        """Translate the prose of a file, or of its content; everything else stays as it is.

        from_        a language code, or "auto" to guess
        format       "txt", "md", "html", ...; None: what the ending of the file's name tells
        on_progress  is called with how many segments are done, and how many there are
        settings     the other fields of documents.DocumentOptions: options, check, glossary, memory
        """
        from duologue.apps.documents import translating as documents  # here: few need it

        how = documents.DocumentOptions(to, from_, format=format, **settings)
        return documents.translate_document(self._runtime, source, how, on_progress)

    def summarize(self, text: str, options: Options | None = None) -> Result:
        """The gist of a text; options None: options("summarize")."""
        return summarize.summarize_batch(self._runtime, [text], options)[0]

    def summarize_batch(self, texts: Sequence[str], options: Options | None = None) -> list[Result]:
        """Summarize many texts together; results in order."""
        return summarize.summarize_batch(self._runtime, texts, options)

    def generate(self, text: str, options: Options | None = None) -> Result:
        """What the model makes of a prompt, which it reads as it is.

        options  None: options("generate")
        """
        return generate.generate_batch(self._runtime, [text], options)[0]

    def generate_batch(self, texts: Sequence[str], options: Options | None = None) -> list[Result]:
        """What the model makes of many prompts, decoded together; results in order."""
        return generate.generate_batch(self._runtime, texts, options)

    def transcribe(
        self,
        source: str | os.PathLike[str] | npt.ArrayLike,
        options: speech.TranscribeOptions | None = None,
        on_window: speech.OnWindow | None = None,
    ) -> speech.Transcript:
        """What is said in a sound file, or in mono samples [n] of floats at 16 kHz.

        options    None: TranscribeOptions()
        on_window  is called after each window, with what is new

        Raises AudioError for what is no sound.
        """
        from duologue.apps import transcribe as speech  # here: most models do not listen

        return speech.transcribe(self._runtime, source, options, on_window)

    def sentiment(
        self,
        text: str,
        labels: Sequence[str] | None = None,
        label_set: str | None = None,
        sentences: bool = False,
        explain: bool = False,
    ) -> Result:
        """The likelier of "negative" and "positive", or of other labels, with probabilities.

        label_set  name of a set instead: one of `config.label_sets`, or of apps.sentiment
        sentences  judge each sentence as well, and say whether they disagree: Result.mixed
        explain    find the words without which the label would be less likely: Result.influence
        """
        result = self.sentiment_batch([text], labels, label_set, sentences)[0]
        return self.explain(text, result, "sentiment") if explain else result

    def sentiment_batch(
        self,
        texts: Sequence[str],
        labels: Sequence[str] | None = None,
        label_set: str | None = None,
        sentences: bool = False,
    ) -> list[Result]:
        """Judge many texts together; results in order."""
        return sentiment.sentiment_batch(self._runtime, texts, labels, label_set, sentences)

    def sentiment_curve(
        self,
        turns: Sequence[Turn],
        labels: Sequence[str] | None = None,
        smoothing: float = curve.SMOOTHING,
    ) -> list[CurvePoint]:
        """How the sentiment of each speaker runs over a dialogue; see apps.curve.

        labels  from the worst to the best; None: "negative", "positive"
        """
        return curve.sentiment_curve(self._runtime, turns, labels, smoothing)

    def intent(self, text: str, label_set: str) -> Result:
        """The likeliest label of one of `config.label_sets`, with probabilities."""
        return self.intent_batch([text], label_set)[0]

    def intent_batch(self, texts: Sequence[str], label_set: str) -> list[Result]:
        """Name the intents of many texts together; results in order."""
        return intent.intent_batch(self._runtime, texts, label_set)

    def explain(
        self,
        text: str,
        answer: Result | str,
        task: str,
        to: str | None = None,
        from_: str | None = None,
        labels: Sequence[str] | None = None,
        options: ErasureOptions | None = None,
    ) -> Result:
        """The result with `influence`: the parts of a text that made the answer what it is.

        answer     of translate, summarize, generate, sentiment or intent to this text; a text may
                   be from elsewhere
        task       which of them
        to, from_  of a translation, as it was asked for
        labels     that there were to choose from; not needed with the Result of a label
        options    how much it may cost; None: duologue.ErasureOptions()

        The answer is scored again without parts of the text; see apps.influence.
        """
        asked = influence.Asked(task, to, from_, labels)
        return influence.explain(self._runtime, text, answer, asked, options)

    def knowledge_base(self, base: Path | str | KnowledgeStore) -> KnowledgeBase:
        """The documents in a folder, to ask this model about; see apps.support.

        base  the folder, which is made if it is not there; or an open store of your own settings

        Raises StorageError for a folder that cannot be used.
        """
        from duologue.apps.support import KnowledgeBase  # here: most programs have no documents
        from duologue.storage.knowledge import KnowledgeStore

        store = base if isinstance(base, KnowledgeStore) else KnowledgeStore(Path(base))
        return KnowledgeBase(store, self._runtime)

    # --- dialogue ----------------------------------------------------------------------------

    def assistant(self, options: AssistantOptions | None = None) -> Assistant:
        """An assistant that understands commands and does them; see apps.assistant.

        options  None: the commands that come with Duologue, kept in the user's own file

        Raises DataError or ConfigError for commands that cannot work.
        """
        from duologue.apps.assistant import Assistant  # here: it reads files of its own

        return Assistant(self._runtime, options)

    def conversation(self) -> Conversation:
        """A new conversation; any number of them may share the model."""
        return Conversation(self._runtime)

    def reply(self, turns: str | Sequence[Turn], options: Options | None = None) -> Result:
        """The reply to a text, or to a dialogue whose last turn is the user's.

        options  None: Conversation.REPLY_OPTIONS
        """
        if isinstance(turns, str):
            turns = [Turn("user", turns)]
        if not turns or not all(isinstance(turn, Turn) for turn in turns):
            raise InputError("a text or a list of at least one Turn is needed")
        *history, last = turns
        if last.role != "user":
            raise InputError(f"the last turn must be the user's, not one of role {last.role!r}")
        conversation = self.conversation()
        earlier = [conversation.add(turn.role, turn.text) for turn in history]
        result = conversation.say(last.text, options)
        unread = [span for checks in earlier for span in checks.source_truncated]
        checks = replace(
            result.checks,
            source_truncated=(*unread, *result.checks.source_truncated),
            trimmed_turns=sum(c.trimmed_turns for c in earlier) + result.checks.trimmed_turns,
        )
        return replace(result, checks=checks)

    # --- encode once, decode many ------------------------------------------------------------

    def encode(self, text: str, memory: Memory | None = None, role: Role = "user") -> Memory:
        """Read a text into a new memory, or after an existing one, which does not change.

        Raises InputError, with the sizes, if there is no room for all of the text.
        """
        memory = Memory.empty() if memory is None else memory
        source = self._runtime.turn(role, check_text(text))
        self._runtime.require_room(source, memory)
        return self._runtime.read(source, memory, is_document=role == "document").memory

    def decode(
        self, memory: Memory, prefix: str | Sequence[int], options: Options | None = None
    ) -> Result:
        """Decode a memory: the same one may be answered, translated and judged.

        prefix   a task, with a language after a blank where it takes one ("translate zh"; a
                 "reply" without one is in the language that the user spoke last), or the ids
                 that the decoder is to start from
        options  None: greedy search

        Raises EngineError for the memory of another model and for ids that do not exist.
        """
        begin = self._prefix(memory, prefix) if isinstance(prefix, str) else Prefix(tuple(prefix))
        options = self._runtime.fit(options or Options(), begin)
        before = time.perf_counter()
        finished = self._runtime.engine.generate(
            memory, begin.ids, options, constraints=Constraints(begin.forced)
        )
        decode_ms = 1000 * (time.perf_counter() - before)
        usage = Usage(reused_tokens=memory.num_tokens, decode_ms=decode_ms)
        result = self._runtime.result(finished, Checks(), (), usage)
        return replace(result, checks=Checks(repetition=has_loop(result.text)))

    def _prefix(self, memory: Memory, prefix: str) -> Prefix:
        task, _, language = prefix.partition(" ")
        if task == "reply" and not language:
            return self._runtime.reply_prefix(memory)
        return self._runtime.template.prefix(task, to_language=language or None)
