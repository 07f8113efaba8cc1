"""The state of a run after an epoch, in one file that is replaced by rename: a crash leaves the previous one.

Tensors are safetensors; the rest is JSON in the same file, so that the two can never disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.config import Experiment
from training.errors import TrainingError
from training.model import MVAE

BEST = "best.safetensors"
LAST = "last.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochReport:
    """Results of one epoch, in nats per row, averaged over its batches.

    Arguments:
        epoch: Number of the epoch, from 1.
        train_loss: Loss of training.
        validation_loss: The same on held-out rows, at the full weight of the divergence.
        best: Whether the weights after it are the best so far.
        elbo: ELBO of the joint posterior.
        kl: Divergence of the joint posterior from the prior.
        log_prob: By modality, its log-likelihood given all that a row has, in rows that have it; weighted as
            in the loss.
        learning_rate: Learning rate of the last step.
        rows_per_second: Rows per second of training, without validation.
        seconds: Duration with validation.
        device: Name of the device of the leader; empty in runs of older versions.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    best: bool
    elbo: float
    kl: float
    log_prob: dict[str, float]
    learning_rate: float
    rows_per_second: float
    seconds: float
    device: str = ""


class SavedState(TypedDict):
    """Metadata of the state file, as JSON beside the tensors.

    Arguments:
        experiment: Settings of the run, by :func:`experiment_of`.
        data: Digest of the rows; missing in runs of older versions.
        factor: Multiplier of the learning rate.
        reports: Fields of each finished epoch's :class:`EpochReport`.
    """

    experiment: dict[str, Any]
    data: NotRequired[str]
    factor: float
    reports: list[dict[str, Any]]


@dataclass
class State:
    """Everything that the next epoch depends on.

    Arguments:
        model: The weights that are trained.
        averaged: Their moving average, if the experiment configures one.
        optimizer: Adam.
        data: Digest of the rows.
        factor: Multiplier of the learning rate; halved after each NaN or infinity.
        reports: Reports of the finished epochs.
    """

    model: MVAE
    averaged: MVAE | None
    optimizer: torch.optim.Optimizer
    data: str
    factor: float = 1.0
    reports: list[EpochReport] = field(default_factory=list)

    @property
    def candidate(self) -> MVAE:
        """The model that is validated and kept."""
        return self.averaged or self.model

    def best_loss(self) -> float | None:
        """The lowest validation loss so far."""
        return min((r.validation_loss for r in self.reports if r.validation_loss is not None), default=None)

    def improved_by(self, validation: float | None) -> bool:
        """Whether this validation loss is the lowest so far; True without validation rows."""
        lowest = self.best_loss()
        return validation is None or lowest is None or validation < lowest

    def epochs_without_progress(self) -> int:
        """How many epochs have passed since the best one."""
        best = max((r.epoch for r in self.reports if r.best), default=0)
        return len(self.reports) - best


def save(state: State, workdir: Path, experiment: Experiment) -> None:
    """Writes the best weights if the last epoch is the best, the metrics of every epoch, then the state.

    The state is written last: a run that is killed before repeats its last epoch and writes the same files.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    if state.reports and state.reports[-1].best:
        weights = {key: value.contiguous() for key, value in state.candidate.state_dict().items()}
        _replace(workdir / BEST, weights, {"epoch": str(len(state.reports))})
    saved: SavedState = {
        "experiment": experiment_of(experiment),
        "data": state.data,
        "factor": state.factor,
        "reports": [vars(report) for report in state.reports],
    }
    lines = [json.dumps(report) + "\n" for report in saved["reports"]]
    (workdir / METRICS).write_text("".join(lines))
    _replace(workdir / LAST, _tensors(state), {"state": json.dumps(saved)})


class Saved(NamedTuple):
    """What the state file of a run holds."""

    metadata: SavedState
    tensors: dict[str, Tensor]


def read(workdir: Path, experiment: Experiment, data: str) -> Saved:
    """Reads the state of the run in ``workdir``.

    Arguments:
        workdir: Folder of the run.
        experiment: Settings of the run that continues.
        data: Digest of its rows.

    Raises:
        TrainingError: ``workdir`` holds no run, or a run of another experiment or of other rows.
    """
    path = workdir / LAST
    if not path.is_file():
        raise TrainingError(f"{workdir} holds no run to resume: there is no {LAST}")
    with safe_open(path, framework="pt") as file:
        saved: SavedState = json.loads(file.metadata()["state"])
    model = saved["experiment"].get("model", {})
    for key, value in {"members": 1, "linear": False}.items():  # older runs have none
        model.setdefault(key, value)
    if saved["experiment"] != experiment_of(experiment):
        raise TrainingError(
            f"the run in {workdir} is of another experiment, or this one has been changed since"
        )
    if saved.get("data", data) != data:
        raise TrainingError(
            f"the data have changed since the run in {workdir} began: put them back as they were, "
            "or start a new run in another folder"
        )
    return Saved(saved, load_file(path))


def restore(state: State, saved: Saved) -> None:
    """Restores ``state``."""
    tensors = saved.tensors
    state.model.load_state_dict(_under("model.", tensors))
    if state.averaged is not None:
        state.averaged.load_state_dict(_under("averaged.", tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimizer.", tensors).items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    state.factor = saved.metadata["factor"]
    state.reports[:] = [EpochReport(**report) for report in saved.metadata["reports"]]


def experiment_of(experiment: Experiment) -> dict[str, Any]:
    """Settings that a resumed run must share with the saved one: all but device, processes and nodes."""
    machine = {"device", "processes", "nodes"}
    settings: dict[str, Any] = experiment.model_dump(mode="json", exclude={"fit": machine})
    return settings


def _tensors(state: State) -> dict[str, Tensor]:
    parts: dict[str, Mapping[str, Tensor]] = {"model.": state.model.state_dict()}
    if state.averaged is not None:
        parts["averaged."] = state.averaged.state_dict()
    for index, moments in state.optimizer.state_dict()["state"].items():
        parts[f"optimizer.{index}."] = moments
    return {prefix + key: value.contiguous() for prefix, part in parts.items() for key, value in part.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _replace(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    draft = path.with_suffix(".part")
    save_file(dict(tensors), draft, metadata=dict(metadata))
    draft.replace(path)
