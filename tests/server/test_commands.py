"""`duologue serve` and `duologue keys`, and how their options are read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from server_site import Site, Start, begin, error_of

from duologue.apps.assistant import AssistantFiles
from duologue.cli import invoke, serve
from duologue.errors import ConfigError, DuologueError, InputError, NotFoundError
from duologue.server.options import ServeOptions, read_options
from duologue.server.running import listen, open_service

Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """run("keys", "list") -> lines of stdout."""

    def invoked(*arguments: str) -> list[str]:
        invoke([*arguments, "--data", str(tmp_path / "data")])
        return capsys.readouterr().out.splitlines()

    return invoked


# --- keys ----------------------------------------------------------------------------------------


def test_a_key_is_made_used_listed_and_revoked(run: Run, start: Start) -> None:
    (secret,) = run("keys", "create", "my phone", "--scope", "chat")
    site = start()
    assert site.client(secret).get("/v1/info").json()["scopes"] == ["chat"]
    error_of(site.client().get("/v1/info"), 401, "unauthorized")
    ((key_id, name, scopes, made, used, revoked),) = [
        line.split("\t") for line in run("keys", "list")
    ]
    assert (name, scopes, revoked) == ("my phone", "chat", "-")
    assert made.endswith("Z")
    assert used.endswith("Z")
    assert secret.split("_")[1] == key_id
    assert not any(secret in line for line in run("keys", "list"))
    assert run("keys", "revoke", key_id) == []
    error_of(site.client(secret).get("/v1/info"), 401, "unauthorized")
    assert run("keys", "list")[0].endswith("Z")


def test_the_first_key_closes_a_server_that_runs_and_revoking_it_opens_nothing(
    run: Run,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("duologue.server.service.KEY_LOOK_S", 0.0)
    site = start()
    client = site.client()
    begin(client)
    invoke(["keys", "create", "mine", "--data", str(tmp_path / "data")])
    secret, told = capsys.readouterr()
    assert "the first key: from now on the server demands one" in told
    error_of(client.get("/v1/conversations"), 401, "unauthorized")
    keyed = site.client(secret.strip())
    assert keyed.get("/v1/conversations").json()["data"] == []
    run("keys", "revoke", secret.split("_")[1])
    error_of(keyed.get("/v1/info"), 401, "unauthorized")
    error_of(client.get("/v1/info"), 401, "unauthorized")
    site.stop()
    assert len(start().client().get("/v1/conversations").json()["data"]) == 1


def test_a_key_opens_conversations_and_translation_unless_told_otherwise(run: Run) -> None:
    run("keys", "create", "mine")
    assert run("keys", "list")[0].split("\t")[2] == "chat,translate"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["create"], InputError, "a name of the key"),
        (["create", ""], InputError, "printable"),
        (["create", "x", "--scope", "root"], InputError, "chat, translate, admin"),
        (["revoke"], InputError, "the id of the key"),
        (["revoke", "nothing"], NotFoundError, "no such key"),
    ],
)
def test_keys_that_cannot_be_are_refused(
    run: Run, arguments: list[str], error: type[DuologueError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run("keys", *arguments)


# --- options -------------------------------------------------------------------------------------


def test_options_of_the_command_go_before_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(
        "port: 9000\nmodels: [one, two]\ngrace_s: 3\nlimits:\n  max_tokens: 7\n  max_streams: 8\n"
        "assistant: {zone: UTC, house: a.json, commands: [b.yaml]}\n"
    )
    assistant = {"house": Path("c.json"), "zone": None, "shipped": False}
    options = read_options(
        file, port=9001, host=None, limits={"max_tokens": "9"}, assistant=assistant
    )
    assert options.assistant == AssistantFiles(
        commands=(Path("b.yaml"),), shipped=False, house=Path("c.json"), zone="UTC"
    )
    assert (options.port, options.host, options.models) == (9001, "127.0.0.1", ("one", "two"))
    assert options.grace_s == 3
    assert (options.limits.max_tokens, options.limits.max_streams) == (9, 8)
    assert read_options(None) == ServeOptions()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("prot: 1", "prot: unknown key"),
        ("limits: {max_toks: 1}", "limits.max_toks: unknown key"),
        ("limits: {max_tokens: many}", "limits.max_tokens"),
        ("limits: {max_tokens: 0}", "max_tokens must be positive"),
        ("port: 70000", "port must be between"),
        ("models: []", "at least one"),
        ("[1, 2]", "keys with values"),
        ("limits: 3", "keys with values"),
        ("assistant: 3", "keys with values"),
        ("assistant: {hook: 1}", "assistant.hook: unknown key"),
        ("a: [", "no YAML"),
        ("\0", "no YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_name(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=words) as refused:
        read_options(file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_options(tmp_path / "nothing.yaml")
    file = tmp_path / "large.yaml"
    file.write_text("#" * (2**20 + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_options(file)


# --- serve ---------------------------------------------------------------------------------------


def test_what_cannot_be_served_is_refused(
    run: Run, tmp_path: Path, tiny_model_folder: Callable[..., Path]
) -> None:
    folder = str(tiny_model_folder())
    for arguments, words in (
        (["--host", "0.0.0.0"], "duologue keys create"),
        (["--limit", "max_tokens"], "NAME=VALUE"),
        (["--limit", "max_tokens=-1"], "must be positive"),
        (["--model", str(tmp_path / "none")], "no model"),
        (["--model", folder, "--model", folder], "two models are called"),
        (["--database", "mysql://x"], "unknown kind of database"),
        (["--zone", "Mars/Base"], "time zone 'Mars/Base' is not known"),
        (["--commands", str(tmp_path / "none.yaml"), "--only"], "cannot be read"),
    ):
        with pytest.raises(DuologueError, match=words):
            run("serve", *arguments)


def test_an_address_that_is_taken_is_refused(site: Site) -> None:
    port = int(site.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"port {port}"):
        listen(ServeOptions(port=port))


def test_the_first_model_is_the_default_and_each_conversation_keeps_its_own(
    start: Start, tiny_model_folder: Callable[..., Path]
) -> None:
    folders = [tiny_model_folder("transformer"), tiny_model_folder("gru")]
    service = open_service(
        ServeOptions(models=tuple(map(str, folders)), threads=1, data=folders[0].parent / "data")
    )
    assert list(service._runtimes) == ["transformer-int8", "gru-int8"]
    service._database.close()


def test_without_the_extra_the_command_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "duologue.server.running")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ConfigError, match=r"pip install 'duologue\[serve\]'"):
        serve.serve()


def test_the_page_of_the_api_shows_every_route(site: Site) -> None:
    client = site.client()
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert "http://" not in page.text
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}<" in page.text
    assert "≤ 1000000" in page.text or "max_tokens" in page.text
