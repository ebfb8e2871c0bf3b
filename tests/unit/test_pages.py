"""What the documentation names exists: files, functions, weights, masks, links, commands."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import typer

from duologue import api, cli
from duologue.checkpoint.store import Weights, weight_spec
from duologue.cli.chat import Talk
from duologue.cli.partner import LocalPartner
from duologue.config import ModelConfig
from duologue.engine.forward import Forward
from duologue.engine.memory import Memory
from duologue.model.masks import cross_mask, decoder_mask, encoder_mask

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "duologue"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = sorted((PACKAGE / "pretrained").glob("*/README.md"))
OUR_FOLDERS = ("csrc/", "docs/", "recipes/", "src/", "tests/", "benchmarks/")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def block(page: Path, kind: str) -> str:
    """The first fenced block of a kind."""
    found = re.search(rf"^```{kind}\n(.*?)^```", text_of(page), re.M | re.S)
    assert found is not None, f"{page.name} has no {kind} block"
    return found[1]


# --- files and functions -----------------------------------------------------------------------

BRANCH = re.compile(r"^((?:│   |    )*)[├└]── (\S+)\s*(.*)$")
FILE_NAME = re.compile(r"(?<![\w./*])[\w-]+\.(?:py|cc|h|md|yaml|svg|toml)\b")


def tree(page: Path) -> Iterator[tuple[Path, str]]:
    """Path and description of each line of the tree that a page shows."""
    folders: list[Path] = [ROOT]
    for line in block(page, "tree").splitlines():
        branch = BRANCH.match(line)
        if branch is not None:
            depth = len(branch[1]) // 4
            path = folders[depth] / branch[2]
            folders[depth + 1 :] = [path]
            yield path, branch[3]


@pytest.mark.parametrize("page", [*READMES, ARCHITECTURE], ids=lambda page: page.name)
def test_every_path_of_a_tree_exists(page: Path) -> None:
    for path, description in tree(page):
        assert path.exists(), f"{page.name}: {path.relative_to(ROOT)}"
        folder = path if path.is_dir() else path.parent
        for name in FILE_NAME.findall(description):
            assert (folder / name).exists(), f"{page.name}: {name} beside {path.name}"


def test_the_tree_of_the_architecture_shows_every_part_of_the_package() -> None:
    shown = {path.resolve() for path, _ in tree(ARCHITECTURE)}
    parts = {path for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    hidden = {path.name for path in parts - shown}
    assert hidden <= {"__init__.py", "__pycache__"}


def definitions(path: Path) -> set[str]:
    """Functions, classes and methods of a file, methods as `Class.method`."""
    text = text_of(path)
    if path.suffix != ".py":
        return set(re.findall(r"^\w[^;=\n]*?\b(\w+)\([^;]*?\)(?: const)? \{$", text, re.M | re.S))
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, kinds):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, kinds)}
    return names


@every_page
def test_every_function_that_is_named_with_its_file_exists(page: Path) -> None:
    for name, function in re.findall(r"`([\w./]+)::([\w.]+)`", text_of(page)):
        path = (ROOT if name.startswith(OUR_FOLDERS) else PACKAGE) / name
        assert path.is_file(), f"{page.name}: {name}"
        assert function in definitions(path), f"{page.name}: {name}::{function}"


def test_the_traced_turn_names_a_function_at_each_hop() -> None:
    trace = text_of(ARCHITECTURE).partition("## One turn, traced")[2].partition("\n## ")[0]
    hops = re.findall(r"^\d+\. .*?(?=^\d+\. |^\S|\Z)", trace, re.M | re.S)
    assert len(hops) >= 10
    assert all("::" in hop for hop in hops)


@every_page
def test_every_path_in_the_project_that_is_named_exists(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+/[\w.-]*)`", text_of(page)):
        if name.startswith(OUR_FOLDERS):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


# --- layers, weights, masks --------------------------------------------------------------------


def test_layers_are_those_of_the_import_contract() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = [line.split(" | ") for line in block(ARCHITECTURE, "layers").split("\n") if line]
    assert drawn == [re.sub(r"[()]", "", layer).split(" : ") for layer in layers]


WEIGHT = re.compile(r"^\| `([\w.{}]+\.\w+)` \| \[([^\]]+)\] \|", re.M)


@pytest.mark.parametrize("cell", ["transformer", "gru"])
def test_weights_are_those_of_the_specification(cell: str) -> None:
    config = ModelConfig(vocab_size=7, d_model=4, d_ff=5, num_heads=2, num_encoder_layers=2)
    sizes = {"D": 4, "F": 5, "V": 7}
    other = "gru" if cell == "transformer" else "transformer"
    tables = re.split(r"^Cell `(\w+)`", text_of(ARCHITECTURE), flags=re.M)
    text = tables[0] + tables[tables.index(cell) + 1]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, axes in WEIGHT.findall(text):
        shape = tuple(
            int(axis[:-1] or 1) * sizes[axis[-1]] for axis in map(str.strip, axes.split(","))
        )
        for index in range(2):
            shapes.setdefault(name.replace("{i}", str(index)), shape)
    assert other in tables
    assert shapes == weight_spec(replace(config, cell=cell))  # type: ignore[arg-type]


def drawn_mask(kind: str) -> torch.Tensor:
    rows = [
        re.findall(r"(?<!\S)[x.](?!\S)", line) for line in block(ARCHITECTURE, kind).split("\n")
    ]
    return torch.tensor([[cell == "x" for cell in row] for row in rows if row])


SEGMENT = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3]])


def test_the_encoder_mask_is_drawn_as_it_is() -> None:
    document = SEGMENT == 0
    mask = encoder_mask(SEGMENT, document, SEGMENT, document)
    assert torch.equal(drawn_mask("encoder-mask"), mask[0])


def test_the_decoder_mask_is_drawn_as_it_is() -> None:
    own = decoder_mask(torch.tensor([[0, 0, 0, 1, 1]]))
    cross = cross_mask(torch.tensor([[2, 2, 2, 4, 4]]), SEGMENT)
    assert torch.equal(drawn_mask("decoder-mask"), torch.cat([own, cross], dim=2)[0])


@pytest.mark.parametrize("cell", ["transformer", "gru"])
@pytest.mark.parametrize("is_document", [False, True])
def test_memories_take_the_bytes_that_the_page_says(
    cell: str,
    is_document: bool,
    tiny_config: Callable[[str], ModelConfig],
    tiny_weights: Callable[[ModelConfig], Weights],
) -> None:
    config = tiny_config(cell)
    memory = Forward(config, tiny_weights(config), 1).encode([5] * 16, Memory.empty(), is_document)
    num_layers = config.num_decoder_layers + (0 if is_document else config.num_encoder_layers)
    by_token = 8 * config.d_model * (num_layers if cell == "transformer" else 1)  # float32
    carried = 4 * config.d_model * config.num_encoder_layers
    has_carried = cell == "gru" and not is_document
    assert memory.num_bytes == 16 * by_token + (carried if has_carried else 0)


# --- links and commands ------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What a link may put behind `#`, made from headings as GitHub does."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    for link in links:
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in the shell blocks of a page, pipes and redirections cut."""
    for shown in re.findall(r"^```sh\n(.*?)^```", text_of(page), re.M | re.S):
        for line in shown.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&;")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if set(word) <= set("|&;"):
                    yield words
                    words = []
                else:
                    words.append(word)
            yield words


