"""Posteriors of extreme experts, and the memory that draws take."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np

from models_store.fusion import Gaussian, product
from models_store.linear import EncoderOutput, Experts, LinearModels
from models_store.members import Members
from service.engine.draws import fill_with_noise
from service.engine.fusing import Expert, Explanation, FusionRequest
from service.engine.posteriors import SINGLE, fuse


def expert(mu: list[float], log_var: list[float]) -> Expert:
    return Expert(np.array([mu], np.float32), np.array([log_var], np.float32), None)


def test_many_draws_take_the_memory_of_the_draws() -> None:
    tracemalloc.start()
    try:
        (fused,) = fuse(("left",), 8, [FusionRequest({}, n=200, draws=500, seed=1)])
        assert tracemalloc.get_traced_memory()[1] < 1.5 * fused.z.nbytes
    finally:
        tracemalloc.stop()


def test_experts_that_say_nothing_of_one_dimension_are_not_missing() -> None:
    """They contradict each other in the second dimension; the first gives no finite disagreement."""
    experts = {"left": expert([0, 9], [np.inf, -3]), "right": expert([0, -9], [-3, -3])}
    with np.errstate(invalid="ignore"):
        (fused,) = fuse(tuple(experts), 2, [FusionRequest(experts, 1, 1, seed=1, explained=True)])
    assert fused.explanation is not None
    assert fused.explanation.disagreement[0] != 0
    assert np.isfinite(fused.mu).all()


def test_an_expert_that_says_nothing_is_as_if_it_were_missing() -> None:
    right = {"right": expert([1, -9], [-3, 2])}
    both = right | {"left": expert([5, 5], [np.inf, np.inf])}
    uninformative, missing = (
        fuse(("left", "right"), 2, [FusionRequest(experts, 1, 2, seed=1, explained=True)])[0]
        for experts in (both, right)
    )
    assert uninformative.explanation is not None
    assert missing.explanation is not None
    pairs = (uninformative, uninformative.explanation), (missing, missing.explanation)
    for one, other in zip(
        *((fused.mu, fused.log_var, fused.z, *explanation) for fused, explanation in pairs), strict=True
    ):
        assert np.array_equal(one, other)


def test_neither_an_explanation_nor_other_requests_change_a_posterior() -> None:
    rng = np.random.default_rng(0)
    sent = rng.normal(0, 3, (2, 2, 300, 64)).astype(np.float32)
    experts = {name: Expert(sent[0, m], sent[1, m], None) for m, name in enumerate("ab")}
    plain = FusionRequest(experts, 300, 1, seed=1)
    other = FusionRequest({"a": expert([9.0] * 64, [-9.0] * 64)}, 1, 2, seed=2, explained=True)
    explained = plain._replace(explained=True)
    (alone,), (_, together, again) = (
        fuse(("a", "b", "c"), 64, requests) for requests in ([plain], [other, explained, plain])
    )
    for fused in (together, again):
        assert np.array_equal(fused.mu, alone.mu)
        assert np.array_equal(fused.log_var, alone.log_var)
        assert np.array_equal(fused.z, alone.z)
    assert again.explanation is None
    assert together.explanation is not None
    np.testing.assert_allclose(together.explanation.contributions.sum(axis=0), 1)
    assert not together.explanation.contributions[3].any()


def test_a_linear_model_has_its_exact_posterior_together_as_alone() -> None:
    rng, members, n = np.random.default_rng(0), Members(3, (0.25, 0.75)), 5
    linear = LinearModels(members)
    mask = np.array([True, False, True, True, False])
    sent = {}
    for name, present in (("a", None), ("b", mask)):
        rows = n if present is None else int(present.sum())
        half = rng.standard_normal((rows, 3, 3))
        triangle = (half @ half.swapaxes(1, 2))[:, *np.tril_indices(3)]
        natural = np.concatenate([rng.standard_normal((rows, 3)), triangle], axis=1).astype(np.float32)
        mu, log_var = (rng.standard_normal((rows, 7)).astype(np.float32) for _ in range(2))
        sent[name] = Expert(mu, log_var, present, natural)
    both = FusionRequest(sent, n, 4, seed=3, explained=True)
    only = FusionRequest({"a": sent["a"]}, n, 4, seed=3)
    (alone,), (_, together) = (
        fuse(("a", "b"), 7, requests, linear, members.parts) for requests in ([both], [only, both])
    )
    for field in ("mu", "log_var", "z"):
        assert np.array_equal(getattr(alone, field), getattr(together, field))
    a, b = (EncoderOutput(one.mu, one.log_var, one.natural) for one in (sent["a"], sent["b"]))
    whole = EncoderOutput(*(np.zeros((n, *part.shape[1:]), np.float32) for part in b if part is not None))
    for place, part in zip(whole, b, strict=True):
        if place is not None:
            place[mask] = part
    expected = Experts.of([a, whole], np.stack([np.ones(n, bool), mask]), linear).product()
    noise = np.empty((n, 4, 7), np.float32)
    fill_with_noise(noise, 3)
    np.testing.assert_allclose(alone.mu, expected.mu, atol=1e-5)
    np.testing.assert_allclose(alone.z, expected.sample(noise), atol=1e-5)
    assert alone.explanation is not None
    network, of_linear = (expected.within(part).kl_from_prior() for _, part in members.parts)
    np.testing.assert_allclose(alone.explanation.information, 0.25 * network + 0.75 * of_linear, rtol=1e-5)


def test_an_ensemble_is_explained_by_the_weighted_mean_of_its_models() -> None:
    rng, members, n = np.random.default_rng(0), Members(3, (0.2, 0.3, 0.5)), 6
    sent = {name: rng.standard_normal((2, n, members.joint_dimension)).astype(np.float32) for name in "abc"}
    for mu, log_var in sent.values():
        mu[:, -1], log_var[:, -1] = 0.0, 80.0  # no expert knows u

    def explained(dimensions: slice, models: Sequence[tuple[float, slice]]) -> Explanation:
        given = {name: x[..., dimensions] for name, x in sent.items() if name != "b"}
        experts = {name: Expert(mu, log_var, None) for name, (mu, log_var) in given.items()}
        size = experts["a"].mu.shape[1]
        request = FusionRequest(experts, n, 1, seed=1, explained=True)
        explanation = fuse(("a", "b", "c"), size, [request], None, models)[0].explanation
        assert explanation is not None
        return explanation

    whole = explained(slice(None), members.parts)
    each = [explained(part, SINGLE) for _, part in members.parts]
    for field, values in zip(whole._fields, zip(*each, strict=True), strict=True):
        expected = np.average(values, axis=0, weights=members.weights)
        np.testing.assert_allclose(getattr(whole, field), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(whole.contributions.sum(axis=0), 1)


def test_posteriors_in_single_precision_are_those_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    sent = rng.normal(0, 20, (2, 3, 300, 64)).astype(np.float32)  # variances from e^-80 to e^80
    experts = {name: Expert(sent[0, m], sent[1, m], None) for m, name in enumerate("abc")}
    (fused,) = fuse(("a", "b", "c"), 64, [FusionRequest(experts, 300, 0, seed=1)])
    exact = product(Gaussian(*sent.astype(float)))
    np.testing.assert_allclose(fused.mu, exact.mu, rtol=2e-6, atol=2e-5)
    np.testing.assert_allclose(fused.log_var, exact.log_var, rtol=1e-6, atol=1e-6)
