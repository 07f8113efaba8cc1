"""What a stored model is worth, measured on held-out rows through its ONNX graphs.

A question is written as in the service: `label|image` is the label given the image, `image,label` both.
"""

from training.evaluation.examinee import Examinee
from training.evaluation.findings import Findings, measure
from training.evaluation.space import describe

__all__ = ["Examinee", "Findings", "describe", "measure"]
