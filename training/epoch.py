"""One epoch: its batches in their order, the steps of the optimizer, and the averages of losses and terms.

All randomness comes from generators seeded with (seed, epoch), so that an epoch does not depend on the
epochs before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.checkpoint import EpochReport, State
from training.config import Experiment, Fit
from training.data.augment import Augmentation
from training.data.batches import batches_of
from training.data.rows import Batch, EpochRows, Rows
from training.device import device_name
from training.draws import draw_normal, on_device
from training.model import MVAE
from training.networks import ModelOutput


@dataclass(frozen=True)
class Progress:
    """Receivers of progress reports; each call returns at once."""

    batch: Callable[[int, int, float], None] = lambda _epoch, _batch, _loss: None
    """(epoch, batch of that epoch, its loss)."""
    epoch: Callable[[EpochReport], None] = lambda _report: None
    stage: Callable[[str], None] = lambda _what: None
    """What is trained next, where there is more than one model."""
    resumed: Callable[[Sequence[EpochReport]], None] = lambda _reports: None
    """The finished epochs of a run that is resumed."""
    trouble: Callable[[str], None] = lambda _what: None
    """One sentence about a problem, for the user."""


@dataclass(frozen=True)
class Trained:
    """Averages over the batches of one epoch.

    Arguments:
        means: Averages of loss, elbo, kl and each modality's log-likelihood.
        learning_rate: Learning rate of the last step.
        rows_per_second: Rows per second, without validation.
        device: Name of the device.
    """

    means: Sequence[float]
    learning_rate: float
    rows_per_second: float
    device: str

    def report(
        self, epoch: int, names: Sequence[str], validation: float | None, best: bool, seconds: float
    ) -> EpochReport:
        loss, elbo, kl, *log_probs = self.means
        return EpochReport(
            epoch=epoch,
            train_loss=loss,
            validation_loss=validation,
            best=best,
            elbo=elbo,
            kl=kl,
            log_prob=dict(zip(names, log_probs, strict=True)),
            learning_rate=self.learning_rate,
            rows_per_second=self.rows_per_second,
            seconds=seconds,
            device=self.device,
        )


class Diverged(Exception):
    """Training has failed in an epoch, such as by a loss that is NaN; the text says where."""


def train_epoch(
    fabric: Fabric,
    module: Any,
    state: State,
    experiment: Experiment,
    rows: Rows | EpochRows,
    epoch: int,
    progress: Progress,
    augmentation: Augmentation,
) -> Trained:
    """One epoch.

    Raises:
        Diverged: A loss, or at the end a weight.
    """
    settings, started = experiment.fit, time.monotonic()
    batches, rate = _batches(rows, settings), 0.0
    means = torch.zeros(3 + len(state.model.modalities), device=fabric.device)
    losses = _losses(fabric, module, experiment, rows, epoch, augmentation)
    averaged = _Averaged(state, settings.average)
    for index, (size, weights, output) in enumerate(losses):
        if index % _look_every(fabric.device) == 0 or index == batches - 1:
            _look(fabric, output.loss, epoch, index + 1, progress)
        state.optimizer.zero_grad()
        fabric.backward(output.loss * weights[0] * fabric.world_size)  # gradients are averaged over processes
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
        step = (epoch - 1) * batches + index
        rate = state.factor * learning_rate(settings, step, settings.epochs * batches)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
        averaged.follow(step)
        means += torch.stack([output.loss.detach(), *output.metrics.values()]) * weights * (size / len(rows))
    if not all(bool(weight.isfinite().all()) for weight in state.model.parameters()):
        raise Diverged(f"a weight is not a number after epoch {epoch}")
    mean: Any = fabric.all_reduce(means, reduce_op="sum")
    seconds = time.monotonic() - started
    return Trained(mean.tolist(), rate, len(rows) / seconds, device_name(fabric.device))


def _look_every(device: torch.device) -> int:
    """Number of batches between two checks of the loss: on a GPU each check waits for all queued work."""
    return 1 if device.type == "cpu" else 50


def _look(fabric: Fabric, loss: Tensor, epoch: int, batch: int, progress: Progress) -> None:
    value = float(loss.detach())
    if fabric.world_size == 1 and not math.isfinite(value):
        # One of several processes that stops alone leaves the others waiting: weights are checked instead.
        raise Diverged(f"the loss is not a number in epoch {epoch}, batch {batch}")
    progress.batch(epoch, batch, value)


def _losses(
    fabric: Fabric,
    module: Any,
    experiment: Experiment,
    rows: Rows | EpochRows,
    epoch: int,
    augmentation: Augmentation,
) -> Iterator[tuple[int, Tensor, ModelOutput]]:
    """The batches of one epoch in their own order, each with its loss; each process takes its part of them.

    Family, noise and augmentation are those of the whole batch, and a process's averages count by
    :class:`Share`, so that any number of processes computes the same.

    Returns:
        The number of rows of the whole batch, the weights of the outputs for this process's part of it, and
        these outputs.
    """
    generator = generator_of(experiment.seed, epoch)
    noises = on_device(generator, fabric.device)
    batches, size = _batches(rows, experiment.fit), experiment.fit.batch_size
    module.train()
    for index, batch in enumerate(batches_of(rows, size, module.modalities, fabric, generator)):
        share = batch.share
        family = module.draw_subsets(generator)
        noise = draw_normal((len(family), batch.size, experiment.model.latent_dim), noises)
        hidden = module.draw_hidden_cells(batch.size, rows.shapes, noises)
        encoded = _encoded(batch, augmentation, noises)
        if experiment.fit.compile:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # has no types
        output = module(
            ModelOutput(data=dict(batch.rows.data), masks=dict(batch.rows.masks)),  # what fabric can cast
            epoch=epoch,
            batch_ratio=index / batches,
            family=family,
            noise=noise[:, share.rows],
            hidden={name: cells[share.rows] for name, cells in hidden.items()},
            encoded=encoded,
        )
        yield batch.size, share.weights.to(fabric.device, non_blocking=True), output


def _encoded(batch: Batch, augmentation: Augmentation, generator: torch.Generator) -> dict[str, Tensor]:
    """Changed rows of this process's part by modality, drawn for the whole batch."""
    if batch.index is None:
        return {}
    changed = augmentation.changed(batch.source, batch.index, generator)
    return {name: x[batch.share.rows] for name, x in changed.items()}


def adam(model: MVAE, rate: float) -> torch.optim.Optimizer:
    """Adam with one kernel for all weights: several times faster than a loop, on a CPU too."""
    return torch.optim.Adam(model.parameters(), lr=rate, fused=True)


def learning_rate(settings: Fit, step: int, steps: int) -> float:
    """The rate of a step: up from a 25th along a cosine over the first 5 %, then down to 0 along another."""
    rising = max(1.0, 0.05 * steps)
    if settings.schedule == "constant":
        return settings.learning_rate
    if step < rising:
        share = 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / rising)) / 2
    else:
        share = (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising))) / 2
    return settings.learning_rate * share


class _Averaged:
    """The moving average of the weights, where a run has one; they are listed once, not in every step."""

    def __init__(self, state: State, decay: float) -> None:
        self._decay = decay
        self._average: list[Tensor] = [] if state.averaged is None else [*state.averaged.parameters()]
        self._weights: list[Tensor] = [*state.model.parameters()]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Moves the average towards the weights, faster in the first steps."""
        if self._average:
            decay = min(self._decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._average, self._weights, 1 - decay)


def _batches(rows: Rows | EpochRows, settings: Fit) -> int:
    return -(-len(rows) // settings.batch_size)


def generator_of(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
