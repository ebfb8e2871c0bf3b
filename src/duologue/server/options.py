"""How one server is run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeOptions:
    """host           address to bind to
    port           0: any that is free
    needs_key      whether requests must bring a key
    allow_origins  of other sites whose pages may use this server, such as https://example.org
    keep_alive_s   a stream without events gets a comment so often
    grace_s        how long replies may go on when the server is told to stop
    """

    host: str = "127.0.0.1"
    port: int = 8000
    needs_key: bool = False
    allow_origins: tuple[str, ...] = ()
    keep_alive_s: float = 15.0
    grace_s: float = 10.0
