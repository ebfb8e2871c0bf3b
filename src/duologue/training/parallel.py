"""Where a run computes: the device, its precision, and its place among several processes.

Under `torchrun` every process holds the whole model and its own share of the batches. Gradients
are summed once per update, after all accumulated batches, and divided by the target tokens of all
processes: N processes compute what one process computes with N times the accumulation.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from duologue.errors import TrainingError


@dataclass(frozen=True)
class Parallel:
    """This process among its peers.

    rank        0 .. world_size - 1; only rank 0 prints and writes
    world_size  number of processes; 1 without torchrun
    device      where this process computes
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def sum_gradients(self, gradients: list[Tensor]) -> None:
        """Replace each gradient by its sum over all processes, in one exchange."""
        if self.world_size == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum_numbers(self, *numbers: float) -> tuple[float, ...]:
        """The sum of each number over all processes; the same everywhere."""
        if self.world_size == 1:
            return numbers
        values = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        distributed.all_reduce(values)
        return tuple(values.tolist())

    def gather(self, values: Tensor) -> list[Tensor]:
        """`values` of every rank, in order of rank; all must have one shape and type."""
        if self.world_size == 1:
            return [values]
        gathered = [torch.empty_like(values, device=self.device) for _ in range(self.world_size)]
        distributed.all_gather(gathered, values.to(self.device))
        return [value.to(values.device) for value in gathered]

    def same_weights(self, model: nn.Module) -> None:
        """Give every process the weights of rank 0."""
        if self.world_size > 1:
            for parameter in model.parameters():
                distributed.broadcast(parameter.data, src=0)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world_size > 1:
            distributed.barrier()


def join() -> Parallel:
    """Find this process's device, and its peers if torchrun started it. Call leave() at the end.

    Raises TrainingError when there are more processes on this machine than GPUs (unless none).
    """
    rank = int(os.environ.get("RANK", "0"))
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise TrainingError(
                f"process {local_rank} has no GPU: start torchrun with "
                f"--nproc-per-node {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    if world_size > 1:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Parallel(rank, world_size, device)


def leave(parallel: Parallel) -> None:
    """Part from the other processes."""
    if parallel.world_size > 1:
        distributed.destroy_process_group()


def precision(setting: str, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context of a `training.precision` setting: auto, bf16 or f32.

    auto is bf16 only where the hardware multiplies it fast; elsewhere it would be slower than f32.
    """
    is_bf16 = setting == "bf16" or (setting == "auto" and multiplies_bf16_fast(device))
    return torch.autocast(device.type, torch.bfloat16) if is_bf16 else nullcontext()


def multiplies_bf16_fast(device: torch.device) -> bool:
    """True for NVIDIA GPUs from Ampere on, and processors with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
