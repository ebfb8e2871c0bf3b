"""`duologue` with published models, as a process that is told by its environment where they are."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub_server import HubServer, Repository, serving

from duologue.checkpoint.export import write_published
from duologue.checkpoint.families import model_config
from duologue.checkpoint.store import Weights
from duologue.config import ModelConfig

ID = "owner/name"
CARD = b"---\nlicense: other\nlicense_name: some-research-license\n---\n# A model\n"
SAY = ("sentiment", "--threads", "1", "--model")
WARNING = (
    "duologue: warning: owner/name: its licence, some-research-license, "
    "does not allow commercial use"
)


def limit_file_size() -> None:
    """What a full disk looks like to the child: no file can grow beyond 100 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@dataclass
class Machine:
    """A home of its own, and the hub that it knows."""

    hub: HubServer
    home: Path

    def run(
        self, *arguments: str, before: Callable[[], None] | None = None, **extra: str
    ) -> tuple[int, str, list[str]]:
        """Exit code, stdout, and the lines of stderr of `duologue`."""
        kept = ("PATH", "PYTHONPATH", "HOME", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        settings = {"HF_HOME": str(self.home / "models"), "HF_ENDPOINT": self.hub.endpoint}
        done = subprocess.run(
            [sys.executable, "-m", "duologue.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=self.home,
            env=environment | settings | extra,
            preexec_fn=before,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.fixture
def machine(tmp_path: Path, tiny_model_folder: Callable[..., Path]) -> Iterator[Machine]:
    """The hub has one small model, whose licence stands in its card alone."""
    files = {path.name: path.read_bytes() for path in tiny_model_folder().iterdir()}
    files["config.json"] = files["config.json"].replace(b"Apache-2.0", b"")
    with serving() as hub:
        hub.repositories[ID] = Repository({**files, "README.md": CARD})
        yield Machine(hub, tmp_path)


def test_pull_shows_where_the_model_is_and_what_it_is(machine: Machine) -> None:
    code, out, err = machine.run("pull", "hf://owner/name")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (code, rows["model"], rows["family"]) == (0, ID, "duo")
    assert rows["licence"] == "some-research-license"
    assert machine.home in Path(rows["folder"]).parents
    assert (Path(rows["folder"]) / "model.safetensors").is_file()
    assert err[0].startswith("duologue: downloading owner/name: ")
    assert err[0].endswith(" MB, licence some-research-license")
    assert err[1:] == [WARNING]


def test_pull_writes_json(machine: Machine) -> None:
    repository = machine.hub.repositories[ID]
    code, out, _ = machine.run("pull", ID, "--revision", "main", "--json")
    values = json.loads(out)
    assert code == 0
    assert Path(values.pop("folder")).name == values.pop("commit") == repository.commit
    assert values == {
        "model": ID,
        "bytes": sum(map(len, repository.files.values())),
        "family": "duo",
        "license": "some-research-license",
        "non_commercial": True,
    }


def test_a_model_is_downloaded_when_it_is_first_used_and_then_needs_no_hub(
    machine: Machine,
) -> None:
    code, answer, err = machine.run(*SAY, ID, "hello")
    assert (code, len(err), err[1]) == (0, 2, WARNING)
    machine.hub.requests.clear()
    for extra in ({}, {"HF_HUB_OFFLINE": "1"}):
        assert machine.run(*SAY, ID, "hello", **extra) == (0, answer, [WARNING])
    assert machine.hub.requests == []


def test_a_published_model_is_quantized_by_name_and_keeps_its_licence(machine: Machine) -> None:
    assert machine.run("quantize", ID, "own")[0] == 0
    assert json.loads((machine.home / "own" / "config.json").read_text())["license"] == (
        "some-research-license"
    )
    assert machine.run("info", "own", "--json")[0] == 0


def test_a_model_of_another_family_is_pulled_and_quantized_by_name(
    machine: Machine, tiny_weights: Callable[[ModelConfig], Weights]
) -> None:
    values = {
        "model_type": "t5",
        "vocab_size": 384,
        "d_model": 8,
        "d_kv": 4,
        "d_ff": 16,
        "num_heads": 2,
        "num_layers": 1,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    config, _, _ = model_config(values, {}, "t5")
    published = machine.home / "published"
    write_published(published, config, tiny_weights(config), card="---\nlicense: mit\n---\n")
    files = {path.name: path.read_bytes() for path in published.iterdir()}
    files["tokenizer_config.json"] = b'{"tokenizer_class": "ByT5Tokenizer"}'
    machine.hub.repositories["owner/byt5"] = Repository(files)

    code, out, err = machine.run("pull", "owner/byt5", "--json")
    shown = json.loads(out)
    assert (code, shown["family"], shown["license"], len(err)) == (0, "t5", "mit", 1)
    code, _, err = machine.run("quantize", "owner/byt5", "own")
    assert (code, err) == (0, ["duologue: owner/byt5: licence mit"])
    written = json.loads((machine.home / "own" / "config.json").read_text())
    assert (written["family"], written["license"]) == ("t5", "mit")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pull", "duo-s"], "owner/name"),
        (["pull", "../name"], "owner/name"),
        (["pull", "owner/other"], "no such repository"),
        (["pull", ID, "--revision", "../main"], "revision"),
        ([*SAY, "owner/other", "hello"], "no such repository"),
    ],
)
def test_what_cannot_be_pulled_is_one_line(
    machine: Machine, arguments: list[str], words: str
) -> None:
    code, out, err = machine.run(*arguments)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("duologue: ")
    assert words in err[0]


def test_a_disk_that_fills_up_leaves_no_model(machine: Machine) -> None:
    machine.hub.repositories[ID].files["model.safetensors"] = bytes(1_000_000)
    code, out, err = machine.run("pull", ID, before=limit_file_size)
    assert (code, out, len(err)) == (2, "", 2)
    assert "File too large; HF_HOME says" in err[1]
    assert "HF_HUB_OFFLINE" in machine.run("pull", ID, HF_HUB_OFFLINE="1")[2][0]


def test_offline_nothing_is_asked_for(machine: Machine) -> None:
    code, _, err = machine.run(*SAY, ID, "hello", HF_HUB_OFFLINE="1")
    assert code == 2
    assert "HF_HUB_OFFLINE" in err[0]
    assert machine.hub.requests == []
