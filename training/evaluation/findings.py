"""All the numbers of a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models_store.latent import Latent
from models_store.manifest import Manifest, Reference
from training.evaluation.answers import answer_metrics
from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.judging import generation_metrics, learn_judges
from training.evaluation.probes import probes
from training.evaluation.scores import log_probs, references, score
from training.evaluation.space import fits


@dataclass(frozen=True)
class Findings:
    """What was found out about a model.

    Arguments:
        metrics: By what is measured, then by question: ``log_prob`` (nats per row, with its standard
            error), ``accuracy`` and ``calibration`` of categories, ``intervals`` of everything else,
            ``judge_accuracy``, ``coherence`` and ``variety`` of what is generated, ``agreement`` of draws
            from the priors, ``probe``; and ``latent``, how well either prior fits. A question that no
            held-out row can answer is left out.
        reference: By question, how held-out rows scored.
    """

    metrics: Mapping[str, Any]
    reference: Mapping[str, Reference]

    def stated_in(self, manifest: Manifest) -> Manifest:
        """The manifest with these numbers."""
        return manifest.model_copy(
            update={"metrics": dict(self.metrics), "reference": dict(self.reference) or None}
        )


def measure_model(evaluated: EvaluatedModel, latent: Latent | None = None) -> Findings:
    """Asks every question; the same evaluated gives the same numbers to the last digit."""
    scores = score(evaluated)
    judges = learn_judges(evaluated.manifest.modalities, evaluated.train)
    metrics: dict[str, Any] = {"log_prob": dict(log_probs(evaluated, scores))}
    metrics |= answer_metrics(evaluated) | generation_metrics(evaluated, judges, latent)
    metrics["probe"] = probes(evaluated)
    if latent is not None:
        metrics["latent"] = fits(evaluated, latent)
    return Findings(metrics, references(evaluated, scores))
