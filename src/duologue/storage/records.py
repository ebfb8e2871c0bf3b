"""What the store gives out, and the chain of hashes that ties messages together.

StoredConversation, StoredMessage, StoredHandOver, Page  values; changing one changes no row
ConversationLimits                        how large things may be
chain_root, chain_hash                    names of paths through a conversation
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from duologue.errors import ConfigError
from duologue.types import FinishReason

MessageRole = Literal["system", "user", "agent", "document"]
Status = Literal["complete", "unfinished"]
Source = Literal["model", "documents"]

MESSAGE_ROLES: tuple[MessageRole, ...] = get_args(MessageRole)


@dataclass(frozen=True)
class StoredConversation:
    """head    id of the message that the shown path ends with; None before the first
    source  where its replies come from: what the model says, or answers from documents

    Times are milliseconds since 1970-01-01 UTC.
    """

    id: str
    owner: str
    title: str
    model: str
    created_ms: int
    updated_ms: int
    head: str | None
    source: Source = "model"


@dataclass(frozen=True)
class StoredMessage:
    """One turn.

    parent         id of the message before it; None of a first one
    hash           see chain_hash; None while unfinished
    status         unfinished: a reply that is being made, or was being made when the process died
    finish_reason  of an unfinished one "abort" tells that its process died
    result         what Result.to_dict gave
    options        that a reply was asked for with
    by_person      a reply that a person gave in the model's place
    """

    id: str
    conversation: str
    parent: str | None
    role: MessageRole
    text: str
    hash: str | None
    status: Status
    finish_reason: FinishReason | None
    result: dict[str, Any] | None
    options: dict[str, Any] | None
    created_ms: int
    by_person: bool = False


@dataclass(frozen=True)
class StoredHandOver:
    """A question that a person should take over, or has taken over.

    owner         of the conversation
    message       id of the question
    question      its text
    citations     the nearest passages of the documents, as they were sent
    taken_by      who answers in the conversation; None: nobody yet
    closed_ms     when it was given back
    """

    id: str
    owner: str
    conversation: str
    message: str
    question: str
    language: str
    confidence: float
    citations: list[dict[str, Any]]
    created_ms: int
    taken_by: str | None = None
    taken_ms: int | None = None
    closed_ms: int | None = None


@dataclass(frozen=True)
class Page:
    """cursor  gets the next page; None on the last one"""

    conversations: tuple[StoredConversation, ...]
    cursor: str | None


@dataclass(frozen=True)
class ConversationLimits:
    """max_title_chars  characters of a title
    max_text_bytes   bytes of one message in UTF-8
    max_json_bytes   bytes of a message's result, and of its options, as JSON
    max_messages     messages of one conversation, all branches together
    max_search_chars characters to search for
    max_page         conversations in one page
    """

    max_title_chars: int = 200
    max_text_bytes: int = 4 * 2**20
    max_json_bytes: int = 4 * 2**20
    max_messages: int = 10_000
    max_search_chars: int = 200
    max_page: int = 200

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigError(f"{field.name} must be at least 1")


def chain_root(owner: str) -> str:
    """What stands for the parent of a first message.

    Nobody else has it, so equal dialogues of two owners never share what is kept by hash, and how
    fast a reply comes tells nothing of what others said.
    """
    return hashlib.sha256(b"duologue.owner.v1\0" + owner.encode()).hexdigest()


def chain_hash(parent: str, role: str, text: str) -> str:
    """SHA-256 in hex over the parent's hash, role and text: it names the path up to a message.

    parent  hash of the message before, or chain_root
    """
    digest = hashlib.sha256(b"duologue.message.v1\0" + bytes.fromhex(parent))
    digest.update(role.encode() + b"\0" + text.encode())
    return digest.hexdigest()
