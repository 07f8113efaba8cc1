"""Views of one column that follow from a common cause: conditional means reach the exact ones.

The experiment is that of `init`, for 18 views with a shorter schedule. The set ``linear`` of
``make bench-tables`` has 54 views.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from models_store.arrays import Array
from tests.training.tables.tables import write
from training import data
from training.config import read_experiment
from training.data.rows import Rows
from training.fit import fit
from training.tables.guess import guess

ROWS, TEST_ROWS = 1000, 2000
NOISE = 0.5


def explained(x: Array, predicted: Array) -> Array:
    """R² of each column."""
    result: Array = 1 - ((x - predicted) ** 2).mean(axis=0) / x.var(axis=0)
    return result


def exact_means(x: Array, weights: Array) -> Array:
    """E[x_m | all other columns] of x = w z + noise, z standard normal."""
    covariance = np.outer(weights, weights) + NOISE**2 * np.eye(len(weights))
    means = np.empty_like(x)
    for column in range(len(weights)):
        others = np.arange(len(weights)) != column
        slopes = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, column])
        means[:, column] = x[:, others] @ slopes
    return means


@pytest.mark.slow
@pytest.mark.parametrize(("views", "changes"), [(4, {}), (18, {"epochs": 20, "learning_rate": 6e-3})])
def test_conditional_means_reach_the_exact_ones(
    views: int, changes: Mapping[str, float], tmp_path: Path
) -> None:
    rng = np.random.default_rng(views)
    weights = rng.normal(size=views)
    x = rng.normal(size=(ROWS + TEST_ROWS, 1)) * weights + NOISE * rng.normal(size=(ROWS + TEST_ROWS, views))
    names = [f"{chr(97 + view)}x" for view in range(views)]
    file = write(tmp_path / "linear.csv", dict(zip(names, x[:ROWS].T, strict=True)))
    text = guess([file], tmp_path / "linear.toml", groups={name: name for name in names}).text
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count == 1
    (tmp_path / "linear.toml").write_text(text)
    experiment, _ = read_experiment(str(tmp_path / "linear.toml"))
    prepared = data.prepare(experiment)
    model = fit(experiment, prepared, tmp_path / "run").model
    assert list(model.modalities) == names
    test = x[ROWS:]
    rows = Rows({name: torch.tensor(test[:, [at]], dtype=torch.float32) for at, name in enumerate(names)})
    ours = np.empty_like(test)
    for at, name in enumerate(names):
        others = [other for other in names if other != name]
        with torch.no_grad():
            drawn = model.encode(rows, others, 50, generator=torch.Generator().manual_seed(1))
            ours[:, at] = model.decode(drawn, [name])[name].mean(1).numpy()[:, 0]
    best = explained(test, exact_means(test, weights))
    assert best.mean() > 0.4  # there is something to learn
    assert explained(test, ours).mean() > best.mean() - 0.02
