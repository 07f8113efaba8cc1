"""Data sets that share only a category; one row of each, with the same label, makes a case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from training.data.rows import Rows


@dataclass(frozen=True)
class Pools:
    """Rows to be paired by label, anew in every epoch.

    Each row of the leading pool makes one case per epoch, with a random row of every other pool that has its
    label. Without such a row the modality is missing.

    Arguments:
        label: Name of the category that all pools have.
        lead: Modality of the leading pool.
        pools: Rows of each modality, with that modality and the label.
        names: Names of the selected modalities, in order.
    """

    label: str
    lead: str
    pools: Mapping[str, Rows]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pools[self.lead])

    def only(self, names: Sequence[str]) -> Pools:
        """Selects modalities, in this order; the largest of their pools leads."""
        candidates = [name for name in self.pools if name in names]
        lead = max(candidates, key=lambda name: len(self.pools[name]), default=self.lead)
        return replace(self, lead=lead, names=tuple(names))

    def head(self, count: int | None) -> Pools:
        """Selects the first rows of the leading pool; the other pools stay whole."""
        return replace(self, pools={**self.pools, self.lead: self.pools[self.lead].head(count)})

    def hold_out(self, count: int, seed: int) -> tuple[Pools, Rows]:
        """Takes ``count`` rows from the leading pool, and the same share of each label from the others."""
        left, taken = {}, {}
        for name, pool in self.pools.items():
            if name == self.lead:
                left[name], taken[name] = pool.hold_out(count, seed)
            else:
                out = _share_of_each(pool.data[self.label], count / len(self), seed)
                left[name], taken[name] = pool.take(~out), pool.take(out)
        return replace(self, pools=left), replace(self, pools=taken).in_epoch(seed, 0)

    def in_epoch(self, seed: int, epoch: int) -> Rows:
        rng = np.random.default_rng([seed, epoch])
        leading = self.pools[self.lead]
        labels = leading.data[self.label]
        data, masks = {self.label: labels, self.lead: leading.data[self.lead]}, {}
        for name, pool in self.pools.items():
            if name in self.names and name != self.lead:
                partner, present = _partners(labels, pool.data[self.label], rng)
                data[name] = pool.data[name][partner]
                if not present.all():
                    masks[name] = present
        return Rows(data, masks).only(self.names)


def _partners(labels: Tensor, pool: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Returns for every label a random row of the pool with it, and whether there is one: (n,) each."""
    classes = 1 + max(int(x.max()) if len(x) else 0 for x in (labels, pool))
    counts = np.bincount(pool.numpy(), minlength=classes)
    first = counts.cumsum() - counts
    indices = labels.numpy()
    drawn = first[indices] + np.floor(rng.random(len(indices)) * counts[indices]).astype(np.int64)
    by_label = np.argsort(pool.numpy(), kind="stable")
    partner = by_label[np.minimum(drawn, len(pool) - 1)]
    return torch.from_numpy(partner), torch.from_numpy(counts[indices] > 0)


def _share_of_each(labels: Tensor, share: float, seed: int) -> Tensor:
    """Selects at random at least that share of the rows of every label: boolean, (n,)."""
    generator = torch.Generator().manual_seed(seed)
    picked = torch.zeros(len(labels), dtype=torch.bool)
    for label in np.unique(labels.numpy()):
        rows = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator)
        picked[rows[order[: math.ceil(share * len(rows))]]] = True
    return picked
