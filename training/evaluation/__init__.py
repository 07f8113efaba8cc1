"""Measures a stored model on held-out rows through its ONNX graphs.

Conditional distributions are written as in the service: `label|image` is p(label | image), `image,label` is
the joint p(image, label).
"""

from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.findings import Findings, measure_answers, measure_corruptions, measure_model
from training.evaluation.space import fit_latent

__all__ = [
    "EvaluatedModel",
    "Findings",
    "fit_latent",
    "measure_answers",
    "measure_corruptions",
    "measure_model",
]
