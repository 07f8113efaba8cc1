"""Posteriors of extreme experts, and the memory that draws take."""

from __future__ import annotations

import tracemalloc

import numpy as np

from service.engine.posteriors import Expert, FusionRequest, fuse


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
    for one, other in zip(
        (*uninformative[:3], *uninformative.explanation), (*missing[:3], *missing.explanation), strict=True
    ):
        assert np.array_equal(one, other)
