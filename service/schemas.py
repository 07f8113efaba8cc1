"""Query parameters of requests, and responses about models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.engine.summaries import FIELDS


def _split(value: object) -> object:
    """Joins repeated and comma-separated values to one list."""
    if not isinstance(value, list | str):
        return value
    items = [value] if isinstance(value, str) else value
    return [name.strip() for item in items for name in str(item).split(",")]


Names = Annotated[list[str], BeforeValidator(_split), Field(min_length=1)]


POSTERIOR_FIELDS = ("z", "mu", "log_var", "contributions", "information", "disagreement")
"""Fields of a response to ``/encode`` that a request may choose; the last three explain it."""


class EncodeQuery(BaseModel):
    """Parameters of ``/encode``."""

    model_config = ConfigDict(extra="forbid")

    cond_mod: Names = Field(
        ["all"], description="Modalities to condition on; `all`: what was sent; `none`: the prior."
    )
    N: int = Field(1, ge=1, description="Draws per row.")
    return_mean: bool = Field(False, description="z is the posterior's mean instead of a draw.")
    robust: bool = Field(
        True,
        description="A view that is not reconstructed as held-out rows are loses weight beside others; "
        "false: all views count as the model has it.",
    )
    flatten: bool = Field(False, description="Join the axes n_data and N, row by row.")
    seed: int | None = Field(
        None, ge=0, lt=2**53, description="Of every draw; the same seed gives the same answer."
    )
    n_data: int | None = Field(None, ge=1, description="Rows to draw; only with cond_mod=none.")
    version: int | None = Field(None, ge=1, description="Of the model; default: the one that is served.")
    fields: Names = Field(list(POSTERIOR_FIELDS), description="Fields of the posterior in the response.")


class GenerateQuery(EncodeQuery):
    """Parameters of ``/generate``."""

    gen_mod: Names = Field(["all"], description="Modalities to generate.")
    prior: Literal["standard", "mixture"] = Field(
        "standard",
        description="With cond_mod=none: the standard normal, or a mixture fitted to training rows.",
    )
    K: int = Field(100, ge=1, description="Draws of z behind mean, std, quantiles and probabilities.")
    fields: Names = Field(list(FIELDS), description="Fields of each target in the response.")
    noise: bool = Field(False, description="Samples are draws of x instead of means of p(x | z).")
    calibrated: bool = Field(
        True,
        description="Correct quantiles and label probabilities by held-out rows; false: the model's own.",
    )


class ScoreQuery(BaseModel):
    """Parameters of ``/score``."""

    model_config = ConfigDict(extra="forbid")

    cond_mod: Names = Field(
        ["none"], description="Modalities that the score is conditional on; `none`: none."
    )
    gen_mod: Names = Field(["all"], description="Modalities to score; `all`: all others that were sent.")
    K: int = Field(1000, ge=1, description="Importance samples per row.")
    batch_size_K: int = Field(  # noqa: N815 - the name that MultiVae uses
        100, ge=1, description="Importance samples that are decoded at a time; less than 100 counts as 100."
    )
    robust: bool = Field(
        True,
        description="A view that is not reconstructed as held-out rows are loses weight beside others; "
        "false: all views count as the model has it.",
    )
    seed: int | None = Field(
        None, ge=0, lt=2**53, description="Of every draw; the same seed gives the same answer."
    )
    version: int | None = Field(None, ge=1, description="Of the model; default: the one that is served.")


ProblemType = Literal[
    "urn:anyview:client-disconnected",
    "urn:anyview:conflict",
    "urn:anyview:failure",
    "urn:anyview:forbidden",
    "urn:anyview:misdirected",
    "urn:anyview:not-acceptable",
    "urn:anyview:not-found",
    "urn:anyview:not-ready",
    "urn:anyview:past-deadline",
    "urn:anyview:too-busy",
    "urn:anyview:too-large",
    "urn:anyview:too-slow",
    "urn:anyview:unauthorized",
    "urn:anyview:unknown-coding",
    "urn:anyview:unknown-media-type",
    "urn:anyview:unparsable",
    "urn:anyview:wrong-input",
    "urn:anyview:wrong-method",
]


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: ProblemType = Field(description="Kind of the error; several kinds may share a status.")
    title: str
    status: int
    detail: str
    error: str = Field(description="The detail again, for clients of the Open Inference Protocol.")
    request_id: str


class ModelEntry(BaseModel):
    """A loaded model."""

    name: str
    version: int
    versions: list[int] = Field(description="Loaded versions, newest first; the first answers by default.")
    description: str
    modalities: list[str]


class RefusedEntry(BaseModel):
    """A stored version that is not served."""

    model: str
    version: int
    reason: str


class ModelList(BaseModel):
    """Loaded models, and versions that were refused."""

    default: str | None
    models: list[ModelEntry]
    refused: list[RefusedEntry]


class LoadedVersions(BaseModel):
    """Loaded versions of a model, newest first."""

    model: str
    versions: list[int]


class Examples(BaseModel):
    """Example rows, in the form of a JSON body of ``/encode``, ``/generate`` and ``/score``."""

    inputs: dict[str, list[Any]] = Field(description="Rows of each modality; null where a row lacks it.")


class ViewValue(BaseModel):
    """What one view adds to the predictions of a target, over held-out rows that have both."""

    alone: float | None = Field(None, description="Gain over the training mean from this view alone.")
    added: float | None = Field(
        None,
        description="Gain from all other views of a row, minus that without this one; none where no row has "
        "further views.",
    )
    rows: int = Field(description="Number of these rows.")


class TargetValue(BaseModel):
    """What the other views add to the predictions of one target."""

    measure: str = Field(
        description="Unit of the gains: `R²`, a share of the variance; `deviance`, a share of the Poisson "
        "deviance of counts; `nats` of the log-loss of labels."
    )
    views: dict[str, ViewValue] = Field(description="By view, highest `added` first.")


class ValueOfViews(BaseModel):
    """The value of each view for each target."""

    targets: dict[str, TargetValue]


class LatentMap(BaseModel):
    """Two axes of the latent space, and the held-out rows in them: ``points = (z - centre) axesᵀ``."""

    axes: list[list[float]] = Field(description="(2, latent_dim)")
    centre: list[float] = Field(description="(latent_dim)")
    points: list[list[float]] = Field(description="(n, 2)")
    labels: dict[str, list[int]] = Field(description="Index of each point's label, per category; -1: none.")


class Health(BaseModel):
    """Liveness or readiness of the service."""

    status: Literal["alive", "dead", "ready", "not ready"]
    missing: list[str] = []


class ReadinessHealth(Health):
    """Readiness of the service, and whether its store is there."""

    store: Literal["present", "away"] = Field(
        "present",
        description="`away`: the store does not answer, or is not there; loaded models still answer.",
    )
