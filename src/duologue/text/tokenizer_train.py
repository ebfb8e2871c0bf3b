"""Train a tokenizer on an iterable of texts.

A text is cut before any pair is counted: runs of Chinese characters, words with the blank in
front of them, single digits, single other characters. "<" always stands alone, so that no piece,
and hence no text, can spell a control token or a byte token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from duologue.errors import ConfigError
from duologue.text.template import CONTROL_TOKENS
from duologue.text.tokenizer import BLANK, BYTE_TOKENS, Tokenizer, with_lead

PRE_TOKEN = (
    rf"\p{{Han}}+|{BLANK}?(?:(?!\p{{Han}})[\p{{L}}\p{{M}}])+"
    rf"|{BLANK}?\p{{N}}|{BLANK}?[^\p{{L}}\p{{M}}\p{{N}}{BLANK}]|{BLANK}+"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_chars: int = 4000) -> Tokenizer:
    """A tokenizer with `vocab_size` entries, control tokens and the 256 bytes included.

    texts      training texts, read once
    max_chars  most characters that get an entry of their own; rarer ones are spelled as bytes

    Raises ConfigError if vocab_size has no room for the entries that are always there.
    """
    reserved = [*CONTROL_TOKENS, *BYTE_TOKENS]
    if vocab_size <= len(reserved):
        raise ConfigError(f"vocab_size must be above {len(reserved)}")
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", BLANK)
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(PRE_TOKEN), behavior="isolated")
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace(BLANK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        limit_alphabet=min(max_chars, vocab_size - len(reserved)),
        special_tokens=reserved,
        show_progress=False,
    )
    backend.train_from_iterator((with_lead(text).replace(BLANK, " ") for text in texts), trainer)
    return Tokenizer(_without_added_tokens(backend))


def _without_added_tokens(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same vocabulary, with control tokens as plain entries that no text is matched against."""
    state = json.loads(backend.to_str())
    state["added_tokens"] = []
    return tokenizers.Tokenizer.from_str(json.dumps(state))
