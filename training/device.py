"""Devices of a training run: processes, precision, placement of rows, and the compiled loss."""

from __future__ import annotations

import atexit
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from training.config import Fit
from training.data.rows import EpochRows, Rows
from training.errors import TrainingError
from training.launch import Launch
from training.model import MVAE

Value = TypeVar("Value")

SHARE = 0.5
"""Share of a device's free memory for training rows; the rest is for weights and activations."""


def device_of(setting: str) -> torch.device:
    """The device of ``fit.device`` for one process: ``auto`` is a GPU where there is one."""
    if setting == "auto":
        setting = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(setting)


def device_name(device: torch.device) -> str:
    """The name of a device for people: that of the GPU, or ``CPU``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


class Launcher(TorchElasticEnvironment):
    """Processes that a launcher started, by torchrun's variables; a machine may have more than another."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:  # noqa: ARG002 - numbers may differ
        return


def fabric_for(settings: Fit, launch: Launch | None = None) -> Fabric:
    """Sets up device, precision and processes; starts the other processes if no launcher did.

    Arguments:
        settings: Settings of training. ``processes`` and ``nodes`` count only without a launcher.
        launch: Place of this process among those that a launcher started.

    Raises:
        TrainingError: The machine has fewer GPUs than processes.
    """
    processes, nodes = settings.processes, settings.nodes
    if launch is not None:
        os.environ.update(launch.variables())
        processes, nodes = launch.local_size, max(1, launch.world_size // launch.local_size)
    distributed = launch is not None or processes * nodes > 1
    try:
        fabric = Fabric(
            accelerator=settings.device,
            devices=processes,
            num_nodes=nodes,
            strategy="ddp" if distributed else "auto",
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
            # Named, since a process of a batch job would be taken for a task of a step.
            plugins=[LightningEnvironment() if launch is None else Launcher()],
        )
    except MisconfigurationException as error:
        raise TrainingError(f"fit.device, {processes} processes on this machine: {error}") from None
    if distributed:
        fabric.launch()
        atexit.register(_leave_group)
    return fabric


def _leave_group() -> None:
    """Ends the threads of the process group; alive at the exit of the process, they sometimes abort it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def from_leader(fabric: Fabric, read: Callable[[], Value]) -> Value:
    """Returns to every process of a run what its leader reads: only the leader's disk has the run.

    Raises:
        TrainingError: The leader's reading failed; in every process.
    """
    if fabric.world_size == 1:
        return read()
    value, refusal = None, None
    if fabric.is_global_zero:
        try:
            value = read()
        except (TrainingError, OSError) as error:
            refusal = str(error)
    value, refusal = fabric.broadcast((value, refusal))
    if refusal is not None:
        raise TrainingError(refusal)
    return cast("Value", value)


@contextmanager
def naming_lost_processes(world_size: int, run: Path) -> Iterator[None]:
    """Turns a failed exchange between processes into a sentence that says how to resume.

    Arguments:
        world_size: Number of processes of the run.
        run: Folder of the run.

    Raises:
        TrainingError: Another process of the run is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size == 1 or isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__  # after it comes a stack of C++
        raise TrainingError(
            f"another process of this run is gone ({reason}); look at what it printed. "
            f"Finished epochs are kept: continue with --resume {run}, or start anew if there is none"
        ) from error


def free_memory(device: torch.device) -> int:
    """Returns the free memory of a GPU in bytes."""
    return int(torch.cuda.mem_get_info(device)[0])


class Placement:
    """Copies the training rows to the device of the model if they fit; else each batch is copied.

    Arguments:
        device: Device of the model.
        free: Returns the free memory of a device in bytes.
    """

    def __init__(self, device: torch.device, free: Callable[[torch.device], int] = free_memory) -> None:
        self._device = device
        self._free = free
        self._source: Rows | None = None
        self._placed: Rows | None = None

    def __call__(self, rows: Rows | EpochRows) -> Rows | EpochRows:
        """Returns the rows to take batches from; copies the same rows once."""
        if self._device.type == "cpu" or not isinstance(rows, Rows):
            return rows
        if self._placed is None or rows is not self._source:
            self._placed = None  # releases the memory of the previous rows
            fits = rows.size_in_bytes < SHARE * self._free(self._device)
            self._source, self._placed = rows, rows.to(self._device) if fits else rows
        return self._placed


def compile_loss(model: MVAE, device: torch.device) -> None:
    """Makes the model compute the loss of a training batch as one compiled graph.

    Raises:
        TrainingError: The device is a CPU and there is no C++ compiler.
    """
    compilers = [os.environ.get("CXX"), "g++", "clang++"]
    if device.type == "cpu" and not any(shutil.which(name) for name in compilers if name):
        raise TrainingError(
            "fit.compile needs a C++ compiler on a CPU: install g++ or clang++, or set it to false"
        )
    # array-api-compat caches the library of an array; tracing through the cache is intended.
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    model.compile_loss("default" if device.type == "cpu" else "reduce-overhead")
