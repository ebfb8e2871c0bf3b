"""info and quantize."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cli_process import RunCli, assert_refused, lines_of

Folders = Callable[..., Path]


def test_info_tells_what_the_model_is(run_cli: RunCli, tiny_model_folder: Folders) -> None:
    text = "\n".join(lines_of(run_cli("info", tiny_model_folder("gru"))))
    for words in ("gru", "int8", "en, zh", "reply, translate", "bank (3)", "Apache-2.0"):
        assert words in text


def test_info_as_json_holds_the_whole_configuration(
    run_cli: RunCli, tiny_model_folder: Folders
) -> None:
    folder = tiny_model_folder()
    values = json.loads(lines_of(run_cli("info", "--json", folder))[0])
    assert values["config"] == json.loads((folder / "config.json").read_text())
    assert values["bytes"] == (folder / "model.safetensors").stat().st_size
    assert values["precision"] == "int8"


def test_quantized_model_answers_like_the_original(
    run_cli: RunCli, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    folder = tiny_model_folder(precision="f32")
    assert "int8" in lines_of(run_cli("quantize", folder, "small"))[0]
    texts = ["hello", "what time does the train leave"]
    small = lines_of(run_cli("translate", "--to", "zh", "--model", tmp_path / "small", *texts))
    assert small == lines_of(run_cli("translate", "--to", "zh", "--model", folder, *texts))
    assert (tmp_path / "small" / "README.md").read_text() == (folder / "README.md").read_text()


def test_quantize_never_overwrites_other_files(
    run_cli: RunCli, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert_refused(run_cli("quantize", tiny_model_folder(), "out"), "thesis.txt")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
