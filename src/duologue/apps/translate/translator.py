"""From texts to translations: pieces are decoded many at a time and put together again.

text  --split-->  pieces  --encode, beam search, many at a time-->  pieces  --join-->  text
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duologue.apps.batch import Decoded, check_texts, decode_batch
from duologue.apps.translate.pieces import Piece, joined, split
from duologue.explain import confidence, has_loop, shifted
from duologue.runtime import Runtime
from duologue.types import Alternative, Checks, Options, Result, Span, Usage

OPTIONS = Options(max_tokens=256, beam_size=4, length_penalty=1.0)


def translate_batch(
    runtime: Runtime,
    texts: Sequence[str],
    to: str | None = None,
    from_: str | None = None,
    options: Options | None = None,
) -> list[Result]:
    """Translate texts together; results in their order.

    to       language code; None where the model has but one target
    from_    language code; must be given to a model that has to be told what it reads, and is
             otherwise only checked
    options  None: as the model was published, or OPTIONS (beam search)

    Results lack evidence; they have alternatives if the text was one piece. decode_ms is a text's
    share, by produced tokens, of the time that the batch took. Raises InputError for a language or
    a text of no use, which it names by number if there are several.
    """
    prefix = runtime.template.prefix("translate", from_, to)
    check_texts(texts)
    plans = [split(runtime, text, to, from_) for text in texts]
    sources = (
        piece.source(runtime, text, to, from_)
        for text, pieces in zip(texts, plans, strict=True)
        for piece in pieces
    )
    decoded = iter(decode_batch(runtime, sources, prefix, options or runtime.options(OPTIONS)))
    return [
        Joined(text, pieces, [next(decoded) for _ in pieces]).result(runtime, to)
        for text, pieces in zip(texts, plans, strict=True)
    ]


@dataclass(frozen=True)
class Joined:
    """One text with all that belongs to it, piece by piece."""

    text: str
    pieces: list[Piece]
    decoded: list[Decoded]

    def result(self, runtime: Runtime, to: str | None) -> Result:
        """The translation of the whole text."""
        best = [item.finished.best for item in self.decoded]
        texts = [runtime.tokenizer.decode(list(hypothesis.ids)) for hypothesis in best]
        translation = joined(self.text, self.pieces, texts, to)
        usages = [item.usage for item in self.decoded]
        is_cut = any(hypothesis.finish_reason == "length" for hypothesis in best)
        return Result(
            text=translation,
            finish_reason="length" if is_cut else "stop",
            confidence=confidence(best),
            checks=Checks(
                source_truncated=tuple(
                    span
                    for piece, item in zip(self.pieces, self.decoded, strict=True)
                    for span in shifted(item.unread, piece.start)
                ),
                repetition=has_loop(translation) and not has_loop(self.text),
                source_split=tuple(self._span(piece) for piece in self.pieces if piece.is_cut),
            ),
            alternatives=self._alternatives(runtime),
            usage=Usage(
                encoded_tokens=sum(usage.encoded_tokens for usage in usages),
                produced_tokens=sum(usage.produced_tokens for usage in usages),
                encode_ms=sum(usage.encode_ms for usage in usages),
                decode_ms=sum(usage.decode_ms for usage in usages),
            ),
        )

    def _alternatives(self, runtime: Runtime) -> tuple[Alternative, ...]:
        if len(self.decoded) > 1:
            return ()
        return tuple(
            Alternative(runtime.tokenizer.decode(list(other.ids)), other.logprob)
            for other in self.decoded[0].finished.hypotheses[1:]
        )

    def _span(self, piece: Piece) -> Span:
        return Span(0, piece.start, piece.end, self.text[piece.start : piece.end], 0.0)
