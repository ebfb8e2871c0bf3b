"""benchmarks/identical.py: requests alone and in a crowd, and that a difference is seen."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from duologue.checkpoint.store import load_model
from duologue.runtime import Runtime

FOLDER = Path(__file__).parents[2] / "benchmarks"
WORDS = ("hello", "how are you", "the food was cold", "what time does the train leave", "today")
CHARACTERS = ("你好", "今天天气怎么样", "我想订一张桌子", "火车几点出发", "电影很好看")


@pytest.fixture
def identical(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, on two small files, with few rows at a time."""
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("identical")
    ways = ("en-zh", "zh-en")
    monkeypatch.setattr(module, "FILES", (("a.jsonl", ways), ("b.jsonl", ways)))
    monkeypatch.setattr(module, "MAX_TOKENS", (12, 3, 30))
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, shift in (("a.jsonl", 0), ("b.jsonl", 2)):
        rows = [
            {"split": "test", "source": WORDS[(k + shift) % 5], "target": CHARACTERS[k % 5]}
            | {"src_lang": "en", "tgt_lang": "zh"}
            for k in range(6)
        ]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def runtime(tiny_model_folder: Callable[..., Path]) -> Runtime:
    return Runtime(load_model(tiny_model_folder()), 1)


def test_files_and_directions_take_turns(identical: Any, data: Path) -> None:
    found = identical.sentences(data, 7)
    assert [case.language for case in found] == ["zh", "zh", "en", "en", "zh", "zh", "en"]
    texts = [case.segments[0].text for case in found]
    assert texts[:4] == [WORDS[0], WORDS[2], CHARACTERS[1], CHARACTERS[1]]


def test_requests_are_of_different_kinds_and_lengths(
    identical: Any, data: Path, runtime: Runtime
) -> None:
    asked = identical.requests(runtime, identical.sentences(data, 10))
    kinds = [item.kind for item in asked]
    assert kinds[4] == kinds[9] == "reply"
    assert [len(item.sources) for item in asked] == [3 if kind == "reply" else 1 for kind in kinds]
    assert set(kinds) == {"reply", "translate en", "translate zh"}
    assert {item.max_tokens for item in asked} == {3, 12, 30}


def test_a_crowd_gets_what_each_gets_alone(identical: Any, data: Path, runtime: Runtime) -> None:
    asked = identical.requests(runtime, identical.sentences(data, 10))
    crowd = identical.together(runtime, asked, rows=4)
    assert crowd.ids == identical.alone(runtime, asked)
    assert max(crowd.rows) == 4
    assert runtime.forward.pool.used_bytes == 0


def test_differences_are_counted_and_located(identical: Any) -> None:
    asked = [identical.Asked(kind, ((5,),), (6,), 9) for kind in ("reply", "x", "y")]
    found = identical.compare(asked, [(1, 2, 3), (4,), (5, 6)], [(1, 2, 3), (4, 7), (5, 8)])
    assert (found["requests"], found["tokens"], found["different"]) == (3, 6, 2)
    assert found["differences"] == [
        {"request": 1, "kind": "x", "first_token": 1},
        {"request": 2, "kind": "y", "first_token": 1},
    ]


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_script_writes_what_it_found_and_fails_for_a_difference(
    identical: Any,
    data: Path,
    tiny_model_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    is_broken: bool,
) -> None:
    if is_broken:
        right = identical.together

        def wrong(*arguments: Any) -> Any:
            crowd = right(*arguments)
            crowd.ids[2] = crowd.ids[2][:-1]
            return crowd

        monkeypatch.setattr(identical, "together", wrong)
    model = ["--model", str(tiny_model_folder()), "--threads", "1"]
    words = ["--data", str(data), "--sentences", "8", "--output", str(data / "out"), *model]
    monkeypatch.setattr(sys, "argv", ["identical.py", *words])
    with pytest.raises(SystemExit) as end:
        identical.main()
    assert end.value.code == int(is_broken)
    found = json.loads((data / "out" / "identical.json").read_text("utf-8"))
    assert (found["requests"], found["different"]) == (8, int(is_broken))
    assert found["tokens"] > 0
    assert {"commit", "machine", "fingerprint", "isa", "rows"} <= found.keys()
