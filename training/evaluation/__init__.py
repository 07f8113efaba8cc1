"""What a stored model is worth, measured on held-out rows through its ONNX graphs.

A question is written as in the service: `label|image` is the label given the image, `image,label` both.
"""

from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.findings import Findings, measure_model
from training.evaluation.space import fit_latent

__all__ = ["EvaluatedModel", "Findings", "fit_latent", "measure_model"]
