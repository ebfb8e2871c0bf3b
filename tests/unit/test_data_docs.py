"""The examples of docs/reference/data.md are read as that page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from duologue.config import DataConfig, from_dict
from duologue.data.dataset import Dataset, open_datasets
from duologue.data.rows import Example

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "data.md"
FILE = re.compile(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```\n", re.M | re.S)
BLOCK = re.compile(r"```text\n(.*?)```\n", re.S)


def page_files() -> dict[str, str]:
    return dict(FILE.findall(PAGE.read_text(encoding="utf-8")))


def becomes(first_file: str) -> str:
    """The block that follows the (last) file of an example."""
    text = PAGE.read_text(encoding="utf-8")
    match = next(match for match in FILE.finditer(text) if match[1] == first_file)
    found = BLOCK.search(text, match.end())
    assert found is not None
    return found[1].strip()


def rendered(example: Example) -> str:
    lines = [f"<{turn.role}> {turn.text}".replace("\n", "⏎") for turn in example.segments]
    for target in example.targets:
        parts = [f"<{target.task}>", f"<{target.language}>" if target.language else "", target.text]
        shown = " ".join(part for part in parts if part)
        lines.append(f"sees {target.limit}: {shown} </s>")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("page")
    for name, text in page_files().items():
        (root / name).write_text(text, encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert block is not None
    config = from_dict(DataConfig, {"root": str(root), **yaml.safe_load(block[1])}, "page")
    return {dataset.config.path.split(",")[-1]: dataset for dataset in open_datasets(config)}


def test_page_uses_every_file_that_it_shows(datasets: dict[str, Dataset]) -> None:
    assert set(page_files()) - {"talks.en"} == set(datasets)


@pytest.mark.parametrize("name", sorted(set(page_files()) - {"talks.en"}))
def test_example_becomes_what_the_page_says(name: str, datasets: dict[str, Dataset]) -> None:
    found = "\n\n".join(map(rendered, datasets[name].examples("train")))
    assert found == becomes(name)


def test_page_states_the_limits_of_the_code() -> None:
    from duologue.data import lines, mixing, rows

    text = PAGE.read_text(encoding="utf-8")
    assert f"{lines.MAX_LINE_BYTES:,} bytes" in text
    assert f"{rows.MAX_KB_CHARS}\ncharacters" in text
    assert f"{mixing.MAX_BLOCK_CHARS // 1_000_000} million characters" in text
