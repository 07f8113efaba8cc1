"""What a model was given, as tensors: values, and who is present in which row."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from training.mvae_config import check_known


@dataclass(frozen=True)
class Observations:
    """One batch as tensors: values and presence of every modality, in the order of the model.

    Arguments:
        values: Per modality, (n_data, *shape); absent where no row has it.
        present: Which modality is observed in which row: (M, n_data).
        encoded: By modality, values that its encoder gets instead of these.
        visible: By modality with hidden cells, its values with NaN in the hidden cells.
        visible_present: Which modality has a cell that is not hidden in which row: (M, n_data).
    """

    values: Mapping[str, Tensor]
    present: Tensor
    encoded: Mapping[str, Tensor] = field(default_factory=dict)
    visible: Mapping[str, Tensor] = field(default_factory=dict)
    visible_present: Tensor | None = None

    def encoding(self, encoded: Mapping[str, Tensor], modalities: Sequence[str]) -> Observations:
        """These observations, of which encoders get other values.

        Arguments:
            encoded: Values by modality, (n_data, *shape); those of rows without the modality do not count.
            modalities: Modalities of the model, in its order.
        """
        present = dict(zip(modalities, self.present, strict=True))
        changed = {name: x.to(self.present.device) for name, x in encoded.items() if name in self.values}
        return replace(
            self,
            encoded={
                **self.encoded,
                **{name: x.masked_fill(~_beside(present[name], x), 0) for name, x in changed.items()},
            },
        )

    def hiding(self, hidden: Mapping[str, Tensor], modalities: Sequence[str]) -> Observations:
        """These observations with hidden cells.

        Arguments:
            hidden: Masks of the cells to hide, by modality, (n_data, *shape), on any device.
            modalities: Modalities of the model, in its order.
        """
        visible, present = {}, list(self.present)
        for name in hidden.keys() & self.values.keys():
            x, m = self.values[name], modalities.index(name)
            visible[name] = x.masked_fill(hidden[name].to(x.device), math.nan)
            present[m] = present[m] & ~visible[name].flatten(1).isnan().all(dim=1)
        return replace(self, visible=visible, visible_present=torch.stack(present))


def observe(
    inputs: Any, modalities: Sequence[str], device: torch.device, categories: Collection[str] = ()
) -> Observations:
    """Tensors on that device, and who is present.

    Arguments:
        inputs: A dict of arrays or tensors by modality, or anything with ``.data`` and optional ``.masks``
            (boolean per row, True where observed).
        modalities: Those of the model, in its order.
        device: Where the model is.
        categories: Modalities whose rows are indices of labels; one-hot rows become such, and encoders get
            them as they came, since networks written for MultiVae take one-hot rows.

    Raises:
        ValueError: A modality is unknown, numbers of rows differ, or a row of a category is not one-hot.
    """
    data = inputs.data if hasattr(inputs, "data") else inputs
    masks = getattr(inputs, "masks", None) or {}
    check_known(data, modalities)
    check_known(masks, modalities)
    values = {name: torch.as_tensor(x).to(device) for name, x in data.items()}
    rows = {name: len(x) for name, x in [*values.items(), *masks.items()]}
    if len(set(rows.values())) != 1:
        raise ValueError(f"modalities must have the same number of rows, got {rows}")
    (n,) = set(rows.values())
    present = []
    for name in modalities:
        if name in masks and name in values:
            here = torch.as_tensor(masks[name]).to(device, torch.bool)
            # A NaN under a mask would reach the gradients of the encoder's weights as 0 * NaN.
            values[name] = values[name].masked_fill(~_beside(here, values[name]), 0)
            present.append(here)
        else:
            present.append(torch.full((n,), name in values, device=device))
    one_hot = {name: values[name].float() for name in values.keys() & categories if values[name].ndim > 1}
    values |= {name: _indices(name, x, present[modalities.index(name)]) for name, x in one_hot.items()}
    return Observations(values, torch.stack(present), one_hot)


def _indices(name: str, x: Tensor, present: Tensor) -> Tensor:
    """Indices of one-hot rows: (n, classes) -> (n,).

    Raises:
        ValueError: A present row is not one-hot.
    """
    rows = x[present].flatten(1)
    if not bool(((rows == 0) | (rows == 1)).all() and (rows.sum(dim=1) == 1).all()):
        raise ValueError(
            f"rows of the category '{name}' must be indices (n_data,) or one-hot (n_data, classes), "
            f"got {tuple(x.shape)} with other values"
        )
    return x.flatten(1).argmax(dim=1)


def _beside(mask: Tensor, x: Tensor) -> Tensor:
    """The mask with as many axes as x: (n,) -> (n, 1, …)."""
    return mask.reshape(-1, *(1 for _ in x.shape[1:]))
