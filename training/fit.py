"""The training loop: build, run the epochs, keep the best.

All randomness of an epoch comes from generators seeded with (seed, epoch), so that an epoch is the
same whatever came before it; with the state that is saved after every epoch, a run that was killed
goes on to the same numbers.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor, nn

from models_store.manifest import Modality
from training import checkpoint
from training.checkpoint import BEST, LAST, METRICS, EpochReport, State
from training.config import Experiment, Fit
from training.data import Prepared
from training.data.rows import Rows
from training.errors import TrainingError
from training.model import MVAE, MVAEConfig
from training.networks import ModelOutput, networks_for

__all__ = ["BEST", "LAST", "METRICS", "EpochReport", "Fitted", "Progress", "adam", "build", "fit"]

HALVINGS = 8
"""So often a smaller step is tried before training is given up."""


@dataclass(frozen=True)
class Progress:
    """Who is told how far training has come; each call returns at once."""

    batch: Callable[[int, int, float], None] = lambda _epoch, _batch, _loss: None
    """(epoch, batch of that epoch, its loss)."""
    epoch: Callable[[EpochReport], None] = lambda _report: None
    trouble: Callable[[str], None] = lambda _what: None
    """One sentence for the person who waits."""


@dataclass(frozen=True)
class Fitted:
    """The model with the weights of its best epoch, and how it came to them.

    Arguments:
        model: On the CPU.
        reports: One per epoch.
        leader: Whether this process is the one that reports and publishes.
    """

    model: MVAE
    reports: list[EpochReport]
    leader: bool = True


class NotFinite(Exception):
    """A number is none; the text says where."""


def build(experiment: Experiment, prepared: Prepared) -> MVAE:
    """The model of an experiment, its weights drawn from the experiment's seed."""
    torch.manual_seed(experiment.seed)
    chosen, settings = experiment.modalities, experiment.model
    pairs = {
        modality.name: networks_for(
            modality,
            chosen[modality.name].network,
            settings.latent_dim,
            prepared.train.data[modality.name],
        )
        for modality in prepared.modalities
    }
    config = MVAEConfig(
        n_modalities=len(pairs),
        uses_likelihood_rescaling=True,
        rescale_factors={
            name: chosen[name].weight or balanced for name, balanced in balance(prepared.modalities).items()
        },
        decoders_dist={modality.name: modality.likelihood for modality in prepared.modalities},
        decoder_dist_params={m.name: {"range": m.range} for m in prepared.modalities if m.range},
        **settings.model_dump(),
    )
    encoders = {name: pair[0] for name, pair in pairs.items()}
    decoders = {name: pair[1] for name, pair in pairs.items()}
    return MVAE(config, encoders, decoders)


def balance(modalities: Sequence[Modality]) -> dict[str, float]:
    r"""The weight of each modality where the experiment names none.

    .. math:: \lambda_m = \sqrt{\max_n D_n / D_m}

    with D the numbers that a row of the modality has (a category is one): half way, on a scale of
    logarithms, between every number counting the same, under which a label is not heard beside 784 pixels,
    and every modality counting the same, under which one number is believed as if it had been seen 784 times.
    """
    cells = {modality.name: math.prod(modality.shape) for modality in modalities}
    return {name: math.sqrt(max(cells.values()) / count) for name, count in cells.items()}


def fit(
    experiment: Experiment,
    prepared: Prepared,
    workdir: Path,
    progress: Progress | None = None,
    *,
    resume: bool = False,
    weights: Mapping[str, Tensor] | None = None,
) -> Fitted:
    """Trains the model of an experiment.

    Arguments:
        experiment: What to train.
        prepared: Its data.
        workdir: Where the state, the best weights and the metrics of every epoch are written.
        progress: Who is told.
        resume: Go on with the run in ``workdir``.
        weights: What to start from, instead of random weights.

    Raises:
        TrainingError: Smaller steps did not help against numbers that are none, another process of the
            run is gone, or there is nothing to go on from.
    """
    progress, settings = progress or Progress(), experiment.fit
    fabric = _fabric(settings)
    workdir = fabric.broadcast(workdir)
    model = build(experiment, prepared)
    if weights is not None:
        _load(model, weights)
    averaged = copy.deepcopy(model).to(fabric.device) if settings.average else None
    module = fabric.setup_module(model)
    state = State(model, averaged, adam(model, settings.learning_rate))
    if resume:
        checkpoint.restore(state, workdir, experiment)
    elif fabric.is_global_zero:
        checkpoint.save(state, workdir, experiment)
    fabric.barrier()
    while len(state.reports) < settings.epochs and not _out_of_patience(state, settings):
        started, epoch = time.monotonic(), len(state.reports) + 1
        try:
            rows = prepared.in_epoch(epoch)
            train_loss = _train(fabric, module, state, experiment, rows, epoch, progress)
        except NotFinite as trouble:
            _step_back(state, workdir, experiment, str(trouble), progress)
            continue
        except RuntimeError as error:
            if fabric.world_size == 1:
                raise
            raise TrainingError(
                f"another process of this run is gone ({str(error).splitlines()[0]}); "
                f"the epochs before {epoch} are kept: go on with --resume {workdir}"
            ) from error
        validation = validation_loss(state.candidate, experiment, prepared.validation)
        lowest = state.best_loss()
        best = validation is None or lowest is None or validation < lowest
        state.reports.append(EpochReport(epoch, train_loss, validation, best, time.monotonic() - started))
        if fabric.is_global_zero:
            checkpoint.save(state, workdir, experiment)
        progress.epoch(state.reports[-1])
    fabric.barrier()
    model = model.cpu()
    model.load_state_dict(load_file(workdir / BEST))
    return Fitted(model.eval(), state.reports, fabric.is_global_zero)


