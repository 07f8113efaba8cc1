"""Methods that users have without this project; each learns from encoded rows and answers any question."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

from benchmarks.tables.design import Answer, Design, Estimate, Learn
from benchmarks.tables.questions import Question
from benchmarks.tables.table import Table
from models_store.arrays import Array
from training.evaluation import regressions

NEIGHBOURS = 10
SLOW_COLUMNS = 60
"""Methods that fit a forest for every column are skipped on wider tables."""
PENALTIES = np.geomspace(0.5, 0.05, 6)
"""Penalties of softImpute, as shares of the largest singular value."""
MOST_DIMENSIONS = 60


def training_mean(design: Design, _train: Table) -> Answer:
    """The training means, and shares of the labels."""
    return lambda question: design.estimate(np.zeros((len(question.given), len(design.source))))


def nearest_rows(design: Design, train: Table) -> Answer:
    """The mean of the ten nearest rows that have the cell, by the distance over shared cells."""
    imputer = KNNImputer(n_neighbors=NEIGHBOURS, keep_empty_features=True).fit(design.encode(train))
    return _filling(design, imputer.transform)


def iterative_trees(design: Design, train: Table) -> Answer:
    """Chained equations with extremely randomised trees, as missForest."""
    trees = ExtraTreesRegressor(50, min_samples_leaf=3, random_state=0)
    imputer = IterativeImputer(trees, max_iter=3, random_state=0, keep_empty_features=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        imputer.fit(design.encode(train))
    return _filling(design, imputer.transform)


def soft_impute(design: Design, train: Table) -> Answer:
    """softImpute: low rank by a penalty on singular values, chosen by a tenth of the cells.

    New rows minimise the same objective with the loadings held fixed.

    References:
        | Spectral Regularization Algorithms for Learning Large Incomplete Matrices (Mazumder et al., 2010)
        | Matrix Completion and Low-Rank SVD via Fast Alternating Least Squares (Hastie et al., 2015)
    """
    x = design.encode(train)
    seen = ~np.isnan(x)
    held = seen & (np.random.default_rng(0).random(x.shape) < 0.1)
    largest = np.linalg.norm(np.where(seen, x, 0), 2)
    errors, start = [], np.zeros_like(x)
    for penalty in PENALTIES * largest:
        start, _ = _completed(x, seen & ~held, penalty, start)
        errors.append(((start - x)[held] ** 2).mean())
    penalty = float((PENALTIES * largest)[int(np.argmin(errors))])
    _, loadings = _completed(x, seen, penalty, np.zeros_like(x))
    return _filling(design, lambda rows: _scores_of(rows, loadings, penalty) @ loadings.T)


def _completed(x: Array, seen: Array, penalty: float, start: Array) -> tuple[Array, Array]:
    """The completed matrix, and loadings (q, r) times the square roots of the singular values."""
    filled = start
    for _ in range(100):
        u, d, v = np.linalg.svd(np.where(seen, x, filled), full_matrices=False)
        d = np.maximum(d - penalty, 0)
        after = (u * d) @ v
        moved = ((after - filled) ** 2).sum() / max((filled**2).sum(), 1e-12)
        filled = after
        if moved < 1e-5:
            break
    rank = max(1, min(MOST_DIMENSIONS, int((d > 0).sum())))
    return filled, v[:rank].T * np.sqrt(d[:rank])


def _scores_of(rows: Array, loadings: Array, penalty: float) -> Array:
    """Scores of each row, (n, r), by ridge regression of its cells on their loadings."""
    scores = np.zeros((len(rows), loadings.shape[1]))
    for row, x in enumerate(rows):
        seen = ~np.isnan(x)
        b = loadings[seen]
        scores[row] = np.linalg.solve(b.T @ b + penalty * np.eye(b.shape[1]), b.T @ x[seen])
    return scores


def _filling(design: Design, fill: Callable[[Array], Array]) -> Answer:
    """The answers of a method that fills the gaps of encoded rows."""
    return lambda question: design.estimate(fill(design.encode(question.given)))


# --- a regression for every column -------------------------------------------------------------------


def ridge(design: Design, train: Table) -> Answer:
    """Ridge or logistic regression of a column on all columns that are given where it is not."""
    return _Regressions(design, train, regressions.ridge, regressions.logistic, together=True).answer


def boosting(design: Design, train: Table) -> Answer:
    """Gradient-boosted trees for every column."""

    def regression() -> Any:
        return HistGradientBoostingRegressor(max_iter=100, early_stopping=False, random_state=0)

    def classifier() -> Any:
        return HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=0)

    return _Regressions(design, train, regression, classifier, together=False).answer


class _Regressions:
    """A regression for every requested column, on means where a cell is missing.

    Arguments:
        design: Encodes rows.
        train: Training rows.
        regression: Makes a regression for numbers.
        classifier: Makes a classifier for labels.
        together: Whether one regression may have several targets.
    """

    def __init__(
        self,
        design: Design,
        train: Table,
        regression: Callable[[], Any],
        classifier: Callable[[], Any],
        *,
        together: bool,
    ) -> None:
        self.design, self.train = design, train
        self.regression, self.classifier, self.together = regression, classifier, together
        self.x = np.nan_to_num(design.encode(train))

    def answer(self, question: Question) -> Estimate:
        means, probabilities = self.design.estimate(np.zeros((len(question.given), len(self.design.source))))
        x = np.nan_to_num(self.design.encode(question.given))
        for targets, given in self._groups(question):
            inputs = np.isin(self.design.source, given)
            learned, new = self.x[:, inputs], x[:, inputs]
            numbers = np.array([t for t in targets if not self.design.columns[t].labels], int)
            means[:, numbers] = regressions.predict_numbers(
                learned, self._standardised(numbers), new, self.regression, together=self.together
            )
            for target in (int(t) for t in targets if self.design.columns[t].labels):
                shares = self._shares(target, learned, new)
                if shares is not None:
                    probabilities[target] = shares
        return means, probabilities

    def _groups(self, question: Question) -> list[tuple[Array, Array]]:
        """Targets, and their inputs: the columns that are given in any row that asks for them."""
        groups: dict[bytes, list[int]] = {}
        given = question.given.present
        for index in np.flatnonzero(question.requested.any(axis=0)):
            inputs = given[question.requested[:, index]].any(axis=0) & (np.arange(given.shape[1]) != index)
            groups.setdefault(inputs.tobytes(), []).append(int(index))
        return [(np.array(group), np.flatnonzero(np.frombuffer(key, bool))) for key, group in groups.items()]

    def _standardised(self, targets: Array) -> Array:
        """The training values of numbers, NaN where missing: (n, targets)."""
        at = np.array([np.flatnonzero(self.design.source == t)[0] for t in targets], int)
        return np.where(self.train.present[:, targets], self.x[:, at], np.nan)

    def _shares(self, target: int, learned: Array, new: Array) -> Array | None:
        rows = self.train.present[:, target]
        labels = self.train.values[rows, target].astype(int)
        count = len(self.design.columns[target].labels)
        return regressions.predict_labels(learned[rows], labels, new, count, self.classifier)


BASELINES: Mapping[str, Learn] = {
    "training mean": training_mean,
    "ridge / logistic": ridge,
    "nearest rows": nearest_rows,
    "softImpute": soft_impute,
    "iterative trees": iterative_trees,
    "boosted trees": boosting,
}
SLOW = frozenset({"iterative trees", "boosted trees"})
