"""One generator for all scores: it yields points of z, is sent decoded outputs, and returns the estimates.

It has no input or output of its own: the service awaits decoder graphs between two sends, training and
evaluation call theirs in a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np

from models_store.arrays import Array
from models_store.evidence.integrand import Integrand, RowDecoded, Steps
from models_store.evidence.laplace import peak
from models_store.evidence.mixture import FEW, Draw, Mixture, Normal, encoder_mixture, laplace_mixture
from models_store.evidence.weights import Evidence, RowEvidence, estimate, mixed, stacked
from models_store.likelihoods import Likelihood, Parameters
from models_store.linear import Posterior
from models_store.members import Members

ESTIMATOR: Final = "laplace"
"""Name of the estimator in references of ``p_value``: only scores of one estimator compare."""
DRAWS_PER_DIMENSION = 4
"""Least draws per latent dimension for a fit of the mode, which costs a pass per dimension and step."""

Request: TypeAlias = Mapping[str, Array]
"""Points z, (points, D) in float32, to decode for each target."""
Decoded: TypeAlias = Mapping[str, Parameters]
"""The decoder's outputs at these points, (points, *shape) each, by target."""
Noise: TypeAlias = Sequence[Draw]
"""Per row, a function from a number to as many standard normal draws, (number, D)."""


@dataclass(frozen=True)
class Target:
    """A scored modality.

    Arguments:
        name: Name of the modality.
        family: Its likelihood.
        x: Rows, (n, *shape); any value where missing.
        present: Mask of the rows that have it, (n,).
    """

    name: str
    family: Likelihood
    x: Array
    present: Array

    @cached_property
    def observed(self) -> Array:
        """Mask of the rows that have a cell of it, (n,)."""
        if not np.issubdtype(self.x.dtype, np.floating):
            return self.present
        cells: Array = np.isnan(self.x.reshape(len(self.x), -1))
        return self.present & ~cells.all(axis=1)


@dataclass(frozen=True)
class Question:
    """Rows to be scored: log p(x_T | x_S).

    Arguments:
        given: q(z | x_S), (n, D) each; the standard normal without a condition.
        posterior: The encoders' q(z | x_S, x_T), (n, D) each.
        targets: The modalities in T.
        members: Models whose latent spaces lie beside each other in z; None: one.
    """

    given: Posterior
    posterior: Posterior
    targets: Sequence[Target]
    members: Members | None = None

    def within(self, dimensions: slice) -> Question:
        """The same rows for one model of an ensemble: its dimensions of z."""
        return Question(self.given.within(dimensions), self.posterior.within(dimensions), self.targets)

    def integrand(self, row: int) -> Integrand:
        observed = [(t.family, t.x[row : row + 1]) for t in self.targets if t.observed[row]]
        mu, std, factor = _parts(self.given, row)
        return Integrand(mu, std, observed, factor)

    def start(self, row: int) -> Normal:
        """The encoders' posterior in the units of q(z | x_S)."""
        (mu, std, factor), (to_mu, to_std, to_factor) = (
            _parts(one, row) for one in (self.given, self.posterior)
        )
        centre, width = (to_mu - mu) / std, to_std / std
        if factor is None:
            return Normal(centre, width)
        spread = width[:, None] * (np.eye(len(width)) if to_factor is None else to_factor)
        whitened = np.linalg.solve(factor, np.column_stack([centre, spread]))
        return Normal(whitened[:, 0], np.linalg.norm(whitened[:, 1:], axis=1))


Propose: TypeAlias = Callable[[Integrand, Normal, int, int], Steps[Mixture]]
"""From the integrand, the encoders' posterior, K and the points at once to the mixture to draw from."""


def laplace(row: Integrand, posterior: Normal, draws: int, at_once: int) -> Steps[Mixture]:
    """Proposals around the mode, or the encoders' where D is above K / 4 or outputs are not finite."""
    if draws >= max(FEW, DRAWS_PER_DIMENSION * len(posterior.mu)):
        top = yield from peak(row, posterior.mu, posterior.std, at_once)
        if top is not None:
            return laplace_mixture(top, posterior, draws)
    return encoder_mixture(posterior, draws)


def plain(row: Integrand, posterior: Normal, draws: int, at_once: int) -> Steps[Mixture]:  # noqa: ARG001
    """All draws from the posterior as the encoders give it, as in MultiVae."""
    yield from ()
    return Mixture([posterior], [draws])