def check_duologue(arguments: list[str]) -> None:
    group = typer.main.get_command(cli.app())
    name, *rest = arguments
    if name.startswith("-"):
        return
    redirections = [place for place, word in enumerate(rest) if word in ("<", ">", ">>")]
    rest = rest[: min(redirections, default=len(rest))]
    group.commands[name].make_context(name, rest)  # type: ignore[attr-defined]


def check_make(arguments: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.M)
    assert set(arguments) <= set(targets)


def check_python(arguments: list[str]) -> None:
    if not arguments[0].startswith("-"):
        assert (ROOT / arguments[0]).is_file()


def test_the_chat_page_shows_what_the_chat_says(
    tiny_model_folder: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    page = text_of(ROOT / "docs" / "how-to" / "chat.md")
    talk = Talk(LocalPartner(api.load(tiny_model_folder())), False)
    talk.answer("/memory")
    talk.answer("/help")
    memory, *help_lines = capsys.readouterr().out.splitlines()
    shown = re.search(r"^.* turns said; .*$", page, re.M)
    assert shown is not None
    assert re.sub(r"[\d,]+", "N", shown[0]) == re.sub(r"[\d,]+", "N", memory)
    names = set(re.findall(r"^(/\w+)", "\n".join(help_lines), re.M))
    assert names == set(re.findall(r"`(/\w+)[^`]*`", page))


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "duologue": check_duologue,
    "make": check_make,
    "python": check_python,
}


@every_page
def test_shell_examples_use_commands_and_options_that_exist(page: Path) -> None:
    for words in commands(page):
        if words and words[0] in CHECKS:
            try:
                CHECKS[words[0]](words[1:])
            except Exception as error:
                pytest.fail(f"{page.name}: {shlex.join(words)}: {error!r}")
