"""Answers requests on arrays: encoders and decoders in batches, products of experts, draws, scores."""
