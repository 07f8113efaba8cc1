"""A view that is reconstructed unlike held-out rows loses weight beside others, unless the client objects."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from models_store.calibration import Calibration, Typical, expert_weights, learned_typical
from service.engine.model import Encoded
from service.engine.observations import Column, Observations
from tests.models_store.examples import NumpyArray
from tests.service.test_scoring import model, observed

TYPICAL = {"left": Typical(-12.0, -2.0), "right": Typical(-12.0, -1.0)}
WRONG = 3
"""Row whose left view is wrong."""


def rows() -> Observations:
    """Rows of the model; in one, the left view is far from everything that the decoder can give."""
    columns = dict(observed().columns)
    left = columns["left"].values.copy()
    # beyond the two directions of the decoder
    outside = np.linalg.svd(left)[2][2]
    left[WRONG] += 30 * outside
    return Observations({**columns, "left": Column(left)}, len(left))


def encode(observations: Observations, **options: Any) -> Encoded:
    described = model()
    described.calibration = Calibration({}, options.pop("typical", TYPICAL))
    return asyncio.run(described.encode(observations, ["all"], draws=2, seed=1, **options))


def shares(encoded: Encoded) -> NumpyArray:
    assert encoded.explanation is not None
    return encoded.explanation.contributions


def only(observations: Observations, name: str) -> Observations:
    return Observations({name: observations.columns[name]}, observations.n)


def test_a_wrong_view_loses_its_share_and_the_others_keep_theirs() -> None:
    robust, plain = encode(rows()), encode(rows(), robust=False)
    assert shares(robust)[1, WRONG] < 1e-3 < shares(plain)[1, WRONG]
    np.testing.assert_allclose(shares(robust).sum(axis=0), 1, rtol=1e-6)
    others = np.arange(rows().n) != WRONG
    np.testing.assert_array_equal(robust.mu[others], plain.mu[others])
    np.testing.assert_array_equal(robust.z[others], plain.z[others])


def test_the_posterior_is_that_of_the_views_that_are_right() -> None:
    alone = encode(only(rows(), "right"))
    np.testing.assert_allclose(encode(rows()).mu[WRONG], alone.mu[WRONG], atol=1e-3)


def test_the_disagreement_is_that_of_what_was_sent() -> None:
    robust, plain = encode(rows()).explanation, encode(rows(), robust=False).explanation
    assert robust is not None
    assert plain is not None
    np.testing.assert_allclose(robust.disagreement, plain.disagreement, rtol=1e-6)


def test_a_view_alone_keeps_its_weight_however_wrong() -> None:
    robust, plain = (encode(only(rows(), "left"), robust=robust) for robust in (True, False))
    np.testing.assert_array_equal(robust.mu, plain.mu)


def test_a_model_without_reconstructions_of_held_out_rows_changes_nothing() -> None:
    np.testing.assert_array_equal(encode(rows(), typical={}).mu, encode(rows(), robust=False).mu)


def test_rows_that_lack_a_view_are_judged_by_what_they_have() -> None:
    wrong = rows()
    present = np.arange(wrong.n) != WRONG
    partial = Observations(
        {**wrong.columns, "right": Column(wrong.columns["right"].values, present)}, wrong.n
    )
    np.testing.assert_array_equal(encode(partial).mu, encode(partial, robust=False).mu)


def test_weights_are_relative_to_the_best_view_that_a_row_has() -> None:
    scores = np.array([[0.0, -5.0, -5.0], [-2.0, -6.0, -9.0]])
    present = np.array([[True, True, False], [True, True, True]])
    np.testing.assert_allclose(
        expert_weights(scores, present)[present], np.exp([0, 0, -2, -1, 0]), rtol=1e-12
    )


def test_what_is_typical_is_the_upper_98_percent_of_held_out_rows() -> None:
    entry = learned_typical(np.arange(101.0))
    assert entry == Typical(2.0, 50.0)
    assert entry is not None
    np.testing.assert_allclose(entry.score(np.array([2.0, 80.0, np.nan, -10.0])), [0, 0, 0, -1])
    assert learned_typical(np.arange(49.0)) is None
