"""Computes all metrics of a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from models_store.errors import ManifestError
from models_store.latent import Latent
from models_store.limits import check_document
from models_store.manifest import Manifest, Reference
from training.evaluation.answers import answer_metrics
from training.evaluation.by_column import column_metrics
from training.evaluation.corruptions import corruption_metrics
from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.gains import gains
from training.evaluation.judging import Judges, generation_metrics, learn_judges
from training.evaluation.metrics import AnswerMetrics, Corrupted, Metrics
from training.evaluation.probes import probes
from training.evaluation.scores import log_probs, references, score
from training.evaluation.space import fits
from training.evaluation.value import values

SHARE_WITH_METRICS = 0.9
"""Share of the limits of a manifest that is filled before its files are listed."""
LEAST_NEEDED = (("value",), ("accuracy", "calibration"), ("intervals",), ("log_prob",))
"""Metrics that a manifest without room for all leaves out, in this order, after tables of reliability."""


@dataclass(frozen=True)
class Findings:
    """Metrics of a model and the reference scores of held-out rows.

    Arguments:
        metrics: Metrics of the card. A distribution for which no held-out row has all modalities is left out.
        reference: Reference scores by distribution, such as ``label|image``.
    """

    metrics: Metrics
    reference: Mapping[str, Reference]

    def stated_in(self, manifest: Manifest) -> Manifest:
        """Returns the manifest with these metrics and reference scores, or with those that it has room for.

        Many of them are of pairs of modalities: of several hundred, the manifest would be refused.
        """
        reference = dict(self.reference) or None
        stated = manifest
        for metrics in _shortened(dict(self.metrics)):
            stated = manifest.model_copy(update={"metrics": metrics, "reference": reference})
            with suppress(ManifestError):
                check_document(stated.to_json(), SHARE_WITH_METRICS)
                break
        return stated


def _shortened(metrics: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields metrics, and then ever fewer of those that pairs of modalities have."""
    yield metrics
    by_question = metrics.get("calibration", {}).items()
    metrics = {**metrics, "calibration": {question: {**one, "bins": []} for question, one in by_question}}
    yield metrics
    for names in LEAST_NEEDED:
        metrics = {**metrics, **{name: {} for name in names}}
        yield metrics


def measure_answers(evaluated: EvaluatedModel) -> Findings:
    """Computes the metrics that depend on the calibration and the estimator of scores; keeps the others."""
    scores = score(evaluated)
    by_column = column_metrics(evaluated)
    answers = _joined(answer_metrics(evaluated), by_column.answers)
    metrics = cast("Metrics", {**evaluated.manifest.metrics, **answers})
    metrics["log_prob"] = dict(log_probs(evaluated, scores))
    metrics["gains"], metrics["value"] = {**gains(evaluated), **by_column.gains}, values(evaluated)
    return Findings(metrics, references(evaluated, scores))


def measure_corruptions(evaluated: EvaluatedModel) -> dict[str, dict[str, Corrupted]]:
    """Computes the accuracies under corruptions alone, with newly trained classifiers beside the model."""
    return corruption_metrics(evaluated, _judges(evaluated))


def measure_model(evaluated: EvaluatedModel, latent: Latent | None = None) -> Findings:
    """Computes all metrics; deterministic for the same model, rows and seed."""
    scores = score(evaluated)
    judges = _judges(evaluated)
    by_column, generation = column_metrics(evaluated), generation_metrics(evaluated, judges, latent)
    answers = _joined(answer_metrics(evaluated), by_column.answers)
    metrics: Metrics = {
        "log_prob": dict(log_probs(evaluated, scores)),
        "accuracy": answers["accuracy"],
        "calibration": answers["calibration"],
        "intervals": answers["intervals"],
        "judge_accuracy": generation["judge_accuracy"],
        "coherence": generation["coherence"],
        "variety": generation["variety"],
        "agreement": generation["agreement"],
        "probe": probes(evaluated),
        "gains": {**gains(evaluated), **by_column.gains},
        "value": values(evaluated),
    }
    if evaluated.settings.corruptions:
        metrics["corruptions"] = corruption_metrics(evaluated, judges)
    if latent is not None:
        metrics["latent"] = fits(evaluated, latent)
    return Findings(metrics, references(evaluated, scores))


def _joined(answers: AnswerMetrics, further: AnswerMetrics) -> AnswerMetrics:
    """All of these metrics."""
    return {
        "accuracy": {**answers["accuracy"], **further["accuracy"]},
        "calibration": {**answers["calibration"], **further["calibration"]},
        "intervals": {**answers["intervals"], **further["intervals"]},
    }


def _judges(evaluated: EvaluatedModel) -> Judges:
    return learn_judges(evaluated.manifest.modalities, evaluated.train, evaluated.device)
