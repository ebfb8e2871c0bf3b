"""A knowledge base on disk: documents in passages, the index of their words, their embeddings.

default_folder  where it is unless somebody says otherwise
KnowledgeStore  a folder with one SQLite file, and the encoded passages in a MemoryCache
Document        what was added
StoredPassage   a passage with its document
NewDocument, NewPassage   what replaces a document

Readers see one state: that before a change or that after it. Encoded passages are only a cache:
each is named after what it was made from, and what is missing is encoded again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection

from duologue.errors import ConfigError, NotFoundError
from duologue.storage.folder import data_folder
from duologue.storage.memory_cache import MemoryCache
from duologue.storage.sqlite import Schema, open_sqlite

FILE_NAME = "knowledge.db"
MEMORIES = "memories"
DEFAULT_MEMORY_BYTES = 4 * 2**30
_SOME = 500  # host parameters of one statement

# Weights of headings and of text in the ranking by words.
_RANK = "bm25(words, 1.0, 1.0)"

SCHEMA = Schema(
    "knowledge base",
    0x4B6E6F77,
    (
        (
            # What was added: a file, or a folder whose files come and go; is_left_out: a file of
            # such a folder that was removed.
            """
            CREATE TABLE sources (
                path TEXT NOT NULL PRIMARY KEY,
                is_left_out INTEGER NOT NULL
            )
            """,
            """
            CREATE TABLE documents (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                path TEXT NOT NULL UNIQUE,
                sha256 TEXT NOT NULL,
                num_bytes INTEGER NOT NULL,
                mtime_ns INTEGER NOT NULL,
                model TEXT NOT NULL,
                indexed_ms INTEGER NOT NULL
            )
            """,
            """
            CREATE TABLE passages (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
                heading TEXT NOT NULL,
                text TEXT NOT NULL,
                hash TEXT NOT NULL,
                embedding BLOB NOT NULL
            )
            """,
            "CREATE INDEX passages_of_document ON passages (document)",
            "CREATE INDEX passages_by_hash ON passages (hash)",
            """
            CREATE VIRTUAL TABLE words USING fts5 (
                heading, text, tokenize = 'porter unicode61 remove_diacritics 2'
            )
            """,
            # Counts changes, so that who keeps embeddings in memory sees when they are old.
            "CREATE TABLE changes (number INTEGER NOT NULL)",
            "INSERT INTO changes VALUES (0)",
        ),
    ),
)


def default_folder() -> Path:
    """The knowledge base in the data folder."""
    return data_folder() / "knowledge"


@dataclass(frozen=True)
class Document:
    """A document of the base.

    sha256      of the file when it was read
    model       fingerprint of the model that made the embeddings
    """

    path: str
    sha256: str
    num_bytes: int
    mtime_ns: int
    model: str
    indexed_ms: int
    num_passages: int


@dataclass(frozen=True)
class StoredPassage:
    """A passage; document: the path of its document; hash: names what a model reads of it."""

    id: int
    document: str
    heading: str
    text: str
    hash: str


@dataclass(frozen=True)
class NewPassage:
    """heading_terms, text_terms: its words, for the index; embedding: bytes, the caller's own."""

    heading: str
    text: str
    hash: str
    heading_terms: str
    text_terms: str
    embedding: bytes


@dataclass(frozen=True)
class NewDocument:
    """A document as it is to be; see Document."""

    path: str
    sha256: str
    num_bytes: int
    mtime_ns: int
    model: str
    passages: tuple[NewPassage, ...]


