"""Tokenizers that reach every byte: byte-level BPE from vocab.json and merges.txt, and ByT5.

read_byte_level  BART and Whisper as first published; Whisper has its control tokens in
                 added_tokens.json
read_bytes       ByT5, which has no file: id 3 is byte 0. Xue et al. 2022 (arXiv:2105.13626)
"""

from __future__ import annotations

import tokenizers
from tokenizers import models, pre_tokenizers

from duologue.text.codec import RESERVED, Codec, Folder, spell_byte_level

VOCABULARY, MERGES, ADDED = "vocab.json", "merges.txt", "added_tokens.json"

_CONTROLS = ("<s>", "</s>", "<pad>", "<unk>", "<mask>")
_NUM_SENTINELS = 125


def read_byte_level(folder: Folder) -> Codec:
    """vocab.json and merges.txt; raises CheckpointError where they do not fit together."""
    vocabulary = folder.read_vocabulary(VOCABULARY)
    try:
        lines = folder.read(MERGES).decode().split("\n")
        merges = [_pair(line) for line in lines if line.strip() and not line.startswith("#version")]
        backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    except ValueError:
        raise folder.damaged(MERGES, "a line is not two pieces with a blank between") from None
    except Exception as error:  # the library raises bare Exception
        raise folder.damaged(MERGES, f"it does not fit {VOCABULARY}: {error}") from None
    has_blank = folder.setting("add_prefix_space", False)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=has_blank)
    tokens = vocabulary | (folder.read_vocabulary(ADDED) if folder.has(ADDED) else {})
    controls = {token for token in tokens if token in _CONTROLS or RESERVED.fullmatch(token)}

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return Codec(encode, tokens, frozenset(controls), spell_byte_level)


def _pair(line: str) -> tuple[str, str]:
    left, right = line.rstrip("\r").split(" ")
    return left, right


def read_bytes(folder: Folder) -> Codec:
    """The 256 bytes behind `<pad>`, `</s>` and `<unk>`, and sentinels behind them."""
    num_sentinels = folder.count("extra_ids", _NUM_SENTINELS)
    controls = {"<pad>": 0, "</s>": 1, "<unk>": 2}
    first = len(controls)
    sentinels = {f"<extra_id_{number}>": first + 256 + number for number in range(num_sentinels)}
    texts = {f"<0x{value:02X}>": first + value for value in range(256)}

    def encode(text: str) -> list[int]:
        return [first + value for value in text.encode()]

    return Codec(
        encode,
        controls | texts | sentinels,
        frozenset(controls | sentinels),
        lambda token: bytes([texts[token] - first]),
    )
