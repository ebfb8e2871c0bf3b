"""Two processes on one machine compute what one process computes with twice the accumulation."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import duologue
from duologue.config import Recipe, from_dict, save_recipe
from duologue.training import parallel, progress, setup, trainer
from duologue.training.state import load_checkpoint

PROGRAM = """
import sys
from pathlib import Path
from duologue.config import load_recipe
from duologue.training import progress, trainer

progress.draw_plots = lambda metrics, folder: None
trainer.train(load_recipe(Path(sys.argv[1])))
"""


def make_recipe(folder: Path, output: str, **training: Any) -> Recipe:
    rows = [
        {"split": split, "text": f"number {index}", "label": str(index % 7)}
        for split, size in (("train", 60), ("valid", 5))
        for index in range(size)
    ]
    path = folder / "toy.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    values = {
        "output": str(folder / output),
        "model": {"d_model": 16, "d_ff": 24, "num_heads": 2, "num_encoder_layers": 1,
                  "num_decoder_layers": 1},
        "tokenizer": {"vocab_size": 420},
        "data": {"root": str(folder), "sets": [{"path": "toy.jsonl"}], "batch_tokens": 128,
                 "max_source": 64, "max_target": 64, "bucket_batches": 4},
        "training": {"max_steps": 6, "warmup_steps": 2, "dropout": 0.0, "generate_examples": 0,
                     "validate_every": 3, **training},
    }  # fmt: skip
    return from_dict(Recipe, values, "test")


def run_processes(recipe: Recipe, folder: Path) -> None:
    """Train with two processes, as torchrun starts them."""
    save_recipe(recipe, folder / "recipe.yaml")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    source = str(Path(duologue.__file__).parent.parent)
    processes = []
    for rank in range(2):
        environment = {
            **os.environ,
            "PYTHONPATH": source,
            "OMP_NUM_THREADS": "1",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
        }
        command = [sys.executable, "-c", PROGRAM, str(folder / "recipe.yaml")]
        processes.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "finished" in outputs[0][0]
    assert outputs[1][0] == ""  # only rank 0 speaks


def test_two_processes_equal_one_with_twice_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "draw_plots", lambda metrics, folder: None)
    one = make_recipe(tmp_path, "one", accumulate=2)
    trainer.train(one)
    two = make_recipe(tmp_path, "two")
    run_processes(two, tmp_path)
    single, facts = load_checkpoint(Path(one.output) / setup.LAST)
    double, facts_of_two = load_checkpoint(Path(two.output) / setup.LAST)
    assert facts_of_two["state"]["target_tokens"] == facts["state"]["target_tokens"]
    assert facts_of_two["batches"] == facts["batches"]
    names = [name for name in single if name.startswith("model.")]
    for name in names:
        torch.testing.assert_close(double[name], single[name], rtol=1e-3, atol=1e-4)
    assert {"random.0.cpu", "random.1.cpu"} <= double.keys()


def test_a_process_alone_needs_no_peers() -> None:
    alone = parallel.Parallel(0, 1, torch.device("cpu"))
    gradient = torch.ones(2)
    alone.sum_gradients([gradient])
    assert gradient.tolist() == [1.0, 1.0]
    assert alone.sum_numbers(1.5, 2.0) == (1.5, 2.0)


def test_precision_f32_never_autocasts_and_bf16_always_does() -> None:
    cpu = torch.device("cpu")
    for setting, expected in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        with parallel.precision(setting, cpu):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize("is_fast", [True, False])
def test_precision_auto_is_bf16_only_where_it_is_fast(
    monkeypatch: pytest.MonkeyPatch, is_fast: bool
) -> None:
    monkeypatch.setattr(parallel, "multiplies_bf16_fast", lambda device: is_fast)
    with parallel.precision("auto", torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") is is_fast
