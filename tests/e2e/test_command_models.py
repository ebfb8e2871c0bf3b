"""info and quantize."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.numpy
from cli_process import RunCli, assert_refused, lines_of

from duologue.types import PRECISIONS

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


@pytest.mark.parametrize(
    ("cell", "precision"),
    [("transformer", "bf16"), ("transformer", "int4"), ("gru", "bf16"), ("gru", "int4")],
)
def test_a_model_in_each_precision_answers_as_if_it_were_rounded_on_loading(
    precision: str, cell: str, run_cli: RunCli, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    folder = tiny_model_folder(cell, "f32")
    line = lines_of(run_cli("quantize", "--precision", precision, folder, "out"))[0]
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert f"{size:,} bytes, {precision} " in line
    assert f"{size:,} bytes, {precision}" in "\n".join(lines_of(run_cli("info", "out")))
    ask = ("translate", "--json", "--to", "zh", "--precision", precision, "hello", "how are you")
    stored, rounded = (
        [json.loads(line) for line in lines_of(run_cli(*ask, "--model", model))]
        for model in ("out", folder)
    )
    assert [result["text"] for result in stored] == [result["text"] for result in rounded]
    assert [result["confidence"] for result in stored] == [
        result["confidence"] for result in rounded
    ]


def test_an_int4_model_runs_in_every_other_precision(
    run_cli: RunCli, tiny_model_folder: Folders
) -> None:
    folder = tiny_model_folder(precision="int4")
    for precision in PRECISIONS:
        command = ("sentiment", "--model", folder, "--precision", precision, "hello")
        assert len(lines_of(run_cli(*command))) == 1


def test_quantize_names_what_is_wrong_with_an_int4_model(
    run_cli: RunCli, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model_folder(precision="int4"), tmp_path / "model")
    tensors = safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors")
    del tensors["embed.weight.scale"]
    safetensors.numpy.save_file(tensors, tmp_path / "model" / "model.safetensors")
    done = run_cli("quantize", "model", "out")
    assert_refused(done, "model.safetensors", "missing: embed.weight.scale")
    assert not (tmp_path / "out").exists()


def test_quantize_never_overwrites_other_files(
    run_cli: RunCli, tiny_model_folder: Folders, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert_refused(run_cli("quantize", tiny_model_folder(), "out"), "thesis.txt")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
