"""Each family is the distribution that its name says, in every library; scipy and torch are the oracles."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import distributions

from models_store.errors import ManifestError
from models_store.likelihoods import FAMILIES, Bernoulli, Likelihood, Parameters, likelihood
from tests.models_store.examples import LIBRARIES, NumpyArray, WithZeros

CELLS = 6
CLASSES = 4
TOLERANCE = 1e-4


class Example(NamedTuple):
    """A family with parameters for CELLS cells, the same in scipy and torch, and values that it may take."""

    parameters: dict[str, NumpyArray]
    scipy: Any
    torch: Any
    x: NumpyArray  # (rows, CELLS)


def _examples() -> dict[str, Example]:
    rng = np.random.default_rng(0)
    loc, log_scale = rng.normal(0, 3, CELLS), rng.uniform(-2, 2, CELLS)
    logits, log_mean, log_total = (
        rng.normal(0, 3, CELLS),
        rng.uniform(-1, 3, CELLS),
        rng.uniform(-1, 3, CELLS),
    )
    reals, bits = rng.normal(0, 10, (20, CELLS)), rng.integers(0, 2, (20, CELLS)).astype(float)
    whole = rng.integers(0, 60, (20, CELLS)).astype(float)
    scale, mean, total = np.exp(log_scale), np.exp(log_mean), np.exp(log_total)
    # More than four degrees of freedom: samples' variances have a variance.
    log_df = np.log([4.5, 6.0, 9.0, 30.0, 100.0, 900.0])
    df = np.exp(log_df)
    zero = np.array([0.02, 0.3, 0.5, 0.7, 0.9, 0.98])
    t_loc, t_scale, t_logits, t_mean, t_total = map(torch.tensor, (loc, scale, logits, mean, total))
    return {
        "normal": Example(
            {"loc": loc, "log_scale": log_scale},
            stats.norm(loc, scale),
            distributions.Normal(t_loc, t_scale),
            reals,
        ),
        "log_normal": Example(
            {"loc": loc, "log_scale": log_scale / 2 - 1.5},  # moments of wide ones are not to be estimated
            stats.lognorm(np.exp(log_scale / 2 - 1.5), scale=np.exp(loc)),
            distributions.LogNormal(t_loc, torch.tensor(np.exp(log_scale / 2 - 1.5))),
            np.exp(loc + rng.normal(0, 1, (20, CELLS))),
        ),
        "laplace": Example(
            {"loc": loc, "log_scale": log_scale},
            stats.laplace(loc, scale),
            distributions.Laplace(t_loc, t_scale),
            reals,
        ),
        "student_t": Example(
            {"loc": loc, "log_scale": log_scale, "log_df": log_df},
            stats.t(df, loc, scale),
            distributions.StudentT(torch.tensor(df), t_loc, t_scale),
            reals,
        ),
        "bernoulli": Example(
            {"logits": logits},
            stats.bernoulli(special.expit(logits)),
            distributions.Bernoulli(logits=t_logits),
            bits,
        ),
        "poisson": Example({"log_rate": log_mean}, stats.poisson(mean), distributions.Poisson(t_mean), whole),
        "negative_binomial": Example(
            {"log_mean": log_mean, "log_total_count": log_total},
            stats.nbinom(total, total / (total + mean)),
            distributions.NegativeBinomial(t_total, probs=t_mean / (t_mean + t_total)),
            whole,
        ),
        "zero_inflated": Example(
            {
                "log_mean": log_mean + np.log(1 - zero),
                "log_total_count": log_total,
                "zero_logit": special.logit(zero),
            },
            WithZeros(stats.nbinom(total, total / (total + mean)), zero),
            distributions.MixtureSameFamily(
                distributions.Categorical(torch.tensor(np.stack([zero, 1 - zero], axis=1))),
                distributions.NegativeBinomial(
                    t_total[:, None], probs=torch.stack([0 * t_mean, t_mean / (t_mean + t_total)], dim=1)
                ),
            ),
            np.where(bits > 0, whole, 0.0),
        ),
    }


EXAMPLES = _examples()
LOGITS = np.random.default_rng(1).normal(0, 2, (CELLS, CLASSES))
INDICES = np.random.default_rng(2).integers(0, CLASSES, (20, CELLS))

ELEMENTWISE = [name for name in FAMILIES if name != "mixed"]
"""Families with one parameter of each name per cell; ``mixed`` joins them, see ``test_mixed.py``."""

both_libraries = pytest.mark.parametrize("library", LIBRARIES)
every_family = pytest.mark.parametrize("name", EXAMPLES)


def parameters_of(name: str) -> dict[str, NumpyArray]:
    return {"logits": LOGITS} if name == "categorical" else EXAMPLES[name].parameters


def values_of(name: str) -> NumpyArray:
    return INDICES.astype(float) if name == "categorical" else EXAMPLES[name].x


def within(library: str, parameters: Parameters, dtype: type[np.floating] = np.float64) -> Parameters:
    return {key: LIBRARIES[library](value.astype(dtype)) for key, value in parameters.items()}


def test_every_family_is_tested() -> None:
    assert {*EXAMPLES, "categorical"} == set(ELEMENTWISE)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_parameters_are_the_names_that_the_family_reads(name: str) -> None:
    assert FAMILIES[name].parameters == tuple(parameters_of(name))


@both_libraries
@every_family
def test_log_prob_agrees_with_scipy_and_torch(name: str, library: str) -> None:
    example = EXAMPLES[name]
    log_prob = likelihood(name).log_prob(LIBRARIES[library](example.x), within(library, example.parameters))
    density = (
        getattr(example.scipy, "logpdf", None)
        if name in {"normal", "log_normal", "laplace", "student_t"}
        else example.scipy.logpmf
    )
    assert density is not None
    np.testing.assert_allclose(log_prob, density(example.x), rtol=1e-8)
    np.testing.assert_allclose(log_prob, example.torch.log_prob(torch.tensor(example.x)), rtol=1e-8)


@both_libraries
@every_family
def test_mean_and_variance_agree_with_scipy_and_torch(name: str, library: str) -> None:
    example, parameters = EXAMPLES[name], within(library, EXAMPLES[name].parameters)
    mean, variance = likelihood(name).mean(parameters), likelihood(name).variance(parameters)
    np.testing.assert_allclose(mean, example.scipy.mean(), rtol=1e-8)
    np.testing.assert_allclose(mean, example.torch.mean, rtol=1e-8)
    np.testing.assert_allclose(variance, example.scipy.var(), rtol=1e-8)
    np.testing.assert_allclose(variance, example.torch.variance, rtol=1e-8)


@both_libraries
def test_categorical_agrees_with_softmax_and_torch(library: str) -> None:
    family, parameters = likelihood("categorical"), within(library, {"logits": LOGITS})
    log_prob = family.log_prob(LIBRARIES[library](INDICES[0]), parameters)
    expected = special.log_softmax(LOGITS, axis=-1)[np.arange(CELLS), INDICES[0]]
    one_hot = distributions.OneHotCategorical(logits=torch.tensor(LOGITS))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)
    np.testing.assert_allclose(family.mean(parameters), one_hot.mean, rtol=1e-10)
    np.testing.assert_allclose(family.variance(parameters), one_hot.variance, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_numpy_agrees_with_torch(name: str, dtype: type[np.floating]) -> None:
    family, x = likelihood(name), values_of(name)[0].astype(dtype)
    here, there = (within(library, parameters_of(name), dtype) for library in ("numpy", "torch"))
    rtol = 1e-6 if dtype is np.float64 else 1e-4
    np.testing.assert_allclose(
        family.log_prob(x, here), family.log_prob(torch.tensor(x), there), rtol=rtol, atol=rtol
    )
    np.testing.assert_allclose(family.mean(here), family.mean(there), rtol=rtol)
    np.testing.assert_allclose(family.variance(here), family.variance(there), rtol=rtol)


@both_libraries
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_single_precision_stays_single_and_agrees_with_double(name: str, library: str) -> None:
    family, x = likelihood(name), LIBRARIES[library](values_of(name)[0].astype(np.float32))
    log_prob = np.asarray(family.log_prob(x, within(library, parameters_of(name), np.float32)))
    expected = family.log_prob(values_of(name)[0], parameters_of(name))
    assert log_prob.dtype == np.float32
    assert (np.abs(log_prob - expected) <= TOLERANCE * (1 + np.abs(expected))).all()


@pytest.mark.parametrize("name", ["normal", "laplace"])
def test_densities_integrate_to_one(name: str) -> None:
    parameters = EXAMPLES[name].parameters
    steps = np.linspace(-30, 30, 60_001)[:, None]
    x = parameters["loc"] + steps * np.exp(parameters["log_scale"])
    density = np.exp(likelihood(name).log_prob(x, parameters))
    np.testing.assert_allclose(np.trapezoid(density, x, axis=0), 1, rtol=1e-6)


def test_log_normal_integrates_to_one_over_x_and_not_over_its_logarithm() -> None:
    parameters = EXAMPLES["log_normal"].parameters
    log_x = parameters["loc"] + np.linspace(-30, 30, 60_001)[:, None] * np.exp(parameters["log_scale"])
    density = np.exp(likelihood("log_normal").log_prob(np.exp(log_x), parameters) + log_x)  # dx = x d(log x)
    np.testing.assert_allclose(np.trapezoid(density, log_x, axis=0), 1, rtol=1e-6)


@both_libraries
def test_numbers_that_are_not_above_0_have_no_density_under_log_normal(library: str) -> None:
    parameters = within(library, EXAMPLES["log_normal"].parameters)
    x = LIBRARIES[library](np.array([0.0, -1.0, -0.0, 1.0, 2.0, 3.0]))
    log_prob = np.asarray(likelihood("log_normal").log_prob(x, parameters))
    assert np.isneginf(log_prob[:3]).all()
    assert np.isfinite(log_prob[3:]).all()


@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.9])
def test_quantiles_of_log_normal_draws_are_those_of_scipy(quantile: float) -> None:
    example, n = EXAMPLES["log_normal"], 40_000
    many = {key: np.broadcast_to(value, (n, CELLS)) for key, value in example.parameters.items()}
    x = likelihood("log_normal").sample(many, np.random.default_rng(9))
    below = (x <= example.scipy.ppf(quantile)).mean(axis=0)
    assert (np.abs(below - quantile) < 4.5 * math.sqrt(quantile * (1 - quantile) / n)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_of_the_widest_log_normal_are_finite_and_above_0(dtype: type[np.floating]) -> None:
    parameters = {"loc": np.full(1000, 50, dtype), "log_scale": np.full(1000, 5, dtype)}
    x = likelihood("log_normal").sample(parameters, np.random.default_rng(0))
    assert x.dtype == dtype
    assert np.isfinite(x).all()
    assert (x > 0).all()


@pytest.mark.parametrize(
    ("name", "largest"), [("bernoulli", 1), ("poisson", 500), ("negative_binomial", 5000)]
)
def test_probabilities_sum_to_one(name: str, largest: int) -> None:
    x = np.arange(largest + 1.0)[:, None]
    probabilities = np.exp(likelihood(name).log_prob(x, EXAMPLES[name].parameters))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-8)


def test_probabilities_of_all_classes_sum_to_one() -> None:
    x = np.arange(CLASSES)[:, None]
    logits = np.broadcast_to(LOGITS, (CLASSES, *LOGITS.shape))
    total = np.exp(likelihood("categorical").log_prob(x, {"logits": logits})).sum(axis=0)
    np.testing.assert_allclose(total, 1, rtol=1e-10)


@pytest.mark.parametrize("name", EXAMPLES)
def test_samples_have_the_mean_and_the_variance(name: str) -> None:
    family, n = likelihood(name), 40_000
    many = {key: np.broadcast_to(value, (n, CELLS)) for key, value in EXAMPLES[name].parameters.items()}
    x = family.sample(many, np.random.default_rng(3))
    mean, variance = family.mean(EXAMPLES[name].parameters), family.variance(EXAMPLES[name].parameters)
    spread_of_squares = ((x - mean) ** 2).std(axis=0)
    assert x.shape == (n, CELLS)
    assert (np.abs(x.mean(axis=0) - mean) < 4.5 * np.sqrt(variance / n)).all()
    assert (np.abs(x.var(axis=0) - variance) <= 4.5 * spread_of_squares / math.sqrt(n)).all()


def test_samples_of_a_category_are_indices_as_often_as_they_are_probable() -> None:
    family, n = likelihood("categorical"), 40_000
    many = {"logits": np.broadcast_to(LOGITS, (n, *LOGITS.shape))}
    x = family.sample(many, np.random.default_rng(4))
    p = family.mean({"logits": LOGITS})
    shares = (x[..., None] == np.arange(CLASSES)).mean(axis=0)
    assert x.shape == (n, CELLS)
    assert (np.abs(shares - p) < 4.5 * np.sqrt(p * (1 - p) / n)).all()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_same_generator_gives_the_same_sample(name: str) -> None:
    one, other = (likelihood(name).sample(parameters_of(name), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, other)


@both_libraries
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_missing_cell_counts_nothing_and_the_others_as_before(name: str, library: str) -> None:
    family, parameters = likelihood(name), within(library, parameters_of(name))
    x = values_of(name)[0]
    holes = np.where(np.arange(CELLS) % 2, math.nan, x)
    expected = np.where(np.arange(CELLS) % 2, 0, family.log_prob(LIBRARIES[library](x), parameters))
    assert np.array_equal(family.log_prob(LIBRARIES[library](holes), parameters), expected)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_missing_cell_has_gradient_zero_and_the_others_a_finite_one(name: str) -> None:
    parameters = within("torch", parameters_of(name))
    for tensor in parameters.values():
        tensor.requires_grad_()
    missing = torch.arange(CELLS) % 2 == 1
    x = torch.tensor(values_of(name)[0]).where(~missing, math.nan)
    likelihood(name).log_prob(x, parameters).sum().backward()
    for tensor in parameters.values():
        assert (tensor.grad[missing] == 0).all()
        assert tensor.grad.isfinite().all()
        assert (tensor.grad[~missing] != 0).any()


@both_libraries
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("bernoulli", "bool"), ("poisson", "uint8"), ("negative_binomial", "int64"), ("categorical", "int32")],
)
def test_whole_numbers_of_any_dtype_are_welcome(name: str, dtype: str, library: str) -> None:
    family, parameters = likelihood(name), within(library, parameters_of(name), np.float32)
    x = values_of(name)[0]
    whole = family.log_prob(LIBRARIES[library](x.astype(dtype)), parameters)
    expected = family.log_prob(LIBRARIES[library](x.astype(np.float32)), parameters)
    assert np.array_equal(whole, expected)
    assert whole.dtype == expected.dtype


@both_libraries
def test_pixels_in_their_own_range_are_as_likely_as_in_the_unit_range(library: str) -> None:
    to, logits = LIBRARIES[library], EXAMPLES["bernoulli"].parameters["logits"]
    pixels = np.array([0, 1, 51, 128, 254, 255], np.uint8)
    y, p = pixels / 255, special.expit(logits)
    log_prob = Bernoulli(0, 255).log_prob(to(pixels), {"logits": to(logits)})
    np.testing.assert_allclose(log_prob, y * np.log(p) + (1 - y) * np.log1p(-p), rtol=1e-10)


@both_libraries
@pytest.mark.parametrize("value_range", [(0.0, 255.0), (-1.0, 1.0), (10.0, 10.5)])
def test_mean_variance_and_samples_of_bernoulli_are_in_its_range(
    library: str, value_range: tuple[float, float]
) -> None:
    low, high = value_range
    family, parameters = likelihood("bernoulli", value_range), EXAMPLES["bernoulli"].parameters
    p = special.expit(parameters["logits"])
    np.testing.assert_allclose(family.mean(within(library, parameters)), low + (high - low) * p)
    np.testing.assert_allclose(family.variance(within(library, parameters)), (high - low) ** 2 * p * (1 - p))
    many = {"logits": np.broadcast_to(parameters["logits"], (1000, CELLS))}
    assert set(family.sample(many, np.random.default_rng(6)).flat) == {low, high}


@both_libraries
@pytest.mark.parametrize("leading", [(), (5,), (2, 5)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 2)])
def test_row_log_prob_sums_the_cells_of_each_row(
    library: str, leading: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    rng, n = np.random.default_rng(7), 4
    x, loc = rng.normal(size=(n, *shape)), rng.normal(size=(*leading, n, *shape))
    parameters = within(library, {"loc": loc, "log_scale": np.zeros_like(loc)})
    rows = likelihood("normal").row_log_prob(LIBRARIES[library](x), parameters)
    cells = stats.norm(loc, 1).logpdf(x).reshape(*leading, n, -1)
    np.testing.assert_allclose(rows, cells.sum(axis=-1), rtol=1e-10)


@both_libraries
def test_row_log_prob_of_a_category_is_one_number_per_row(library: str) -> None:
    logits = np.random.default_rng(8).normal(size=(5, CELLS, CLASSES))
    rows = likelihood("categorical").row_log_prob(
        LIBRARIES[library](INDICES[0]), within(library, {"logits": logits})
    )
    expected = special.log_softmax(logits, axis=-1)[:, np.arange(CELLS), INDICES[0]]
    np.testing.assert_allclose(rows, expected, rtol=1e-10)


def test_a_row_without_any_cell_counts_nothing() -> None:
    x = np.array([[1.0, 2.0], [math.nan, math.nan]])
    rows = likelihood("normal").row_log_prob(x, {"loc": np.zeros((2, 2)), "log_scale": np.zeros((2, 2))})
    assert rows[0] < 0
    assert rows[1] == 0


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_range_matters_to_bernoulli_alone(name: str) -> None:
    family: Likelihood = likelihood(name, (0, 255))
    same = family.mean(parameters_of(name)) == likelihood(name).mean(parameters_of(name))
    assert same.all() == (name != "bernoulli")


def test_an_unknown_likelihood_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ManifestError, match="unknown likelihood 'gamma'") as refusal:
        likelihood("gamma")
    assert all(name in str(refusal.value) for name in FAMILIES)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_counts_beyond_any_integer_are_drawn_too(name: str) -> None:
    """Of what a decoder says far from all that it was trained on."""
    family = likelihood(name)
    largest = {key: np.array([40.0, 80.0]) for key in family.parameters}
    drawn = family.sample(largest, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, np.exp([40.0, 80.0]), rtol=0.01)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_further_parameter_has_a_constant(name: str) -> None:
    assert set(FAMILIES[name].constants) == set(FAMILIES[name].parameters[1:])
