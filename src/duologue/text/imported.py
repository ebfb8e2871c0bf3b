"""Tokenizers of imported families, read from their files as published.

ImportedTokenizer          text to ids and back, with the interface of text.tokenizer.Tokenizer
load_imported_tokenizer    finds the files of a family in a folder
TOKENIZER_FILES            names of all files that may belong to a tokenizer

Ids are those of the published tokenizer, with one difference: a text never becomes a control
token. Where the published one would take "</s>" or ">>fra<<" in a text for one, here it is spelled
in characters and stays text.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from duologue.config.model import Family
from duologue.errors import CheckpointError, InputError
from duologue.text import byte_level, sentencepieces
from duologue.text.codec import (
    RESERVED,
    SETTINGS,
    Codec,
    Folder,
    spell_byte_level,
    spell_sentencepiece,
)
from duologue.text.tokenizer import BYTE_TOKENS, StreamDecoder

TOKENIZER = "tokenizer.json"
_EOS_NAMES = ("<eos>", "<|endoftext|>", "</s>")  # `</s>` is a tag of HTML where `<eos>` exists
_BYTE_VOCAB_SIZE = 384


class ImportedTokenizer:
    """Text to ids and back. Safe to share between threads; nothing in it changes.

    vocab_size  number of ids of the model; those that the files do not know have no text
    pad_id      padding; carries no text
    eos_id      end of a target
    controls    control token -> id
    settings    what the folder's tokenizer_config.json says
    around      ids that tokenizer.json puts in front of a text, and behind it
    """

    def __init__(self, codec: Codec, folder: Folder, vocab_size: int) -> None:
        self._codec = codec
        self._folder = folder.path
        self.settings = folder.settings
        self._names = tuple(folder.names_read)
        self.vocab_size = vocab_size
        self._bytes = _token_bytes(codec, folder.path, vocab_size)
        self.controls: Mapping[str, int] = {
            token: codec.tokens[token]
            for token in codec.controls
            if codec.tokens[token] < vocab_size
        }
        self._control_names = {idx: token for token, idx in self.controls.items()}
        unk_id = self.controls.get("<unk>", -1)
        self._spelled = {
            idx: self._characters(token, unk_id)
            for token, idx in self.controls.items()
            if idx != unk_id
        }
        self.around = codec.around
        eos = next((name for name in _EOS_NAMES if name in self.controls), _EOS_NAMES[-1])
        self.eos_id = self.control_id(eos)
        self.pad_id = self.controls.get("<pad>", self.eos_id)

    def _characters(self, token: str, unk_id: int) -> list[int]:
        """A control token as a text that looks like it: one id for each character."""
        tokens, ids = self._codec.tokens, []
        for character in token:
            spelled = [BYTE_TOKENS[value] for value in character.encode()]
            if character in tokens:
                ids.append(tokens[character])
            elif all(byte in tokens for byte in spelled):
                ids.extend(tokens[byte] for byte in spelled)
            elif unk_id >= 0:
                ids.append(unk_id)
        return ids

    def save(self, folder: Path) -> None:
        """Copy the files that this was read from; raises CheckpointError if that fails."""
        for name in self._names:
            try:
                shutil.copyfile(self._folder / name, folder / name)
            except OSError as error:
                raise CheckpointError(
                    f"{folder / name}: the tokenizer could not be copied: {error.strerror}"
                ) from None

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens; what looks like a control token stays text.

        Raises InputError for lone surrogates, which no valid text holds.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError("the text holds half of a character (a lone surrogate)") from None
        ids = self._codec.encode(text)
        if self._spelled.keys().isdisjoint(ids):
            return ids
        return [part for idx in ids for part in self._spelled.get(idx, (idx,))]

    def marker_ids(self, marker_id: int) -> list[int]:
        """Ids of a control token at the start of a text, such as `<2de>` or `>>fra<<`.

        Where the published tokenizer reads it like a word, the blank of a first word comes before.
        """
        token = self._control_names[marker_id]
        if token in self._codec.unglued:
            return [marker_id]
        ids = self._codec.encode(token)
        return ids[: ids.index(marker_id) + 1] if marker_id in ids else [marker_id]

    def decode(self, ids: list[int]) -> str:
        """Text of ids; control tokens vanish, broken byte sequences become U+FFFD."""
        stream = StreamDecoder(self)
        return "".join(map(stream.push, ids)) + stream.flush()

    def token_bytes(self, idx: int) -> bytes:
        """The UTF-8 bytes that one id stands for; empty for control tokens and spare ids."""
        return self._bytes[idx]

    def control_id(self, token: str) -> int:
        """Id of a control token such as `</s>`; raises CheckpointError if there is none."""
        idx = self.controls.get(token)
        if idx is None:
            raise CheckpointError(f"tokenizer: the control token {token} is missing")
        return idx


def _token_bytes(codec: Codec, folder: Path, vocab_size: int) -> list[bytes]:
    """What each id stands for.

    Control tokens beyond the model, as `<mask>` of some BART, are left out. Raises CheckpointError
    for texts beyond it: those files belong to another model.
    """
    texts = [b""] * vocab_size
    largest = -1
    for token, idx in codec.tokens.items():
        if token not in codec.controls:
            largest = max(largest, idx)
            if idx < vocab_size:
                texts[idx] = codec.spell(token)
    if largest >= vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {largest + 1} entries, but the model has {vocab_size}; "
            "the files come from different models"
        )
    return texts


# --- from files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    """Files that a tokenizer can be read from, all of them needed, and how."""

    names: tuple[str, ...]
    read: Callable[[Folder], Codec]


def _read_tokenizer_json(folder: Folder) -> Codec:
    """A tokenizer.json, read by the library that wrote it."""
    content = folder.read(TOKENIZER)
    try:
        backend = tokenizers.Tokenizer.from_str(content.decode())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exception, and panics besides
        raise folder.damaged(TOKENIZER, str(error)) from None
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # read special tokens in a text as text
    added = backend.get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special}
    tokens: dict[str, int] = backend.get_vocab()
    controls = special | {token for token in tokens if RESERVED.fullmatch(token)}
    parts = filter(None, (backend.decoder, backend.pre_tokenizer))
    is_byte_level = any(b'"ByteLevel"' in part.__getstate__() for part in parts)

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return Codec(
        encode,
        tokens,
        frozenset(controls),
        spell_byte_level if is_byte_level else spell_sentencepiece,
        _around(backend),
        frozenset(token.content for token in added),
    )


def _around(backend: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the tokenizer puts before and after a text."""
    encoded = backend.encode("a")
    own = [index for index, is_added in enumerate(encoded.special_tokens_mask) if not is_added]
    if not own:
        return (), ()
    return tuple(encoded.ids[: own[0]]), tuple(encoded.ids[own[-1] + 1 :])


