"""Answers HTTP: any subset of the modalities in, the posterior, every other modality and scores out."""
