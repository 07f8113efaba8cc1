"""Scores against a linear-Gaussian model, in which every likelihood has a closed form."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from models_store.evidence import ESTIMATOR
from models_store.manifest import decoder_file, encoder_file
from service.engine.batching import Receiver
from service.engine.model import Model
from service.engine.observations import Column, Observations
from service.engine.rules import Limits
from service.engine.scoring import LEAST_AT_ONCE, Scored
from tests.models_store.examples import NumpyArray, array, manifest

NOISE = 0.5
DIMS = {"left": 3, "right": 2}
RNG = np.random.default_rng(0)
WEIGHTS = {name: np.linalg.qr(RNG.standard_normal((size, 2)))[0] * [1.5, 0.7] for name, size in DIMS.items()}
ROWS = 12


class Expert:
    """The exact expert of a linear decoder with orthogonal columns, its variance made larger by a half."""

    def __init__(self, weight: NumpyArray) -> None:
        self._weight = weight

    def submit(self, rows: NumpyArray, receiver: Receiver) -> None:
        squares = (self._weight**2).sum(axis=0)
        mu = rows @ self._weight / squares
        log_var = np.broadcast_to(np.log(1.5 * NOISE**2 / squares), mu.shape)
        receiver.set_result({"mu": mu.astype(np.float32), "log_var": log_var.astype(np.float32)})


class Linear:
    """x = W z + 0.5 e."""

    def __init__(self, weight: NumpyArray) -> None:
        self._weight = weight
        self.batches: list[int] = []

    async def run(self, rows: NumpyArray) -> dict[str, NumpyArray]:
        self.batches.append(len(rows))
        loc = rows @ self._weight.T
        return {"loc": loc, "log_scale": np.full_like(loc, np.log(NOISE))}

    def seconds(self, rows: int) -> float:
        return rows / 1e6


DECODERS = {name: Linear(weight) for name, weight in WEIGHTS.items()}


def model(reference: dict[str, Any] | None = None) -> Model:
    modalities = [array("vector", size).model_copy(update={"name": name}) for name, size in DIMS.items()]
    graphs: dict[str, Any] = {encoder_file(name): Expert(weight) for name, weight in WEIGHTS.items()}
    graphs |= {decoder_file(name): decoder for name, decoder in DECODERS.items()}
    described = manifest(latent_dim=2, modalities=modalities, reference=reference)
    return Model(described, graphs, Limits(rows=1000, draws=100_000, numbers=10**9))


def observed(**masks: Sequence[bool]) -> Observations:
    """Rows of the model itself."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((ROWS, 2))
    columns = {}
    for name, weight in WEIGHTS.items():
        x = z @ weight.T + NOISE * rng.standard_normal((ROWS, DIMS[name]))
        columns[name] = Column(x.astype(np.float32), np.array(masks.get(name, [True] * ROWS)))
    return Observations(columns, ROWS)


def score(
    observations: Observations,
    condition: str = "none",
    targets: str = "all",
    draws: int = 4000,
    **options: Any,
) -> Scored:
    score_options = {"seed": 1, **options}
    described = model(score_options.pop("reference", None))
    return asyncio.run(
        described.score(observations, condition.split(","), targets.split(","), draws=draws, **score_options)
    )


def closed_form(observations: Observations, names: Sequence[str], row: int) -> float:
    weight = np.concatenate([WEIGHTS[name] for name in names])
    x = np.concatenate([observations.columns[name].values[row] for name in names])
    covariance = weight @ weight.T + NOISE**2 * np.eye(len(weight))
    return float(multivariate_normal(np.zeros(len(weight)), covariance).logpdf(x))


def assert_within_errors(answer: Scored, expected: Sequence[float]) -> None:
    estimate = answer.evidence
    assert (np.abs(estimate.log_prob - expected) < 4 * estimate.std_error + 1e-3).all()
    assert ((estimate.ess >= 1) & (estimate.ess <= 4000)).all()


def test_the_joint_score_is_the_likelihood_in_closed_form() -> None:
    rows = observed()
    answer = score(rows)
    assert answer.questions == ["left,right"] * ROWS
    assert_within_errors(answer, [closed_form(rows, ["left", "right"], row) for row in range(ROWS)])


@pytest.mark.parametrize("name", DIMS)
def test_the_score_of_one_is_its_marginal(name: str) -> None:
    rows = observed()
    answer = score(rows, targets=name)
    assert answer.questions == [name] * ROWS
    assert_within_errors(answer, [closed_form(rows, [name], row) for row in range(ROWS)])


