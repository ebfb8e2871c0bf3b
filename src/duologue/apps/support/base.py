"""A knowledge base: documents in, passages that fit a question out.

KnowledgeBase   add, refresh, remove, list, search
Changes         what add and refresh did, and which files could not be read
Hit             a passage that was found

A change is made as a whole when everything that it needs has been read and encoded: who asks
meanwhile is answered from the old state, and a process that dies leaves the old or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from duologue.apps.support.memories import Encoded, Encoder
from duologue.apps.support.passages import PASSAGE_TOKENS, Passage, split
from duologue.apps.support.readers import MAX_FILE_BYTES, SUFFIXES, find_files, read_file
from duologue.apps.support.retrieval import Hit, Retriever
from duologue.apps.support.terms import terms
from duologue.errors import DataError, InputError
from duologue.runtime import Runtime, check_text
from duologue.storage.knowledge import (
    Document,
    KnowledgeStore,
    NewDocument,
    NewPassage,
    Snapshot,
)

OnProgress = Callable[[int, int], None]
_MAX_RESULTS = 100


@dataclass(frozen=True)
class Failure:
    """A file that could not be read, and why; its former version stays in the base."""

    path: str
    problem: str


@dataclass(frozen=True)
class Changes:
    """What became of files; all are paths.

    num_encoded  passages that had to be encoded; others were as they had been
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()
    num_encoded: int = 0


