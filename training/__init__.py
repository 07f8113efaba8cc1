"""Fits, measures, exports and publishes a multimodal VAE."""

from training.model import MVAE, MVAEConfig

__all__ = ["MVAE", "MVAEConfig"]
