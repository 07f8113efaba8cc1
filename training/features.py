"""Standardised features of the rows of all views, as the inputs of encoders give them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from models_store.arrays import Array
from training.coders import Coders, module_key
from training.data.rows import Rows
from training.networks.mixed import ColumnFeatures
from training.networks.mlp import MLPEncoder
from training.networks.units import FillMissing, OneHot


@dataclass(frozen=True)
class Features:
    """Standardised features of the rows of all views.

    Arguments:
        x: (n, p), NaN where missing.
        views: Columns of each view.
        center: Mean of each feature before, (p,).
        scale: Standard deviation before, (p,).
        labels: Mask of the features that are one-hot labels, (p,).
        columns: Column of the table, or cell of the array, that each feature is of: (p,).
        flags: By view, where its inputs flag the missing cells: see :class:`_Layout`.
    """

    x: Array
    views: Sequence[slice]
    center: Array
    scale: Array
    labels: Array
    columns: Array
    flags: Sequence[Sequence[int] | None] = ()


@dataclass(frozen=True)
class _Layout:
    """What each of the c features of a view is.

    Arguments:
        columns: Index of the column that it is of, (c,).
        labels: Whether it is a one-hot label, (c,).
        flags: Index, among all outputs of the inputs, of the flag that its cell is missing; None if none is.
    """

    columns: Array
    labels: Array
    flags: Sequence[int] | None


def features_of(model: Coders, rows: Rows) -> Features:
    """The features of rows by the inputs of a model's encoders, which are fully connected."""
    layouts, parts = [], []
    for name in model.modalities:
        layout, x = _of_view(inputs_of(model, name), rows, name)
        layouts.append(layout)
        parts.append(x)
    x = np.concatenate(parts, axis=1)
    seen = ~np.isnan(x)
    count = np.maximum(seen.sum(axis=0), 1)
    center = np.where(seen, x, 0.0).sum(axis=0) / count
    scale = np.sqrt((np.where(seen, x - center, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, 1.0)
    ends = np.cumsum([0, *(part.shape[1] for part in parts)])
    firsts = np.cumsum([0, *(len(np.unique(layout.columns)) for layout in layouts[:-1])])
    return Features(
        x=(x - center) / scale,
        views=[slice(start, stop) for start, stop in itertools.pairwise(ends)],
        center=center,
        scale=scale,
        labels=np.concatenate([layout.labels for layout in layouts]),
        columns=np.concatenate([k + layout.columns for k, layout in zip(firsts, layouts, strict=True)]),
        flags=[layout.flags for layout in layouts],
    )


def inputs_of(model: Coders, name: str) -> nn.Module:
    """What scales the inputs of an encoder, which is fully connected."""
    return cast(MLPEncoder, model.encoders[module_key(name)]).inputs


@torch.no_grad()
def _of_view(inputs: nn.Module, rows: Rows, name: str) -> tuple[_Layout, Array]:
    """Layout and values of the features of one view, the values (n, c), NaN where view or cell is missing."""
    outputs: Tensor = inputs(rows.data[name]).flatten(1)
    layout = _layout(inputs, outputs.shape[1])
    cells = outputs[:, : len(layout.columns)]
    seen = torch.ones_like(cells) if layout.flags is None else 1 - outputs[:, list(layout.flags)]
    if name in rows.masks:
        seen = seen * rows.masks[name][:, None]
    return layout, torch.where(seen > 0, cells, math.nan).double().numpy()


def _layout(inputs: nn.Module, outputs: int) -> _Layout:
    """The layout of a view whose inputs give so many outputs."""
    if isinstance(inputs, ColumnFeatures):
        columns = np.concatenate([inputs.numbers.numpy(), inputs.owner.numpy()])
        return _Layout(columns, np.arange(len(columns)) >= len(inputs.numbers), inputs.flags)
    if isinstance(inputs, OneHot):
        return _Layout(np.zeros(outputs, int), np.ones(outputs, bool), None)
    cells = outputs // 2 if isinstance(inputs, FillMissing) else outputs
    flags = range(cells, outputs) if isinstance(inputs, FillMissing) else None
    return _Layout(np.arange(cells), np.zeros(cells, bool), flags)
