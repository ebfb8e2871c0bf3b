"""The benchmarks of the service: what they compute, and that they run against a real server."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.mark.parametrize(
    ("script", "goals"),
    [
        ("serve_http", ["S1", "S1s", "S2", "S2s", "S5", "S5c"]),
        ("serve_live", ["S3", "S4"]),
        ("serve_soak", ["S6", "S6l"]),
    ],
)
def test_everything_is_measured(
    script: str, goals: list[str], tiny_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--quick", "--threads", "1"]
    command += ["--model", str(tiny_model_folder()), "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / f"{script}.json").read_text(encoding="utf-8"))
    assert sorted(written["goals"]) == goals
    if script == "serve_soak":
        assert (written["failed"], written["left"]) == ([], {})


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", (200, "hi")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, "")),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n\xe4\xbd\xa0\r\n"
            b"a\r\n 123456789\r\n0\r\n\r\n",
            (200, "你 123456789"),
        ),
    ],
)
def test_answers_are_read_whole(
    benchmark: Callable[[str], Any], content: bytes, answer: tuple[int, str]
) -> None:
    assert benchmark("serve_client")._parsed(content) == answer


def test_the_end_of_an_answer_is_seen_in_whatever_pieces_it_comes(
    benchmark: Callable[[str], Any],
) -> None:
    client = benchmark("serve_client")
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

    async def ask() -> Any:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in (head, b"2\r\nhi\r\n", b"0\r", b"\n\r", b"\n"):
                for protocol in opened:
                    protocol.data_received(piece)
            writer.close()

        opened: list[Any] = []
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            opened.append(await client.Connection.open(server.sockets[0].getsockname()[1]))
            return await opened[0].ask(client.Request("/", {}))

    assert asyncio.run(ask()).body == "hi"


def test_events_are_read_from_a_stream(benchmark: Callable[[str], Any]) -> None:
    body = ': keep-alive\n\nevent: done\ndata: {"a": 1}\n\ndata: [DONE]\n\n'
    answer = benchmark("serve_client").Answer(200, None, 1.0, body)
    assert list(answer.events()) == [("done", {"a": 1})]


def test_growth_is_a_line_through_what_comes_after_the_warm_up(
    benchmark: Callable[[str], Any],
) -> None:
    warm = [[second, 100.0 * second, 9] for second in range(24)]
    flat = [[second, 500.0 + second / 30, 9] for second in range(24, 121)]
    after = [[121.0, 9999.0, 9]]
    slope = benchmark("serve_soak").slope(warm + flat + after, 120.0)
    assert slope == pytest.approx(2.0)  # MB a minute


def test_what_http_adds_is_the_median_of_the_rounds_and_never_below_nothing(
    benchmark: Callable[[str], Any],
) -> None:
    added = benchmark("serve_http").added
    assert added({"HTTP": [5.0, 9.0, 7.0], "engine": [4.0, 1.0, 4.0]}) == 3.0
    assert added({"HTTP": [1.0], "engine": [4.0]}) == 0.0
