"""The documents of a server: what routes and conversations ask of its knowledge base.

Knowledge   list, search, ask; upload, remove, refresh, one change at a time
Progress    how far a change is

Paths stay here: what is sent are names, from the folder or file on that was added. Uploaded files
lie in the folder of the base, in UPLOADS.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.types import Receive

from duologue.apps.support import Changes, Failure, KnowledgeBase
from duologue.apps.support.answer import OPTIONS
from duologue.apps.support.base import OnProgress
from duologue.apps.support.readers import SUFFIXES, read_file
from duologue.errors import ConfigError, DataError, NotFoundError, StorageError
from duologue.files import new_file
from duologue.runtime import check_text
from duologue.server import jobs
from duologue.server.errors import ApiError
from duologue.server.service import Service
from duologue.server.views import time_of
from duologue.storage.knowledge import Document, is_under
from duologue.types import Options, Result

T = TypeVar("T")

UPLOADS = "files"
MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Progress:
    """Passages that are encoded, and all that have to be."""

    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Upload:
    """A document that was uploaded, and whether it is a new one."""

    document: dict[str, Any]
    is_new: bool


class Knowledge:
    """For the event loop; reading and encoding are done on the threads of the service.

    Everything raises NotFoundError where the server has no knowledge base.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._changing = threading.Lock()
        self.progress: Progress | None = None  # of the change that is being made

    @property
    def base(self) -> KnowledgeBase:
        """The base."""
        if self._service.base is None:
            raise NotFoundError("this server has no documents: start it with --kb FOLDER")
        return self._service.base

    # --- out -----------------------------------------------------------------------------------

    async def documents(self) -> list[dict[str, Any]]:
        """All documents, in order of their paths."""
        base = self.base

        def look() -> list[dict[str, Any]]:
            sources = _sources(base)
            return [_document(item, sources) for item in base.documents()]

        return await self._service.stored(look)

    async def search(self, question: str, limit: int) -> list[dict[str, Any]]:
        """The passages that fit a question best."""
        base = self.base

        def look() -> list[dict[str, Any]]:
            self._service.limits.check_texts(base.runtime, [question], "q")
            sources = _sources(base)
            return [
                {
                    **_named(hit.passage.document, sources),
                    "heading": hit.passage.heading,
                    "passage": hit.passage.id,
                    "text": hit.passage.text,
                    "score": hit.score,
                }
                for hit in base.search(question, limit)
            ]

        return await self._service.work(look)

    async def ask(self, question: str, options: Options = OPTIONS) -> Result:
        """What KnowledgeBase.ask gives; its citations have names in place of paths."""
        base = self.base

        def answer() -> Result:
            self._service.limits.check_texts(base.runtime, [question], "question")
            return base.ask(question, options)

        result = await self._service.work(answer)
        self._service.metrics.used(self._service.name_of(base.runtime), result.usage)
        return result

    def asked(self, question: str) -> Callable[[], Result]:
        """A question that can be asked at once, on another thread."""
        return partial(self.base.ask, check_text(question))

    def shown(self, result: Result) -> dict[str, Any]:
        """A result as it is sent and stored; reads the store."""
        sources = _sources(self.base)
        values = result.to_dict()
        for citation in values["citations"]:
            citation |= _named(citation["document"], sources)
        return values

    # --- in ------------------------------------------------------------------------------------

    async def upload(self, receive: Receive, name: str, data: bytes) -> Upload:
        """Add a file, in place of one that was uploaded with this name.

        receive  of the request; the change is undone when its reader goes away

        Raises ApiError for a name or content that cannot be used, and where another change is made.
        """
        base = self.base
        path = base.store.folder.resolve() / UPLOADS / _checked(name)

        def add(on_progress: OnProgress) -> Upload:
            try:
                read_file(Path(name), data)  # which names no folder in its errors
            except (DataError, ConfigError) as error:
                raise ApiError("invalid_input", str(error), "document") from None
            former = path.read_bytes() if path.exists() else None
            _write(path, data)
            try:
                changes = base.add([path], on_progress)
                failed = next((item.problem for item in changes.failed), None)
                if failed is not None:
                    raise ApiError("invalid_input", f"{name}: {failed}", "document")
            except BaseException:
                _restore(path, former)
                raise
            sources = _sources(base)
            (added,) = (item for item in base.documents() if item.path == str(path))
            return Upload(_document(added, sources), bool(changes.added))

        return await self._change(receive, add)

    async def remove(self, receive: Receive, document: str) -> None:
        """Remove a document; the file of one that was uploaded too. Raises NotFoundError."""
        base = self.base

        def take_out(_: OnProgress) -> None:
            paths = [item.path for item in base.documents() if document_id(item.path) == document]
            if not paths:
                raise NotFoundError("there is no such document")
            base.remove(paths[0])
            if is_under(paths[0], str(base.store.folder.resolve() / UPLOADS)):
                _restore(Path(paths[0]), None)

        await self._change(receive, take_out)

    async def refresh(self, receive: Receive) -> dict[str, Any]:
        """Bring the base to what its files are now; what has become of them, by names."""
        base = self.base

        def read_again(on_progress: OnProgress) -> dict[str, Any]:
            before = _sources(base)
            changes = base.refresh(on_progress)
            return _changes(changes, {**before, **_sources(base)})

        return await self._change(receive, read_again)

    async def _change(self, receive: Receive, run: Callable[[OnProgress], T]) -> T:
        """Make a change, which ends before its next passage when nobody waits for it any more."""
        is_over = threading.Event()

        def on_progress(done: int, total: int) -> None:
            if is_over.is_set():
                raise ApiError("stopped", "nobody waits for this any more")
            self.progress = Progress(done, total)

        def change() -> T:
            if not self._changing.acquire(blocking=False):
                raise ApiError("busy", "the documents are being changed already; wait for the end")
            try:
                self.progress = Progress()
                return run(on_progress)
            finally:
                self.progress = None
                self._changing.release()

        try:
            return await jobs.unless_gone(receive, self._service.work(change))
        finally:
            is_over.set()


