"""A table of many views that each say little: `init` and `fit` without an edit learn it, and stay finite."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from training import data
from training.config import read_experiment
from training.fit import Fitted, fit
from training.tables.guess import experiment_for

ROWS, VIEWS = 400, 9


def weak_views(path: Path) -> None:
    """Writes columns of one label each, each of which follows in part from two common causes."""
    rng = np.random.default_rng(1)
    causes = rng.normal(size=(ROWS, 2))
    columns = []
    for _ in range(VIEWS):
        weights = rng.normal(size=2)
        x = causes @ (weights / np.linalg.norm(weights)) + 0.5 * rng.normal(size=ROWS)
        columns.append(np.array(["low", "middle", "high"])[np.searchsorted(np.quantile(x, [0.33, 0.67]), x)])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"{letter}kind" for letter in "abcdefghi"])
        writer.writerows(zip(*columns, strict=True))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, data.Prepared]:
    folder = tmp_path_factory.mktemp("weak")
    weak_views(folder / "weak.csv")
    (folder / "experiment.toml").write_text(experiment_for([folder / "weak.csv"], folder / "experiment.toml"))
    experiment, _ = read_experiment(str(folder / "experiment.toml"))
    prepared = data.prepare(experiment)
    assert len(prepared.modalities) == VIEWS
    return fit(experiment, prepared, folder / "run"), prepared


def test_the_validation_loss_stays_near_its_best(fitted: tuple[Fitted, data.Prepared]) -> None:
    losses = [report.validation_loss for report in fitted[0].reports]
    assert losses[-1] is not None
    assert losses[-1] < 1.2 * min(loss for loss in losses if loss is not None)


def test_each_view_is_predicted_from_the_others_almost_as_by_logistic_regression(
    fitted: tuple[Fitted, data.Prepared],
) -> None:
    model, rows = fitted[0].model, fitted[1]
    one_hot = {
        part: {name: np.eye(3)[values.numpy().astype(int)] for name, values in split.data.items()}
        for part, split in (("train", rows.train), ("test", rows.test))
    }
    ours, theirs, share = [], [], []
    for name in model.modalities:
        others = [other for other in model.modalities if other != name]
        truth = rows.test.data[name].numpy().astype(int)
        with torch.no_grad():
            drawn = model.encode(rows.test, others, 100, generator=torch.Generator().manual_seed(1))
            ours.append(np.mean(model.decode(drawn, [name])[name].mean(1).argmax(-1).numpy() == truth))
        x = {part: np.hstack([one_hot[part][other] for other in others]) for part in one_hot}
        y = rows.train.data[name].numpy().astype(int)
        theirs.append(LogisticRegression(max_iter=300).fit(x["train"], y).score(x["test"], truth))
        share.append(np.bincount(truth).max() / len(truth))
    assert np.mean(theirs) > np.mean(share) + 0.1  # there is something to learn
    assert np.mean(ours) > np.mean(theirs) - 0.05
