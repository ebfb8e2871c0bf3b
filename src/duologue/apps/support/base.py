"""A knowledge base: documents in, passages that fit a question out.

KnowledgeBase   add, refresh, remove, documents, search, ask, explain
Changes         what add and refresh did, and which files could not be read
Hit             a passage that was found

A change is made as a whole when everything that it needs has been read and encoded: who asks
meanwhile is answered from the old state, and a process that dies leaves the old or the new one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from duologue.apps.support.answer import ask
from duologue.apps.support.confidence import THRESHOLD
from duologue.apps.support.memories import Encoded, Encoder, Question
from duologue.apps.support.passages import PASSAGE_TOKENS, Passage, split
from duologue.apps.support.readers import MAX_FILE_BYTES, SUFFIXES, find_files, read_file
from duologue.apps.support.retrieval import Hit, Retriever
from duologue.apps.support.spans import Pieces
from duologue.apps.support.terms import any_of, telling_terms, terms
from duologue.apps.support.why import explaining
from duologue.errors import ConfigError, DataError, InputError
from duologue.explain.erasure import ErasureOptions, finished
from duologue.runtime import Runtime, check_text
from duologue.storage.knowledge import (
    Document,
    KnowledgeStore,
    NewDocument,
    NewPassage,
    Snapshot,
    is_under,
)
from duologue.types import Options, Result

OnProgress = Callable[[int, int], None]
_FEW = 50
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


@dataclass(frozen=True)
class _File:
    """A file that was read."""

    path: str
    data: bytes
    sha256: str
    mtime_ns: int


@dataclass
class _Plan:
    """Files as they are read, before anything is changed."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    read: list[tuple[_File, list[Passage]]] = field(default_factory=list)


