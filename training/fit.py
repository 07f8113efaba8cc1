"""The training loop: build, run the epochs, keep the best.

The state is saved after every epoch, and an epoch depends on that state and the seed alone: a run that was
killed resumes and computes the same numbers.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from models_store.manifest import Modality
from training import checkpoint
from training.checkpoint import BEST, LAST, METRICS, EpochReport, State
from training.config import Experiment, Fit
from training.data import Prepared
from training.data.augment import Augmentation
from training.data.batches import share_of
from training.data.rows import Rows
from training.device import Placement, compile_loss, fabric_for, from_leader, naming_lost_processes
from training.divergence import Watch, capacity, remedy_of
from training.epoch import Diverged, Progress, adam, generator_of, train_epoch
from training.errors import TrainingError
from training.launch import launched
from training.model import MVAE, MVAEConfig
from training.networks import networks_for
from training.threads import threads_for

__all__ = ["BEST", "LAST", "METRICS", "EpochReport", "Fitted", "Progress", "adam", "build", "fit"]

HALVINGS = 8
"""How many times the step is halved before training stops with an error."""


@dataclass(frozen=True)
class Fitted:
    """The model with the weights of its best epoch, and the reports of all epochs.

    Arguments:
        model: On the CPU.
        reports: One per epoch.
        leader: Whether this process reports and publishes (process 0).
    """

    model: MVAE
    reports: list[EpochReport]
    leader: bool = True


def build(experiment: Experiment, prepared: Prepared) -> MVAE:
    """The model of an experiment, its weights drawn from the experiment's seed."""
    torch.manual_seed(experiment.seed)
    configured, settings = experiment.modalities, experiment.model
    pairs = {
        modality.name: networks_for(
            modality,
            configured[modality.name].network,
            settings.latent_dim,
            prepared.cells(modality.name),
        )
        for modality in prepared.modalities
    }
    config = MVAEConfig(
        n_modalities=len(pairs),
        input_dims={modality.name: modality.parameter_shape() for modality in prepared.modalities},
        uses_likelihood_rescaling=True,
        rescale_factors={
            name: configured[name].weight or balanced
            for name, balanced in balance(prepared.modalities).items()
        },
        decoders_dist={modality.name: modality.likelihood for modality in prepared.modalities},
        decoder_dist_params={
            m.name: {"range": m.range} if m.range else {"parts": m.parts}
            for m in prepared.modalities
            if m.range or m.parts
        },
        hidden_cells={
            m.name: share for m in prepared.modalities if (share := configured[m.name].hidden_share(m))
        },
        **settings.model_dump(exclude={"members", "linear"}),
    )
    encoders = {name: pair[0] for name, pair in pairs.items()}
    decoders = {name: pair[1] for name, pair in pairs.items()}
    return MVAE(config, encoders, decoders)


