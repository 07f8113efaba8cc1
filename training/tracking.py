"""What a run tells TensorBoard, Weights & Biases or MLflow: its settings, every epoch, what was measured.

An epoch is first saved and then told, so a run that was killed may have told one less than it knows: whoever
goes on with it tells what is missing, and what a tracker has already it is not told twice.
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
"""In the workdir: by tracker the run that a resumed one goes on with, and the last epoch that it was told."""
LONGEST = 500
"""Characters of a parameter that every MLflow server takes."""


class Tracker(Protocol):
    """Where the numbers of one run go."""

    run: str
    """What the tracker calls the run; a resumed run is opened by it."""
    told: int
    """The last epoch that it has; 0: none."""

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """The numbers of one epoch."""

    def close(self, failed: bool) -> None:
        """The run is over, or was given up."""


class TensorBoard:
    """Events in WORKDIR/tensorboard."""

    def __init__(self, experiment: Experiment, folder: Path, run: str | None, told: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.told = "tensorboard", told
        # What was written of an epoch that is told again is not shown any more.
        again = told + 1 if run else None
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=again)
        if run is None:
            rows = [f"| {key} | {value} |" for key, value in settings_of(experiment).items()]
            self._writer.add_text("experiment", "\n".join(["| setting | value |", "| --- | --- |", *rows]))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, failed: bool) -> None:  # noqa: ARG002 - it does not say
        self._writer.close()


class WeightsAndBiases:
    """A run of the project $WANDB_PROJECT, else `anyview`; with WANDB_MODE=offline in WORKDIR/wandb.

    Its steps are epochs, and what was measured at the end one more. What it was told may still be on its way
    when a run is killed, so a resumed one asks the server which step comes next; offline that is the first,
    and the new folder has the whole run.
    """

    def __init__(self, experiment: Experiment, folder: Path, run: str | None, told: int) -> None:  # noqa: ARG002
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
        self.told = self._step = max(self._run.step - 1, 0)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        self._step = max(epoch, self._step + 1)
        self._run.log({"epoch": epoch, **values}, step=self._step, commit=True)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow:
    """A run of the experiment of that name, where MLFLOW_TRACKING_URI says."""

    def __init__(self, experiment: Experiment, folder: Path, run: str | None, told: int) -> None:
        from mlflow import MlflowClient

        self._client, self.told = MlflowClient(), told
        self._last: dict[str, int] = {}
        if run is None:
            known = self._client.get_experiment_by_name(experiment.name)
            number = known.experiment_id if known else self._client.create_experiment(experiment.name)
            run = self._client.create_run(number, run_name=folder.name).info.run_id
            for key, value in settings_of(experiment).items():
                self._client.log_param(run, key, str(value)[:LONGEST])
        else:
            self._client.update_run(run, "RUNNING")
            for name in self._client.get_run(run).data.metrics:
                self._last[name] = max(one.step for one in self._client.get_metric_history(run, name))
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
    """All trackers of a run, each told the same.

    Arguments:
        trackers: By name.
        identity: Where it is written down which runs they are, and what they were told.
        known: What is written there.
    """

    def __init__(self, trackers: Mapping[str, Tracker], identity: Path, known: Mapping[str, Any]) -> None:
        self._trackers = trackers
        self._identity = identity
        self._known = dict(known)
        self._epoch = 0

    def resumed(self, reports: Sequence[EpochReport]) -> None:
        """The epochs that are done; whoever lacks some is told them, a tracker that is new all."""
        for report in reports:
            self.epoch(report)

    def epoch(self, report: EpochReport) -> None:
        self._epoch = report.epoch
        for tracker in self._trackers.values():
            if tracker.told < report.epoch:
                tracker.scalars(scalars_of(report), report.epoch)
                tracker.told = report.epoch
        self.note()

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """The metrics of the finished model, as they are in its manifest."""
        values = dict(_numbers("test", metrics))
        for tracker in self._trackers.values():
            tracker.scalars(values, self._epoch)

    def note(self) -> None:
        """Writes down who was told what, for the run that goes on with this one."""
        if self._trackers:
            self._known |= {name: {"run": one.run, "epoch": one.told} for name, one in self._trackers.items()}
            self._identity.parent.mkdir(parents=True, exist_ok=True)
            draft = self._identity.with_suffix(".part")
            draft.write_text(json.dumps(self._known))
            draft.replace(self._identity)


@contextmanager
def tracked(names: Sequence[str], experiment: Experiment, folder: Path, resume: bool) -> Iterator[Tracked]:
    """Opens the trackers of these names, and closes them, however the run ends.

    Raises:
        TrainingError: A tracker is unknown, not installed, or refuses.
    """
    unknown = [name for name in names if name not in TRACKERS]
    if unknown:
        raise TrainingError(f"--track {unknown[0]}: known are {', '.join(TRACKERS)}")
    identity = folder / IDENTITY
    known = json.loads(identity.read_text()) if resume and identity.exists() else {}
    trackers: dict[str, Tracker] = {}
    failed = True
    try:
        for name in dict.fromkeys(names):
            before = known.get(name, {"run": None, "epoch": 0})
            trackers[name] = _opened(name, experiment, folder, before["run"], before["epoch"])
        told = Tracked(trackers, identity, known)
        told.note()
        yield told
        failed = False
    finally:
        for tracker in trackers.values():
            tracker.close(failed)


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Every setting of an experiment under its dotted name, such as ``fit.batch_size``."""
    return dict(_leaves("", experiment.model_dump(mode="json", exclude_none=True)))


def scalars_of(report: EpochReport) -> dict[str, float]:
    """The numbers of an epoch under the names that trackers show."""
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


def _opened(name: str, experiment: Experiment, folder: Path, run: str | None, told: int) -> Tracker:
    try:
        return TRACKERS[name](experiment, folder, run, told)
    except ImportError:
        raise TrainingError(f"--track {name} needs: pip install 'anyview[training,{name}]'") from None
    except Exception as error:  # each library has its own: no key, no server, no such store
        raise TrainingError(f"--track {name}: {str(error).strip().splitlines()[0]}") from error


def _leaves(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _numbers(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a tree of metrics; ``label|image,sound`` reads ``label given image and sound``."""
    for key, value in tree.items():
        plain = re.sub(r"[^\w. /-]", " ", str(key).replace("|", " given ").replace(",", " and "))
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}/{plain}", value)
        elif isinstance(value, int | float):
            yield f"{prefix}/{plain}", float(value)
