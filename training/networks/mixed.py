"""Features of rows of mixed columns for an encoder, and the parameters of all columns from a decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models_store.kinds.fields import Column
from models_store.likelihoods import Likelihood
from models_store.likelihoods.mixed import CELLS
from training.networks.outputs import ModelOutput, soft_bound, unbounded
from training.networks.statistics import CellStatistics, plain
from training.networks.units import DEVIATIONS, clipped, column_scales, count_starts, log_bounds

SHARES = 1.0
"""Rows by which the share of each label is raised before its logarithm is taken."""
LEAST_SHARE = 1e-6
"""Lower bound of the probability of a label in an order."""


def _family(column: Column) -> Likelihood:
    return CELLS[column.likelihood or "normal"]


class ColumnFeatures(nn.Module):
    """Features of rows of mixed columns, and a flag for each missing cell.

    A number is standardised: a count after log(1 + x), a number above 0 after log x. A label is one-hot; one
    in an order is 1 at every label up to it, so that neighbours have similar features. The features of a
    missing cell are 0.

    Arguments:
        columns: The columns.
        x: Training rows, (n, C), NaN where missing, or their statistics.
    """

    numbers: Tensor
    counted: Tensor
    logged: Tensor
    shift: Tensor
    scale: Tensor
    owner: Tensor
    index: Tensor
    ordered: Tensor

    def __init__(self, columns: Sequence[Column], x: Tensor | CellStatistics) -> None:
        super().__init__()
        numbers = [at for at, column in enumerate(columns) if not column.labels]
        labels = [(at, k) for at, column in enumerate(columns) for k in range(len(column.labels or ()))]
        self.width = len(numbers) + len(labels) + len(columns)
        self._constant("numbers", numbers, torch.int64)
        self._constant("counted", [_family(column).of_counts for column in columns], torch.bool)
        self._constant("logged", [_family(column).above_zero for column in columns], torch.bool)
        self._constant("owner", [at for at, _ in labels], torch.int64)
        self._constant("index", [k for _, k in labels], torch.int64)
        self._constant("ordered", [bool(columns[at].ordered) for at, _ in labels], torch.bool)
        shift, scale = self._scales(x)
        self.register_buffer("shift", shift[self.numbers])
        self.register_buffer("scale", scale[self.numbers])

    def _constant(self, name: str, values: Sequence[int | bool], dtype: torch.dtype) -> None:
        """Keeps what follows from the columns, and is not stored with the weights."""
        self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        missing = torch.isnan(x)
        filled = torch.where(missing, 0.0, x)
        standard = (self._stretched(filled)[:, self.numbers] - self.shift) / self.scale
        cells = filled[:, self.owner]
        hot = (cells == self.index) | (self.ordered & (cells >= self.index))
        features = [
            torch.where(missing[:, self.numbers], 0.0, standard),
            (hot & ~missing[:, self.owner]).to(torch.float32),
            missing.to(torch.float32),
        ]
        return torch.cat(features, dim=1)

    @property
    def flags(self) -> list[int]:
        """Index of the flag of each feature that says that its cell is missing."""
        before = len(self.numbers) + len(self.owner)
        return [before + at for at in (*self.numbers.tolist(), *self.owner.tolist())]

    def _scales(self, x: Tensor | CellStatistics) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the stretched cells of each column."""
        if not isinstance(x, CellStatistics):
            return column_scales(x, self._stretched)
        usual, logged, counted = (column_scales(x, of) for of in (plain, torch.log, torch.log1p))
        shift, scale = (
            torch.where(self.counted, of_count, torch.where(self.logged, of_log, of_number))
            for of_number, of_log, of_count in zip(usual, logged, counted, strict=True)
        )
        return shift, scale

    def _stretched(self, x: Tensor) -> Tensor:
        """Cells, (n, C), with the logarithms of counts and of numbers above 0."""
        logged = torch.log(torch.where(self.logged & (x > 0), x, 1.0))
        counted = torch.log1p(torch.where(self.counted, x, 0.0))
        return torch.where(self.counted, counted, torch.where(self.logged & (x == x), logged, x))