class KnowledgeStore:
    """A folder that holds a knowledge base. Threads and processes may share it.

    folder        made if it is not there, for its owner alone
    memory_bytes  most bytes of encoded passages on disk; the least recently used leave first

    Raises StorageError for a folder that cannot be used, or that a later version of the program
    has used.
    """

    def __init__(self, folder: Path, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        if memory_bytes < 1:
            raise ConfigError(f"the budget of encoded passages must be positive: {memory_bytes}")
        self.folder = folder
        self._memory_bytes = memory_bytes
        self._file = open_sqlite(folder / FILE_NAME, SCHEMA)

    @cached_property
    def memories(self) -> MemoryCache:
        """Encoded passages, each named after its hash."""
        return MemoryCache(self.folder / MEMORIES, self._memory_bytes, is_lazy=True)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._file.close()

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """One state of the base, whatever others change. Raises StorageError."""
        with self._file.reading() as connection:
            yield Snapshot(connection)

    def documents(self) -> list[Document]:
        """All documents in order of their paths."""
        with self.reading() as base:
            return base.documents()

    def change(
        self,
        documents: Sequence[NewDocument] = (),
        gone: Sequence[str] = (),
        sources: Sequence[tuple[str, bool]] = (),
        gone_sources: Sequence[str] = (),
    ) -> None:
        """All of this, or nothing.

        documents     take the place of those with the same path
        gone          paths of documents that are removed: text, index, embeddings, memories
        sources       (path, is_left_out), added or changed
        gone_sources  paths of sources that are removed

        Raises StorageError; nothing is changed then.
        """
        with self._file.writing() as connection:
            num_gone = sum(_remove(connection, path) for path in gone)
            num_gone += sum(_put(connection, document) for document in documents)
            connection.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", sources)
            connection.executemany(
                "DELETE FROM sources WHERE path = ?", [(path,) for path in gone_sources]
            )
            if num_gone:
                # What was deleted stays in the index until its parts are merged.
                connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            connection.execute("UPDATE changes SET number = number + 1")
        self.scrub()

    def scrub(self) -> None:
        """Take off the disk whatever belongs to no passage of the base any more.

        Part of every change; a process that died may have left something to do.
        """
        self._file.scrub()
        if (self.folder / MEMORIES).is_dir():
            self.memories.sweep(self._known)

    def remove(self, path: str) -> list[str]:
        """Remove a document, or everything under a folder; returns the paths of the documents.

        Raises NotFoundError if the base has nothing there.
        """
        inside = path.rstrip("/\\")
        with self.reading() as base:
            documents = [item.path for item in base.documents() if is_under(item.path, inside)]
            sources = base.sources()
        gone_sources = [source for source in sources if is_under(source, inside)]
        if not documents and not gone_sources:
            raise NotFoundError(f"{path}: not in the knowledge base; list shows what is")
        covering = [
            source
            for source, is_left_out in sources.items()
            if not is_left_out and source != inside and is_under(inside, source)
        ]
        left_out = [(inside, True)] if covering else []
        kept = {inside} if covering else set()
        self.change((), documents, left_out, [path for path in gone_sources if path not in kept])
        return documents

    def forget_unless_known(self, passage_hash: str) -> None:
        """Drop the memory of a passage that was removed while somebody encoded it."""
        if not self._known([passage_hash]):
            self.memories.erase([passage_hash])

    def _known(self, hashes: list[str]) -> set[str]:
        found: set[str] = set()
        with self._file.reading() as connection:
            for start in range(0, len(hashes), _SOME):
                some = hashes[start : start + _SOME]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT hash FROM passages WHERE hash IN ({marks})", some
                )
                found.update(name for (name,) in rows)
        return found


