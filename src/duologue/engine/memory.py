"""What has been encoded: a tuple of immutable segments that decoders read and encoders append to.

Segment    one turn or document: its ids, and a handle of its encoded values
Memory     segments in order; fork it by keeping a reference, extend it with Forward.encode

Knows nothing of models: that a memory and a model belong together is the business of the
fingerprint (on disk) and of the native module (in use). Files are safetensors, never pickle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from duologue.errors import CheckpointError
from duologue.files import new_file

if TYPE_CHECKING:
    from duologue import _native
    from duologue.engine.forward import Forward

FORMAT = "duologue.memory.v3"


@dataclass(frozen=True)
class Segment:
    """One encoded turn, document or stretch of speech.

    ids          token ids, the role token first; none of speech
    is_document  encoded by itself, from position 0
    start        position of the first token
    encoded      native values, shared by all memories that hold the segment
    """

    ids: tuple[int, ...]
    is_document: bool
    start: int
    encoded: _native.Segment = field(compare=False, repr=False)

    @property
    def num_tokens(self) -> int:
        """Tokens that a decoder can attend to."""
        return self.encoded.length


@dataclass(frozen=True)
class Memory:
    """Encoded segments, oldest first. Nothing in a memory ever changes, so sharing is safe.

    encoded_tokens  tokens that the last Forward.encode computed
    reused_tokens   tokens of earlier segments that it did not have to compute again
    """

    segments: tuple[Segment, ...] = ()
    encoded_tokens: int = field(default=0, compare=False)
    reused_tokens: int = field(default=0, compare=False)

    @classmethod
    def empty(cls) -> Memory:
        """A memory of nothing; a decoder that reads it is an unconditional language model."""
        return cls()

    @property
    def num_tokens(self) -> int:
        """Tokens in all segments."""
        return sum(segment.num_tokens for segment in self.segments)

    @property
    def num_bytes(self) -> int:
        """Bytes of encoded values; segments shared with other memories count in each."""
        return sum(segment.encoded.num_bytes for segment in self.segments)

    def trim(self, max_tokens: int) -> Memory:
        """Forget the oldest dialogue segments, whole, until at most max_tokens are left.

        Documents stay, even where they alone are more than max_tokens: look at num_tokens. Later
        segments keep their values and positions, and what they took from the forgotten ones.
        """
        excess = self.num_tokens - max_tokens
        kept: list[Segment] = []
        for segment in self.segments:
            if excess > 0 and not segment.is_document:
                excess -= segment.num_tokens
            else:
                kept.append(segment)
        return Memory(tuple(kept))

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the memory to a file that only its owner may read, whole or not at all.

        fingerprint  of the model that encoded it, see checkpoint.store.fingerprint
        Raises CheckpointError if the file cannot be written.
        """
        tensors: dict[str, npt.NDArray[Any]] = {
            "length": np.array([segment.num_tokens for segment in self.segments], dtype=np.int64),
            "start": np.array([segment.start for segment in self.segments], dtype=np.int64),
            "is_document": np.array([segment.is_document for segment in self.segments], dtype=bool),
        }
        for index, segment in enumerate(self.segments):
            pages, carried = segment.encoded.arrays()
            tensors[f"{index}.ids"] = np.array(segment.ids, dtype=np.int64)
            tensors[f"{index}.pages"] = pages
            tensors[f"{index}.carried"] = carried
        metadata = {"format": FORMAT, "fingerprint": fingerprint}
        try:
            # Not synced: there are many, and what power loss damages is refused by load.
            with new_file(path, is_synced=False) as fresh:
                safetensors.numpy.save_file(tensors, fresh, metadata)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{path}: cannot be written: {_first_line(error)}") from None

    @classmethod
    def load(cls, path: Path, fingerprint: str, forward: Forward) -> Memory:
        """Read a saved memory.

        fingerprint  of the model that is to use it
        forward      that model, whose cache will hold it
        Raises CheckpointError if the file is missing, damaged, or of another model.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise CheckpointError(f"{path}: not a saved memory of this version")
                if metadata.get("fingerprint") != fingerprint:
                    raise CheckpointError(f"{path}: this memory was encoded by another model")
                return cls(tuple(_read_segments(file, forward)))
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such memory") from None
        except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{path}: the memory is damaged: {_first_line(error)}") from None


def _read_segments(file: Any, forward: Forward) -> Iterator[Segment]:
    names = ("length", "start", "is_document")
    lengths, starts, documents = (file.get_tensor(name) for name in names)
    if starts.ndim != 1 or not lengths.shape == starts.shape == documents.shape:
        raise ValueError(f"{', '.join(names)} do not fit each other")
    for index, (length, start, is_document) in enumerate(
        zip(lengths, starts, documents, strict=True)
    ):
        ids = file.get_tensor(f"{index}.ids")
        if ids.dtype != np.int64 or ids.ndim != 1:
            raise ValueError(f"the ids of segment {index} are no ids")
        is_speech = forward.config.front_end == "mel"
        if len(ids) != (0 if is_speech else length):
            raise ValueError(f"segment {index} has {len(ids)} ids for {length} tokens")
        arrays = file.get_tensor(f"{index}.pages"), file.get_tensor(f"{index}.carried")
        encoded = forward.restore(arrays, int(length), int(start), bool(is_document))
        yield Segment(tuple(ids.tolist()), encoded.is_document, encoded.start, encoded)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
