"""kb and ask: documents in, answers out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cli_process import RunCli, assert_refused, lines_of

from duologue.checkpoint.store import Weights, save_model
from duologue.config import ModelConfig
from duologue.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_config: Callable[..., ModelConfig],
    tiny_weights: Callable[[ModelConfig], Weights],
    tiny_tokenizer: Tokenizer,
) -> list[str]:
    """A model with room for passages of some sentences."""
    folder = tmp_path_factory.mktemp("model")
    config = replace(tiny_config(), max_positions=512)
    save_model(folder, config, tiny_weights(config), tiny_tokenizer, "# tiny\n", "int8")
    return ["--threads", "1", "--model", str(folder)]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "shop.md").write_text("# Shop\n\nWe sell lamps.\n\n# Returns\n\nIn thirty days.\n")
    (folder / "faq.csv").write_text("question,answer\n运费是多少？,每单十元。\n")
    (folder / "bad.txt").write_bytes(b"\xff")
    return folder.resolve()


@pytest.fixture
def base(tmp_path: Path, run_cli: RunCli, model: list[str], documents: Path) -> list[str]:
    base = ["--base", str(tmp_path / "base")]
    done = run_cli("kb", "add", str(documents), *base, *model)
    assert lines_of(done) == ["2 added"]
    (warning,) = done.stderr.decode().splitlines()
    assert warning.endswith("bad.txt: line 1: not UTF-8; save it as UTF-8 first")
    return base


def test_documents_are_listed_searched_refreshed_and_removed(
    run_cli: RunCli, base: list[str], model: list[str], documents: Path
) -> None:
    listed = [line.split("\t") for line in lines_of(run_cli("kb", "list", *base))]
    assert [(Path(path).name, count) for path, count, _ in listed] == [
        ("faq.csv", "1"),
        ("shop.md", "2"),
    ]
    found = lines_of(run_cli("kb", "search", "lamps", "--limit", "1", *base, *model))
    assert found[0].split("\t")[1:] == [str(documents / "shop.md"), "Shop", "We sell lamps."]
    (documents / "shop.md").write_text("We sell desks.")
    assert lines_of(run_cli("kb", "refresh", *base, *model)) == ["1 changed, 1 unchanged"]
    (changes,) = lines_of(run_cli("kb", "refresh", "--json", *base, *model))
    assert len(json.loads(changes)["unchanged"]) == 2
    removed = lines_of(run_cli("kb", "remove", str(documents / "shop.md"), *base))
    assert removed == [str(documents / "shop.md")]
    assert len(lines_of(run_cli("kb", "list", "--json", *base))) == 1


def test_each_question_gives_an_answer_with_its_source_or_says_that_there_is_none(
    run_cli: RunCli, base: list[str], model: list[str], documents: Path
) -> None:
    questions = "运费是多少？\n\nWho is the king of France?\n".encode()
    answer, empty, none = lines_of(run_cli("ask", *base, *model, stdin=questions))
    where = f"{documents / 'faq.csv'} › 运费是多少？"
    assert answer.split("\t") == ["每单十元。", where, "每单十元。"]
    assert empty == ""
    assert none.split("\t")[0] == "The documents do not say."
    (line,) = lines_of(run_cli("ask", "--json", "运费是多少？", *base, *model))
    result = json.loads(line)
    assert result["citations"][0]["heading"] == "运费是多少？"
    assert not result["declined"]


def test_bad_input_is_told(
    run_cli: RunCli, base: list[str], model: list[str], documents: Path, tmp_path: Path
) -> None:
    assert_refused(run_cli("kb", "add", *base), "kb add takes paths")
    assert_refused(run_cli("kb", "list", "x", *base), "kb list takes no paths")
    assert_refused(run_cli("kb", "search", *base), "kb search takes a question")
    assert_refused(run_cli("kb", "add", str(tmp_path / "no"), *base, *model), "no such file")
    assert_refused(run_cli("kb", "remove", str(tmp_path / "no"), *base), "not in the knowledge")
    alone = run_cli("kb", "add", str(documents / "bad.txt"), *base, *model)
    assert_refused(alone, "none of the files could be read")
    empty = ["--base", str(tmp_path / "empty")]
    assert_refused(run_cli("ask", "What?", *empty, *model), "add documents first")
    (tmp_path / "file").write_text("x")
    assert_refused(run_cli("kb", "list", "--base", str(tmp_path / "file")), "cannot be opened")