def predictive(observations: Observations, row: int) -> float:
    """log p(right | left) of the density that is drawn from: the decoded q(z | left), with noise."""
    answer = asyncio.run(model().encode(observations, ["left"], draws=1, seed=0, explained=False))
    weight = WEIGHTS["right"]
    covariance = weight * np.exp(answer.log_var[row]) @ weight.T + NOISE**2 * np.eye(len(weight))
    x = observations.columns["right"].values[row]
    return float(multivariate_normal(weight @ answer.mu[row], covariance).logpdf(x))


def test_a_score_given_something_is_the_density_that_is_drawn_from() -> None:
    rows = observed()
    answer = score(rows, condition="left")
    assert answer.questions == ["right|left"] * ROWS
    assert_within_errors(answer, [predictive(rows, row) for row in range(ROWS)])


def test_each_row_is_asked_for_what_it_has() -> None:
    lacking = [row % 3 == 0 for row in range(ROWS)]
    rows = observed(right=[not lack for lack in lacking])
    answer = score(rows)
    has = [["left"] if lack else ["left", "right"] for lack in lacking]
    assert answer.questions == [",".join(names) for names in has]
    assert_within_errors(answer, [closed_form(rows, names, row) for row, names in enumerate(has)])


def test_a_value_under_a_mask_does_not_matter() -> None:
    rows = observed(right=[row > 5 for row in range(ROWS)])
    spoilt = {name: Column(column.values.copy(), column.present) for name, column in rows.columns.items()}
    spoilt["right"].values[:6] = np.nan
    np.testing.assert_array_equal(
        score(Observations(spoilt, ROWS)).evidence.log_prob, score(rows).evidence.log_prob
    )


def test_a_seed_gives_the_same_score_and_another_seed_another() -> None:
    rows = observed()
    first, again, other = (score(rows, draws=50, seed=seed).evidence.log_prob for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("at_once", [1, 7, 120, 1000])
@pytest.mark.parametrize("condition", ["none", "left"])
def test_batches_of_draws_change_how_much_is_decoded_at_once_and_nothing_else(
    condition: str, at_once: int
) -> None:
    DECODERS["right"].batches.clear()
    answer = score(observed(), condition, draws=150, at_once=at_once)
    assert max(DECODERS["right"].batches) == min(max(at_once, LEAST_AT_ONCE), 150) * ROWS
    np.testing.assert_allclose(
        answer.evidence.log_prob, score(observed(), condition, draws=150).evidence.log_prob, rtol=1e-6
    )


REFERENCE = {"left": {"K": 100, "rows": 9, "quantiles": [-100.0, -50.0, 50.0], "estimator": ESTIMATOR}}


def test_a_p_value_is_twice_the_share_of_held_out_rows_on_the_nearer_side() -> None:
    """Scores are from -6 to -2: between a half and three quarters of the reference score lower."""
    answer = score(observed(), targets="left", draws=100, reference=REFERENCE)
    lower = 0.5 + (answer.evidence.log_prob + 50) / 200
    np.testing.assert_allclose(answer.p_value, 2 * (1 - lower), atol=1e-9)


@pytest.mark.parametrize("quantiles", [[100.0, 200.0], [-200.0, -100.0]], ids=["below", "above"])
def test_a_score_on_either_side_of_all_held_out_rows_has_the_least_p_value(quantiles: list[float]) -> None:
    """A picture more likely than any real one, such as an empty one, is strange too."""
    beyond = {"left": {**REFERENCE["left"], "quantiles": quantiles}}
    assert score(observed(), targets="left", draws=100, reference=beyond).p_value.tolist() == [0.1] * ROWS


@pytest.mark.parametrize("estimator", [None, "another"])
def test_a_reference_of_another_estimator_gives_no_p_value(estimator: str | None) -> None:
    old = {"left": {**REFERENCE["left"], "estimator": estimator}}
    assert np.isnan(score(observed(), targets="left", draws=100, reference=old).p_value).all()


@pytest.mark.parametrize(
    "score_options", [{"targets": "right", "draws": 100}, {"targets": "left", "draws": 50}]
)
def test_without_a_reference_for_the_question_and_k_there_is_no_p_value(
    score_options: dict[str, Any],
) -> None:
    assert np.isnan(score(observed(), reference=REFERENCE, **score_options).p_value).all()