_JSON = _Format((TOKENIZER,), _read_tokenizer_json)
_T5 = _Format((sentencepieces.T5_MODEL,), sentencepieces.read_t5)
_PEGASUS = _Format((sentencepieces.T5_MODEL,), sentencepieces.read_pegasus)
_FAIRSEQ = _Format((sentencepieces.FAIRSEQ_MODEL,), sentencepieces.read_fairseq)
_M2M = _Format((sentencepieces.FAIRSEQ_MODEL, sentencepieces.VOCABULARY), sentencepieces.read_m2m)
_MARIAN = _Format(
    (sentencepieces.SOURCE_MODEL, sentencepieces.TARGET_MODEL, sentencepieces.VOCABULARY),
    sentencepieces.read_marian,
)
_BYTE_LEVEL = _Format((byte_level.VOCABULARY, byte_level.MERGES), byte_level.read_byte_level)
_BYTES = _Format((), byte_level.read_bytes)

_FORMATS: Mapping[Family, tuple[_Format, ...]] = {
    "t5": (_JSON, _T5),
    "umt5": (_JSON, _T5),
    "bart": (_JSON, _BYTE_LEVEL),
    "mbart": (_JSON, _FAIRSEQ),
    "pegasus": (_JSON, _PEGASUS),
    "marian": (_MARIAN,),
    "m2m_100": (_JSON, _M2M, _FAIRSEQ),
    "whisper": (_JSON, _BYTE_LEVEL),
    "t5gemma": (_JSON,),
    "t5gemma2": (_JSON,),
}
TOKENIZER_FILES = frozenset(
    name for options in _FORMATS.values() for option in options for name in option.names
).union((byte_level.ADDED, *SETTINGS))


def load_imported_tokenizer(path: Path, family: Family, vocab_size: int) -> ImportedTokenizer:
    """Read the tokenizer of a published folder, or of one that holds a copy of its files.

    vocab_size  of the model; ids that the files do not know are padding of its embeddings

    Raises CheckpointError that names what is missing or damaged, and for a tokenizer with more
    text than the model has ids.
    """
    folder = Folder(path)
    formats = _FORMATS[family]
    found = next((option for option in formats if folder.has(*option.names)), None)
    if found is None and family == "t5" and _is_bytes(folder, vocab_size):
        found = _BYTES
    if found is None:
        wanted = ", or ".join(" with ".join(option.names) for option in formats)
        raise CheckpointError(f"{path}: no tokenizer here; looked for {wanted}")
    return ImportedTokenizer(found.read(folder), folder, vocab_size)


def _is_bytes(folder: Folder, vocab_size: int) -> bool:
    name = folder.setting("tokenizer_class", "")
    return name == "ByT5Tokenizer" if name else vocab_size == _BYTE_VOCAB_SIZE
