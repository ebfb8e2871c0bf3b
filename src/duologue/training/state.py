"""What a run carries from one update to the next, and how it is kept on disk.

TrainState        the plain numbers of a run
save_checkpoint   one safetensors file: tensors, and the plain values as JSON in its header
load_checkpoint   the same, read back
collect, restore  a running model, optimizer, average and random generators, as named tensors

A checkpoint is one file, written under another name, synced and moved into place, so that a reader
sees the old one or the new one, whatever happens in between. Never pickle.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from duologue.errors import CheckpointError
from duologue.files import new_file, sync
from duologue.training.optimizer import AveragedWeights, trained
from duologue.training.parallel import Parallel

FORMAT = "duologue-training-1"
Tensors = dict[str, Tensor]


@dataclass
class TrainState:
    """The plain numbers of a run. Only the training loop changes them.

    step              updates made, skipped ones included
    target_tokens     target tokens trained on, all processes together
    elapsed_s         seconds spent, earlier sessions of a resumed run included
    best_loss         lowest validation loss so far, nats per target token
    stale             validations since then
    validated_step    step of the last validation
    skipped           updates left out because a loss or gradient was not finite
    skipped_in_a_row  the last ones of them
    """

    step: int = 0
    target_tokens: int = 0
    elapsed_s: float = 0.0
    best_loss: float = math.inf
    stale: int = 0
    validated_step: int = -1
    skipped: int = 0
    skipped_in_a_row: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which has no infinity."""
        values = asdict(self)
        if math.isinf(self.best_loss):
            del values["best_loss"]
        return values


def save_checkpoint(path: Path, tensors: Tensors, values: dict[str, Any]) -> None:
    """Write tensors and plain values into one file, atomically; raises CheckpointError."""
    metadata = {"format": FORMAT, "values": json.dumps(values)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as fresh:
            safetensors.torch.save_file(
                {name: value.contiguous() for name, value in tensors.items()}, fresh, metadata
            )
        sync(path.parent)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: the checkpoint could not be written: {error}") from None


def load_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors (on the CPU) and plain values of a checkpoint; raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no checkpoint here")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path}: not a training checkpoint of this version")
            values = json.loads(metadata["values"])
            return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged checkpoint: {error}") from None


def collect(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights | None,
    parallel: Parallel,
) -> Tensors:
    """Everything that decides the next update, by name: model, average, optimizer, randomness.

    Every process must call this (the random states of all are gathered); only one need save it.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if average is not None:
        values = zip(trained(model), average.values, strict=True)
        tensors |= {f"average.{name}": value for name, value in values}
    for name, parameter in trained(model).items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    for rank, random in enumerate(parallel.gather(torch.get_rng_state())):
        tensors[f"random.{rank}.cpu"] = random
    if parallel.device.type == "cuda":
        for rank, random in enumerate(parallel.gather(torch.cuda.get_rng_state(parallel.device))):
            tensors[f"random.{rank}.cuda"] = random
    return tensors


def restore(
    tensors: Tensors,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights | None,
    parallel: Parallel,
) -> None:
    """Put back what collect() took; raises CheckpointError if it was of another run."""
    names = [name for name, _ in model.named_parameters()]
    needed = [f"model.{name}" for name in names] + [f"random.{parallel.rank}.cpu"]
    if average is not None:
        needed += [f"average.{name}" for name in trained(model)]
    for name, parameter in model.named_parameters():
        stored = tensors.get(f"model.{name}")
        if stored is not None and stored.shape != parameter.shape:
            raise CheckpointError(
                f"the checkpoint is of another model: {name} is {list(stored.shape)} there, "
                f"{list(parameter.shape)} here"
            )
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise CheckpointError(f"the checkpoint is of another run: {missing[0]} is missing")
    model.load_state_dict({name: tensors[f"model.{name}"] for name in names})
    if average is not None:
        for value, name in zip(average.values, trained(model), strict=True):
            value.copy_(tensors[f"average.{name}"])
    for name, parameter in trained(model).items():
        state = {
            key: tensors[f"optimizer.{key}.{name}"].to(parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimizer.{key}.{name}" in tensors
        }
        if state:
            optimizer.state[parameter] = state
    torch.set_rng_state(tensors[f"random.{parallel.rank}.cpu"])
    if parallel.device.type == "cuda":
        torch.cuda.set_rng_state(tensors[f"random.{parallel.rank}.cuda"], parallel.device)
