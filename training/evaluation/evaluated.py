"""The evaluated model, its held-out rows, and the subsets of modalities on which it is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from models_store.arrays import Array
from models_store.calibration import Calibration
from models_store.golden import Graphs
from models_store.likelihoods import Parameters
from models_store.linear import Experts, Posterior
from models_store.manifest import Manifest
from models_store.residuals import Residuals, standardised
from training.config import Evaluation
from training.data.rows import Rows

CPU = torch.device("cpu")
CHUNK = 10_000
"""Rows decoded in one call of a graph."""
ALL_SUBSETS = 4
"""Number of modalities up to which all subsets are evaluated; with more: singles, pairs and the whole."""
PAIRS = 8
"""Number of modalities up to which pairs are evaluated; no cost grows like 2^M."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A stored model and the rows on which it is evaluated.

    Arguments:
        manifest: Manifest of the model.
        graphs: Encoders and decoders of the model.
        train: Training rows, from which judges and probes learn.
        test: Held-out rows.
        settings: Numbers of rows and draws.
        seed: Seed of every random draw.
        examples: Whether the report may show real rows.
        alone: Whether to condition on single modalities only, and on no larger subset.
        calibration: Corrections of intervals and probabilities, if the model has them.
        residuals: Factor model of what decoders of numbers leave, if the model has one.
        device: Device on which judges are trained and the graphs run, if the runtime has a provider for it.
    """

    manifest: Manifest
    graphs: Graphs
    train: Rows
    test: Rows
    settings: Evaluation
    seed: int
    examples: bool = True
    alone: bool = False
    calibration: Calibration | None = None
    residuals: Residuals | None = None
    device: torch.device = CPU

    def subsets(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Returns the subsets of these modalities that are evaluated."""
        return [(name,) for name in names] if self.alone else subsets(names)

    def experts(self, rows: Rows, names: Sequence[str]) -> Experts:
        """Returns the experts of these modalities, (M, n, latent_dim)."""
        experts = [self.graphs.encode(name, rows.data[name].numpy()) for name in names]
        present = np.stack([observed(rows, name) for name in names])
        return Experts.of(experts, present, self.manifest.linear)

    def posterior(self, rows: Rows, names: Sequence[str]) -> Posterior:
        """Returns q(z | x_S) of every row, S intersected with the row's modalities: (n, latent_dim)."""
        return self.experts(rows, names).product()

    def means(self, name: str, z: Array) -> Array:
        """Returns the mean of p(x | z): the leading axes of z, then the shape of the modality."""
        flat = z.reshape(-1, z.shape[-1]).astype(np.float32)
        modality = self.manifest.modality(name)
        pieces = [
            modality.distribution.mean(self.graphs.decode(name, flat[start : start + CHUNK]))
            for start in range(0, len(flat), CHUNK)
        ]
        joined = np.concatenate(pieces)
        return joined.reshape(*z.shape[:-1], *joined.shape[1:])

    def decoded(self, name: str, z: Array) -> Parameters:
        """Returns the parameters of p(x | z) of a modality: (n, K, *shape) for z of shape (n, K, D)."""
        decoded = self.graphs.decode(name, z.reshape(-1, z.shape[-1]).astype(np.float32))
        return {key: value.reshape(*z.shape[:2], *value.shape[1:]) for key, value in decoded.items()}

    def residuals_at(self, name: str, rows: Rows, z: Array) -> Array:
        """Returns the residuals of a modality's cells at draws of z, (n, K, D), NaN where missing."""
        residuals = standardised(self.manifest.modality(name), rows.data[name].numpy(), self.decoded(name, z))
        return np.where(observed(rows, name)[:, None, None], residuals, np.nan)

    def predicted(self, name: str, given: Sequence[str], rows: Rows, z: Array) -> Parameters:
        """Returns the parameters of p(x | z, x_S), of which the cells of numbers may depend on x_S.

        Arguments:
            name: The target.
            given: S: names of modalities.
            rows: Rows, n.
            z: Draws from q(z | x_S), (n, K, D).
        """
        parameters = self.decoded(name, z)
        if self.residuals is None or name not in self.residuals.cells:
            return parameters
        names = [one for one in given if self.residuals.rank and one in self.residuals.cells]
        shown = {one: self.residuals_at(one, rows, z) for one in names}
        return self.residuals.applied(name, parameters, self.residuals.factors(shown, z))

    def rng(self) -> np.random.Generator:
        """Returns a new generator; each metric uses one, so that no metric depends on another."""
        return np.random.default_rng(self.seed)


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the evaluated subsets, in the order of names; all of them up to ``ALL_SUBSETS`` names."""
    if len(names) <= ALL_SUBSETS:
        sizes = list(range(1, len(names) + 1))
    else:
        sizes = [1, 2, len(names)] if len(names) <= PAIRS else [1, len(names)]
    return [subset for size in sizes for subset in combinations(names, size)]


def question(targets: Sequence[str], given: Sequence[str] = ()) -> str:
    """Returns the service's notation of a conditional or joint distribution, such as ``label|image``."""
    return "|".join(",".join(names) for names in (targets, given) if names)


def observed(rows: Rows, name: str) -> Array:
    """Returns whether each row has the modality: boolean, (n,)."""
    return rows.masks[name].numpy() if name in rows.masks else np.ones(len(rows), bool)


def observed_all(rows: Rows, names: Sequence[str]) -> Array:
    """Returns whether each row has all of these modalities: boolean, (n,)."""
    return np.all([observed(rows, name) for name in names], axis=0)


def having(rows: Rows, names: Sequence[str]) -> Rows:
    """Returns the rows that have at least one of these modalities."""
    if all(name in rows.masks for name in names):
        return rows.take(torch.from_numpy(np.any([observed(rows, name) for name in names], axis=0)))
    return rows


def having_all(rows: Rows, names: Sequence[str]) -> Rows:
    """Returns the rows that have all of these modalities."""
    return rows if not rows.masks else rows.take(torch.from_numpy(observed_all(rows, names)))
