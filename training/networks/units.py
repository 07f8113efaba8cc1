"""Between the user's units and what networks like: numbers around 0, of about 1.

Each module keeps a copy of its constants: a file of weights holds no tensor twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models_store.likelihoods import Likelihood
from training.networks.outputs import ModelOutput, soft_bound, unbounded
from training.networks.statistics import CellStatistics, Function, plain

ROWS_AT_ONCE = 4096
"""Rows of which the scales are computed together."""
DEVIATIONS = {"laplace": math.sqrt(2), "student_t": math.sqrt(5 / 3)}
"""Standard deviation at scale 1 where it is not 1; Student's t has 5 degrees of freedom at the start."""
BEYOND = 1.0
"""Standard deviations of log x by which its location may lie outside of the training rows."""


class Standardise(nn.Module):
    """(x - shift) / scale, from any dtype to float32.

    Arguments:
        shift: What is taken off, broadcasting with one row of x.
        scale: What the rest is divided by.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0) -> None:
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32).clone())
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32).clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.float32) - self.shift) / self.scale


class Logarithm(nn.Module):
    """Counts to log(1 + count), which stretches the many small ones."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log1p(x.to(torch.float32))


class LogOfMeasure(nn.Module):
    """Measures above 0 to their logarithms; other values, as in rows without the modality, to 0.

    Such rows do not count, but an infinite value would make the gradient of the weights NaN.
    """

    def forward(self, x: Tensor) -> Tensor:
        measure = x.to(torch.float32)
        return torch.log(torch.where(measure > 0, measure, 1.0))


class FillMissing(nn.Module):
    """NaN cells become 0 after standardising, and a flag for each cell says so.

    Arguments:
        standardise: What the other cells go through.
        flag: Give (batch, 2, *shape), values and flags, instead of values alone.
    """

    def __init__(self, standardise: nn.Module, flag: bool = True) -> None:
        super().__init__()
        self.standardise = standardise
        self.flag = flag

    def forward(self, x: Tensor) -> Tensor:
        missing = torch.isnan(x)
        filled = torch.where(missing, 0.0, self.standardise(x))
        return torch.stack([filled, missing.to(torch.float32)], dim=1) if self.flag else filled