@dataclass
class _Plan:
    """Files as they are read, before anything is changed."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    read: list[tuple[Document, list[Passage]]] = field(default_factory=list)


class KnowledgeBase:
    """The documents in a folder, as one model reads them. Threads and processes may share it.

    store  see storage.knowledge.KnowledgeStore
    """

    def __init__(self, store: KnowledgeStore, runtime: Runtime) -> None:
        self.store = store
        self.runtime = runtime
        self._retriever = Retriever(self.encoder)

    @cached_property
    def encoder(self) -> Encoder:
        """Reads passages and questions."""
        return Encoder(self.runtime, self.store.memories)

    # --- in ----------------------------------------------------------------------------------

    def add(self, paths: Iterable[Path | str], on_progress: OnProgress | None = None) -> Changes:
        """Add files, and folders with all readable files in them.

        on_progress  is called with the number of passages that are done, and of all

        Files that are in the base already are read again if they changed. What cannot be read is
        told in Changes.failed, and the others go on. Raises InputError for a path that does not
        exist, StorageError if the base cannot be written; nothing is added then.
        """
        found: dict[str, Path] = {}
        sources: list[str] = []
        failed: list[Failure] = []
        for path in map(_absolute, paths):
            if not path.exists():
                raise InputError(f"{path}: no such file or folder")
            sources.append(str(path))
            if path.is_dir():
                inside = find_files(path)
                if not inside:
                    kinds = ", ".join(SUFFIXES)
                    failed.append(Failure(str(path), f"no files that can be read ({kinds})"))
                found.update((str(file), file) for file in inside)
            else:
                found[str(path)] = path
        with self.store.reading() as base:
            plan = self._read(base, found, failed)
        unusable = {failure.path for failure in plan.failed}
        usable = [(source, False) for source in sources if source not in unusable]
        return self._apply(plan, [], usable, on_progress)

    def refresh(self, on_progress: OnProgress | None = None) -> Changes:
        """Bring the base to what its files are now.

        Files that are new in a folder that was added come in; files that are gone, or were never
        added, go out. Only passages that are new are encoded, all of them for another model.
        """
        found: dict[str, Path] = {}
        with self.store.reading() as base:
            sources = base.sources()
            left_out = {path for path, is_left_out in sources.items() if is_left_out}
            for path in map(Path, sources):
                files = find_files(path) if path.is_dir() else [path] if path.is_file() else []
                found.update((str(file), file) for file in files)
            for path in left_out:
                found = {name: file for name, file in found.items() if not _is_in(name, path)}
            gone = [item.path for item in base.documents() if item.path not in found]
            plan = self._read(base, found, [])
        return self._apply(plan, gone, [], on_progress)

    def remove(self, path: Path | str) -> list[str]:
        """Remove a document, or everything under a folder: text, index, embeddings, memories.

        Returns the paths of the documents. Raises NotFoundError if there is nothing.
        """
        return self.store.remove(str(_absolute(path)))

    def list(self) -> list[Document]:
        """All documents."""
        return self.store.documents()

    def _read(self, base: Snapshot, found: dict[str, Path], failed: list[Failure]) -> _Plan:
        """Read those of the files that are new or have changed."""
        known = {item.path: item for item in base.documents()}
        plan = _Plan(failed=list(failed))
        for name, path in sorted(found.items()):
            former = known.get(name)
            is_current = former is not None and former.model == self.encoder.model
            try:
                stat = path.stat()
                if stat.st_size > MAX_FILE_BYTES:
                    problem = f"{stat.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
                    raise DataError(path, None, problem)
                as_before = is_current and former is not None
                if as_before and (former.mtime_ns, former.num_bytes) == (
                    stat.st_mtime_ns,
                    stat.st_size,
                ):
                    plan.unchanged.append(name)
                    continue
                data = path.read_bytes()
                digest = hashlib.sha256(data).hexdigest()
                if as_before and former.sha256 == digest:
                    plan.unchanged.append(name)
                    continue
                sections = read_file(path, data)
                passages = split(self.runtime.tokenizer, sections, self._passage_tokens)
            except DataError as error:
                plan.failed.append(Failure(name, _without_path(error)))
                continue
            except OSError as error:
                plan.failed.append(Failure(name, f"cannot be read: {error.strerror}"))
                continue
            (plan.added if former is None else plan.changed).append(name)
            document = Document(
                name, digest, len(data), stat.st_mtime_ns, self.encoder.model, 0, len(passages)
            )
            plan.read.append((document, passages))
        return plan

    def _apply(
        self,
        plan: _Plan,
        gone: Sequence[str],
        sources: Sequence[tuple[str, bool]],
        on_progress: OnProgress | None,
    ) -> Changes:
        """Encode what was read, then change everything at once."""
        before = self.encoder.num_encoded
        total = sum(len(passages) for _, passages in plan.read)
        done = 0
        documents = []
        for document, passages in plan.read:
            with self.store.reading() as base:
                kept = base.embeddings_of(document.path, self.encoder.model)
            new = []
            for passage in passages:
                new.append(self._new(passage, kept))
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
            documents.append(
                NewDocument(
                    document.path,
                    document.sha256,
                    document.num_bytes,
                    document.mtime_ns,
                    document.model,
                    tuple(new),
                )
            )
        if documents or gone or sources:
            self.store.change(documents, gone, sources)
        return Changes(
            added=tuple(plan.added),
            changed=tuple(plan.changed),
            removed=tuple(gone),
            unchanged=tuple(plan.unchanged),
            failed=tuple(plan.failed),
            num_encoded=self.encoder.num_encoded - before,
        )

    def _new(self, passage: Passage, kept: dict[str, bytes]) -> NewPassage:
        embedding = kept.get(passage.hash)
        if embedding is None:
            embedding = self.encoder.passage(passage).embedding.astype(np.float16).tobytes()
        return NewPassage(
            heading=passage.heading,
            text=passage.text,
            hash=passage.hash,
            heading_terms=" ".join(terms(passage.heading)),
            text_terms=" ".join(terms(passage.text)),
            embedding=embedding,
        )

    @property
    def _passage_tokens(self) -> int:
        """Tokens of a passage: several of them, and a question, fit into the model."""
        return min(PASSAGE_TOKENS, self.runtime.config.max_positions // 6)

    # --- out ---------------------------------------------------------------------------------

    def search(self, question: str, limit: int = 5) -> list[Hit]:
        """The passages that fit a question best. Raises InputError for a question of no use."""
        if not 1 <= limit <= _MAX_RESULTS:
            raise InputError(f"limit must be between 1 and {_MAX_RESULTS}")
        encoded, _, _ = self.encoder.question(check_text(question).strip())
        return self.find(question, encoded, limit)

    def find(self, question: str, encoded: Encoded, limit: int) -> list[Hit]:
        """What search does for a question that has been read."""
        with self.store.reading() as base:
            return self._retriever.find(base, question, encoded, limit)


def _absolute(path: Path | str) -> Path:
    return Path(path).expanduser().resolve()


def _is_in(path: str, folder: str) -> bool:
    return path == folder or Path(folder) in Path(path).parents


def _without_path(error: DataError) -> str:
    where = f"line {error.line}: " if error.line is not None else ""
    return where + str(error).partition(": ")[2]
