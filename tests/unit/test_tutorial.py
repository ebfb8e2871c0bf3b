"""Every Python snippet of the documentation runs, page by page, in order, and prints what it says.

A page's snippets share their names. `duologue.load()` opens the default model where it is there,
else a tiny random one of that name, and published models are tiny random ones of their kind: what
a model answers is never looked at. `talk.mp3` is a second of noise. A `text` block right below a
snippet is what it prints.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_whisper
from published_apps import publish
from published_tokenizers import Published

from duologue import api
from duologue.checkpoint import hub
from duologue.checkpoint.store import Weights, save_model
from duologue.config import ModelConfig
from duologue.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh.md",
    ROOT / "docs" / "tutorial.md",
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
PUBLISHED = {  # and the kind that stands for it
    "google/flan-t5-small": "t5",
    "facebook/bart-large-cnn": "bart",
    "facebook/nllb-200-distilled-600M": "nllb_json",
    "Helsinki-NLP/opus-mt-en-de": "marian",
    "openai/whisper-base": "whisper",
}
SNIPPET = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)


@dataclass(frozen=True)
class Snippet:
    """One block of a page: the line it begins at, and what the page says that it prints."""

    page: Path
    line: int
    code: str
    prints: str | None


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(page, text.count("\n", 0, match.start(1)) + 1, match[1], match[2])
        for match in SNIPPET.finditer(text)
    ]


@pytest.fixture
def default_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_tokenizer: Tokenizer,
    tiny_config: Callable[[], ModelConfig],
    tiny_weights: Callable[[ModelConfig], Weights],
) -> None:
    """`duo-s`, shipped or tiny."""
    if api.DEFAULT_MODEL in api.shipped_models():
        return
    config = replace(
        tiny_config(),
        max_positions=1024,
        languages=("en", "zh", "de"),
        label_sets={"banking77": ("card_arrival", "lost_or_stolen_card", "top_up_failed")},
    )
    folder = tmp_path / "pretrained" / api.DEFAULT_MODEL
    save_model(folder, config, tiny_weights(config), tiny_tokenizer, "# tiny\n", "int8")
    monkeypatch.setattr(api, "PRETRAINED", folder.parent)


@pytest.fixture
def published_models(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the pages name, in the place of the real ones."""
    tokenizers = Published(tmp_path_factory.mktemp("tokenizers"))

    def folder_of(repo_id: str) -> Path:
        folder = tmp_path_factory.mktemp("models") / repo_id.partition("/")[2]
        if PUBLISHED[repo_id] == "whisper":
            folder.mkdir()
            tiny_whisper.publish(folder)
        else:
            publish(PUBLISHED[repo_id], tokenizers, folder)
        return folder

    monkeypatch.setattr(hub, "folder_of", folder_of)
    noise = np.random.default_rng(1).normal(0, 0.1, 16000)
    soundfile.write(tmp_path / "talk.mp3", noise, 16000)


@pytest.mark.usefixtures("default_model", "published_models")
@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda p: p.name)
def test_snippets_of_a_page_run_in_order_and_print_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for snippet in snippets(page):
        where = f"{page.relative_to(ROOT)}, line {snippet.line}"
        code = "\n" * (snippet.line - 1) + snippet.code  # tracebacks name the line of the page
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), names)
        if snippet.prints is not None:
            assert printed.getvalue() == snippet.prints, where


def test_tutorial_goes_from_the_toy_to_the_real_calls() -> None:
    code = "".join(snippet.code for snippet in snippets(ROOT / "docs" / "tutorial.md"))
    steps = ["s = Encoder(x)", "y = Decoder(s)", "memory = model.encode(", "model.decode(memory, "]
    steps += ["model.encode(text, memory)", "reused_tokens", "talk.save(", ".load("]
    places = [code.find(step) for step in steps]
    assert -1 not in places
    assert places[:5] == sorted(places[:5])
