"""Questions about small models whose decoders are functions of z."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from models_store.evidence import Evidence, Noise, Question, Target, answered, estimating, laplace
from models_store.fusion import Gaussian
from models_store.likelihoods import FAMILIES, Parameters
from models_store.linear import Posterior
from tests.models_store.examples import NumpyArray

Decoder = Callable[[NumpyArray], Parameters]


def noise(rows: int, dimension: int, seed: int) -> Noise:
    """One generator per row."""

    def of(row: int) -> Callable[[int], NumpyArray]:
        rng = np.random.default_rng([seed, row])
        return lambda count: rng.standard_normal((count, dimension))

    return [of(row) for row in range(rows)]


def normal(mu: NumpyArray, std: Any) -> Gaussian:
    return Gaussian(mu, np.broadcast_to(2 * np.log(std), mu.shape))


def question(
    family: str, x: NumpyArray, given: Gaussian, posterior: Gaussian, present: NumpyArray | None = None
) -> Question:
    """One target named ``x``."""
    present = np.ones(len(x), bool) if present is None else present
    return Question(Posterior(*given), Posterior(*posterior), [Target("x", FAMILIES[family](), x, present)])


def score(
    scored: Question,
    decoders: Mapping[str, Decoder] | Decoder,
    draws: int = 1000,
    seed: int = 0,
    at_once: int = 1000,
    dimension: int | None = None,
    **options: Any,
) -> Evidence:
    """``dimension`` is that of a member of an ensemble."""
    rows, joint = scored.given.mu.shape
    by_name = decoders if isinstance(decoders, Mapping) else {"x": decoders}
    propose = options.get("propose", laplace)
    steps = estimating(scored, noise(rows, dimension or joint, seed), draws, at_once, propose)
    return answered(steps, lambda name, z: by_name[name](z))
