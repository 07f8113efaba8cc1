"""Types of the metrics of a model card, as they are in the manifest.

Keys of the mappings name distributions, such as ``label|image``. Shares and accuracies are from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict


class Calibration(TypedDict):
    """Calibration of the predicted probabilities of a label."""

    log_loss: float
    """Mean of -log p(true label), in nats."""
    ece: float
    """Expected calibration error: mean distance of confidence and accuracy over rows, by bin."""
    bins: list[list[float]]
    """Reliability table: mean confidence, accuracy and number of rows of each bin with rows."""


class Intervals(TypedDict):
    """Fit of the predictive distribution of values."""

    r2: float
    """R² of the predictive mean, at most 1."""
    coverage_50: float
    """Share of observed cells within the central 50 % interval."""
    coverage_80: NotRequired[float]
    """Share of observed cells within the central 80 % interval; cards before 0.3 have none."""
    coverage_90: float
    """Share of observed cells within the central 90 % interval."""
    rows: int
    """Number of rows."""


class Gain(TypedDict):
    """Gain of the predictions of one modality from all others that a held-out row has.

    Errors are standard errors over the rows, by bootstrap.
    """

    measure: str
    """``R²`` (share of the squared error), ``deviance`` (share of the Poisson deviance), or ``nats``."""
    gain: float
    """Gain over the training mean, or over the shares of the labels."""
    gain_error: float
    """Its standard error."""
    over_regression: NotRequired[float]
    """Gain over ridge or logistic regression on the same training rows; tables alone have it."""
    over_regression_error: NotRequired[float]
    """Its standard error."""
    coverage_50: NotRequired[float]
    """Share of observed cells within the central 50 % interval; categories have none."""
    coverage_90: NotRequired[float]
    """Share of observed cells within the central 90 % interval."""
    rows: int
    """Number of held-out rows."""


class Added(TypedDict):
    """Value of one view for the predictions of a target."""

    alone: NotRequired[float]
    """Gain over the training mean from this view alone, over the rows that have it."""
    added: NotRequired[float]
    """Gain from all other views of a row, minus that without this one, over the rows that have it."""
    rows: int
    """Number of held-out rows that have target and view."""


class Value(TypedDict):
    """Values of the views for the predictions of a target."""

    measure: str
    """``R²`` (share of the squared error), ``deviance`` (share of the Poisson deviance), or ``nats``."""
    views: dict[str, Added]
    """By view, highest ``added`` first."""


class Corrupted(TypedDict):
    """Accuracy of the most probable label where one view is corrupted."""

    alone: float
    """Accuracy given the corrupted view alone."""
    classifier: NotRequired[float]
    """Accuracy of a classifier of that view, trained on the training rows."""
    second: NotRequired[str]
    """The clean view beside it; a model of one view has none."""
    beside: NotRequired[float]
    """Accuracy given both, by the product of experts as the model has it (``robust=false``)."""
    beside_robust: NotRequired[float]
    """Accuracy given both, where views unlike held-out rows lose weight (``robust=true``)."""
    rows: int
    """Number of rows."""


class LogProb(TypedDict):
    """Summary of log p(x_T | x_S) over rows."""

    mean: float
    """Mean, in nats per row."""
    std_error: float
    """Standard error of the mean over rows, in nats."""
    median_ess: float
    """Median effective sample size, at most K."""
    reliable: float
    """Share of rows whose estimate is reliable."""
    rows: int
    """Number of rows."""
    K: int
    """Number of importance samples per row."""


class Variety(TypedDict):
    """Variance of generated rows ÷ variance of real rows, within labels."""

    mean: float
    """Mean over labels."""
    lowest: float
    """Lowest ratio of a label."""


class Priors(TypedDict):
    """A value for each prior of z."""

    standard: float
    """Value under the standard normal."""
    mixture: NotRequired[float]
    """Value under the fitted mixture, if there is one."""


class LatentFit(TypedDict):
    """Mean log-density of held-out draws of z under each prior."""

    components: int
    """Number of components of the mixture."""
    mixture: float
    """Mean log-density under the mixture, in nats."""
    standard: float
    """Mean log-density under the standard normal, in nats."""


class AnswerMetrics(TypedDict):
    """Metrics of predictions of each modality from others."""

    accuracy: dict[str, float]
    """Accuracy of the most probable label."""
    calibration: dict[str, Calibration]
    """Calibration of categories."""
    intervals: dict[str, Intervals]
    """Fit of the other modalities."""


class GenerationMetrics(TypedDict):
    """Metrics of generated rows."""

    judge_accuracy: dict[str, float]
    """Accuracy of each judge on real held-out rows."""
    coherence: dict[str, float]
    """Share of generated rows that the judge assigns to the right label."""
    variety: dict[str, Variety]
    """Relative variance of generated rows."""
    agreement: dict[str, Priors]
    """By category: share of draws of z for which all judges agree with the label decoder."""


class Metrics(AnswerMetrics, GenerationMetrics):
    """All metrics of a model card, without distributions for which no held-out row has all modalities."""

    log_prob: Mapping[str, LogProb]
    """Log-likelihoods."""
    probe: dict[str, float]
    """Accuracy of linear probes of the latent space."""
    gains: dict[str, Gain]
    """Gains over simpler predictions, by modality, from all others that a row has."""
    value: dict[str, Value]
    """Values of the other views by target."""
    corruptions: NotRequired[dict[str, dict[str, Corrupted]]]
    """Accuracies by corrupted view and corruption, where the experiment asks for them."""
    latent: NotRequired[LatentFit]
    """Fit of both priors, if the mixture was fitted."""
