"""Trains the models of one experiment, each without a part of the rows, that answer as one.

A model of a few hundred rows loses much by those that choose its epoch, and its answers vary with its first
weights. Models that each leave out another part have seen more rows together; their mean varies less, and
what remains between them is uncertainty about the weights, which draws then carry.

References:
    | Bagging Predictors (Breiman, 1996)
    | https://doi.org/10.1007/BF00058655
    | Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles (Lakshminarayanan, Pritzel &
      Blundell, 2017)
    | https://arxiv.org/abs/1612.01474
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from training import fit as fitting
from training.checkpoint import LAST, EpochReport
from training.coders import Coders
from training.config import Experiment, Model
from training.data import Prepared
from training.data.rows import Rows
from training.ensemble import Ensemble
from training.errors import TrainingError
from training.fit import Progress
from training.linear import LinearFit, check_linear
from training.model import MVAE
from training.stacking import linear_weight
from training.threads import threads_for


@dataclass(frozen=True)
class Trained:
    """The trained models of an experiment.

    Arguments:
        model: The ensemble; of one member the member itself. The leader alone has linear models.
        held_out: Rows that each member has not been trained on, and that chose its epoch.
        reports: Reports of all epochs, those of one member after those of the one before.
        leader: Whether this process reports and publishes.
    """

    model: Coders
    held_out: Sequence[Rows]
    reports: Sequence[EpochReport]
    leader: bool


def train(
    experiment: Experiment,
    prepared: Prepared,
    workdir: Path,
    progress: Progress | None = None,
    *,
    resume: bool = False,
    weights: Mapping[str, Tensor] | None = None,
    fabric: Fabric | None = None,
) -> Trained:
    """Trains the members of an experiment one after another; for the arguments see :func:`training.fit.fit`.

    The second member and those after it have other folders below ``workdir``.

    Raises:
        ExperimentError: Several members or a linear model need rows that are held together.
        TrainingError: As for :func:`training.fit.fit`, or ``weights`` are of another number of networks.
    """
    progress, count = progress or Progress(), experiment.model.members
    starts = [_of_member(weights, number, experiment.model) for number in range(count)]
    prepared.check_members(count)
    if experiment.model.linear:
        check_linear(prepared)
    members, held_out, reports = [], [], list[EpochReport]()
    for number, start in enumerate(starts):
        folder = workdir / f"member-{number + 1}" if number else workdir
        rows = prepared.of_member(number, count)
        if count > 1:
            progress.stage(f"model {number + 1} of {count}")
        fitted = fitting.fit(
            experiment.model_copy(update={"seed": experiment.seed + number}),
            rows,
            folder,
            _after(progress, len(reports)),
            resume=resume and (not number or (folder / LAST).exists()),
            weights=start,
            fabric=fabric,
            run=workdir,
        )
        members.append(fitted)
        held_out.append(rows.validation)
        reports += [_shifted(one, len(reports)) for one in fitted.reports]
    models, leader = [one.model for one in members], members[0].leader
    if experiment.model.linear and leader:
        progress.stage("linear model")
        with threads_for(models[0], experiment.fit.batch_size):
            model: Coders = _with_linear(models, held_out, experiment, prepared)
    else:
        model = models[0] if count == 1 else Ensemble(models).eval()
    return Trained(model, held_out, reports, leader)


def _with_linear(
    networks: Sequence[MVAE], held_out: Sequence[Rows], experiment: Experiment, prepared: Prepared
) -> Ensemble:
    """Networks and linear models of all rows, weighed by rows that linear models of the others predict."""
    fit, count = LinearFit.of(experiment, prepared), len(networks)
    models = fit.models()
    fitted = [fit.of_rows(prepared.of_member(number, count).train) for number in range(count)]
    weight = linear_weight(networks, fitted, held_out, experiment.seed)
    weights = [(1 - weight) / count] * count + [weight / len(models)] * len(models)
    return Ensemble([*networks, *models], weights).eval()


def _after(progress: Progress, epochs: int) -> Progress:
    """The same receivers, with the epochs of a member numbered after those of the members before it."""
    return replace(
        progress,
        batch=lambda epoch, batch, loss: progress.batch(epochs + epoch, batch, loss),
        epoch=lambda report: progress.epoch(_shifted(report, epochs)),
        resumed=lambda reports: progress.resumed([_shifted(one, epochs) for one in reports]),
    )


def _shifted(report: EpochReport, epochs: int) -> EpochReport:
    return replace(report, epoch=report.epoch + epochs)


def _of_member(
    weights: Mapping[str, Tensor] | None, number: int, settings: Model
) -> Mapping[str, Tensor] | None:
    """The weights of one network of an ensemble; those of a single one are the start of each.

    Raises:
        TrainingError: They are of another number of networks.
    """
    stored = {key.split(".")[1] for key in weights or {} if key.startswith("members.")}
    if not stored:
        return weights
    if len(stored) != settings.members:
        raise TrainingError(
            f"the weights to start from are of {len(stored)} networks, "
            f"but model.members is {settings.members}"
        )
    prefix = f"members.{number}."
    return {key.removeprefix(prefix): x for key, x in (weights or {}).items() if key.startswith(prefix)}
