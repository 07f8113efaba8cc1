"""Likelihood of a row of mixed columns: each column has a family of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np

from models_store.fusion import Array, array_namespace
from models_store.likelihoods.base import Likelihood, Parameters
from models_store.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from models_store.likelihoods.labels import Categorical
from models_store.likelihoods.measures import Laplace, LogNormal, Normal, StudentT

CELLS: Mapping[str, Likelihood] = MappingProxyType(
    {
        "normal": Normal(),
        "log_normal": LogNormal(),
        "laplace": Laplace(),
        "student_t": StudentT(),
        "poisson": Poisson(),
        "negative_binomial": NegativeBinomial(),
        "zero_inflated": ZeroInflated(),
        "categorical": Categorical(),
    }
)
"""Families that a column of a table may have."""


class Part(NamedTuple):
    """Family of one column.

    Arguments:
        likelihood: A key of ``CELLS``.
        labels: Number of labels of a categorical column; else 0.
    """

    likelihood: str
    labels: int = 0

    @property
    def family(self) -> Likelihood:
        return CELLS[self.likelihood]

    @property
    def width(self) -> int:
        """Number of the decoder's outputs for this column: its parameters, or one logit per label."""
        return self.labels or len(self.family.parameters)


class _Group(NamedTuple):
    """Columns whose parameters have the same form.

    Arguments:
        family: Their family.
        columns: Their places in a row, (g,).
        places: Places of their parameters in the decoder's output, (g, width).
        labels: Number of labels; 0 for numbers.
    """

    family: Likelihood
    columns: Array
    places: Array
    labels: int

    def of(self, whole: Parameters) -> Parameters:
        """Their parameters by name, (*, g) each, or logits (*, g, labels)."""
        values = whole["parameters"]
        if self.labels:
            return {"logits": values[..., self.places]}
        return {name: values[..., self.places[:, at]] for at, name in enumerate(self.family.parameters)}


@final
@dataclass(frozen=True)
class Mixed(Likelihood):
    r""":math:`\prod_j p_j(x_j)`: columns are independent given z; a cell with a label holds its index.

    The decoder's one output holds the parameters of all columns, column by column.

    Arguments:
        parts: Family of each column; at least one for any use.

    >>> family = Mixed((Part("normal"), Part("categorical", 2)))
    >>> parameters = {"parameters": np.zeros((1, 4))}
    >>> family.log_prob(np.array([[0.0, 1.0]]), parameters).round(4).tolist()
    [[-0.9189, -0.6931]]
    """

    parameters = ("parameters",)
    parts: tuple[Part, ...] = ()

    @property
    def width(self) -> int:
        """Length of the decoder's output."""
        return sum(part.width for part in self.parts)

    def columns(self, parameters: Parameters) -> Iterator[tuple[Likelihood, Parameters]]:
        """Yields the family of each column and its parameters by name, (*), or logits (*, labels)."""
        stop, values = 0, parameters["parameters"]
        for part in self.parts:
            start, stop = stop, stop + part.width
            if part.labels:
                yield part.family, {"logits": values[..., start:stop]}
            else:
                names = enumerate(part.family.parameters, start)
                yield part.family, {name: values[..., at] for at, name in names}

    def mean(self, parameters: Parameters) -> Array:
        """Means of numbers, (*, C); NaN for labels, whose probabilities follow from :meth:`columns`."""
        return self._of_numbers(parameters, lambda family, values: family.mean(values))

    def variance(self, parameters: Parameters) -> Array:
        """Variances of numbers, (*, C); NaN for labels."""
        return self._of_numbers(parameters, lambda family, values: family.variance(values))

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Array:
        """One draw of each cell, (*, C); for a label its index."""
        drawn = self._joined([group.family.sample(group.of(parameters), rng) for group in self._groups])
        return drawn.astype(parameters["parameters"].dtype)

    def _log_prob(self, x: Array, parameters: Parameters) -> Array:
        return self._joined(
            [group.family.log_prob(x[..., group.columns], group.of(parameters)) for group in self._groups]
        )

    def _roots(self, parameters: Parameters, tangents: Parameters) -> list[Array]:
        values = tangents["parameters"]
        roots = []
        for group in self._groups:
            for root in group.family._roots(group.of(parameters), group.of(tangents)):
                # one array (A, C) for numbers, and one per label, so that missing cells are columns
                for part in np.moveaxis(root, -1, 0) if group.labels else [root]:
                    whole = np.zeros((len(values), len(self.parts)), values.dtype)
                    whole[:, group.columns] = part
                    roots.append(whole)
        return roots

    def _of_numbers(self, parameters: Parameters, of: Callable[[Likelihood, Parameters], Array]) -> Array:
        """A moment of every number, NaN in place of labels."""
        values = []
        for group in self._groups:
            selected = group.of(parameters)
            values.append(
                selected["logits"][..., 0] * float("nan") if group.labels else of(group.family, selected)
            )
        return self._joined(values)

    def _joined(self, values: Sequence[Array]) -> Array:
        """The columns of all groups in the order of a row."""
        return array_namespace(values[0]).concat(values, axis=-1)[..., self._order]

    @cached_property
    def _order(self) -> Array:
        return np.argsort(np.concatenate([group.columns for group in self._groups]))

    @cached_property
    def _groups(self) -> tuple[_Group, ...]:
        starts = np.cumsum([0, *(part.width for part in self.parts)])
        members: dict[Part, list[int]] = {}
        for at, part in enumerate(self.parts):
            members.setdefault(part, []).append(at)
        return tuple(
            _Group(
                part.family,
                np.array(columns),
                starts[columns][:, None] + np.arange(part.width),
                part.labels,
            )
            for part, columns in members.items()
        )
