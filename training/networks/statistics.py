"""Statistics of training rows that are read once, a block at a time, and never held together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


class _Moments:
    """Count, mean and sum of squared deviations of each cell, in float64.

    Blocks are joined as by Chan, Golub & LeVeque (1983), which loses no digits of a small variance.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.count, self.mean, self.squares = torch.zeros((3, *shape), dtype=torch.float64)

    def see(self, x: Tensor) -> None:
        there = ~x.isnan()
        count = there.sum(dim=0)
        mean = x.nansum(dim=0) / count.clamp(min=1)
        self.join(count, mean, torch.where(there, x - mean, 0.0).square().sum(dim=0))

    def join(self, count: Tensor, mean: Tensor, squares: Tensor) -> None:
        total = self.count + count
        apart, share = mean - self.mean, count / total.clamp(min=1)
        self.squares = self.squares + squares + apart.square() * self.count * share
        self.mean = self.mean + apart * share
        self.count = total

    def of(self, columns: Sequence[int]) -> _Moments:
        """The moments of some columns."""
        some = copy(self)
        some.count, some.mean, some.squares = self.count[columns], self.mean[columns], self.squares[columns]
        return some


def plain(x: Tensor) -> Tensor:
    """The cells themselves."""
    return x


class CellStatistics:
    """Means, deviations, extremes and counts of labels of each cell over the rows that have it.

    Networks take it in place of the training rows.

    Arguments:
        shape: Shape of a row.
        labels: Number of labels of each column of a table, 0 for a column of numbers; none for other kinds.
        floating: Whether the cells are floats, NaN where missing.
    """

    def __init__(self, shape: Sequence[int], labels: Sequence[int] = (), *, floating: bool = True) -> None:
        self._floating = floating
        self._moments: dict[Function, _Moments] = {
            function: _Moments(shape) for function in (plain, torch.log, torch.log1p)
        }
        self.low = torch.full(tuple(shape), torch.inf, dtype=torch.float64)
        self.high = -self.low
        self.counts = [torch.zeros(count, dtype=torch.float64) for count in labels]

    def see(self, x: Tensor) -> None:
        """Takes account of rows, (n, *shape), NaN where missing."""
        if not len(x):
            return
        wide = x.to(torch.float64)
        for function, moments in self._moments.items():
            values = function(wide)
            moments.see(torch.where(values.isfinite(), values, torch.nan))
        missing = wide.isnan()
        self.low = torch.minimum(self.low, torch.where(missing, torch.inf, wide).amin(dim=0))
        self.high = torch.maximum(self.high, torch.where(missing, -torch.inf, wide).amax(dim=0))
        for at, counts in enumerate(self.counts):
            if len(counts):
                cells = wide[:, at][~missing[:, at]].to(torch.int64)
                counts += torch.bincount(cells, minlength=len(counts))

    def join(self, other: CellStatistics) -> None:
        """Takes account of the rows that other statistics have seen."""
        for function, moments in other._moments.items():
            self._moments[function].join(moments.count, moments.mean, moments.squares)
        self.low, self.high = torch.minimum(self.low, other.low), torch.maximum(self.high, other.high)
        for counts, further in zip(self.counts, other.counts, strict=True):
            counts += further

    def is_floating_point(self) -> bool:
        """Whether the cells are floats."""
        return self._floating

    def __getitem__(self, place: tuple[slice, Sequence[int]]) -> Self:
        """The statistics of some columns, written as for rows: ``x[:, columns]``."""
        _, columns = place
        some = copy(self)
        some._moments = {function: moments.of(columns) for function, moments in self._moments.items()}
        some.low, some.high = self.low[columns], self.high[columns]
        some.counts = [self.counts[at] for at in columns] if self.counts else []
        return some

    def scales(self, function: Function) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a function of each cell, NaN where no row has it; float64.

        Arguments:
            function: :func:`plain`, ``torch.log`` or ``torch.log1p``.
        """
        moments = self._moments[function]
        return moments.mean, (moments.squares / moments.count).sqrt()
