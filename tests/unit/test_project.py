"""Promises of the project about itself: versions, public names, sizes, recipes, imports."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import duologue
from duologue.config import ModelConfig, from_dict, load_recipe

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "duologue"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = [*sorted((ROOT / "recipes").glob("*.py")), *sorted((ROOT / "benchmarks").glob("*.py"))]
SOURCES = [*MODULES, *sorted((ROOT / "csrc").iterdir()), *SCRIPTS]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))

MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 8
# A command's options are its parameters, and its help is its docstring: cli/chat.py::chat.
COMMAND = re.compile(r"cli/(\w+)\.py::\1")


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT))


# --- versions and names ------------------------------------------------------------------------


def test_version_is_the_same_everywhere() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    entry = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert entry is not None
    assert version == duologue.__version__ == entry[1]


def test_public_names_are_sorted_and_each_can_be_had() -> None:
    assert list(duologue.__all__) == sorted(duologue.__all__)
    for name in duologue.__all__:
        assert getattr(duologue, name) is not None
    assert dir(duologue) == duologue.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = duologue.nonsense


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported | {"__version__"} == set(duologue.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, duologue\n"
        "heavy = {'numpy', 'torch', 'tokenizers', 'pydantic', 'rich', 'typer', 'sacrebleu'}\n"
        "print(*heavy & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == []


# --- sizes -------------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[tuple[str, Function]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield f"{relative(path)}::{node.name}", node


def test_no_file_is_longer_than_the_budget() -> None:
    lines = {relative(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    over = {name: count for name, count in lines.items() if count > MAX_FILE_LINES}
    assert not over


def test_no_function_is_larger_than_the_budget() -> None:
    over = {}
    for path in [*MODULES, *SCRIPTS]:
        for name, node in functions(path):
            if COMMAND.fullmatch(name):
                continue
            assert node.end_lineno is not None
            spec = node.args
            own = [spec.posonlyargs, spec.args, spec.kwonlyargs]
            num_parameters = sum(arg.arg not in ("self", "cls") for args in own for arg in args)
            num_lines = node.end_lineno - node.lineno + 1
            if num_lines > MAX_FUNCTION_LINES or num_parameters > MAX_PARAMETERS:
                over[name] = f"{num_lines} lines, {num_parameters} parameters"
    assert not over


# --- recipes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_loads_with_known_keys_alone(path: Path) -> None:
    recipe = load_recipe(path)
    from_dict(ModelConfig, {"vocab_size": recipe.tokenizer.vocab_size, **recipe.model}, path.name)
    assert recipe.output.startswith("runs/")  # which git ignores


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_says_how_it_is_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    scripts = re.findall(r"^# .*\b(recipes/\w+\.py)", text, re.M)
    assert f"duologue train recipes/{path.name}" in text or scripts
    assert all((ROOT / script).is_file() for script in scripts)
