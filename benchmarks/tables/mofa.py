"""MOFA+ as a baseline; new rows are projected on its weights. Needs ``mofapy2``.

References:
    | MOFA+: a statistical framework for comprehensive integration of multi-modal single-cell data
      (Argelaguet et al., 2020)
"""

from __future__ import annotations

import contextlib
import importlib.util
import io

import numpy as np

from benchmarks.tables.design import Answer, Design, answers
from benchmarks.tables.questions import Question, Task
from benchmarks.tables.scores import Prediction
from benchmarks.tables.table import Table
from models_store.arrays import Array

FACTORS = 10
ITERATIONS = 1000


def installed() -> bool:
    return importlib.util.find_spec("mofapy2") is not None


def mofa(task: Task, seed: int) -> list[Prediction]:
    """Predictions from ten factors; every encoded column is normal, labels are one-hot."""
    return answers(task, lambda design, train: _learned(design, train, seed))


METHODS = {"MOFA+": mofa}


def _learned(design: Design, train: Table, seed: int) -> Answer:
    weights, precisions = _factors(design, train, seed)

    def answer(question: Question) -> tuple[Array, dict[int, Array]]:
        rows = design.encode(question.given)
        return design.estimate(np.stack([_projected(x, weights, precisions) for x in rows]) @ weights.T)

    return answer


def _factors(design: Design, train: Table, seed: int) -> tuple[Array, Array]:
    """Weights (q, factors) and precisions of the noise (q,) of the encoded columns."""
    from mofapy2.run.entry_point import entry_point

    x = design.encode(train)
    blocks = [np.flatnonzero(train.of(view)[design.source]) for view in train.views]
    with contextlib.redirect_stdout(io.StringIO()):
        run = entry_point()
        run.set_data_options(scale_views=False)
        run.set_data_matrix([[x[:, block]] for block in blocks], likelihoods=["gaussian"] * len(blocks))
        run.set_model_options(factors=FACTORS)
        run.set_train_options(iter=ITERATIONS, convergence_mode="fast", seed=seed)
        run.build()
        run.run()
    nodes = run.model.getNodes()
    weights = np.zeros((x.shape[1], nodes["W"].getExpectation()[0].shape[1]))
    precisions = np.zeros(x.shape[1])
    for block, w, tau in zip(blocks, nodes["W"].getExpectation(), nodes["Tau"].getExpectation(), strict=True):
        weights[block], precisions[block] = w, np.asarray(tau)[0]
    return weights, precisions


def _projected(x: Array, weights: Array, precisions: Array) -> Array:
    """Posterior mean of the factors of one row, given its cells that are there."""
    seen = ~np.isnan(x)
    scaled = weights[seen] * precisions[seen][:, None]
    mean: Array = np.linalg.solve(weights[seen].T @ scaled + np.eye(weights.shape[1]), scaled.T @ x[seen])
    return mean