class OneHot(nn.Module):
    """An index of shape (batch,) to (batch, classes); one-hot rows stay as they are."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim > 1:
            return x.flatten(1)
        return nn.functional.one_hot(x.to(torch.int64), self.classes).to(torch.float32)


class InUnits(nn.Module):
    """Location and learned scale (and shape) of a standardised quantity, in the user's units.

    Arguments:
        shift: As in ``Standardise``.
        scale: As in ``Standardise``.
        shape: One learned log-scale per cell of this shape.
        starts: Further parameters without a unit, learned per cell likewise, and their first values.
        bounds: Lowest and highest standardised location of each cell; None: any.
    """

    shift: Tensor
    scale: Tensor
    low: Tensor | None
    high: Tensor | None

    def __init__(
        self,
        shift: Tensor,
        scale: Tensor,
        shape: Sequence[int],
        starts: Mapping[str, float] | None = None,
        bounds: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32).clone())
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32).clone())
        for name, bound in zip(("low", "high"), bounds or (None, None), strict=True):
            self.register_buffer(name, bound)
        self.log_scale = nn.Parameter(torch.zeros(tuple(shape)))
        self.further = nn.ParameterDict(
            {name: torch.full(tuple(shape), start) for name, start in (starts or {}).items()}
        )

    def set_deviations(self, deviations: Tensor, likelihood: str) -> None:
        """Sets the scales of a family by the standard deviation of each standardised cell."""
        scales = deviations / DEVIATIONS.get(likelihood, 1.0)
        self.log_scale.data = unbounded(scales.log()).reshape(self.log_scale.shape)

    def forward(self, raw: Tensor) -> ModelOutput:
        if self.low is not None and self.high is not None:
            raw = clipped(raw, self.low, self.high)
        log_scale = soft_bound(self.log_scale) + torch.log(self.scale)
        further = {name: soft_bound(value).expand_as(raw) for name, value in self.further.items()}
        return ModelOutput(
            reconstruction=self.shift + self.scale * raw, log_scale=log_scale.expand_as(raw), **further
        )


class AsCounts(nn.Module):
    """The logarithm of a mean around the usual one, and learned further parameters of the family of counts.

    Arguments:
        usual: The mean count of each cell.
        starts: Start of each further parameter, with the shape of ``usual``: :func:`count_starts`.
    """

    usual: Tensor

    def __init__(self, usual: Tensor, starts: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.register_buffer("usual", torch.log(usual.clamp(min=1e-3)))
        self.further = nn.ParameterDict(dict(starts))

    def forward(self, raw: Tensor) -> ModelOutput:
        further = {name: soft_bound(value).expand_as(raw) for name, value in self.further.items()}
        return ModelOutput(reconstruction=self.usual + soft_bound(raw), **further)


def count_starts(family: Likelihood, x: Tensor | CellStatistics) -> dict[str, Tensor]:
    """Starts of the parameters of counts after their mean, by the moments of each cell.

    Of the zeros, half are taken for those beyond the negative binomial's, if the family has such zeros.

    Arguments:
        family: Family of the counts.
        x: Training rows, (n, *shape), NaN where missing, or their statistics.
    """
    mean, deviation = column_scales(x)
    variance, starts = deviation.square(), dict[str, Tensor]()
    if "zero_logit" in family.parameters:
        zeros = torch.full_like(mean, 0.5)
        if isinstance(x, Tensor):
            zeros = _nanmean(x, lambda values: torch.where(values.isnan(), values, (values == 0).float()))
        share = (zeros.float() / 2).nan_to_num(0.25).clamp(0.01, 0.9)
        starts["zero_logit"] = share.logit()
        mean = mean / (1 - share)
        variance = variance / (1 - share) - share * mean.square()  # of what is no further zero
    if "log_total_count" in family.parameters:
        starts["log_total_count"] = total_count(mean, variance).log()
    return {name: starts[name] for name in family.parameters[1:]}


def total_count(mean: Tensor, variance: Tensor) -> Tensor:
    """The total count r of a negative binomial by moments: variance = mean + mean² / r, 1 … 1,000.

    Given z, counts vary less than their moments say: 1 is a better start than what is below it.
    """
    return (mean.square() / (variance - mean).clamp(min=1e-6)).clamp(1.0, 1000.0)


def column_scales(x: Tensor | CellStatistics, of: Function = plain) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each cell over the rows that have it; a constant cell has scale 1.

    Arguments:
        x: (n, *shape), NaN where missing, or statistics of such rows.
        of: Function of the cells whose mean and deviation are computed, such as a logarithm.
    """
    if isinstance(x, CellStatistics):
        mean, deviation = x.scales(of)
    else:
        mean = _nanmean(x, of)
        deviation = _nanmean(x, lambda values: (of(values) - mean).square()).sqrt()
    usable = deviation.isfinite() & (deviation > 0)
    return mean.nan_to_num().float(), torch.where(usable, deviation, 1.0).float()


def log_bounds(x: Tensor | CellStatistics) -> tuple[Tensor, Tensor]:
    """Lowest and highest standardised location of the logarithm of each cell, :data:`BEYOND` its own values.

    An answer is the exponential of the location: without bounds, one row far from all others would get one
    that is many times the largest value ever seen.

    Arguments:
        x: Training rows, (n, *shape), above 0, NaN where missing, or their statistics.
    """
    shift, scale = column_scales(x, torch.log)
    low, high = ((torch.log(extreme) - shift) / scale for extreme in _extremes(x))
    usable = low.isfinite() & high.isfinite()  # of a cell that no row has, neither is
    return (
        torch.where(usable, low - BEYOND, -BEYOND).float(),
        torch.where(usable, high + BEYOND, BEYOND).float(),
    )


def _extremes(x: Tensor | CellStatistics) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of each cell; infinite where no row has it."""
    if isinstance(x, CellStatistics):
        return x.low.float(), x.high.float()
    missing = torch.isnan(x)
    low, high = torch.where(missing, math.inf, x).amin(dim=0), torch.where(missing, -math.inf, x).amax(dim=0)
    return low, high


def clipped(raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Values within bounds, with the gradient of the values, which leads those outside back."""
    return torch.minimum(torch.maximum(raw, low), high).detach() + (raw - raw.detach())


def _nanmean(x: Tensor, of: Function) -> Tensor:
    """The mean over rows of a function of each cell, some rows at a time: x may be larger than memory."""
    total, count = torch.zeros((2, *x.shape[1:]), dtype=torch.float64)
    for start in range(0, len(x), ROWS_AT_ONCE):
        cells = of(x[start : start + ROWS_AT_ONCE].to(torch.float64))
        total += cells.nansum(dim=0)
        count += (~cells.isnan()).sum(dim=0)
    return total / count
