"""Clients who connect to the service and then do nothing, in a process of their own.

    python benchmarks/serve_idle.py PORT COUNT

Half are WebSockets of /v1/live, which offer compression as browsers do; the others have got one
answer over HTTP/1.1 and keep the connection. Says "open" when all are, waits for a line, and prints
how many are open still.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

from serve_client import Connection, Request
from websockets.asyncio.client import connect
from websockets.protocol import State


async def idle(port: int, count: int) -> int:
    """Hold so many connections until there is a line to read; how many are open then."""
    async with contextlib.AsyncExitStack() as resources:
        sockets = []
        for _ in range(count // 2):
            socket = connect(f"ws://127.0.0.1:{port}/v1/live", ping_interval=None)
            sockets.append(await resources.enter_async_context(socket))
        kept = [await Connection.open(port) for _ in range(count - len(sockets))]
        for connection in kept:
            answer = await connection.ask(Request("/health/live", {}, method="GET"))
            assert answer.status == 200
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        num_open = sum(socket.state is State.OPEN for socket in sockets)
        num_open += sum(connection.is_open for connection in kept)
        for connection in kept:
            connection.close()
    return num_open


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    print(asyncio.run(idle(arguments.port, arguments.count)))


if __name__ == "__main__":
    main()