class KnowledgeBase:
    """The documents in a folder, as one model reads them. Threads and processes may share it.

    store  see storage.knowledge.KnowledgeStore
    """

    def __init__(self, store: KnowledgeStore, runtime: Runtime) -> None:
        self.store = store
        self.runtime = runtime
        self.encoder = Encoder(runtime, store.memories)
        self.retriever = Retriever(self.encoder)

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
        for path in map(absolute, paths):
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
        return self._apply(plan, [], on_progress, new_sources=usable)

    def refresh(self, on_progress: OnProgress | None = None) -> Changes:
        """Bring the base to what its files are now.

        Files that are new in a folder that was added come in, files that are gone go out. Where all
        of a folder is gone, its documents stay and Changes.failed tells: its disk may be missing.
        Only passages that are new are encoded, all of them for another model.
        """
        found: dict[str, Path] = {}
        missing: list[Failure] = []
        with self.store.reading() as base:
            sources = base.sources()
            documents = [item.path for item in base.documents()]
            for source in (path for path, is_left_out in sources.items() if not is_left_out):
                path = Path(source)
                if path.is_dir():
                    found.update((str(file), file) for file in find_files(path))
                elif path.is_file():
                    found[source] = path
                elif source not in documents:
                    problem = "no such folder; remove it if it is gone for good"
                    missing.append(Failure(source, problem))
            left_out = [path for path, is_left_out in sources.items() if is_left_out]
            found = {
                name: path
                for name, path in found.items()
                if not any(is_under(name, folder) for folder in left_out)
            }
            gone = [
                name
                for name in documents
                if name not in found and not any(is_under(name, item.path) for item in missing)
            ]
            plan = self._read(base, found, missing)
        lost = [source for source in sources if source in gone]
        return self._apply(plan, gone, on_progress, lost_sources=lost)

    def remove(self, path: Path | str) -> list[str]:
        """Remove a document, or everything under a folder: text, index, embeddings, memories.

        Returns the paths of the documents. Raises NotFoundError if there is nothing.
        """
        return self.store.remove(str(absolute(path)))

    def documents(self) -> list[Document]:
        """All documents in order of their paths."""
        return self.store.documents()

    def _read(self, base: Snapshot, found: dict[str, Path], failed: list[Failure]) -> _Plan:
        """Read those of the files that are new or have changed, or another model has read."""
        known = {item.path: item for item in base.documents()}
        plan = _Plan(failed=list(failed))
        for name, path in sorted(found.items()):
            former = known.get(name)
            is_current = former is not None and former.model == self.encoder.model
            try:
                document = _content(path, former if is_current else None)
                if document is None:
                    plan.unchanged.append(name)
                    continue
                sections = read_file(path, document.data)
            except (DataError, ConfigError) as error:
                plan.failed.append(Failure(name, _without_path(error)))
                continue
            except OSError as error:
                plan.failed.append(Failure(name, f"cannot be read: {error.strerror}"))
                continue
            (plan.added if former is None else plan.changed).append(name)
            passages = split(self.runtime.tokenizer, sections, self._passage_tokens)
            plan.read.append((document, passages))
        return plan

    def _apply(
        self,
        plan: _Plan,
        gone: Sequence[str],
        on_progress: OnProgress | None,
        new_sources: Sequence[tuple[str, bool]] = (),
        lost_sources: Sequence[str] = (),
    ) -> Changes:
        """Encode what was read, then change everything at once."""
        before = self.encoder.num_encoded
        total = sum(len(passages) for _, passages in plan.read)
        done = 0
        documents = []
        for file, passages in plan.read:
            with self.store.reading() as base:
                kept = base.embeddings_of(file.path, self.encoder.model)
            new = []
            for passage in passages:
                new.append(self._new(passage, kept))
                done += 1
                if on_progress is not None:
                    on_progress(done, total)
            documents.append(
                NewDocument(
                    file.path,
                    file.sha256,
                    len(file.data),
                    file.mtime_ns,
                    self.encoder.model,
                    tuple(new),
                )
            )
        if documents or gone or new_sources:
            self.store.change(documents, gone, new_sources, lost_sources)
        else:
            self.store.scrub()
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
        return self.find(self.encoder.question(check_text(question).strip()), limit)

    def ask(
        self, question: str, options: Options | None = None, threshold: float = THRESHOLD
    ) -> Result:
        """The answer to a question from the documents alone, or that they do not say; see ask."""
        return ask(self, question, options, threshold)

    def explain(
        self, question: str, result: Result, options: ErasureOptions | None = None
    ) -> Result:
        """The result of ask with `influence`: what of the documents it needs; see why.explaining.

        options  how much that may cost; None: ErasureOptions()
        """
        return finished(explaining(self, question, result, options or ErasureOptions()))

    def find(self, question: Question, limit: int) -> list[Hit]:
        """What search does for a question that has been read."""
        with self.store.reading() as base:
            embedding = question.encoded.embedding
            return self.retriever.find(base, question.text, embedding, limit)

    def encoded(self, passage: Passage) -> Encoded:
        """A passage as the model reads it, which is encoded again if its memory was dropped."""
        before = self.encoder.num_encoded
        encoded = self.encoder.passage(passage)
        if self.encoder.num_encoded != before:
            self.store.forget_unless_known(passage.hash)
        return encoded

    def rarity(self, question: str) -> dict[str, float]:
        """How rare the telling terms of a question are in the base: the weights that BM25 has.

        Of a few passages little can be learnt: a small base counts as part of one of _FEW.
        """
        with self.store.reading() as base:
            total = max(_FEW, base.num_passages())
            found = {term: base.count(any_of([term])) for term in telling_terms(question)}
        return {term: math.log(1 + (total - n + 0.5) / (n + 0.5)) for term, n in found.items()}

    @cached_property
    def pieces(self) -> Pieces:
        """The tokens of the model, for decoding spans."""
        return Pieces(self.runtime.tokenizer)


def _content(path: Path, former: Document | None) -> _File | None:
    """A file; None if it is what it was before. Raises DataError, OSError."""
    stat = path.stat()
    if stat.st_size > MAX_FILE_BYTES:
        problem = f"{stat.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
        raise DataError(path, None, problem)
    state = stat.st_mtime_ns, stat.st_size
    if former is not None and (former.mtime_ns, former.num_bytes) == state:
        return None
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    digest = hashlib.sha256(data).hexdigest()
    if former is not None and former.sha256 == digest:
        return None
    return _File(str(path), data, digest, stat.st_mtime_ns)


def absolute(path: Path | str) -> Path:
    """The path by which the base knows a file: absolute, without links."""
    return Path(path).expanduser().resolve()


def _without_path(error: DataError | ConfigError) -> str:
    if not isinstance(error, DataError):
        return str(error)
    where = f"line {error.line}: " if error.line is not None else ""
    return where + str(error).partition(": ")[2]
