"""What deploy/ says is true: files are there, the image is not root, its health check works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from http_listener import listening

from duologue.server.options import ServeOptions, read_options
from duologue.server.security import is_loopback

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/deploy.md").read_text()
UNIT = ROOT / "deploy/duologue.service"


def instructions() -> list[list[tuple[str, str]]]:
    """Instructions of the Dockerfile with their arguments, for each stage."""
    text = (ROOT / "deploy/Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = [[]]
    for line in filter(None, text.splitlines()):
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest.strip()))
    return stages


def only(stage: list[tuple[str, str]], name: str) -> str:
    (found,) = [rest for other, rest in stage if other == name]
    return found


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(project["optional-dependencies"])


def test_the_image_is_built_from_files_that_are_there_and_sent() -> None:
    _, builder, _ = instructions()
    sources = [
        source for name, rest in builder if name == "COPY" for source in shlex.split(rest)[:-1]
    ]
    assert {"pyproject.toml", "CMakeLists.txt", "src", "csrc"} <= set(sources)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"]} <= set(sources)


def test_the_image_serves_without_a_compiler_or_torch() -> None:
    _, builder, final = instructions()
    installed = only(builder, "ARG").partition("=")[2].split(",")
    assert set(installed) == {"serve", "postgres"}
    for extra in installed:
        assert not any("torch" in package for package in extras()[extra])
    copied = [rest for name, rest in final if name == "COPY"]
    assert copied == ["--from=builder /opt/duologue /opt/duologue"]
    for name, rest in final:
        assert name != "RUN" or not re.search(r"\b(apt-get|pip|g\+\+|torch)\b", rest)


def test_the_process_in_the_image_is_not_root_and_gets_the_signal() -> None:
    *_, final = instructions()
    user = only(final, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    (made,) = [rest for name, rest in final if name == "RUN"]
    uid, gid = user.split(":")
    assert f"--gid {gid} duologue" in made
    assert f"--uid {uid} --gid {gid}" in made
    # Without a shell between, which would keep SIGTERM for itself.
    command = json.loads(only(final, "ENTRYPOINT")) + json.loads(only(final, "CMD"))
    assert command[:2] == ["duologue", "serve"]
    host = command[command.index("--host") + 1]
    assert not is_loopback(host), "nobody could reach it, and it would demand no key"
    assert only(final, "VOLUME") == "/data"
    assert only(final, "EXPOSE") == str(ServeOptions().port)


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False), (None, False)])
def test_the_health_check_tells_a_server_that_takes_requests(
    status: int | None, is_well: bool
) -> None:
    *_, final = instructions()
    check = only(final, "HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    assert command[0] == "python"
    with answering(status) as port:
        code = command[2].replace(f":{ServeOptions().port}/", f":{port}/")
        assert code != command[2]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode == 0) == is_well


@contextmanager
def answering(status: int | None) -> Iterator[int]:
    """The port of a server whose /health/ready has a status; None: nobody listens there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 500 if self.path == "/health/ready" else 404)
            self.end_headers()

    with listening(Handler) as port:
        if status is not None:
            yield port
            return
    yield port


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_the_unit_lets_replies_end() -> None:
    ours = settings()
    # grace_s, what readers take after that, and a collector of spans that does not answer.
    assert int(ours["TimeoutStopSec"]) >= ServeOptions().grace_s + 5 + 10
    assert (ours["KillSignal"], ours["Restart"]) == ("SIGTERM", "on-failure")
    command = shlex.split(ours["ExecStart"])
    assert command[command.index("--data") + 1] == f"/var/lib/{ours['StateDirectory']}"
    assert ours["User"] != "root"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    unit = tmp_path / "duologue.service"
    unit.write_text(UNIT.read_text().replace("/opt/duologue/bin/duologue", "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    # The exposure in tenths, of 100.
    analyze = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager"]
    rated = subprocess.run([*analyze, str(unit)], capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout


def test_the_options_of_the_guide_can_be_read(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(models:.*?)```", GUIDE, flags=re.DOTALL)
    assert len(examples) == 1
    file = tmp_path / "serve.yaml"
    file.write_text(examples[0])
    options = read_options(file)
    assert options.allow_origins == ("https://chat.example.org",)
    assert options.limits.max_tokens == 256


def test_the_guide_names_extras_that_there_are() -> None:
    named = re.findall(r"\.\[([\w,]+)\]|EXTRAS=([\w,]+)", GUIDE)
    named += re.findall(r"extra `(\w+)`()", GUIDE)
    assert named
    for one in named:
        assert set("".join(one).split(",")) <= extras().keys()
