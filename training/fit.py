"""The training loop: build, run the epochs, keep the best.

The state is saved after every epoch, and an epoch depends on that state and the seed alone: a run that was
killed resumes and computes the same numbers.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from models_store.manifest import Modality
from training import checkpoint
from training.checkpoint import BEST, LAST, METRICS, EpochReport, State
from training.config import Experiment, Fit
from training.data import Prepared
from training.data.rows import Rows
from training.device import Placement, compile_loss, fabric_for
from training.divergence import REMEDY, Watch, capacity
from training.epoch import Diverged, Progress, adam, generator_of, train_epoch
from training.errors import TrainingError
from training.model import MVAE, MVAEConfig
from training.networks import networks_for

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
            prepared.train.data[modality.name],
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
        decoder_dist_params={m.name: {"range": m.range} for m in prepared.modalities if m.range},
        hidden_cells={name: share for name in pairs if (share := configured[name].hidden_cells)},
        **settings.model_dump(),
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
) -> Fitted:
    """Trains the model of an experiment.

    Arguments:
        experiment: Configuration of model and training.
        prepared: Data of the experiment.
        workdir: Folder of the state, the best weights and the metrics of every epoch.
        progress: Receiver of progress reports.
        resume: Continue the run in ``workdir``.
        weights: Initial weights; random ones by default.

    Raises:
        TrainingError: Training diverged with smaller steps too, another process of the run is gone, or
            ``workdir`` holds no run to resume.
    """
    progress, settings = progress or Progress(), experiment.fit
    fabric = fabric_for(settings)
    place = Placement(fabric.device)
    workdir = fabric.broadcast(workdir)
    model = build(experiment, prepared)
    if weights is not None:
        _load(model, weights)
    averaged = copy.deepcopy(model).to(fabric.device) if settings.average else None
    module = fabric.setup_module(model)
    if settings.compile:
        compile_loss(model, fabric.device)
    state = State(model, averaged, adam(model, settings.learning_rate))
    _begin(state, workdir, experiment, progress, resume=resume, leader=fabric.is_global_zero)
    fabric.barrier()
    watch = _watch(model, experiment, prepared)
    while not _finished(state, settings, watch):
        started, epoch = time.monotonic(), len(state.reports) + 1
        try:
            with _naming_lost_processes(fabric, epoch, workdir):
                rows = place(prepared.in_epoch(epoch))
                trained = train_epoch(fabric, module, state, experiment, rows, epoch, progress)
            validation = validation_loss(state.candidate, experiment, prepared.validation)
            best = state.improved_by(validation)
            seconds = time.monotonic() - started
            report = trained.report(epoch, model.modalities, validation, best, seconds)
            if trouble := watch.diverged(report, state.reports):
                raise Diverged(trouble)
        except Diverged as trouble:
            _step_back(state, workdir, experiment, str(trouble), progress)
            continue
        state.reports.append(report)
        if fabric.is_global_zero:
            checkpoint.save(state, workdir, experiment)
        progress.epoch(state.reports[-1])
    fabric.barrier()
    for sentence in watch.complaints(state.reports):
        progress.trouble(sentence)
    model.cpu().load_state_dict(load_file(workdir / BEST))
    return Fitted(model.eval(), state.reports, fabric.is_global_zero)


def _begin(
    state: State, workdir: Path, experiment: Experiment, progress: Progress, *, resume: bool, leader: bool
) -> None:
    """Restores the state of the run in ``workdir``, or saves the first state there."""
    if resume:
        checkpoint.restore(state, workdir, experiment)
        progress.resumed(state.reports)
    elif leader:
        checkpoint.save(state, workdir, experiment)


def _watch(model: MVAE, experiment: Experiment, prepared: Prepared) -> Watch:
    weights = dict(zip(model.modalities, model.weights.tolist(), strict=True))
    settings = experiment.model
    return Watch(settings.warmup, capacity(prepared.modalities, weights, settings.beta))


@contextmanager
def _naming_lost_processes(fabric: Fabric, epoch: int, workdir: Path) -> Iterator[None]:
    """Turns a failed exchange between processes into a TrainingError that says how to resume."""
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1:
            raise
        raise TrainingError(
            f"another process of this run is gone ({str(error).splitlines()[0]}); "
            f"the epochs before {epoch} are kept: continue with --resume {workdir}"
        ) from error


def _step_back(state: State, workdir: Path, experiment: Experiment, what: str, progress: Progress) -> None:
    """Restore the state of the last finished epoch, with half the step.

    Raises:
        TrainingError: The step has been halved ``HALVINGS`` times.
    """
    factor = state.factor / 2
    if factor < 2.0**-HALVINGS:
        raise TrainingError(
            f"{what}, with a {HALVINGS} times halved step too; the weights of the best epoch so far are in "
            f"{workdir / BEST}; {REMEDY}"
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
    generator = generator_of(experiment.seed, 0)
    for start in range(0, len(rows), 1000):
        batch = rows.take(slice(start, start + 1000))
        family = model.draw_subsets(generator)
        noise = torch.randn(len(family), len(batch), model.latent_dim, generator=generator)
        noise = noise.to(model.weights.device)
        hidden = model.draw_hidden_cells(
            len(batch), {name: x.shape[1:] for name, x in batch.data.items()}, generator
        )
        loss = model(batch, epoch=experiment.model.warmup + 1, family=family, noise=noise, hidden=hidden).loss
        total += float(loss) * len(batch)
    model.train()
    return total / len(rows)


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
