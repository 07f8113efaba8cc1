"""Factors of residuals: what decoders leave of a linear-Gaussian table is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models_store.arrays import Array
from models_store.likelihoods import Parameters
from models_store.linear import EncoderOutput
from tests.training.test_evaluate import linear_gaussian
from training.data.rows import Rows
from training.evaluation.calibrating import calibrate
from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.predicting import predicted
from training.evaluation.residuals import chosen_rank, fit_residuals
from training.factors import fit_factors

NOTHING = Rows({"a": torch.zeros(0, 1), "b": torch.zeros(0, 2)})


class KnowsNothing:
    """Experts that are nearly the prior, and a decoder that says the training mean."""

    def encode(self, modality: str, x: Array) -> EncoderOutput:  # noqa: ARG002
        mu = np.zeros((len(x), 1), np.float32)
        return EncoderOutput(mu, np.full_like(mu, 20.0))

    def decode(self, modality: str, z: Array) -> Parameters:
        loc = np.zeros((len(z), 1 if modality == "a" else 2), np.float32)
        return {"loc": loc, "log_scale": np.zeros_like(loc)}


def nothing_known(n: int) -> EvaluatedModel:
    """Rows of a = z + noise / 2, b = (2 z, -z) + noise; a fifth of the second cells of b is missing."""
    return replace(linear_gaussian(n), graphs=KnowsNothing())


EXACT = np.array([[1.25, 2, -1], [2, 5, -2], [-1, -2, 2]])
"""Covariance of (a, b) in the rows of :func:`nothing_known`."""


def test_em_reaches_the_covariance_of_rows_with_gaps() -> None:
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(6, 2))
    x = rng.normal(size=(4000, 2)) @ loadings.T + 0.7 * rng.normal(size=(4000, 6)) + np.arange(6)
    x[rng.random(x.shape) < 0.2] = np.nan
    model = fit_factors(x, 2, 200)
    covariance = model.loadings @ model.loadings.T + np.diag(model.variance)
    np.testing.assert_allclose(covariance, loadings @ loadings.T + 0.49 * np.eye(6), atol=0.25)
    np.testing.assert_allclose(model.mean, np.arange(6), atol=0.15)
    assert chosen_rank(x[:600, None], 0) == 2


def test_the_density_of_factors_is_that_of_the_normal_distribution() -> None:
    model = fit_factors(np.random.default_rng(1).normal(size=(50, 3)) @ np.diag([1.0, 2, 3]), 1, 20)
    x = np.array([[0.3, -1.0, 2.0], [0.5, np.nan, 1.0]])
    covariance = model.loadings @ model.loadings.T + np.diag(model.variance)
    for row, seen in zip(x, ~np.isnan(x), strict=True):
        centred, of_seen = (row - model.mean)[seen], covariance[np.ix_(seen, seen)]
        expected = centred @ np.linalg.solve(of_seen, centred) + np.linalg.slogdet(2 * np.pi * of_seen)[1]
        assert model.log_prob(row[None])[0] == pytest.approx(-expected / 2)


def test_independent_residuals_have_no_factors() -> None:
    assert chosen_rank(np.random.default_rng(2).normal(size=(300, 1, 5)), 0) == 0
    assert fit_residuals([linear_gaussian(600)], [NOTHING]) is None


@pytest.fixture(scope="module")
def with_factors() -> EvaluatedModel:
    """A model whose residuals hold all that there is to know."""
    evaluated = nothing_known(1500)
    evaluated = replace(evaluated, train=evaluated.train.head(1000))
    return replace(evaluated, residuals=fit_residuals([evaluated], [NOTHING]))


def test_answers_are_the_conditional_means_although_z_is_the_prior(with_factors: EvaluatedModel) -> None:
    evaluated = with_factors
    rows = evaluated.test.head(50)
    (answer,) = predicted(evaluated, evaluated.manifest.modality("a"), ["b"], rows)
    for mean, std, b in zip(answer.mean[:, 0], answer.std[:, 0], rows.data["b"].numpy(), strict=True):
        seen = 1 + np.flatnonzero(~np.isnan(b))
        slope = EXACT[0, seen] @ np.linalg.inv(EXACT[np.ix_(seen, seen)])
        assert mean == pytest.approx(slope @ b[seen - 1], abs=0.2)
        assert std == pytest.approx(np.sqrt(1.25 - slope @ EXACT[seen, 0]), abs=0.08)


def test_joint_draws_keep_the_correlation_of_the_rows(with_factors: EvaluatedModel) -> None:
    residuals = with_factors.residuals
    assert residuals is not None
    cells = [residuals.cells[name] for name in ("a", "b")]
    loadings = np.concatenate([one.loadings for one in cells])
    scale = np.concatenate([one.scale for one in cells])
    np.testing.assert_allclose(loadings @ loadings.T + np.diag(scale**2), EXACT, atol=0.4)


def test_residuals_are_as_wide_as_those_of_rows_that_did_not_train() -> None:
    """The residuals of held-out rows are twice as wide as those of training rows."""
    rng = np.random.default_rng(3)
    evaluated = nothing_known(400)
    narrow, wide = (
        Rows(
            {
                name: torch.from_numpy(scale * rng.normal(size=(400, size)).astype(np.float32))
                for name, size in (("a", 1), ("b", 2))
            }
        )
        for scale in (1.0, 2.0)
    )
    residuals = fit_residuals([replace(evaluated, train=narrow)], [wide])
    assert residuals is not None
    assert residuals.rank == 0
    for cells in residuals.cells.values():
        assert ((cells.scale > 1.6) & (cells.scale < 2.1)).all()  # 2, less a standard error


def test_intervals_with_factors_need_little_correction(with_factors: EvaluatedModel) -> None:
    correction = calibrate(with_factors, with_factors.test.take(slice(1000, 1500))).of("b", ["a"])
    assert correction is not None
    assert correction.widths is not None
    np.testing.assert_allclose(correction.widths, 1.0, atol=0.15)