class ColumnParameters(nn.Module):
    """The parameters of all columns side by side, in the units of the data.

    The network gives one number for a number or for a label in an order, and one for each other label. Scale
    and dispersion are learned by column; a total count starts from the moments of its column.

    Arguments:
        columns: The columns.
        x: Training rows, (n, C), NaN where missing, or their statistics.
    """

    order: Tensor

    def __init__(self, columns: Sequence[Column], x: Tensor | CellStatistics) -> None:
        super().__init__()
        places, groups = _grouped(columns)
        made = [make(columns, at, x) for make, at in groups]
        self.groups = nn.ModuleList(made)
        self.widths = [group.inputs for group in made]
        self._columns = [at for _, at in groups]
        self.register_buffer("order", torch.argsort(torch.tensor(places)), persistent=False)

    @property
    def width(self) -> int:
        """Number of values that the network gives."""
        return sum(self.widths)

    @property
    def numbers(self) -> dict[int, int]:
        """Columns of numbers that are not counts, and which output of the network is the location of each."""
        starts = [sum(self.widths[:k]) for k in range(len(self.widths))]
        return {
            column: start + k
            for group, start, columns in zip(self.groups, starts, self._columns, strict=True)
            if isinstance(group, _Numbers)
            for k, column in enumerate(columns)
        }

    def set_deviations(self, deviations: Tensor) -> None:
        """Sets the scales by the standard deviation of each of :attr:`numbers`, standardised."""
        groups = [group for group in self.groups if isinstance(group, _Numbers)]
        for group, values in zip(
            groups, torch.split(deviations, [one.inputs for one in groups]), strict=True
        ):
            group.further.data[0] = unbounded(torch.log(values / group.deviation))

    @property
    def others(self) -> list[nn.Parameter]:
        """Parameters of the columns that are not among :attr:`numbers`."""
        groups = [group for group in self.groups if not isinstance(group, _Numbers)]
        return [parameter for group in groups for parameter in group.parameters()]

    def forward(self, raw: Tensor) -> ModelOutput:
        parts = torch.split(raw, self.widths, dim=1)
        parameters = [group(part) for group, part in zip(self.groups, parts, strict=True)]
        return ModelOutput(reconstruction=torch.cat(parameters, dim=1)[:, self.order])


class _Group(nn.Module):
    """Maps outputs of the network, (n, inputs), to the parameters of some columns, column by column."""

    inputs: int


Make = Callable[[Sequence[Column], Sequence[int], Tensor | CellStatistics], _Group]


def _grouped(columns: Sequence[Column]) -> tuple[list[int], list[tuple[Make, list[int]]]]:
    """Groups of columns with parameters of one form, and where the parameters of the groups belong."""
    members: dict[tuple[Make, object], list[int]] = {}
    for at, column in enumerate(columns):
        key: tuple[Make, object]
        if column.labels:
            key = (_Ordered, len(column.labels)) if column.ordered else (_Labels, None)
        else:
            key = (_Counts if _family(column).of_counts else _Numbers, column.likelihood)
        members.setdefault(key, []).append(at)
    widths = [len(column.labels or _family(column).parameters) for column in columns]
    starts = [sum(widths[:at]) for at in range(len(columns))]
    order = [at for group in members.values() for at in group]
    places = [starts[at] + k for at in order for k in range(widths[at])]
    return places, [(make, group) for (make, _), group in members.items()]


class _Numbers(_Group):
    """Location and learned scale (and shape) of numbers of one family."""

    shift: Tensor
    scale: Tensor
    low: Tensor | None
    high: Tensor | None

    def __init__(self, columns: Sequence[Column], at: Sequence[int], x: Tensor | CellStatistics) -> None:
        super().__init__()
        family, self.inputs = _family(columns[at[0]]), len(at)
        self.deviation = DEVIATIONS.get(columns[at[0]].likelihood or "normal", 1.0)
        values = x[:, at]
        shift, scale = column_scales(values, torch.log) if family.above_zero else column_scales(values)
        low, high = log_bounds(values) if family.above_zero else (None, None)
        for name, constant in {"shift": shift, "scale": scale, "low": low, "high": high}.items():
            self.register_buffer(name, constant)
        starts = [math.log(family.constants[name].value) for name in family.parameters[1:]]
        self.further = nn.Parameter(torch.tensor(starts)[:, None].repeat(1, len(at)))

    def forward(self, raw: Tensor) -> Tensor:
        if self.low is not None and self.high is not None:
            raw = clipped(raw, self.low, self.high)
        log_scale, *further = soft_bound(self.further).unbind()
        learned = [value.expand_as(raw) for value in (log_scale + torch.log(self.scale), *further)]
        return torch.stack([self.shift + self.scale * raw, *learned], dim=2).flatten(1)


