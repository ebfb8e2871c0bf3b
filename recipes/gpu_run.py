"""Train a recipe on a rented machine, in slices, and bring the result back in small files.

    python recipes/gpu_run.py recipes/gpu.yaml --data DATA --out OUT --minutes 26 --slice-minutes 8

Runs from a checkout without installing or compiling anything: it needs torch, tokenizers,
safetensors, pydantic, pyyaml, rich, matplotlib and sacrebleu. Each call trains for one slice and
keeps its checkpoint in the recipe's output folder; the next call goes on from there. A call that
reaches the budget also writes OUT: the int8 model folder as one archive in parts of at most
15 MiB, and the metrics. Join the parts with: cat model.tar.part-* | tar x
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import tarfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PART_BYTES = 15 * 2**20


def main() -> int:
    """Train one slice; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for what goes back")
    parser.add_argument("--minutes", type=float, required=True, help="budget of all slices")
    parser.add_argument("--slice-minutes", type=float, required=True, help="budget of this call")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    sys.path.insert(0, str(ROOT / "src"))
    from duologue.config import load_recipe
    from duologue.training.trainer import train

    overrides = (f"data.root={arguments.data}", f"training.max_minutes={arguments.minutes}")
    recipe = load_recipe(arguments.recipe, (*overrides, *arguments.set))
    signal.signal(signal.SIGTERM, too_short)  # until the loop listens
    timer = threading.Timer(60 * arguments.slice_minutes, signal.raise_signal, [signal.SIGTERM])
    timer.daemon = True
    timer.start()
    outcome = train(recipe, resume=(Path(recipe.output) / "recipe.yaml").exists())
    timer.cancel()
    if outcome.model is None:
        print(f"slice done after update {outcome.steps}; call again to go on")
        return 0
    bring_back(outcome.model, Path(recipe.output), arguments.out)
    return 0


def too_short(*_: object) -> None:
    """The slice ended while data and model were still being prepared."""
    sys.exit("the slice ended before training began: give --slice-minutes more")


def bring_back(model: Path, run: Path, out: Path) -> None:
    """Quantise the finished model and write it to `out` in parts, with the run's metrics."""
    from duologue.checkpoint.store import load_model, read_card, save_model

    loaded = load_model(model, "int8")
    small = run / "model-int8"
    save_model(
        small, loaded.config, loaded.weights, loaded.tokenizer, read_card(model), precision="int8"
    )
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(small, arcname="model")
    content = archive.getvalue()
    out.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        (out / f"model.tar.part-{number}").write_bytes(content[start : start + PART_BYTES])
    for name in ("metrics.jsonl", "recipe.yaml", "loss.png", "scores.png"):
        (out / name).write_bytes((run / name).read_bytes())
    print(f"{out}: {len(content):,} bytes of model")


if __name__ == "__main__":
    sys.exit(main())
