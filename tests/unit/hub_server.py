"""A hub on this machine, for tests: the few answers that huggingface_hub asks for.

HubServer    serves Repository objects from a thread, notes every request, misbehaves on demand
Repository   files of one model, all of one commit
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from http_listener import listening

LFS = (".safetensors", ".bin", ".model")


@dataclass
class Repository:
    """One model. Names with an ending of LFS have a SHA-256.

    gated      its files need consent that has not been given
    cut        the connection is lost in the middle of this file, once
    short      the GET of this file promises and sends half of it
    damaged    this file comes with the right size and other bytes
    """

    files: dict[str, bytes]
    gated: bool = False
    cut: str = ""
    short: str = ""
    damaged: str = ""
    branches: tuple[str, ...] = ("main",)

    @property
    def commit(self) -> str:
        text = "".join(f"{name}{len(content)}" for name, content in self.files.items())
        return hashlib.sha1(text.encode()).hexdigest()

    def etag(self, name: str) -> str:
        kind = hashlib.sha256 if name.endswith(LFS) else hashlib.sha1
        return kind(self.files[name]).hexdigest()

    def info(self) -> dict[str, Any]:
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": self.etag(name),
                "lfs": self._lfs(name, "sha256"),
            }
            for name, content in self.files.items()
        ]
        return {"id": "owner/name", "sha": self.commit, "siblings": siblings}

    def tree(self) -> list[dict[str, Any]]:
        return [
            {
                "type": "file",
                "path": name,
                "size": len(content),
                "oid": self.etag(name),
                "lfs": self._lfs(name, "oid"),
            }
            for name, content in self.files.items()
        ]

    def _lfs(self, name: str, key: str) -> dict[str, Any] | None:
        if not name.endswith(LFS):
            return None
        return {key: self.etag(name), "size": len(self.files[name]), "pointerSize": 1}


@dataclass
class HubServer:
    """What is served, and what was asked for: "GET /owner/name/resolve/…/config.json"."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    endpoint: str = ""
    status: int | None = None

    def asked_for(self, name: str) -> list[str]:
        """Requests for a file."""
        return [request for request in self.requests if request.endswith(f"/{name}")]


@contextmanager
def serving() -> Iterator[HubServer]:
    """A running server; it has ended when the context has."""
    hub = HubServer()

    class Bound(_Handler):
        state = hub

    with listening(Bound) as port:
        hub.endpoint = f"http://127.0.0.1:{port}"
        yield hub


class _Handler(BaseHTTPRequestHandler):
    state: HubServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.state, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        hub.tokens.add(self.headers.get("Authorization"))
        found = re.fullmatch(
            r"/(?:api/models/)?([^/]+/[^/]+)(?:/(revision|tree|resolve)/([^/]+)(?:/(.+))?)?", path
        )
        if hub.status is not None:
            return self._send(hub.status)
        if found is None or found[1] not in hub.repositories:
            return self._send(404, {"X-Error-Code": "RepoNotFound"})
        repository = hub.repositories[found[1]]
        if (found[3] or "main") not in (*repository.branches, repository.commit):
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        if found[2] != "resolve":
            content = repository.tree() if found[2] == "tree" else repository.info()
            return self._send(200, body=json.dumps(content).encode())
        if repository.gated:
            return self._send(403, {"X-Error-Code": "GatedRepo"})
        if found[4] not in repository.files:
            return self._send(404, {"X-Error-Code": "EntryNotFound"})
        return self._send_file(repository, found[4])

    def _send_file(self, repository: Repository, name: str) -> None:
        body = repository.files[name]
        headers = {"ETag": f'"{repository.etag(name)}"', "X-Repo-Commit": repository.commit}
        if self.command == "GET":
            if name == repository.damaged:
                body = bytes(len(body))
            if name == repository.short:
                body = body[: len(body) // 2]
        wanted = self.headers.get("Range")
        if wanted is None:
            cut = self.command == "GET" and name == repository.cut
            if cut:
                repository.cut = ""
            return self._send(200, headers, body, len(body) // 2 if cut else None)
        self.state.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self._send(206, headers, body[start:])

    def _send(
        self,
        status: int,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        sent: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
