"""Signs in the reports of a run that training has failed, other than NaN.

A run whose joint posterior runs away from the prior has finite losses for hundreds of epochs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models_store.manifest import Modality
from training.checkpoint import EpochReport
from training.config import Experiment

NATS_OF_A_NUMBER = 24 * math.log(2)
"""Most information in one float32: its 24 significant bits."""
HEADROOM = 2.0
"""A divergence from the prior up to so many times the information of a row is accepted."""

_SUSPECTED = re.compile(
    r"^#.* (\S+) occurs far outside the other numbers of (.+?); if it means missing", re.MULTILINE
)
"""A comment of ``init`` on a number that may mean a missing value."""
USUAL_CLIP = 1.0
"""Largest norm of a gradient that a remedy names."""


def remedy_of(experiment: Experiment) -> str:
    """Settings to try after training has failed, without those that the experiment has already."""
    settings = ["a smaller fit.learning_rate"]
    if experiment.model.objective != "conditional":
        settings.insert(0, 'model.objective = "conditional"')
    if experiment.fit.clip is None or experiment.fit.clip > USUAL_CLIP:
        settings.append(f"fit.clip = {USUAL_CLIP:g}")
    return f"try {' or '.join(settings)}; with many small modalities, fewer and larger ones"


def advice(experiment: Experiment, text: str) -> str:
    """What to check of data of which nothing was learned, and the settings to try then.

    Arguments:
        experiment: The experiment.
        text: Its file, with the comments of ``init``.
    """
    checks = [
        f"{code} occurs far outside the other numbers of {columns}: if it means missing, name it in [data] "
        "missing"
        for code, columns in _SUSPECTED.findall(text)
        if code not in _marks(experiment)
    ] or ["add rows, or views that depend on the others"]
    if len(experiment.data.files) > 1:
        checks.insert(0, "check that the rows of the files belong together")
    return f"{'; '.join(checks)}; or {remedy_of(experiment)}"


def _marks(experiment: Experiment) -> set[str]:
    """Marks for a missing value that the experiment names."""
    data = experiment.data
    return {*data.missing}.union(*data.missing_by_column.values())


def capacity(modalities: Sequence[Modality], weights: Mapping[str, float], beta: float) -> float:
    r"""Greatest divergence from the prior, in nats, for which the likelihood can pay.

    .. math:: \frac{2}{\beta} \sum_m \max(1, \lambda_m) \, I_m

    with :math:`I_m` the information of modality m in a row: the logarithm of the number of labels, or 24
    bits for every cell.

    Arguments:
        modalities: Modalities of the model.
        weights: :math:`\lambda_m` by name.
        beta: Weight of the divergence after the warm-up.
    """
    nats = {
        m.name: math.log(len(m.labels)) if m.labels else NATS_OF_A_NUMBER * math.prod(m.shape)
        for m in modalities
    }
    return HEADROOM / beta * sum(max(1.0, weights[name]) * value for name, value in nats.items())


@dataclass(frozen=True)
class Watch:
    """Judges the reports of a run.

    Arguments:
        warmup: Epochs in which the weight of the divergence from the prior rises.
        most: :func:`capacity` of the data.
        remedy: :func:`remedy_of` of the experiment.
    """

    warmup: int
    most: float
    remedy: str

    def diverged(self, report: EpochReport, earlier: Sequence[EpochReport]) -> str | None:
        """Describes how training diverged in an epoch after the warm-up; None if it did not.

        Arguments:
            report: Report of the epoch.
            earlier: Reports of the epochs before it.
        """
        settled = [one for one in earlier if one.epoch > self.warmup]
        if report.epoch <= self.warmup or not settled:
            return None
        lowest = min(one.train_loss for one in settled)
        if self._far_above(report.train_loss, lowest):
            return f"the loss rose from {lowest:.4g} to {report.train_loss:.4g} in epoch {report.epoch}"
        if report.kl > self.most and report.kl > settled[-1].kl:
            return (
                f"the posterior is {report.kl:.4g} nats from the prior in epoch {report.epoch}, "
                f"more than the {self.most:.4g} that the data can carry"
            )
        return None

    def overfitted(self, reports: Sequence[EpochReport]) -> str | None:
        """Describes a last validation loss far above its best; None if it is not."""
        losses = {one.epoch: one.validation_loss for one in reports if one.validation_loss is not None}
        last = max(losses, default=0)
        if last <= self.warmup:
            return None
        best = min(losses, key=lambda epoch: losses[epoch])
        if not self._far_above(losses[last], losses[best]):
            return None
        return (
            f"stopped after epoch {last}: the validation loss, {losses[last]:.4g}, is far above its best, "
            f"{losses[best]:.4g}; the weights of epoch {best} are kept"
        )

    def best_within_warmup(self, reports: Sequence[EpochReport]) -> str | None:
        """Describes a best epoch in which the divergence had not its full weight; None if it had."""
        best = max((one.epoch for one in reports if one.best), default=0)
        validated = any(one.validation_loss is not None for one in reports)
        if not validated or best > self.warmup or len(reports) <= self.warmup:
            return None
        return (
            f"the best epoch, {best}, lies within the warm-up of {self.warmup} epochs: later epochs did not "
            f"improve on held-out rows, so the model may have learned little; {self.remedy}"
        )

    def complaints(self, reports: Sequence[EpochReport]) -> list[str]:
        """Sentences about a finished run that the user should read."""
        return [s for s in (self.overfitted(reports), self.best_within_warmup(reports)) if s is not None]

    def _far_above(self, loss: float, lowest: float) -> bool:
        """Whether a loss is twice the lowest, on the scale of the loss or of the data's information."""
        return loss - lowest > max(abs(lowest), self.most)
