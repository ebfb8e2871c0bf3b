"""Byte-fallback subword tokenizer: text to ids and back, without loss.

Tokenizer       encode, decode, control tokens; a thin reading of a standard tokenizer.json
TokenBytes      what StreamDecoder needs to know of any tokenizer
StreamDecoder   ids to text as they come, whole characters only

Pieces come from byte-pair encoding over characters (Sennrich et al. 2016, arXiv:1508.07909);
a character without a piece of its own is spelled with the 256 byte entries `<0x00>` to `<0xFF>`.
A blank is written as U+2581 inside pieces; a real U+2581 in a text is spelled as bytes. A text
that begins with a letter, digit or blank gets one more blank in front, which decoding takes away,
so that a word is the same piece at the start of a text and inside it. All of this is undone
exactly: decode(encode(text)) == text for every text.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Protocol

import tokenizers

from duologue.errors import CheckpointError, InputError

BLANK = "▁"
FIRST_CJK = "\u2e80"  # scripts from here on write no blanks between words
BYTE_TOKENS = tuple(f"<0x{value:02X}>" for value in range(256))
_BYTE_VALUE = {token: value for value, token in enumerate(BYTE_TOKENS)}
_CONTROL = re.compile(r"<[^<>]+>")


class Tokenizer:
    """Text to ids and back. Safe to share between threads; nothing in it changes.

    vocab_size  number of ids
    pad_id      padding; carries no text
    eos_id      end of a target
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self.vocab_size = backend.get_vocab_size()
        ids: dict[str, int] = backend.get_vocab()
        is_dense = sorted(ids.values()) == list(range(self.vocab_size))
        if not is_dense or any(token not in ids for token in BYTE_TOKENS):
            raise CheckpointError("tokenizer: not a byte-fallback tokenizer of Duologue")
        self._byte_ids = [ids[token] for token in BYTE_TOKENS]
        self._bytes = [_piece_bytes(piece) for piece in sorted(ids, key=ids.__getitem__)]
        self.pad_id = self.control_id("<pad>")
        self.eos_id = self.control_id("</s>")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.json; raises CheckpointError when it is missing or damaged."""
        if not path.is_file():
            raise CheckpointError(f"{path}: no tokenizer here")
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except CheckpointError:
            raise CheckpointError(f"{path}: not a byte-fallback tokenizer of Duologue") from None
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{path}: damaged tokenizer: {error}") from None

    def save(self, path: Path) -> None:
        """Write a standard tokenizer.json."""
        path.write_text(self._backend.to_str(pretty=False), encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Ids of a text; a text that looks like a control token stays text.

        Raises InputError for lone surrogates, which no valid text holds.
        """
        parts = with_lead(text).split(BLANK)
        ids = self._encode_part(parts[0])
        for part in parts[1:]:
            ids.extend(self._byte_ids[value] for value in BLANK.encode())
            ids.extend(self._encode_part(part))
        return ids

    def _encode_part(self, text: str) -> list[int]:
        try:
            ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            raise InputError("the text holds half of a character (a lone surrogate)") from None
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of ids; control tokens vanish, broken byte sequences become U+FFFD."""
        stream = StreamDecoder(self)
        return "".join(map(stream.push, ids)) + stream.flush()

    def token_bytes(self, idx: int) -> bytes:
        """The UTF-8 bytes that one id stands for; empty for control tokens."""
        return self._bytes[idx]

    def control_id(self, token: str) -> int:
        """Id of a control token such as `<user>`; raises CheckpointError if there is none."""
        idx: int | None = self._backend.token_to_id(token)
        if idx is None or token in _BYTE_VALUE:
            raise CheckpointError(f"tokenizer: the control token {token} is missing")
        return idx


def with_lead(text: str) -> str:
    """The text with the extra blank that scripts with blanks between words begin with."""
    return " " + text if text and text[0] < FIRST_CJK else text


def _piece_bytes(piece: str) -> bytes:
    if piece in _BYTE_VALUE:
        return bytes([_BYTE_VALUE[piece]])
    if _CONTROL.fullmatch(piece):
        return b""
    return piece.replace(BLANK, " ").encode()


class TokenBytes(Protocol):
    """Any tokenizer that knows the bytes of its ids."""

    def token_bytes(self, idx: int) -> bytes:
        """The UTF-8 bytes that one id stands for; empty for control tokens."""
        ...


class StreamDecoder:
    """Ids to text, one at a time; never emits half a character. One per stream."""

    def __init__(self, tokenizer: TokenBytes) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = True

    def push(self, idx: int) -> str:
        """The characters that this id completes; often one word, sometimes nothing."""
        text = self._decoder.decode(self._tokenizer.token_bytes(idx))
        if self._at_start and text:
            self._at_start = False
            return text.removeprefix(" ")
        return text

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never ended, or nothing."""
        return self._decoder.decode(b"", final=True)
