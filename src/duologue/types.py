"""Plain values that cross layers: what is said, what is asked for, and what comes back.

Turn, Options            what goes in
Precision                what the numbers of a model are kept in
Timestamps               of which parts of a transcript the times are wanted
TranscriptFormat         what a transcript is written as; see apps.transcribe.writers
EngineOptions            how much is done at the same time
Commit, Revise, Done     what comes out while a reply streams (`Event`)
Result and its parts     what a finished reply says of itself
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from duologue.errors import InputError

Role = Literal["system", "user", "agent", "document", "speech", "image"]
FinishReason = Literal["stop", "length", "abort", "error"]
Precision = Literal["f32", "bf16", "int8", "int4"]
Timestamps = Literal["segment", "word", "none"]
TranscriptFormat = Literal["txt", "srt", "vtt", "json"]
CommandStatus = Literal["asking", "confirming", "done", "failed", "cancelled", "undone"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)  # the coarsest comes last


@dataclass(frozen=True)
class Turn:
    """One thing said by one side: the unit that becomes one segment of a memory."""

    role: Role
    text: str


@dataclass(frozen=True)
class Options:
    """How to decode. The defaults are greedy search.

    max_tokens            most tokens to produce, end token excluded
    beam_size             1 is greedy or sampling; more is beam search
    length_penalty        a hypothesis is ranked by logprob / length ** length_penalty
    early_stopping        beam search ends at beam_size * patience finished hypotheses; False: when
                          no beam is better than the worst of the beam_size best finished ones
    patience              see early_stopping
    min_tokens            no end token before so many tokens were produced
    num_hypotheses        how many to return (`Result.alternatives` holds all but the first): the
                          best of a beam, or as many samples that know nothing of each other
    temperature           0 is greedy; otherwise logits are divided by it and sampled
    top_k                 0 is off; keep the k most likely tokens
    top_p                 1 is off; keep the smallest set whose probability reaches p
    repetition_penalty    1 is off; Keskar et al. 2019 (arXiv:1909.05858, section 4.1)
    no_repeat_ngram_size  0 is off; never produce the same n-gram twice
    seed                  None draws a fresh seed for each request; the first of several samples is
                          the one that the same seed gives alone
    """

    max_tokens: int = 128
    beam_size: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = True
    patience: float = 1.0
    min_tokens: int = 0
    num_hypotheses: int = 1
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 1, "max_tokens must be at least 1")
        _require(1 <= self.beam_size <= 64, "beam_size must be between 1 and 64")
        _require(self.patience > 0, "patience must be positive")
        _require(self.min_tokens >= 0, "min_tokens must not be negative")
        _require(self.temperature >= 0, "temperature must not be negative")
        _require(
            1 <= self.num_hypotheses <= (64 if self.temperature > 0 else self.beam_size),
            "num_hypotheses must be between 1 and beam_size; samples (temperature): 1 and 64",
        )
        _require(self.seed is None or self.seed >= 0, "seed must not be negative")
        _require(self.top_k >= 0, "top_k must not be negative")
        _require(0 < self.top_p <= 1, "top_p must be above 0 and at most 1")
        _require(self.repetition_penalty > 0, "repetition_penalty must be positive")
        _require(self.no_repeat_ngram_size >= 0, "no_repeat_ngram_size must not be negative")
        _require(
            self.beam_size == 1 or self.temperature == 0,
            "beam search and sampling exclude each other: set beam_size to 1 or temperature to 0",
        )

    @property
    def num_rows(self) -> int:
        """Most hypotheses that are decoded side by side."""
        return max(self.beam_size, self.num_hypotheses)


@dataclass(frozen=True)
class EngineOptions:
    """How many requests are decoded together, and how many may wait.

    max_rows         most hypotheses, of all requests, in one decoding step
    max_gap_ms       after a decoding step's tokens, prompts that wait are encoded for this long at
                     most before the next step begins; one chunk of a prompt is always done
    max_waiting      most requests that wait to be admitted; further ones are refused (overloaded)
    max_client_waiting  the same for the requests of one client
    """

    max_rows: int = 64
    max_gap_ms: float = 50.0
    max_waiting: int = 4096
    max_client_waiting: int = 1024

    def __post_init__(self) -> None:
        _require(self.max_rows >= 1, "max_rows must be at least 1")
        _require(self.max_gap_ms >= 0, "max_gap_ms must not be negative")
        _require(self.max_waiting >= 1, "max_waiting must be at least 1")
        _require(self.max_client_waiting >= 1, "max_client_waiting must be at least 1")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise InputError(problem)


@dataclass(frozen=True)
class Span:
    """A stretch of one source segment, with a score whose meaning the producer states.

    segment     index of the segment in the memory
    start, end  character offsets into that segment's text, end excluded
    """

    segment: int
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True)
class Usage:
    """What a result cost: token counts and times in milliseconds."""

    encoded_tokens: int = 0
    reused_tokens: int = 0
    produced_tokens: int = 0
    encode_ms: float = 0.0
    decode_ms: float = 0.0


@dataclass(frozen=True)
class Checks:
    """What may be wrong with a result; all empty or False is the good case.

    source_truncated  source spans that the model did not read, because the source was too long
    trimmed_turns     earlier turns that were dropped from the memory to make room
    repetition        the text repeats a phrase to no purpose
    source_split      pieces of sentences so long that they were read one piece at a time
    uncovered         of a translation: source spans that it does not say; how likely that is
    invented          of a translation: spans of its text that the source does not say; the same
    wrong_language    of a translation: spans of its text in another language than was asked for
    glossary          of a translation: source spans of terms that did not come out as told
    lost              of a translation: placeholders and numbers that it lacks, or has too often
    """

    source_truncated: tuple[Span, ...] = ()
    trimmed_turns: int = 0
    repetition: bool = False
    source_split: tuple[Span, ...] = ()
    uncovered: tuple[Span, ...] = ()
    invented: tuple[Span, ...] = ()
    wrong_language: tuple[Span, ...] = ()
    glossary: tuple[Span, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """What an assistant was told to do, and how far it is.

    slots   values ready for JSON: numbers, "15:30", "2026-03-05", seconds of durations, texts
    spans   where each value was said, as far as it was; `segment` counts the texts of this command
    status  asking: a slot is missing; confirming: it waits for a yes; done; failed; cancelled;
            undone: what was done before was taken back
    """

    intent: str
    slots: dict[str, Any] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    status: CommandStatus = "done"


@dataclass(frozen=True)
class Alternative:
    """A hypothesis that was not chosen; logprob is the natural log of its probability."""

    text: str
    logprob: float


@dataclass(frozen=True)
class Citation:
    """A passage of a knowledge base that an answer comes from, or that is nearest to a question.

    document    path of the document
    heading     the path of headings above the passage; may be empty
    passage     number of the passage in the base
    text        the passage
    start, end  what was used, in characters of `text`, end excluded; equal: nothing
    sentence    the sentences around that; of a passage that was not used, its beginning
    score       how well it fits the question: 1 is the best there can be
    """

    document: str
    heading: str
    passage: int
    text: str
    start: int
    end: int
    sentence: str
    score: float


@dataclass(frozen=True)
class SentenceLabel:
    """One sentence of a text that was judged, by itself.

    span           where it stands; its score is the probability of the label
    probabilities  every label with its probability
    """

    span: Span
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Match:
    """An entry of a translation memory that is like a text.

    score  1: the same text; else below 1: the share of characters that are alike
    """

    source: str
    target: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """The match as plain JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Result:
    """A finished reply, translation or label, with what a program needs to judge it.

    confidence     geometric mean of the token probabilities, or the probability of the label; of
                   an answer from documents, the probability that it is right
    probabilities  every label with its probability (they sum to 1); empty for free text
    evidence       source spans that the decoder attended to most, best first
    influence      source spans without which the result would be less likely, best first; scores
                   are shares of all that it would lose. Empty if it was not asked for: see
                   Model.explain, Conversation.why and KnowledgeBase.explain
    citations      of an answer from documents: the passages that it comes from, or if it was
                   declined, the nearest ones
    declined       the documents do not say, or an assistant did not understand; `text` says so
    command        what an assistant made of the text; None elsewhere, and if nothing fitted
    sentences      of a label: each sentence judged by itself, if that was asked for
    match          of a translation: the earlier one of a translation memory that it is; None: the
                   model made it
    mixed          sentences of the text say clearly different things; see apps.sentiment
    """

    text: str
    finish_reason: FinishReason
    confidence: float = 0.0
    checks: Checks = field(default_factory=Checks)
    evidence: tuple[Span, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    probabilities: dict[str, float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    citations: tuple[Citation, ...] = ()
    declined: bool = False
    command: Command | None = None
    sentences: tuple[SentenceLabel, ...] = ()
    mixed: bool = False
    influence: tuple[Span, ...] = ()
    match: Match | None = None

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON-ready values; one of these is one line of `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class Commit:
    """Text that will not change any more, to be appended to what was committed before."""

    text: str


@dataclass(frozen=True)
class Revise:
    """The current guess of what follows the committed text; it replaces the last guess."""

    text: str


@dataclass(frozen=True)
class Done:
    """The last event of a reply."""

    result: Result


Event = Commit | Revise | Done
