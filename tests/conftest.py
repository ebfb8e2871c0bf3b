"""Tiny seeded models, which need only NumPy and tokenizers, and `duologue` as a process.

tiny_tokenizer       a trained byte-fallback Tokenizer
tiny_config          tiny_config(cell="transformer") -> ModelConfig
tiny_weights         tiny_weights(config) -> float32 weights, the same for the same config
tiny_model_folder    tiny_model_folder(cell="transformer", precision="int8") -> Path (read only)
passage_model        passage_model(folder, answers=True, cell="transformer") -> the folder, in which
                     there is then a model with room for passages, which may know how to answer
run_cli              run_cli(*arguments, stdin=b"", before=None, **environment) -> a finished run
open_terminal        open_terminal(arguments) -> Terminal, on which `duologue` runs
postgres_folder      the socket of a PostgreSQL server, one for all tests; skips where there is none
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import databases
import numpy as np
import pytest
from cli_process import COMMAND, Finished, RunCli, environment
from cli_terminal import OpenTerminal, Terminal
from hypothesis import HealthCheck, settings

from duologue.checkpoint.store import Weights, save_model, weight_spec
from duologue.config import ModelConfig
from duologue.text.tokenizer import Tokenizer
from duologue.text.tokenizer_train import train_tokenizer

# A busy machine must not fail a property test, and the same commit must run the same cases.
settings.register_profile(
    "duologue", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("duologue")

CORPUS = [
    "hello how are you today",
    "i would like to book a table for two",
    "what time does the train leave",
    "the card has not arrived yet, can you help me?",
    "this film was great, i liked it very much",
    "the food was cold and the service was slow",
    "你好，今天天气怎么样？",
    "我想订一张两个人的桌子。",
    "这部电影很好看。",
    "火车几点出发？",
]


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    return train_tokenizer(CORPUS, vocab_size=420, max_chars=100)


@pytest.fixture(scope="session")
def tiny_config(tiny_tokenizer: Tokenizer) -> Callable[..., ModelConfig]:
    def make(cell: str = "transformer") -> ModelConfig:
        return ModelConfig(
            vocab_size=tiny_tokenizer.vocab_size,
            d_model=16,
            d_ff=24,
            num_heads=2,
            num_encoder_layers=2,
            num_decoder_layers=2,
            max_positions=64,
            cell=cell,  # type: ignore[arg-type]
            languages=("en", "zh"),
            tasks=("reply", "translate", "sentiment", "intent"),
            label_sets={
                "sentiment": ("positive", "negative"),
                "bank": ("card_arrival", "card_lost", "balance"),
            },
            license="Apache-2.0",
        )

    return make


@pytest.fixture(scope="session")
def tiny_weights() -> Callable[[ModelConfig], Weights]:
    def make(config: ModelConfig) -> Weights:
        generator = np.random.default_rng(7)
        weights: Weights = {}
        for name, shape in weight_spec(config).items():
            noise = generator.standard_normal(shape, dtype=np.float32)
            if name.endswith("norm.weight"):
                weights[name] = 1 + 0.1 * noise
            else:
                weights[name] = noise / np.float32(shape[-1]) ** np.float32(0.5)
        return weights

    return make


@pytest.fixture(scope="session")
def tiny_model_folder(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_tokenizer: Tokenizer,
    tiny_config: Callable[..., ModelConfig],
    tiny_weights: Callable[[ModelConfig], Weights],
) -> Callable[..., Path]:
    root = tmp_path_factory.mktemp("models")

    def make(cell: str = "transformer", precision: str = "int8") -> Path:
        folder = root / f"{cell}-{precision}"
        if not folder.exists():
            config = tiny_config(cell)
            weights = tiny_weights(config)
            card = "# tiny\n\nA random model for tests.\n"
            save_model(folder, config, weights, tiny_tokenizer, card, precision)  # type: ignore[arg-type]
        return folder

    return make


@pytest.fixture(scope="session")
def passage_model(
    tiny_tokenizer: Tokenizer,
    tiny_config: Callable[..., ModelConfig],
    tiny_weights: Callable[[ModelConfig], Weights],
) -> Callable[..., Path]:
    def make(folder: Path, answers: bool = True, cell: str = "transformer") -> Path:
        config = tiny_config(cell)
        tasks = (*config.tasks, "answer") if answers else config.tasks
        config = replace(config, max_positions=512, tasks=tasks)
        save_model(folder, config, tiny_weights(config), tiny_tokenizer, "# tiny\n", "int8")
        return folder

    return make


@pytest.fixture
def run_cli(tmp_path: Path) -> RunCli:
    def run(
        *arguments: str | bytes | os.PathLike[str],
        stdin: bytes = b"",
        before: Callable[[], None] | None = None,
        **extra: str,
    ) -> Finished:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment() | extra,
            preexec_fn=before,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[OpenTerminal]:
    opened: list[Terminal] = []

    def start(arguments: list[str]) -> Terminal:
        opened.append(Terminal(arguments, tmp_path))
        return opened[-1]

    yield start
    for terminal in opened:
        os.close(terminal.screen)
        if terminal.pid:
            os.kill(terminal.pid, 9)
            os.waitpid(terminal.pid, 0)


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    programs = databases.postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with databases.running_postgres(programs) as folder:
        yield folder
