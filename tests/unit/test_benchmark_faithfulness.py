"""The measuring of faithfulness: on tiny data, and on curves whose areas are known."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from row_files import write_rows

from duologue.checkpoint.store import save_model

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def faithfulness(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("faithfulness")


@pytest.fixture
def data(tmp_path: Path, faithfulness: Any) -> Path:
    folder = tmp_path / "data"
    text = "hello how are you today my friend"
    for kind in faithfulness.SETS:
        own = dict.fromkeys(kind.direction or ("en", "zh"), text)
        languages = list(own)
        row = {
            "translation": {
                "source": text,
                "target": text,
                "src_lang": languages[0],
                "tgt_lang": languages[1],
            },
            "answers": {
                "context": "the food was cold and the service was slow",
                "question": "how was the food?",
                "answers": ["cold"],
                "lang": "en",
            },
            "sentiment": {"text": text},
        }[kind.task]
        write_rows(folder / f"{kind.path}.jsonl.gz", [{"split": "test", **row}] * 2)
    return folder


@pytest.mark.parametrize("answers", [False, True])
def test_all_of_it_runs_on_tiny_data(
    faithfulness: Any,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_config: Callable[..., Any],
    tiny_weights: Any,
    tiny_tokenizer: Any,
    answers: bool,
) -> None:
    config = replace(tiny_config(), languages=("en", "zh", "de"))
    config = replace(config, tasks=(*config.tasks, "answer")) if answers else config
    model = tmp_path / "model"
    save_model(model, config, tiny_weights(config), tiny_tokenizer, "# tiny\n", "int8")
    options = ["--data", data, "--model", model, "--rows", 1, "--steps", 2]
    options += ["--output", tmp_path, "--images", tmp_path]
    monkeypatch.setattr(sys, "argv", ["faithfulness.py", *map(str, options)])
    faithfulness.main()
    result = json.loads((tmp_path / "faithfulness.json").read_text(encoding="utf-8"))
    assert result["sets"].keys() == {kind.name for kind in faithfulness.SETS}
    assert result["tasks"]["all"]["cases"] == len(faithfulness.SETS)
    for values in result["sets"].values():
        for method in faithfulness.METHODS:
            assert values[method]["curve"][0] == pytest.approx(1, abs=1e-3)
    assert (tmp_path / "faithfulness.svg").read_text(encoding="utf-8").count("random") == 1


def test_the_area_under_a_curve_is_that_of_trapezia(faithfulness: Any) -> None:
    assert faithfulness.area(np.ones(len(faithfulness.FRACTIONS))) == pytest.approx(1)
    falling = 1 - np.array(faithfulness.FRACTIONS)
    assert faithfulness.area(falling) == pytest.approx(0.5)


def test_gradients_of_a_label_against_the_only_other_are_its_opposite(
    faithfulness: Any,
    tmp_path: Path,
    tiny_config: Callable[..., Any],
    tiny_weights: Any,
    tiny_tokenizer: Any,
) -> None:
    """And what stands around the text, which the baseline shares, gets nothing."""
    from duologue.explain import Source
    from duologue.text.template import prefix_ids, segment_ids

    config = tiny_config()
    save_model(tmp_path / "m", config, tiny_weights(config), tiny_tokenizer, "# tiny\n", "f32")
    gradients = faithfulness.Gradients(tmp_path / "m", 64)
    ids = tuple(segment_ids(tiny_tokenizer, "user", "the food was cold"))
    source = Source(ids, "the food was cold", 1, len(ids))
    prefix = prefix_ids(tiny_tokenizer, "sentiment")
    labels = [tiny_tokenizer.encode(label) for label in ("negative", "positive")]
    (one,) = gradients.attributions([source], [False], prefix, labels)
    (other,) = gradients.attributions([source], [False], prefix, labels[::-1])
    assert one.shape == (len(ids),)
    assert one[0] == 0, "the role stays as it is"
    assert np.abs(one).max() > 1e-4
    # p(a) + p(b) = 1, so where one log-probability rises the other falls
    assert np.sign(one[np.abs(one).argmax()]) == -np.sign(other[np.abs(one).argmax()])
