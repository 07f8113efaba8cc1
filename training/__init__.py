"""Fits, measures, exports and publishes a multimodal VAE."""
