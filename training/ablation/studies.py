"""Settings and metrics of the studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from training.evaluation.answers import answer_metrics, label_probabilities
from training.evaluation.evaluated import EvaluatedModel, having, having_all
from training.evaluation.judging import Judges, generation_metrics
from training.evaluation.scores import log_prob

Results = dict[str, float]

SHORT = ("model.warmup=1",)
"""Settings for few epochs: the divergence has its full weight from the second epoch on."""
OBJECTIVE_EPOCHS, MISSING_EPOCHS = 3, 4
"""Epochs that suffice to rank variants over three seeds; shipped models are trained longer."""


def summary(evaluated: EvaluatedModel, judges: Judges) -> Results:
    """Returns label accuracy, coherence, variety, coverage and log p(x): averages, then single values.

    Arguments:
        evaluated: The trained model.
        judges: Classifiers of real rows.
    """
    answers, seen = answer_metrics(evaluated), generation_metrics(evaluated, judges)
    labels = [m.name for m in evaluated.manifest.modalities if m.labels is not None]
    variety = {conditional: results["mean"] for conditional, results in seen["variety"].items()}
    intervals = answers["intervals"].values()
    names = evaluated.manifest.names
    rows = having(evaluated.test, names).head(evaluated.settings.rows)
    results = {
        "label accuracy": _mean(answers["accuracy"].values()),
        "coherence from label": _mean(_given(seen["coherence"], labels, True)),
        "variety from label": _mean(_given(variety, labels, True)),
        "coherence from others": _mean(_given(seen["coherence"], labels, False)),
        "variety from others": _mean(_given(variety, labels, False)),
        "in 50 %": _mean(fit["coverage_50"] for fit in intervals),
        "in 90 %": _mean(fit["coverage_90"] for fit in intervals),
        "log p(x)": float(log_prob(evaluated, rows, names).log_prob.mean()),
    }
    detail = {"accuracy": answers["accuracy"], "coherence": seen["coherence"], "variety": variety}
    for what, by_question in detail.items():
        results |= {f"{what} {conditional}": value for conditional, value in by_question.items()}
    return {name: value for name, value in results.items() if np.isfinite(value)}


AVERAGES = (
    "label accuracy",
    "coherence from label",
    "variety from label",
    "coherence from others",
    "variety from others",
    "in 50 %",
    "in 90 %",
    "log p(x)",
)


def label_accuracy(evaluated: EvaluatedModel) -> Results:
    """Returns label accuracy given each other modality, on all held-out rows."""
    results = {}
    for category in evaluated.manifest.modalities:
        for given in evaluated.manifest.names:
            if category.labels is not None and given != category.name:
                rows = having_all(evaluated.test, [category.name, given])
                predicted = label_probabilities(evaluated, category.name, [given], rows).argmax(axis=1)
                right = predicted == rows.data[category.name].numpy()
                results[f"accuracy {category.name}|{given}"] = float(right.mean())
    return results


def _given(by_question: Mapping[str, float], labels: Iterable[str], from_label: bool) -> list[float]:
    """Returns the values of conditionals on a label alone, or on anything else."""
    label_names = set(labels)
    return [
        value
        for conditional, value in by_question.items()
        if (conditional.split("|")[1] in label_names) == from_label
    ]


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else float("nan")
