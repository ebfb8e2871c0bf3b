"""Published models, from a hub that runs in this test; nothing leaves the machine."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import HubServer, Repository, serving
from huggingface_hub import constants

import duologue
from duologue.checkpoint import hub
from duologue.checkpoint.card import model_name
from duologue.errors import CheckpointError, InputError

ID = "owner/name"
CARD = b"---\nlicense: cc-by-nc-4.0\n---\n# A model\n"
WEIGHTS = bytes(range(256)) * 40
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}


CONFIG = {
    "model_type": "t5",
    "vocab_size": 40,
    "d_model": 8,
    "d_kv": 4,
    "d_ff": 16,
    "num_heads": 2,
    "num_layers": 1,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def t5(**files: bytes) -> dict[str, bytes]:
    """Files of a repository, with what must never be downloaded among them."""
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "README.md": CARD,
        "tokenizer.json": b"{}",
        "spiece.model": b"pieces",
        "modeling_custom.py": b"import os",
        "flax_model.msgpack": b"flax",
        "onnx/config.json": b"{}",
        "onnx/spiece.model": b"other",
        **files,
    }


def safetensors() -> Repository:
    return Repository(t5(**{"model.safetensors": WEIGHTS, "pytorch_model.bin": b"pickle"}))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving() as hub_server:
        monkeypatch.setattr(constants, "ENDPOINT", hub_server.endpoint)
        template = hub_server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # before it tries again
        yield hub_server
        huggingface_hub.close_session()


def refused(*words: str, revision: str | None = None) -> None:
    """Pulling ID is refused with one line that has all words and names it, and leaves no model."""
    with pytest.raises(CheckpointError) as caught:
        hub.pull(ID, revision)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert ID in message or "models--owner--name" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert hub.find(ID, revision) is None


# --- what is downloaded --------------------------------------------------------------------------


def test_only_what_is_needed_is_downloaded(server: HubServer) -> None:
    server.repositories[ID] = safetensors()
    folder = hub.pull(ID)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.json",
        "README.md",
        "tokenizer.json",
        "spiece.model",
        "model.safetensors",
    }


def test_one_line_says_what_comes_how_large_it_is_and_under_which_licence(
    server: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.repositories[ID] = safetensors()
    server.repositories[ID].files["model.safetensors"] = bytes(1_500_000)
    hub.pull(ID)
    line = "duologue: downloading owner/name: 1.5 MB, licence cc-by-nc-4.0\n"
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line)
    hub.pull(ID)
    assert capsys.readouterr().err == ""


def test_progress_is_shown_at_a_terminal(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    server.repositories[ID] = safetensors()
    hub.pull(ID)
    assert "5/5" in capsys.readouterr().err


def test_a_model_in_the_cache_is_found_without_a_request(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories[ID] = safetensors()
    assert hub.find(ID) is None
    folder = hub.folder_of(ID)
    server.requests.clear()
    assert hub.folder_of(ID) == hub.find(ID) == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.folder_of(ID) == hub.pull(ID) == folder
    assert server.requests == []


def test_a_newer_commit_is_pulled_and_the_older_stays_in_use_until_it_is_whole(
    server: HubServer,
) -> None:
    server.repositories[ID] = safetensors()
    first = hub.pull(ID)
    newer = {**safetensors().files, "model.safetensors": WEIGHTS * 2}
    server.repositories[ID] = Repository(newer, short="model.safetensors")
    with pytest.raises(CheckpointError):
        hub.pull(ID)
    assert hub.find(ID) == first
    server.repositories[ID].short = ""
    second = hub.pull(ID)
    assert hub.find(ID) == second != first
    assert (second / "model.safetensors").read_bytes() == WEIGHTS * 2


def test_a_branch_and_a_commit_can_be_asked_for(server: HubServer) -> None:
    server.repositories[ID] = Repository(safetensors().files, branches=("main", "refs/pr/1", "v1"))
    folder = hub.pull(ID, "v1")
    assert hub.find(ID) is None
    assert hub.find(ID, "v1") == folder
    assert hub.pull(ID, server.repositories[ID].commit) == folder == hub.pull(ID)


def test_shards_come_with_the_index_that_lists_them(server: HubServer) -> None:
    files = dict.fromkeys([*SHARDS, "model-00001-of-00009.safetensors"], WEIGHTS)
    files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    server.repositories[ID] = Repository(t5(**files))
    folder = hub.pull(ID)
    found = {path.name for path in folder.glob("*.safetensors*")}
    assert found == {*SHARDS, "model.safetensors.index.json"}
    (folder / SHARDS[1]).unlink()
    assert hub.find(ID) is None
    assert (hub.folder_of(ID) / SHARDS[1]).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "index",
    [{}, [], {"weight_map": {}}, {"weight_map": {"a": ["b"]}}, {"weight_map": {"a": "../b.bin"}}],
)
def test_an_index_that_is_damaged_is_refused(server: HubServer, index: object) -> None:
    files = {"model.safetensors.index.json": json.dumps(index).encode(), SHARDS[0]: WEIGHTS}
    server.repositories[ID] = Repository(t5(**files))
    refused("model.safetensors.index.json", "damaged")


def test_a_shard_that_is_missing_is_named(server: HubServer) -> None:
    files = {"model.safetensors.index.json": json.dumps(INDEX).encode(), SHARDS[0]: WEIGHTS}
    server.repositories[ID] = Repository(t5(**files))
    refused(SHARDS[1])


def test_pickled_weights_need_pytorch(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.repositories[ID] = Repository(t5(**{"pytorch_model.bin": b"pickle"}))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused("pytorch_model.bin", "train")
    assert server.asked_for("pytorch_model.bin") == []
    monkeypatch.undo()


def test_pickled_weights_are_pulled_where_pytorch_is(server: HubServer) -> None:
    server.repositories[ID] = Repository(t5(**{"pytorch_model.bin": b"pickle"}))
    assert (hub.pull(ID) / "pytorch_model.bin").read_bytes() == b"pickle"


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_lost_connection_is_taken_up_where_it_broke(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 512)
    server.repositories[ID] = safetensors()
    server.repositories[ID].cut = "model.safetensors"
    assert (hub.pull(ID) / "model.safetensors").read_bytes() == WEIGHTS
    assert server.ranges == [f"bytes={len(WEIGHTS) // 2}-"]
    assert caplog.records == []


def test_a_file_that_comes_too_short_is_refused(server: HubServer) -> None:
    server.repositories[ID] = safetensors()
    server.repositories[ID].short = "model.safetensors"
    refused("another size")
    server.repositories[ID].short = ""
    assert (hub.folder_of(ID) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_with_other_bytes_is_refused_and_removed_whenever_it_is_pulled(
    server: HubServer,
) -> None:
    server.repositories[ID] = safetensors()
    server.repositories[ID].damaged = "model.safetensors"
    refused("model.safetensors", "SHA-256")
    server.repositories[ID].damaged = ""
    folder = hub.folder_of(ID)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    (folder / "model.safetensors").write_bytes(bytes(len(WEIGHTS)))
    with pytest.raises(CheckpointError, match="pull it again"):
        hub.pull(ID)
    assert (hub.folder_of(ID) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (b'{"model_type": "bert"}', "whisper"),
        (b'{"model_type": ["t5"]}', "whisper"),
        (json.dumps({**CONFIG, "feed_forward_proj": "tanh"}).encode(), "tanh"),
        (b'{"d_model": 8, "vocab_size": 0}', "vocab_size"),
        (b'{"vocab_size": 8}', "kind"),
        (b"[]", "config.json"),
        (b"{", "config.json"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused_before_its_weights_are_asked_for(
    server: HubServer, config: bytes, word: str
) -> None:
    server.repositories[ID] = safetensors()
    server.repositories[ID].files["config.json"] = config
    refused(word)
    assert server.asked_for("model.safetensors") == []


def test_a_repository_without_config_or_weights_is_no_model(server: HubServer) -> None:
    server.repositories[ID] = Repository({"README.md": CARD, "model.safetensors": WEIGHTS})
    refused("config.json")
    server.repositories[ID] = Repository(t5())
    refused("model.safetensors")


def test_a_repository_that_is_not_there_is_named(server: HubServer) -> None:
    refused(server.endpoint, "no such repository", "HF_TOKEN")


def test_a_revision_that_is_not_there_is_named(server: HubServer) -> None:
    server.repositories[ID] = safetensors()
    refused("'v2'", revision="v2")


def test_a_gated_repository_asks_for_consent_and_a_token(server: HubServer) -> None:
    server.repositories[ID] = Repository(t5(), gated=True)
    refused(f"{server.endpoint}/{ID}", "accept", "HF_TOKEN")


@pytest.mark.parametrize(
    ("status", "word"), [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (429, "wait"), (503, "503")]
)
def test_a_refusal_is_told_with_what_to_do(server: HubServer, status: int, word: str) -> None:
    server.status = status
    refused(word)


def test_the_token_is_sent_and_never_shown(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.repositories[ID] = safetensors()
    hub.pull(ID)
    server.status = 403
    with pytest.raises(CheckpointError) as caught:
        hub.pull(ID)
    assert server.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in f"{caught.value}{capsys.readouterr()}"


def test_a_hub_that_cannot_be_reached_is_named(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    refused("http://127.0.0.1:9", "network", "HF_ENDPOINT")


def test_an_answer_that_is_no_hub_s_is_refused(server: HubServer) -> None:
    server.status = 200
    refused(server.endpoint, "HF_ENDPOINT")


def test_offline_and_not_in_the_cache_says_which_variable_forbids_it(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE", constants.HF_HUB_CACHE)
    assert server.requests == []


def test_a_disk_without_room_is_told_before_anything_large_comes(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories[ID] = safetensors()
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refused("HF_HOME", "room for 1,000")
    assert server.asked_for("model.safetensors") == []


def test_a_cache_that_cannot_be_written_is_named(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repositories[ID] = safetensors()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    refused(str(tmp_path / "file"), "HF_HOME")


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ID, "hf://owner/name", "a/b", "o_1/n.2-x", f"o/{'n' * 96}"])
def test_an_owner_and_a_name_are_a_published_model(name: str) -> None:
    assert hub.repository(name) == name.removeprefix("hf://")


NO_IDS = ["", "duo-s", "owner", "/name", "owner/", "./name", "../name", "owner/..", "owner/a..b"]
NO_IDS += ["a/b/c", "/a/b", "owner/na me", "owner/--", "o--x/n", "owner/name.git", "owner/-name"]
NO_IDS += ["owner/näme", "owner/name\n", "owner\\name", "~/name", f"o/{'n' * 97}", "hf:/owner/name"]


@pytest.mark.parametrize("name", NO_IDS)
def test_nothing_else_is(server: HubServer, name: str) -> None:
    assert hub.repository(name) is None
    with pytest.raises(InputError, match="hf://owner/name"):
        hub.repository(f"hf://{name}")
    for use in (hub.pull, hub.find):
        with pytest.raises(InputError, match="owner/name"):
            use(name)
    assert server.requests == []


@pytest.mark.parametrize(
    "revision", ["", "..", "../x", "a/../b", "/etc", "a//b", "a\n", "-x", "a b"]
)
def test_a_revision_cannot_leave_the_cache(server: HubServer, revision: str) -> None:
    for use in (hub.pull, hub.find):
        with pytest.raises(InputError, match="revision"):
            use(ID, revision)
    assert server.requests == []


def test_a_published_model_is_loaded_by_name(
    server: HubServer, tiny_model_folder: Callable[..., Path]
) -> None:
    files = {path.name: path.read_bytes() for path in tiny_model_folder().iterdir()}
    server.repositories[ID] = Repository(files)
    model = duologue.load("hf://owner/name", threads=1)
    server.requests.clear()
    again = duologue.load(ID, threads=1)
    assert model_name(hub.folder_of(ID)) == "name"
    assert model_name(tiny_model_folder()) == tiny_model_folder().name
    assert again.config == model.config == duologue.load(tiny_model_folder(), threads=1).config
    assert server.requests == []


def test_a_local_folder_goes_before_a_published_model(
    server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_model_folder: Callable[..., Path],
) -> None:
    shutil.copytree(tiny_model_folder(), tmp_path / ID)
    monkeypatch.chdir(tmp_path)
    assert duologue.load(ID, threads=1).config.license == "Apache-2.0"
    with pytest.raises(CheckpointError, match=r"no model 'owner/nmae'.*hf://owner/nmae"):
        duologue.load("owner/nmae")
    assert server.requests == []
    with pytest.raises(CheckpointError, match="no such repository"):
        duologue.load("hf://owner/nmae")


def test_a_path_is_never_a_published_model(server: HubServer) -> None:
    with pytest.raises(CheckpointError, match="no model 'owner/name'"):
        duologue.load(Path(ID))
    assert server.requests == []