class _Counts(_Group):
    """Logarithm of the mean of counts of one family, and their learned further parameters."""

    usual: Tensor

    def __init__(self, columns: Sequence[Column], at: Sequence[int], x: Tensor | CellStatistics) -> None:
        super().__init__()
        self.inputs = len(at)
        values = x[:, at]
        self.register_buffer("usual", torch.log(column_scales(values)[0].clamp(min=1e-3)))
        self.further = nn.ParameterList(count_starts(_family(columns[at[0]]), values).values())

    def forward(self, raw: Tensor) -> Tensor:
        further = [soft_bound(value).expand_as(raw) for value in self.further]
        return torch.stack([self.usual + soft_bound(raw), *further], dim=2).flatten(1)


class _Labels(_Group):
    """Logits of labels without an order, which start from their shares."""

    def __init__(self, columns: Sequence[Column], at: Sequence[int], x: Tensor | CellStatistics) -> None:
        super().__init__()
        self.usual = nn.Parameter(torch.cat([_shares(columns[one], x, one).log() for one in at]))
        self.inputs = len(self.usual)

    def forward(self, raw: Tensor) -> Tensor:
        return self.usual + raw


class _Ordered(_Group):
    r"""Logits of labels in an order, by the proportional-odds model (McCullagh, 1980).

    .. math:: p(x \le k) = \sigma(t_k - \eta)

    with the network's output :math:`\eta` and learned thresholds :math:`t_1 < t_2 < \dots` of each column.
    """

    def __init__(self, columns: Sequence[Column], at: Sequence[int], x: Tensor | CellStatistics) -> None:
        super().__init__()
        self.inputs = len(at)
        shares = torch.stack([_shares(columns[one], x, one) for one in at])
        below = shares.cumsum(dim=1)[:, :-1].clamp(1e-4, 1 - 1e-4).logit()
        self.first = nn.Parameter(below[:, :1].clone())
        self.log_steps = nn.Parameter(below.diff(dim=1).clamp(min=1e-3).log())

    def forward(self, raw: Tensor) -> Tensor:
        steps = soft_bound(self.log_steps).exp()
        below = torch.cumsum(torch.cat([self.first, steps], dim=1), dim=1) - soft_bound(raw)[..., None]
        # The difference of two sigmoids near 1 has few digits; with s = b - a > 0 it is
        # sigmoid(b) sigmoid(-a) (1 - exp(-s)), of which the last is tanh(s / 2) (1 + exp(-s)).
        width = torch.log(torch.tanh(steps / 2)) + torch.log(1 + torch.exp(-steps))
        up, down = _log_sigmoid(below), _log_sigmoid(-below)
        between = up[..., 1:] + down[..., :-1] + width
        logits = torch.cat([up[..., :1], between, down[..., -1:]], dim=2)
        return logits.clamp(min=math.log(LEAST_SHARE)).flatten(1)


def _log_sigmoid(x: Tensor) -> Tensor:
    """log sigmoid(x); onnxruntime's sigmoid has few digits below 1e-5."""
    return x.clamp(max=0) - torch.log(1 + torch.exp(-x.abs()))


def _shares(column: Column, x: Tensor | CellStatistics, at: int) -> Tensor:
    """Share of each label among the observed cells of a column, none of them 0."""
    if isinstance(x, CellStatistics):
        counts = x.counts[at].float() + SHARES
    else:
        cells = x[:, at][~x[:, at].isnan()].to(torch.int64)
        counts = torch.bincount(cells, minlength=len(column.labels or ())).float() + SHARES
    return counts / counts.sum()
