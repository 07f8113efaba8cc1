"""Errors of training and import; each message is one sentence for the user."""

from __future__ import annotations


class TrainingError(Exception):
    """The command was refused or cannot finish."""


class ExperimentError(TrainingError):
    """The experiment file is inconsistent or unreadable."""


class DataError(TrainingError):
    """The data is missing, damaged, or does not match the experiment."""


class ExportError(TrainingError):
    """A network cannot be exported, or its graph returns other values."""


class ImportRefused(TrainingError):
    """A folder cannot be imported as a model."""
