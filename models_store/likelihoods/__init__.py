r"""The distributions :math:`p(x \mid z)` that a decoder can speak of, for arrays and tensors alike.

A decoder returns the parameters named in ``Likelihood.parameters``. All is elementwise, one number per
cell of ``x``. A NaN cell of ``x`` is missing: its log-density is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models_store.errors import ManifestError
from models_store.likelihoods.base import Constant, Likelihood, Parameters
from models_store.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from models_store.likelihoods.labels import Bernoulli, Categorical
from models_store.likelihoods.measures import Laplace, LogNormal, Normal, StudentT
from models_store.likelihoods.mixed import Mixed, Part

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Categorical",
    "Constant",
    "Likelihood",
    "Mixed",
    "Parameters",
    "Part",
    "likelihood",
]

FAMILIES: Mapping[str, type[Likelihood]] = {
    "normal": Normal,
    "log_normal": LogNormal,
    "laplace": Laplace,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated": ZeroInflated,
    "mixed": Mixed,
}


def likelihood(
    name: str, value_range: tuple[float, float] | None = None, parts: Sequence[Part] = ()
) -> Likelihood:
    """The likelihood of that name.

    Arguments:
        name: A key of ``FAMILIES``.
        value_range: Lowest and highest value of x, which ``bernoulli`` maps to 0 and 1; [0, 1] if not given.
        parts: Family of each column, which ``mixed`` needs.

    Raises:
        ManifestError: No likelihood has that name.
    """
    if name not in FAMILIES:
        raise ManifestError(f"unknown likelihood '{name}'; known are {', '.join(FAMILIES)}")
    if name == "bernoulli" and value_range is not None:
        return Bernoulli(*value_range)
    if name == "mixed":
        return Mixed(tuple(parts))
    return FAMILIES[name]()
