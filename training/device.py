"""Devices of a training run: processes, precision, placement of rows, and the compiled loss."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from training.config import Fit
from training.data.rows import Rows
from training.errors import TrainingError
from training.model import MVAE

SHARE = 0.5
"""Share of a device's free memory for training rows; the rest is for weights and activations."""


def fabric_for(settings: Fit) -> Fabric:
    """Sets up device, precision and processes; starts the other processes if there are several."""
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}[settings.device]
    distributed = settings.processes * settings.nodes > 1
    fabric = Fabric(
        accelerator=accelerator,
        devices=settings.processes,
        num_nodes=settings.nodes,
        strategy="ddp" if distributed else "auto",
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
    )
    if distributed:
        fabric.launch()
    return fabric


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

    def __call__(self, rows: Rows) -> Rows:
        """Returns the rows to take batches from; copies the same rows once."""
        if self._device.type == "cpu":
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
