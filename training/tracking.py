"""Logs of a run to TensorBoard, Weights & Biases or MLflow: settings, epochs, and the final metrics.

A run saves an epoch before it logs it, so a killed run may lack the last saved epoch in its logs. A resumed
run logs the missing epochs, and no epoch twice.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from training.config import Experiment
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.checkpoint import EpochReport

IDENTITY = "tracking.json"
"""File in the workdir: for each tracker, the id of its run and the last epoch that it has logged."""
LONGEST = 500
"""Longest value of a parameter, in characters, that every MLflow server accepts."""


class Tracker(Protocol):
    """Destination for the scalars of one run."""

    run: str
    """Id of the run in the tracker; a resumed run is opened by it."""
    last_epoch: int
    """The last epoch that was logged; 0 for none."""

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Logs the scalars of one epoch."""

    def close(self, failed: bool) -> None:
        """Marks the run as finished or as failed."""


class TensorBoard:
    """Event files in WORKDIR/tensorboard."""

    def __init__(self, experiment: Experiment, folder: Path, run: str | None, last_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.last_epoch = "tensorboard", last_epoch
        # TensorBoard hides events from this step on, which this run logs again.
        purge_step = last_epoch + 1 if run else None
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=purge_step)
        if run is None:
            rows = [f"| {key} | {value} |" for key, value in settings_of(experiment).items()]
            self._writer.add_text("experiment", "\n".join(["| setting | value |", "| --- | --- |", *rows]))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, failed: bool) -> None:  # noqa: ARG002 - TensorBoard has no state of a run
        self._writer.close()


class WeightsAndBiases:
    """A run in the project $WANDB_PROJECT, by default `anyview`; in WORKDIR/wandb with WANDB_MODE=offline.

    Steps are epochs; the final metrics are one further step. A killed run may have lost rows that it had not
    sent yet, so a resumed run asks the server for the next step. Offline, the next step is the first, and the
    new folder holds the whole run.
    """

    def __init__(self, experiment: Experiment, folder: Path, run: str | None, last_epoch: int) -> None:  # noqa: ARG002
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "anyview"),
            name=folder.name,
            dir=folder,
            config=settings_of(experiment),
            id=run,
            resume="allow" if run else None,
        )
        self.run = str(self._run.id)
        self.last_epoch = self._step = max(self._run.step - 1, 0)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        self._step = max(epoch, self._step + 1)
        self._run.log({"epoch": epoch, **values}, step=self._step, commit=True)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow:
    """A run in the MLflow experiment of the same name, at MLFLOW_TRACKING_URI."""

    def __init__(self, experiment: Experiment, folder: Path, run: str | None, last_epoch: int) -> None:
        from mlflow import MlflowClient

        self._client, self.last_epoch = MlflowClient(), last_epoch
        self._last: dict[str, int] = {}
        if run is None:
            existing = self._client.get_experiment_by_name(experiment.name)
            number = existing.experiment_id if existing else self._client.create_experiment(experiment.name)
            run = self._client.create_run(number, run_name=folder.name).info.run_id
            for key, value in settings_of(experiment).items():
                self._client.log_param(run, key, str(value)[:LONGEST])
        else:
            self._client.update_run(run, "RUNNING")
            for name in self._client.get_run(run).data.metrics:
                self._last[name] = max(m.step for m in self._client.get_metric_history(run, name))
        self.run = str(run)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            if epoch > self._last.get(name, 0):
                self._client.log_metric(self.run, name, value, step=epoch)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


