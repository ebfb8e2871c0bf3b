"""The reverse proxies of deploy/, for real: no event is held back, and WebSockets get through."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from server_site import WAIT_S, Site, Start, begin, error_of, events
from websockets.sync.client import connect

from duologue.server.running import open_store
from duologue.storage.keys import Keys

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "chat.example.org"
ORIGIN = f"https://{NAME}"
UPSTREAM = "127.0.0.1:8000"


def nginx(port: int, upstream: str, folder: Path) -> list[str]:
    """The command of nginx with our file, without TLS."""
    lines = (DEPLOY / "nginx.conf").read_text().replace(UPSTREAM, upstream).splitlines()
    ours = "\n".join(line for line in lines if "ssl_certificate" not in line)
    ours = ours.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder / 'pid'}; events {{}}\n"
        f"http {{ {temporary} {ours}\n}}"
    )
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)]


def caddy(port: int, upstream: str, folder: Path) -> list[str]:
    """The command of Caddy with our file, without TLS."""
    ours = (DEPLOY / "Caddyfile").read_text().replace(UPSTREAM, upstream)
    config = folder / "Caddyfile"
    config.write_text(
        "{\nadmin off\nauto_https off\n}\n" + ours.replace(f"{NAME} {{", f"http://{NAME}:{port} {{")
    )
    return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]


@pytest.fixture
def secret(tmp_path: Path) -> str:
    database = open_store(tmp_path / "data", None)
    try:
        return Keys(database).create("all", ["chat", "translate"])[1]
    finally:
        database.close()


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(
    request: pytest.FixtureRequest,
    start: Start,
    secret: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Site, str]]:
    """A server with a key, and the address of a proxy before it."""
    if shutil.which(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} is not installed")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    site = start(allow_origins=(ORIGIN,))
    folder = tmp_path / "proxy"
    folder.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = request.param(port, site.url.removeprefix("http://"), folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_open(process, port, folder / "log")
        yield site, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(WAIT_S)


def wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until_s = time.monotonic() + WAIT_S
    while time.monotonic() < until_s:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    pytest.fail("the proxy does not answer")


def test_events_come_through_a_proxy_as_they_are_made(
    proxied: tuple[Site, str], secret: str
) -> None:
    site, address = proxied
    headers = {"Host": NAME, "Origin": ORIGIN, "Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=f"http://{address}", headers=headers, timeout=WAIT_S) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "Duologue" in page.text
        conversation = begin(client)
        site.gate.shut(4)
        body = {
            "text": "hello",
            "stream": True,
            "options": {"max_tokens": 40, "min_tokens": 40},
        }
        path = f"/v1/conversations/{conversation}/messages"
        with client.stream("POST", path, json=body) as response:
            coming = events(response)
            # The model stands still: what comes now is not held back until the end.
            assert next(coming)[0] == "message"
            assert next(coming)[0] == "commit"
            site.gate.open()
            assert [name for name, _ in coming][-1] == "done"
        too_much = client.post("/v1/conversations", content=b"x" * (2**20 + 1))
        error_of(too_much, 413, "too_large")


def test_a_websocket_gets_through_a_proxy(proxied: tuple[Site, str], secret: str) -> None:
    _, address = proxied
    protocols = ["duologue", f"duologue.key.{secret}"]
    with connect(
        f"ws://{NAME}/v1/live",
        sock=socket.create_connection(address.split(":")),  # type: ignore[arg-type]
        origin=ORIGIN,  # type: ignore[arg-type]
        subprotocols=protocols,  # type: ignore[arg-type]
        proxy=None,
        open_timeout=WAIT_S,
    ) as live:
        live.send(json.dumps({"type": "draft", "text": "hello"}))
        assert json.loads(live.recv(WAIT_S))["type"] == "encoded"
    error_of(httpx.get(f"http://{address}/v1/info", headers={"Host": NAME}), 401, "unauthorized")


def test_a_server_without_keys_serves_no_proxy(site: Site) -> None:
    for name in ("x-forwarded-for", "forwarded"):
        answer = site.client(**{name: "for=192.0.2.1"}).get("/v1/info")
        assert "duologue keys create" in error_of(answer, 403, "forbidden")["message"]
