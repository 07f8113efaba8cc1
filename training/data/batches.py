"""Batches of an epoch, and the part of each that one of several processes computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor

from training.data.rows import Batch, EpochRows, Rows, Share


def batches_of(
    rows: Rows | EpochRows, size: int, names: Sequence[str], fabric: Fabric, generator: Generator
) -> Iterator[Batch]:
    """Yields the batches of an epoch.

    Arguments:
        rows: Rows of the epoch.
        size: Rows of a batch; the last one may have fewer.
        names: Modalities of the model.
        fabric: Processes that share each batch.
        generator: Source of the order of rows that are held together.
    """
    if not isinstance(rows, Rows):
        yield from rows.batches(size, names, fabric)
        return
    # Copied once: a copy for every batch would wait for the batch before.
    order = torch.randperm(len(rows), generator=generator).to(rows.device)
    for chunk in torch.split(order, size):
        share = share_of(rows, chunk, names, fabric)
        yield Batch(len(chunk), share, rows.take(chunk[share.rows]), rows, chunk)


def share_of(rows: Rows, index: Tensor, names: Sequence[str], fabric: Fabric | None) -> Share:
    """Returns this process's part of the batch ``rows.take(index)``: every n-th row.

    Losses are averages over the rows that have any modality, and log-likelihoods over those that have the
    modality; so parts count by these rows, not by their size.
    """
    weights = torch.ones(3 + len(names), device=rows.device)
    if fabric is None or fabric.world_size == 1:
        return Share(slice(None), weights)
    present = presence(rows, index, names)
    # On the host: such indices may index tensors of any device.
    indices = torch.arange(fabric.global_rank, len(index), fabric.world_size)
    weights = present[:, indices].sum(dim=1) / present.sum(dim=1).clamp(min=1)
    # A process without a row computes the whole batch, with weight 0: every process joins every exchange.
    return Share(indices if len(indices) else slice(None), weights)


def presence(rows: Rows, index: Tensor, names: Sequence[str]) -> Tensor:
    """Whether each row of a batch counts for loss, elbo, kl and each of M modalities: (3 + M, n)."""
    every = torch.ones(len(index), dtype=torch.bool, device=rows.device)
    present = torch.stack([rows.masks[name][index] if name in rows.masks else every for name in names])
    return torch.cat([present.any(dim=0).expand(3, -1), present])


def summed(fabric: Fabric, counts: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    if fabric.world_size == 1:
        return counts
    total: Any = fabric.all_reduce(counts.clone().to(fabric.device), reduce_op="sum")  # in place
    return torch.as_tensor(total).to(counts.device)