def estimating(
    question: Question, noise: Noise, draws: int, at_once: int, propose: Propose = laplace
) -> Generator[Request, Decoded, Evidence]:
    r"""Estimates log p(x_T | x_S) of each row; a row with nothing of T scores exactly 0.

    The estimate of a row depends on its own noise alone: neither on other rows, nor on ``at_once``.

    Arguments:
        question: The rows, T and S.
        noise: Source of the draws of each row; of an ensemble, of the latent dimension of a member.
        draws: Number K of draws.
        at_once: Largest number of points to decode together for each row.
        propose: Mixture to draw from.

    Yields:
        Points of z to decode, which must be sent back decoded.
    """
    if (members := question.members) is not None and len(members) > 1:
        return (yield from _of_ensemble(question, members, noise, draws, at_once, propose))
    rows = range(len(question.given.mu))
    integrands = [question.integrand(row) for row in rows]
    steps = {
        row: _estimate(integrands[row], question.start(row), noise[row], draws, at_once, propose)
        for row in rows
    }
    estimates: dict[int, RowEvidence] = {}
    answers: dict[int, RowDecoded | None] = dict.fromkeys(rows)
    while steps:
        points: dict[int, Array] = {}
        for row, answer in answers.items():
            try:
                with np.errstate(all="ignore"):  # a decoder may give any number far from the data
                    points[row] = steps[row].send(answer)  # type: ignore[arg-type]  # None starts it
            except StopIteration as finished:
                estimates[row] = finished.value
                del steps[row]
        if points:
            z = {row: integrands[row].z(u).astype(np.float32) for row, u in points.items()}
            answers = _split(question, z, (yield _joined(question, z)))
    return stacked([estimates[row] for row in rows])


def _of_ensemble(
    question: Question, members: Members, noise: Noise, draws: int, at_once: int, propose: Propose
) -> Generator[Request, Decoded, Evidence]:
    """The estimate of a mixture: each model with as many draws, since u has a mode in each part."""
    estimates = []
    for member in range(len(members)):
        share = -(-draws // len(members))
        steps = estimating(question.within(members.block(member)), noise, share, at_once, propose)
        decoded: Decoded | None = None
        while True:
            try:
                request = steps.send(decoded)  # type: ignore[arg-type]  # None starts it
            except StopIteration as finished:
                estimates.append(finished.value)
                break
            points = {name: members.placed(z, member) for name, z in request.items()}
            decoded = yield points
    return mixed(estimates, members.weights)


def _estimate(
    row: Integrand, posterior: Normal, noise: Draw, draws: int, at_once: int, propose: Propose
) -> Steps[RowEvidence]:
    """The steps of one row: propose, draw, weigh."""
    if not row.observed:
        return estimate(np.zeros(draws))
    mixture = yield from propose(row, posterior, draws, at_once)
    weights = []
    for u in mixture.sample(noise, at_once):
        decoded = yield u
        weights.append(row.log_prob(u, decoded) - mixture.log_prob(u))
    return estimate(np.concatenate(weights), mixture.counts)


def _joined(question: Question, z: Mapping[int, Array]) -> Request:
    """The points of all rows that have a target, for each target."""
    parts = {t.name: [points for row, points in z.items() if t.observed[row]] for t in question.targets}
    return {name: np.concatenate(points) for name, points in parts.items() if points}


def _split(question: Question, z: Mapping[int, Array], decoded: Decoded) -> dict[int, RowDecoded | None]:
    """By row, the outputs at its points of each target that it has."""
    outputs: dict[int, list[Parameters]] = {row: [] for row in z}
    for target in question.targets:
        start = 0
        for row, points in z.items():
            if target.observed[row]:
                part = slice(start, start := start + len(points))
                outputs[row].append({name: value[part] for name, value in decoded[target.name].items()})
    return dict(outputs)


def _parts(posterior: Posterior, row: int) -> tuple[Array, Array, Array | None]:
    """Mean, standard deviations, and factor of the correlations of one row and model, in double precision."""
    factor = None if posterior.factor is None else _wide(posterior.factor[row, 0])
    return _wide(posterior.mu[row]), np.exp(_wide(posterior.log_var[row]) / 2), factor


def _wide(x: Array) -> Array:
    return np.asarray(x, np.float64)


def answered(
    estimates: Generator[Request, Decoded, Evidence], decode: Callable[[str, Array], Parameters]
) -> Evidence:
    """Runs :func:`estimating` to its end.

    Arguments:
        estimates: The generator.
        decode: Maps a target and points z, (points, D), to the outputs of its decoder.
    """
    try:
        request = next(estimates)
        while True:
            request = estimates.send({name: decode(name, z) for name, z in request.items()})
    except StopIteration as finished:
        result: Evidence = finished.value
        return result