def _train(
    fabric: Fabric,
    module: Any,
    state: State,
    experiment: Experiment,
    rows: Rows,
    epoch: int,
    progress: Progress,
) -> float:
    """One epoch; the mean loss of a row.

    Raises:
        NotFinite: A loss, or at the end a weight.
    """
    settings, total = experiment.fit, 0.0
    for index, (share, output) in enumerate(_losses(fabric, module, experiment, rows, epoch)):
        loss = float(output.loss.detach())
        if fabric.world_size == 1 and not math.isfinite(loss):
            # Of several processes one alone would leave the others waiting: there the weights tell, below.
            raise NotFinite(f"the loss is not a number in epoch {epoch}, batch {index + 1}")
        state.optimizer.zero_grad()
        fabric.backward(output.loss)
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
        step = (epoch - 1) * _batches(rows, settings) + index
        rate = state.factor * learning_rate(settings, step, settings.epochs * _batches(rows, settings))
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
        if state.averaged is not None:
            _average(state.averaged, state.model, settings.average, step)
        total += loss * share
        progress.batch(epoch, index + 1, loss)
    if not all(bool(weight.isfinite().all()) for weight in state.model.parameters()):
        raise NotFinite(f"a weight is not a number after epoch {epoch}")
    mean: Any = fabric.all_reduce(torch.tensor(total / len(rows), device=fabric.device))
    return float(mean)


def _losses(
    fabric: Fabric, module: Any, experiment: Experiment, rows: Rows, epoch: int
) -> Iterator[tuple[int, ModelOutput]]:
    """The batches of one epoch in their own order, each with its loss; each process takes its part of them.

    Family and noise are those of the whole batch, so that any number of processes computes the same.

    Returns:
        The number of rows of the whole batch, and the outputs for this process's part of it.
    """
    generator = _generator(experiment.seed, epoch)
    order = torch.randperm(len(rows), generator=generator)
    chunks = torch.split(order, experiment.fit.batch_size)
    module.train()
    for index, chunk in enumerate(chunks):
        family = module.draw_subsets(generator)
        noise = torch.randn(len(family), len(chunk), experiment.model.latent_dim, generator=generator)
        part = torch.arange(fabric.global_rank, len(chunk), fabric.world_size)
        if len(part) == 0:  # fewer rows than processes: the last ones repeat the batch
            part = torch.arange(len(chunk))
        batch = rows.take(chunk[part])
        output = module(
            ModelOutput(data=dict(batch.data), masks=dict(batch.masks)),  # what fabric can cast
            epoch=epoch,
            batch_ratio=index / len(chunks),
            family=family,
            noise=noise[:, part].to(fabric.device),
        )
        yield len(chunk), output


def _step_back(state: State, workdir: Path, experiment: Experiment, what: str, progress: Progress) -> None:
    """Back to the last good state, with half the step.

    Raises:
        TrainingError: That has been tried too often.
    """
    factor = state.factor / 2
    if factor < 2.0**-HALVINGS:
        raise TrainingError(
            f"{what}, with a {HALVINGS} times halved step too; the weights of the best epoch so far are in "
            f"{workdir / BEST}; try a smaller fit.learning_rate, or fit.clip = 1"
        )
    checkpoint.restore(state, workdir, experiment)
    state.factor = factor
    progress.trouble(
        f"{what}; going back to the end of epoch {len(state.reports)}, with {factor:g} of the step"
    )


@torch.no_grad()
def validation_loss(model: MVAE, experiment: Experiment, rows: Rows) -> float | None:
    """The objective on held-out rows: the same noise at every call, the divergence at its full weight."""
    if not len(rows):
        return None
    model.eval()
    total = 0.0
    generator = _generator(experiment.seed, 0)
    for start in range(0, len(rows), 1000):
        batch = rows.take(slice(start, start + 1000))
        family = model.draw_subsets(generator)
        noise = torch.randn(len(family), len(batch), model.latent_dim, generator=generator)
        noise = noise.to(model.weights.device)
        loss = model(batch, epoch=experiment.model.warmup + 1, family=family, noise=noise).loss
        total += float(loss) * len(batch)
    model.train()
    return total / len(rows)


def adam(model: MVAE, rate: float) -> torch.optim.Optimizer:
    """Adam in one kernel for all weights, which on a CPU too is several times faster than a loop."""
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


@torch.no_grad()
def _average(averaged: MVAE, model: MVAE, decay: float, step: int) -> None:
    """Moves the average towards the weights, faster in the beginning, when it is of few."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)


def _fabric(settings: Fit) -> Fabric:
    """Device, precision and processes; with several, starts the others."""
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}[settings.device]
    together = settings.processes * settings.nodes > 1
    fabric = Fabric(
        accelerator=accelerator,
        devices=settings.processes,
        num_nodes=settings.nodes,
        strategy="ddp" if together else "auto",
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
    )
    if together:
        fabric.launch()
    return fabric


def _load(model: MVAE, weights: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise TrainingError(f"the weights to start from do not fit this experiment: {error}") from None


def _out_of_patience(state: State, settings: Fit) -> bool:
    return settings.patience is not None and state.epochs_without_progress() >= settings.patience


def _batches(rows: Rows, settings: Fit) -> int:
    return -(-len(rows) // settings.batch_size)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
