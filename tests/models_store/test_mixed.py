"""Rows of mixed columns: each column has its own family, on numpy arrays and torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats

from models_store.likelihoods import Mixed, Part

FAMILY = Mixed(
    (
        Part("categorical", 3),
        Part("normal"),
        Part("negative_binomial"),
        Part("categorical", 2),
        Part("normal"),
        Part("student_t"),
        Part("poisson"),
        Part("log_normal"),
        Part("laplace"),
    )
)
ROWS = 6
libraries = pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
Library = Callable[[Any], Any]


def example() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(ROWS, FAMILY.width))
    x = np.stack(
        [
            rng.integers(0, 3, ROWS),
            rng.normal(size=ROWS),
            rng.integers(0, 9, ROWS),
            rng.integers(0, 2, ROWS),
            rng.normal(size=ROWS),
            rng.normal(size=ROWS),
            rng.integers(0, 9, ROWS),
            rng.lognormal(size=ROWS),
            rng.normal(size=ROWS),
        ],
        axis=1,
    ).astype(float)
    return x, parameters


def expected(x: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The log-density of each cell by scipy; parameters lie column by column."""
    at = np.arange(len(x))
    mean, total = np.exp(p[:, 5]), np.exp(p[:, 6])
    return np.stack(
        [
            special.log_softmax(p[:, 0:3], axis=1)[at, x[:, 0].astype(int)],
            stats.norm(p[:, 3], np.exp(p[:, 4])).logpdf(x[:, 1]),
            stats.nbinom(total, total / (total + mean)).logpmf(x[:, 2]),
            special.log_softmax(p[:, 7:9], axis=1)[at, x[:, 3].astype(int)],
            stats.norm(p[:, 9], np.exp(p[:, 10])).logpdf(x[:, 4]),
            stats.t(np.exp(p[:, 13]), p[:, 11], np.exp(p[:, 12])).logpdf(x[:, 5]),
            stats.poisson(np.exp(p[:, 14])).logpmf(x[:, 6]),
            stats.lognorm(np.exp(p[:, 16]), scale=np.exp(p[:, 15])).logpdf(x[:, 7]),
            stats.laplace(p[:, 17], np.exp(p[:, 18])).logpdf(x[:, 8]),
        ],
        axis=1,
    )


@libraries
def test_each_cell_has_the_log_density_of_its_own_family(library: Library) -> None:
    x, parameters = example()
    cells = FAMILY.log_prob(library(x), {"parameters": library(parameters)})
    np.testing.assert_allclose(np.asarray(cells), expected(x, parameters), rtol=1e-9)
    rows = FAMILY.row_log_prob(library(x), {"parameters": library(parameters)})
    np.testing.assert_allclose(np.asarray(rows), expected(x, parameters).sum(axis=1), rtol=1e-9)


@libraries
def test_a_missing_cell_adds_nothing(library: Library) -> None:
    x, parameters = example()
    x[0, :4], x[3, 5:8] = np.nan, np.nan
    rows = FAMILY.row_log_prob(library(x), {"parameters": library(parameters)})
    seen = np.where(np.isnan(x), 0, expected(np.nan_to_num(x, nan=1.0), parameters))
    np.testing.assert_allclose(np.asarray(rows), seen.sum(axis=1), rtol=1e-9)


def test_gradients_of_missing_cells_are_zero() -> None:
    x, parameters = example()
    x[:, [1, 7]] = np.nan
    tensor = torch.tensor(parameters, requires_grad=True)
    FAMILY.row_log_prob(torch.tensor(x), {"parameters": tensor}).sum().backward()
    assert tensor.grad is not None
    assert bool(tensor.grad.isfinite().all())
    assert not bool(tensor.grad[:, [3, 4, 15, 16]].any())


def test_draws_have_the_moments_of_each_column() -> None:
    _, parameters = example()
    parameters[:, 13], parameters[:, 16] = np.log(9), np.log(0.3)
    wide = {"parameters": np.broadcast_to(parameters, (40_000, *parameters.shape))}
    drawn = FAMILY.sample(wide, np.random.default_rng(1))
    assert drawn.shape == (40_000, ROWS, 9)
    mean, variance = FAMILY.mean({"parameters": parameters}), FAMILY.variance({"parameters": parameters})
    numbers = [1, 2, 4, 5, 6, 7, 8]
    assert np.isnan(mean[:, [0, 3]]).all()
    scale = np.sqrt(variance[:, numbers])
    np.testing.assert_allclose((drawn.mean(axis=0) - mean)[:, numbers] / scale, 0, atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0)[:, numbers] / scale, 1, atol=0.1)
    shares = (drawn[..., 0, None] == np.arange(3)).mean(axis=0)
    np.testing.assert_allclose(shares, special.softmax(parameters[:, :3], axis=1), atol=0.02)


def test_columns_gives_each_family_its_own_parameters() -> None:
    _, parameters = example()
    columns = list(FAMILY.columns({"parameters": parameters}))
    assert [tuple(values) for _, values in columns] == [
        ("logits",),
        ("loc", "log_scale"),
        ("log_mean", "log_total_count"),
        ("logits",),
        ("loc", "log_scale"),
        ("loc", "log_scale", "log_df"),
        ("log_rate",),
        ("loc", "log_scale"),
        ("loc", "log_scale"),
    ]
    np.testing.assert_array_equal(columns[3][1]["logits"], parameters[:, 7:9])


def test_information_is_the_sum_of_that_of_the_observed_columns() -> None:
    x, parameters = example()
    row, tangents = x[0], np.random.default_rng(2).normal(size=(3, FAMILY.width))
    row[[0, 4]] = np.nan
    centres = FAMILY.columns({"parameters": parameters[0]})
    total = np.zeros((3, 3))
    for at, ((family, centre), (_, along)) in enumerate(
        zip(centres, FAMILY.columns({"parameters": tangents}), strict=True)
    ):
        if not np.isnan(row[at]):
            total += family.information(row[at], centre, along)
    actual = FAMILY.information(row, {"parameters": parameters[0]}, {"parameters": tangents})
    np.testing.assert_allclose(actual, total, rtol=1e-9)
