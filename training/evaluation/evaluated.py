"""The stored model that is examined, the rows that it is asked about, and the questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from models_store.arrays import Array
from models_store.fusion import Gaussian, product
from models_store.golden import Graphs
from models_store.manifest import Manifest
from training.config import Evaluation
from training.data.rows import Rows

CHUNK = 10_000
"""Rows decoded at a time."""
ALL_SUBSETS = 4
"""With more modalities than this, of the subsets only singles, pairs and the whole are asked about."""
PAIRS = 8
"""With more than this, no pairs either: nothing here grows like 2^M."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A stored model and the rows that it is asked about.

    Arguments:
        manifest: The model.
        graphs: What runs it.
        train: Real rows from which judges and probes learn.
        test: Held-out rows.
        settings: How many rows and draws.
        seed: Of every draw.
        examples: Whether real rows may be shown.
        alone: Ask about each modality given each other one alone, and about no larger subsets.
    """

    manifest: Manifest
    graphs: Graphs
    train: Rows
    test: Rows
    settings: Evaluation
    seed: int
    examples: bool = True
    alone: bool = False

    def subsets(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The subsets of these that are asked about."""
        return [(name,) for name in names] if self.alone else subsets(names)

    def experts(self, rows: Rows, names: Sequence[str]) -> tuple[Gaussian, Array]:
        """The experts of these modalities, (M, n, latent_dim), and who is present, (M, n)."""
        experts = [self.graphs.encode(name, rows.data[name].numpy()) for name in names]
        present = np.stack([observed(rows, name) for name in names])
        return Gaussian(np.stack([e.mu for e in experts]), np.stack([e.log_var for e in experts])), present

    def posterior(self, rows: Rows, names: Sequence[str]) -> Gaussian:
        """q(z | x_S) of every row, S intersected with what it has: (n, latent_dim)."""
        return product(*self.experts(rows, names))

    def means(self, name: str, z: Array) -> Array:
        """The mean of p(x | z), with the leading axes of z."""
        flat = z.reshape(-1, z.shape[-1]).astype(np.float32)
        modality = self.manifest.modality(name)
        pieces = [
            modality.distribution.mean(self.graphs.decode(name, flat[start : start + CHUNK]))
            for start in range(0, len(flat), CHUNK)
        ]
        joined = np.concatenate(pieces)
        return joined.reshape(*z.shape[:-1], *joined.shape[1:])

    def rng(self) -> np.random.Generator:
        """A new generator; every measurement has its own, so that none depends on the others."""
        return np.random.default_rng(self.seed)


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The subsets that are asked about, each in the order of the names: all of them where there are few."""
    if len(names) <= ALL_SUBSETS:
        sizes = list(range(1, len(names) + 1))
    else:
        sizes = [1, 2, len(names)] if len(names) <= PAIRS else [1, len(names)]
    return [subset for size in sizes for subset in combinations(names, size)]


def question(targets: Sequence[str], given: Sequence[str] = ()) -> str:
    """As the service writes it."""
    return "|".join(",".join(names) for names in (targets, given) if names)


def observed(rows: Rows, name: str) -> Array:
    """Which rows have that modality."""
    return rows.masks[name].numpy() if name in rows.masks else np.ones(len(rows), bool)


def observed_all(rows: Rows, names: Sequence[str]) -> Array:
    """Which rows have every one of these."""
    return np.all([observed(rows, name) for name in names], axis=0)


def having(rows: Rows, names: Sequence[str]) -> Rows:
    """The rows that have at least one of these modalities."""
    if all(name in rows.masks for name in names):
        return rows.take(torch.from_numpy(np.any([observed(rows, name) for name in names], axis=0)))
    return rows


def having_all(rows: Rows, names: Sequence[str]) -> Rows:
    """The rows that have every one of these modalities."""
    return rows if not rows.masks else rows.take(torch.from_numpy(observed_all(rows, names)))
