"""What a run tells TensorBoard, Weights & Biases or MLflow: its settings, every epoch, what was measured."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from training.checkpoint import EpochReport
from training.config import Experiment
from training.errors import TrainingError

IDENTITY = "tracking.json"
"""In the workdir: by tracker the run that a resumed one goes on with."""
LONGEST = 500
"""Characters of a parameter that every MLflow server takes."""


class Tracker(Protocol):
    """Where the numbers of one run go."""

    run: str
    """What the tracker calls the run; a resumed run is opened by it."""

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """The numbers of one epoch."""

    def close(self, failed: bool) -> None:
        """The run is over, or was given up."""


class TensorBoard:
    """Events in WORKDIR/tensorboard."""

    def __init__(self, experiment: Experiment, folder: Path, run: str | None) -> None:  # noqa: ARG002 - one per folder
        from torch.utils.tensorboard import SummaryWriter

        self.run = "tensorboard"
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))
        rows = [f"| {key} | {value} |" for key, value in settings_of(experiment).items()]
        self._writer.add_text("experiment", "\n".join(["| setting | value |", "| --- | --- |", *rows]))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, failed: bool) -> None:  # noqa: ARG002 - it does not say
        self._writer.close()


class WeightsAndBiases:
    """A run of the project $WANDB_PROJECT, else `anyview`; with WANDB_MODE=offline in WORKDIR/wandb."""

    def __init__(self, experiment: Experiment, folder: Path, run: str | None) -> None:
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

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        self._run.log({"epoch": epoch, **values})

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow:
    """A run of the experiment of that name, where MLFLOW_TRACKING_URI says."""

    def __init__(self, experiment: Experiment, folder: Path, run: str | None) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        if run is None:
            known = self._client.get_experiment_by_name(experiment.name)
            number = known.experiment_id if known else self._client.create_experiment(experiment.name)
            run = self._client.create_run(number, run_name=folder.name).info.run_id
            for key, value in settings_of(experiment).items():
                self._client.log_param(run, key, str(value)[:LONGEST])
        else:
            self._client.update_run(run, "RUNNING")
        self.run = str(run)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self.run, name, value, step=epoch)

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


TRACKERS: Mapping[str, Callable[[Experiment, Path, str | None], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


class Tracked:
    """All trackers of a run, each told the same."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers
        self._epoch = 0

    def epoch(self, report: EpochReport) -> None:
        self._epoch = report.epoch
        self._tell(scalars_of(report))

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """The metrics of the finished model, as they are in its manifest."""
        self._tell(dict(_numbers("test", metrics)))

    def _tell(self, values: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.scalars(values, self._epoch)


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
    runs = json.loads(identity.read_text()) if resume and identity.exists() else {}
    trackers: list[Tracker] = []
    failed = True
    try:
        for name in names:
            trackers.append(_opened(name, experiment, folder, runs.get(name)))
            runs[name] = trackers[-1].run
        if trackers:
            folder.mkdir(parents=True, exist_ok=True)
            identity.write_text(json.dumps(runs))
        yield Tracked(trackers)
        failed = False
    finally:
        for tracker in trackers:
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


def _opened(name: str, experiment: Experiment, folder: Path, run: str | None) -> Tracker:
    try:
        return TRACKERS[name](experiment, folder, run)
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
