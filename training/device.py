"""What a training run asks of the machine: processes, precision, where the rows lie, and a compiled loss."""

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
"""Of the free memory of a device, for the training rows: the rest is for weights and what they compute."""


def fabric_for(settings: Fit) -> Fabric:
    """Device, precision and processes; with several, starts the others."""
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}[settings.device]
    together = settings.processes * settings.nodes > 1
    fabric = Fabric(
        accelerator=accelerator,
        devices=settings.processes,
        num_nodes=settings.nodes,
        strategy="ddp" if together else "auto",
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
    )
    if together:
        fabric.launch()
    return fabric


def free_memory(device: torch.device) -> int:
    """Bytes."""
    return int(torch.cuda.mem_get_info(device)[0])


class Placement:
    """Puts the training rows where the model is, if they fit; else batches travel one by one.

    Arguments:
        device: Where the model is.
        free: Tells how many bytes are free there.
    """

    def __init__(self, device: torch.device, free: Callable[[torch.device], int] = free_memory) -> None:
        self._device = device
        self._free = free
        self._source: Rows | None = None
        self._placed: Rows | None = None

    def __call__(self, rows: Rows) -> Rows:
        """The rows to take batches from; the same ones are moved once."""
        if self._device.type == "cpu":
            return rows
        if self._placed is None or rows is not self._source:
            self._placed = None  # gives back the memory of those before
            fits = rows.size_in_bytes < SHARE * self._free(self._device)
            self._source, self._placed = rows, rows.to(self._device) if fits else rows
        return self._placed


def compile_loss(model: MVAE, device: torch.device) -> None:
    """From now on the model computes the loss of a training batch as one compiled graph.

    Raises:
        TrainingError: On a CPU, there is no C++ compiler.
    """
    compilers = [os.environ.get("CXX"), "g++", "clang++"]
    if device.type == "cpu" and not any(shutil.which(name) for name in compilers if name):
        raise TrainingError(
            "fit.compile needs a C++ compiler on a CPU: install g++ or clang++, or set it to false"
        )
    # array-api-compat caches which library an array is of; tracing through the cache is what is wanted.
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    model.compile_loss("default" if device.type == "cpu" else "reduce-overhead")