def document_id(path: str) -> str:
    """What names a document to clients; the same when its content changes."""
    return f"doc_{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:32]}"


# --- names and paths ---------------------------------------------------------------------------


def _sources(base: KnowledgeBase) -> dict[str, bool]:
    with base.store.reading() as state:
        return state.sources()


def _named(path: str, sources: Mapping[str, bool]) -> dict[str, str]:
    """The id and the name of a document: its path, from what was added on."""
    around = [source for source in sources if is_under(path, source)]
    start = Path(max(around, key=len, default=path))
    top = min((Path(source) for source in around), key=lambda one: len(one.parts), default=start)
    name = Path(path).relative_to(top.parent).as_posix()
    # Names of files may hold bytes that no text can say.
    return {
        "document_id": document_id(path),
        "document": name.encode(errors="replace").decode(),
    }


def _document(item: Document, sources: Mapping[str, bool]) -> dict[str, Any]:
    named = _named(item.path, sources)
    return {
        "id": named["document_id"],
        "name": named["document"],
        "bytes": item.num_bytes,
        "passages": item.num_passages,
        "indexed_at": time_of(item.indexed_ms),
    }


def _changes(changes: Changes, sources: Mapping[str, bool]) -> dict[str, Any]:
    def names(paths: Iterable[str]) -> list[str]:
        return [_named(path, sources)["document"] for path in paths]

    def failure(failed: Failure) -> dict[str, str]:
        return {"name": names([failed.path])[0], "problem": failed.problem}

    return {
        "added": names(changes.added),
        "changed": names(changes.changed),
        "removed": names(changes.removed),
        "unchanged": len(changes.unchanged),
        "failed": [failure(failed) for failed in changes.failed],
        "encoded": changes.num_encoded,
    }


# --- uploaded files ----------------------------------------------------------------------------


def _checked(name: str) -> str:
    """The name of a file, if it is one and nothing else. Raises ApiError."""
    is_plain = name.isprintable() and not set(name) & set('/\\:*?"<>|') and name[:1] not in ". "
    if not is_plain or len(name.encode()) > MAX_NAME_BYTES:
        problem = f"a name of a file is needed, of at most {MAX_NAME_BYTES} bytes, without a path"
        raise ApiError("invalid_input", problem, "name")
    if Path(name).suffix.lower() not in SUFFIXES:
        kinds = ", ".join(SUFFIXES)
        raise ApiError("invalid_input", f"unknown kind of file; there are {kinds}", "name")
    return name


def _write(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all. Raises StorageError."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with new_file(path) as fresh:
            fresh.write_bytes(data)
    except OSError as error:
        raise StorageError(f"the document cannot be kept: {error.strerror}") from None


def _restore(path: Path, former: bytes | None) -> None:
    """Bring back what a file was before; None: there was none."""
    if former is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, former)