TRACKERS: Mapping[str, Callable[[Experiment, Path, str | None, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Tracked:
    """The trackers of a run; logs everything to each of them.

    Arguments:
        trackers: Trackers by name.
        identity: File with the run and the last logged epoch of each tracker.
        recorded: Content of that file.
    """

    def __init__(self, trackers: Mapping[str, Tracker], identity: Path, recorded: Mapping[str, Any]) -> None:
        self._trackers = trackers
        self._identity = identity
        self._recorded = dict(recorded)
        self._epoch = 0

    def resumed(self, reports: Sequence[EpochReport]) -> None:
        """Replays finished epochs to each tracker that has not recorded them."""
        for report in reports:
            self.epoch(report)

    def epoch(self, report: EpochReport) -> None:
        """Logs one epoch to each tracker that has not recorded it."""
        self._epoch = report.epoch
        for tracker in self._trackers.values():
            if tracker.last_epoch < report.epoch:
                tracker.scalars(scalars_of(report), report.epoch)
                tracker.last_epoch = report.epoch
        self.note()

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Logs the metrics of the manifest of the finished model."""
        values = dict(_numbers("test", metrics))
        for tracker in self._trackers.values():
            tracker.scalars(values, self._epoch)

    def note(self) -> None:
        """Writes the run and the last epoch of each tracker, for a run that resumes this one."""
        if self._trackers:
            self._recorded |= {
                name: {"run": tracker.run, "epoch": tracker.last_epoch}
                for name, tracker in self._trackers.items()
            }
            self._identity.parent.mkdir(parents=True, exist_ok=True)
            draft = self._identity.with_suffix(".part")
            draft.write_text(json.dumps(self._recorded))
            draft.replace(self._identity)


@contextmanager
def tracked(names: Sequence[str], experiment: Experiment, folder: Path, resume: bool) -> Iterator[Tracked]:
    """Opens trackers by name, and closes them when the run ends or fails.

    Raises:
        TrainingError: A tracker is unknown, not installed, or cannot be opened.
    """
    unknown = [name for name in names if name not in TRACKERS]
    if unknown:
        raise TrainingError(f"--track {unknown[0]}: known are {', '.join(TRACKERS)}")
    identity = folder / IDENTITY
    recorded = json.loads(identity.read_text()) if resume and identity.exists() else {}
    trackers: dict[str, Tracker] = {}
    failed = True
    try:
        for name in dict.fromkeys(names):
            before = recorded.get(name, {"run": None, "epoch": 0})
            trackers[name] = _opened(name, experiment, folder, before["run"], before["epoch"])
        log = Tracked(trackers, identity, recorded)
        log.note()
        yield log
        failed = False
    finally:
        for tracker in trackers.values():
            tracker.close(failed)


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Settings of an experiment by dotted name, such as ``fit.batch_size``."""
    return dict(_leaves("", experiment.model_dump(mode="json", exclude_none=True)))


def scalars_of(report: EpochReport) -> dict[str, float]:
    """Scalars of an epoch by the names that trackers show; losses and log-probabilities in nats per row."""
    validation = {} if report.validation_loss is None else {"loss/validation": report.validation_loss}
    return {
        "loss/train": report.train_loss,
        **validation,
        "elbo": report.elbo,
        "kl": report.kl,
        **{f"log_prob/{name}": value for name, value in report.log_prob.items()},
        "learning_rate": report.learning_rate,
        "samples_per_second": report.rows_per_second,
    }


def _opened(name: str, experiment: Experiment, folder: Path, run: str | None, last_epoch: int) -> Tracker:
    try:
        return TRACKERS[name](experiment, folder, run, last_epoch)
    except ImportError:
        raise TrainingError(f"--track {name} needs: pip install 'anyview[training,{name}]'") from None
    except Exception as error:  # each library raises its own type: no key, no server, no such store
        raise TrainingError(f"--track {name}: {str(error).strip().splitlines()[0]}") from error


def _leaves(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _numbers(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the numbers of nested metrics; ``label|image,sound`` becomes ``label given image and sound``."""
    for key, value in tree.items():
        plain = re.sub(r"[^\w. /-]", " ", str(key).replace("|", " given ").replace(",", " and "))
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}/{plain}", value)
        elif isinstance(value, int | float):
            yield f"{prefix}/{plain}", float(value)