class Snapshot:
    """What can be asked of one state of a base. Made by KnowledgeStore.reading."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def number(self) -> int:
        """How many changes there were before this state."""
        (number,) = self._connection.execute("SELECT number FROM changes").fetchone()
        return int(number)

    def documents(self) -> list[Document]:
        """See KnowledgeStore."""
        rows = self._connection.execute(
            """
            SELECT path, sha256, num_bytes, mtime_ns, model, indexed_ms,
                   (SELECT count(*) FROM passages WHERE document = documents.id)
            FROM documents ORDER BY path
            """
        )
        return [Document(*row) for row in rows]

    def sources(self) -> dict[str, bool]:
        """What was added, and whether it is to be left out."""
        rows = self._connection.execute("SELECT path, is_left_out FROM sources ORDER BY path")
        return {path: bool(is_left_out) for path, is_left_out in rows}

    def match(self, query: str, limit: int) -> list[tuple[int, float]]:
        """Ids of the passages that match an FTS5 expression, best first, with their BM25 score.

        A higher score is better. Robertson & Zaragoza 2009, as in SQLite's bm25().
        """
        if not query:
            return []
        rows = self._connection.execute(
            f"SELECT rowid, -{_RANK} FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?",
            (query, limit),
        )
        return [(int(number), float(score)) for number, score in rows]

    def count(self, query: str) -> int:
        """How many passages match an FTS5 expression."""
        (count,) = self._connection.execute(
            "SELECT count(*) FROM words WHERE words MATCH ?", (query,)
        ).fetchone()
        return int(count)

    def embeddings(self, model: str) -> list[tuple[int, bytes]]:
        """Ids and embeddings of all passages that this model has read."""
        return self._connection.execute(
            """
            SELECT passages.id, embedding FROM passages JOIN documents ON document = documents.id
            WHERE model = ? ORDER BY passages.id
            """,
            (model,),
        ).fetchall()

    def embeddings_of(self, path: str, model: str) -> dict[str, bytes]:
        """Embeddings of one document's passages by their hash, if this model made them."""
        rows = self._connection.execute(
            """
            SELECT hash, embedding FROM passages JOIN documents ON document = documents.id
            WHERE path = ? AND model = ?
            """,
            (path, model),
        )
        return dict(rows.fetchall())

    def passages(self, ids: Sequence[int]) -> list[StoredPassage]:
        """The passages with these ids, in this order; those that are not there are left out."""
        marks = ",".join("?" * len(ids))
        rows = self._connection.execute(
            f"""
            SELECT passages.id, path, heading, text, hash
            FROM passages JOIN documents ON document = documents.id WHERE passages.id IN ({marks})
            """,
            list(ids),
        )
        found = {row[0]: StoredPassage(*row) for row in rows}
        return [found[idx] for idx in ids if idx in found]

    def num_passages(self) -> int:
        """How many there are."""
        (count,) = self._connection.execute("SELECT count(*) FROM passages").fetchone()
        return int(count)


def is_under(path: str, folder: str) -> bool:
    """Whether a path is this folder, or lies in it."""
    return path == folder or Path(folder) in Path(path).parents


def _remove(connection: Connection, path: str) -> int:
    """Remove a document with all that belongs to it; how many passages that were."""
    gone = connection.execute(
        """
        SELECT passages.id FROM passages JOIN documents ON document = documents.id WHERE path = ?
        """,
        (path,),
    ).fetchall()
    connection.executemany("DELETE FROM words WHERE rowid = ?", gone)
    connection.execute("DELETE FROM documents WHERE path = ?", (path,))
    return len(gone)


def _put(connection: Connection, document: NewDocument) -> int:
    """Put a document in the place of its former version; how many passages that had."""
    num_gone = _remove(connection, document.path)
    number = connection.execute(
        """
        INSERT INTO documents (path, sha256, num_bytes, mtime_ns, model, indexed_ms)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        (
            document.path,
            document.sha256,
            document.num_bytes,
            document.mtime_ns,
            document.model,
            int(1000 * time.time()),
        ),
    ).lastrowid
    for passage in document.passages:
        idx = connection.execute(
            """
            INSERT INTO passages (document, heading, text, hash, embedding)
            VALUES (?, ?, ?, ?, ?)
            """,
            (number, passage.heading, passage.text, passage.hash, passage.embedding),
        ).lastrowid
        connection.execute(
            "INSERT INTO words (rowid, heading, text) VALUES (?, ?, ?)",
            (idx, passage.heading_terms, passage.text_terms),
        )
    return num_gone
