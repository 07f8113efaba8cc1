"""What a person who trains can get wrong; each text is one sentence for them."""

from __future__ import annotations


class TrainingError(Exception):
    """Whatever the command refuses or cannot finish."""


class ExperimentError(TrainingError):
    """The experiment file says what cannot be."""


class DataError(TrainingError):
    """The data is missing, damaged, or not what the experiment says."""


class ExportError(TrainingError):
    """A graph does not answer as the network that it was made from."""


class ImportRefused(TrainingError):
    """A folder that no model of ours can be made of."""
