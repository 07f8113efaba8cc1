"""MVAE and MVTCAE of MultiVae as baselines, with their own defaults. Needs ``make reference``.

References:
    | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018)
    | Multi-View Representation Learning via Total Correlation Objective (Hwang et al., 2021)
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.reference import reference
from benchmarks.tables.design import Design, answers
from benchmarks.tables.questions import Question, Task
from benchmarks.tables.scores import Prediction
from benchmarks.tables.table import Table
from models_store.arrays import Array

LATENT, BATCH, RATE, EPOCHS = 16, 64, 1e-3, 100
DRAWS = 50


def installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("multivae", "pythae"))


def _method(model: str) -> Callable[[Task, int], list[Prediction]]:
    return lambda task, seed: answers(task, lambda design, train: _Model(model, design, train, seed).answer)


METHODS = {"MVAE (MultiVae)": _method("MVAE"), "MVTCAE (MultiVae)": _method("MVTCAE")}


class _Model:
    """A model of MultiVae on the views of a table: numbers standardised, a category one-hot.

    Arguments:
        name: Class of the model.
        design: Encodes rows.
        train: Training rows.
        seed: Seed of the weights and of the order of rows.
    """

    def __init__(self, name: str, design: Design, train: Table, seed: int) -> None:
        self.library, self.design = reference(), design
        self.blocks = {view: np.flatnonzero(train.of(view)[design.source]) for view in train.views}
        self.categories = {column.view: i for i, column in enumerate(train.columns) if column.labels}
        torch.manual_seed(seed)
        config = getattr(self.library, f"{name}Config")(
            n_modalities=len(self.blocks),
            latent_dim=LATENT,
            input_dims={view: (len(block),) for view, block in self.blocks.items()},
            decoders_dist={v: "categorical" if v in self.categories else "normal" for v in self.blocks},
        )
        self.model = getattr(self.library, name)(config)
        for decoder in self.model.decoders.values():
            decoder.layers[-1] = decoder.layers[-1][0]  # the linear layer, without its sigmoid
        self._train(*self._tensors(train))

    def answer(self, question: Question) -> tuple[Array, dict[int, Array]]:
        means, probabilities = self.design.estimate(np.zeros((len(question.given), len(self.design.source))))
        inputs, masks = self._tensors(question.given)
        seen = torch.stack(list(masks.values()), dim=1)
        for pattern in torch.unique(seen, dim=0):
            rows = (seen == pattern).all(dim=1)
            given = [view for view, there in zip(self.blocks, pattern.tolist(), strict=True) if there]
            if given:
                self._predict(rows, given, inputs, means, probabilities)
        return means, probabilities

    @torch.no_grad()
    def _predict(
        self,
        rows: Tensor,
        given: list[str],
        inputs: dict[str, Tensor],
        means: Array,
        probabilities: dict[int, Array],
    ) -> None:
        batch = self.library.Complete({view: inputs[view][rows] for view in given})
        drawn = self.model.encode(batch, given, N=DRAWS).z
        z = drawn.reshape(DRAWS, int(rows.sum()), LATENT).movedim(0, 1)
        for view, block in self.blocks.items():
            decoded = self.model.decoders[view](z.reshape(-1, LATENT)).reconstruction
            decoded = decoded.reshape(*z.shape[:2], -1)
            if view in self.categories:
                shares = torch.softmax(decoded, dim=-1).mean(dim=1)
                probabilities[self.categories[view]][rows.numpy()] = shares.numpy()
            else:
                means[np.ix_(rows.numpy(), self.design.source[block])] = decoded.mean(dim=1).numpy()

    def _tensors(self, table: Table) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        x = self.design.encode(table)
        one_hot = x * self.design.scale + self.design.center
        inputs, masks = {}, {}
        for view, block in self.blocks.items():
            cells = (one_hot if view in self.categories else x)[:, block]
            inputs[view] = torch.from_numpy(np.nan_to_num(cells)).float()
            masks[view] = torch.from_numpy(~np.isnan(cells).all(axis=1))
        return inputs, masks

    def _train(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> None:
        optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE)
        rows: Any = torch.stack(list(masks.values())).any(dim=0).nonzero()[:, 0]
        for epoch in range(1, EPOCHS + 1):
            for chunk in torch.split(rows[torch.randperm(len(rows))], BATCH):
                batch = self.library.Incomplete(
                    {view: x[chunk] for view, x in inputs.items()}, {v: m[chunk] for v, m in masks.items()}
                )
                optimizer.zero_grad()
                torch.autograd.backward(self.model(batch, epoch=epoch, batch_ratio=0.0).loss)
                nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
                optimizer.step()
        self.model.eval()
