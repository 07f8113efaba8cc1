"""All the numbers of a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models_store.latent import Latent
from models_store.manifest import Manifest, Reference
from training.evaluation.answers import told
from training.evaluation.examinee import Examinee
from training.evaluation.judging import judged, learn_judges
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


def measure(examinee: Examinee, latent: Latent | None = None) -> Findings:
    """Asks every question; the same examinee gives the same numbers to the last digit."""
    scores = score(examinee)
    judges = learn_judges(examinee.manifest.modalities, examinee.train)
    metrics: dict[str, Any] = {"log_prob": dict(log_probs(examinee, scores))}
    metrics |= told(examinee) | judged(examinee, judges, latent)
    metrics["probe"] = probes(examinee)
    if latent is not None:
        metrics["latent"] = fits(examinee, latent)
    return Findings(metrics, references(examinee, scores))