def balance(modalities: Sequence[Modality]) -> dict[str, float]:
    r"""The weight of each modality where the experiment names none.

    .. math:: \lambda_m = \sqrt{\max_n D_n / D_m}

    with D the number of cells of a row (a category has one). On a logarithmic scale this lies half way
    between equal weights of all cells, under which a label has no effect beside 784 pixels, and equal weights
    of all modalities, under which one number counts as if it had been observed 784 times.
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
    fabric: Fabric | None = None,
    run: Path | None = None,
) -> Fitted:
    """Trains the model of an experiment.

    Arguments:
        experiment: Configuration of model and training.
        prepared: Data of the experiment.
        workdir: Folder of the state, the best weights and the metrics of every epoch.
        progress: Receiver of progress reports.
        resume: Continue the run in ``workdir``.
        weights: Initial weights; random ones by default.
        fabric: Processes that train together; by default as the launcher or the experiment says.
        run: Folder that messages name for ``--resume``; ``workdir`` by default.

    Raises:
        TrainingError: Training diverged with smaller steps too, another process of the run is gone, or
            ``workdir`` holds no run to resume.
    """
    progress, settings = progress or Progress(), experiment.fit
    fabric = fabric or fabric_for(settings, launched())
    shared = workdir, weights, resume, run or workdir
    with naming_lost_processes(fabric.world_size, workdir):
        workdir, weights, resume, run = from_leader(fabric, lambda: shared)
    model = build(experiment, prepared)
    if weights is not None:
        _load(model, weights)
    averaged = copy.deepcopy(model).to(fabric.device) if settings.average else None
    module = fabric.setup_module(model)
    if settings.compile:
        compile_loss(model, fabric.device)
    state = State(model, averaged, adam(model, settings.learning_rate), prepared.digest)
    read_state = partial(from_leader, fabric, lambda: checkpoint.read(workdir, experiment, state.data))
    if resume:
        checkpoint.restore(state, read_state())
        progress.resumed(state.reports)
    elif fabric.is_global_zero:
        checkpoint.save(state, workdir, experiment)
    watch = _watch(model, experiment, prepared)
    place, augmentation = Placement(fabric.device), Augmentation.of(experiment, prepared.modalities)
    epochs = _Run(
        fabric, module, state, experiment, prepared, place, watch, workdir, run, progress, augmentation
    )
    with threads_for(model, settings.batch_size):
        epochs.train(read_state)
    for sentence in watch.complaints(state.reports):
        progress.trouble(sentence)
    with naming_lost_processes(fabric.world_size, run):
        best_weights = from_leader(fabric, lambda: load_file(workdir / BEST))
    model.cpu().load_state_dict(best_weights)
    return Fitted(model.eval(), state.reports, fabric.is_global_zero)


@dataclass(frozen=True)
class _Run:
    """A run of training: all that an epoch needs, in each of its processes."""

    fabric: Fabric
    module: Any
    state: State
    experiment: Experiment
    prepared: Prepared
    place: Placement
    watch: Watch
    workdir: Path
    run: Path
    progress: Progress
    augmentation: Augmentation

    def train(self, read_state: Callable[[], checkpoint.Saved]) -> None:
        """Trains the epochs that are left, and saves the state after each.

        Raises:
            TrainingError: Training diverged with smaller steps too, or another process of the run is gone.
        """
        state = self.state
        while not _finished(state, self.experiment.fit, self.watch):
            try:
                report = self.epoch(len(state.reports) + 1)
            except Diverged as trouble:
                _step_back(state, read_state, self.workdir, str(trouble), self.watch.remedy, self.progress)
                continue
            state.reports.append(report)
            if self.fabric.is_global_zero:
                checkpoint.save(state, self.workdir, self.experiment)
            self.progress.epoch(report)

    def epoch(self, number: int) -> EpochReport:
        """Trains one epoch and measures its validation loss.

        Raises:
            Diverged: A loss is not finite, or far above the best.
            TrainingError: Another process of the run is gone.
        """
        fabric, state, experiment, started = self.fabric, self.state, self.experiment, time.monotonic()
        with naming_lost_processes(fabric.world_size, self.run):
            rows = self.place(self.prepared.in_epoch(number))
            trained = train_epoch(
                fabric, self.module, state, experiment, rows, number, self.progress, self.augmentation
            )
            validation = validation_loss(state.candidate, experiment, self.prepared.validation, fabric)
        best, seconds = state.improved_by(validation), time.monotonic() - started
        report = trained.report(number, state.candidate.modalities, validation, best, seconds)
        if trouble := self.watch.diverged(report, state.reports):
            raise Diverged(trouble)
        return report


def _watch(model: MVAE, experiment: Experiment, prepared: Prepared) -> Watch:
    weights = dict(zip(model.modalities, model.weights.tolist(), strict=True))
    settings = experiment.model
    return Watch(
        settings.warmup, capacity(prepared.modalities, weights, settings.beta), remedy_of(experiment)
    )


def _step_back(
    state: State,
    read: Callable[[], checkpoint.Saved],
    workdir: Path,
    what: str,
    remedy: str,
    progress: Progress,
) -> None:
    """Restore the state of the last finished epoch, with half the step.

    Raises:
        TrainingError: The step has been halved ``HALVINGS`` times.
    """
    factor = state.factor / 2
    if factor < 2.0**-HALVINGS:
        raise TrainingError(
            f"{what}, with a {HALVINGS} times halved step too; the weights of the best epoch so far are in "
            f"{workdir / BEST}; {remedy}"
        )
    checkpoint.restore(state, read())
    state.factor = factor
    progress.trouble(f"{what}; going back to the end of the epoch before, with {factor:g} of the step")


@torch.no_grad()
def validation_loss(
    model: MVAE, experiment: Experiment, rows: Rows, fabric: Fabric | None = None
) -> float | None:
    """The objective on held-out rows: the same noise at every call, the divergence at its full weight.

    Each process of ``fabric`` computes its part of the rows.
    """
    if not len(rows):
        return None
    model.eval()
    total = torch.zeros((), dtype=torch.float64)
    generator = generator_of(experiment.seed, 0)
    for start in range(0, len(rows), 1000):
        index = torch.arange(start, min(start + 1000, len(rows)))
        family = model.draw_subsets(generator)
        noise = torch.randn(len(family), len(index), model.latent_dim, generator=generator)
        shapes = {name: x.shape[1:] for name, x in rows.data.items()}
        hidden = model.draw_hidden_cells(len(index), shapes, generator)
        share = share_of(rows, index, model.modalities, fabric)
        loss = model(
            rows.take(index[share.rows]),
            epoch=experiment.model.warmup + 1,
            family=family,
            noise=noise[:, share.rows].to(model.weights.device),
            hidden={name: cells[share.rows] for name, cells in hidden.items()},
        ).loss
        total += float(loss) * float(share.weights[0]) * len(index)
    model.train()
    if fabric is not None and fabric.world_size > 1:
        sums: Any = fabric.all_reduce(total.to(fabric.device), reduce_op="sum")
        total = sums.cpu()
    return float(total) / len(rows)


def _load(model: MVAE, weights: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise TrainingError(f"the weights to start from do not fit this experiment: {error}") from None


def _finished(state: State, settings: Fit, watch: Watch) -> bool:
    """Whether all epochs are done, patience is out, or the validation loss is far above its best."""
    if len(state.reports) >= settings.epochs or watch.overfitted(state.reports):
        return True
    return settings.patience is not None and state.epochs_without_progress() >= settings.patience
