"""Settings of the random changes of training rows, in an experiment file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from models_store.manifest import Modality
from training.errors import ExperimentError

PICTURE_CHANGES = {"shift": 0.1, "rotate": 15.0, "scale": 0.1, "noise": 0.1, "occlude": 0.2}
CHANGES: Mapping[str, Mapping[str, float]] = {
    "image": PICTURE_CHANGES,
    "video": PICTURE_CHANGES,
    "audio": {"shift": 0.1, "noise": 0.1, "gain": 0.1},
    "points": {"shift": 0.1, "rotate": 15.0, "scale": 0.1, "resample": 0.3},
}
"""Usual strengths of the changes of each kind that can be augmented."""

Strength = Annotated[float, Field(ge=0, le=1)] | None


class Augment(BaseModel):
    """Random changes of the rows that the encoder gets in training, drawn anew for each row of each batch.

    The loss is that of reconstructing the unchanged row: generated rows look like those of the data. A
    strength that is left out is the usual one of the kind; 0 switches its change off. Pictures and videos
    have ``shift``, ``rotate``, ``scale``, ``noise`` and ``occlude``; sounds have ``shift``, ``noise`` and
    ``gain``; points have ``shift``, ``rotate``, ``scale`` and ``resample``. Validation and test rows are
    never changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    share: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Share of the rows that are changed; the encoder sees the others as they are."""
    shift: Strength = None
    """Greatest move, as a share of the sides of a picture, of the frames of a sound, of the range of points.
    Usually 0.1."""
    rotate: Annotated[float, Field(ge=0, le=180)] | None = None
    """Greatest rotation about the centre, in degrees, to either side. Usually 15."""
    scale: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Greatest change of size: 0.1 is a factor from 0.9 to 1.1. Usually 0.1."""
    noise: Strength = None
    """Greatest standard deviation of normal noise, as a share of the range. Usually 0.1."""
    occlude: Strength = None
    """Greatest side of a square of one level, as a share of the shorter side. Usually 0.2."""
    gain: Strength = None
    """Greatest change of the levels of a sound, up or down, as a share of the range. Usually 0.1."""
    resample: Annotated[float, Field(ge=0, le=3)] | None = None
    """Greatest a, of either sign, with which points move along their line: a point at the share t of the line
    moves to t to the power of exp(a). Usually 0.3."""

    def strengths(self, kind: str) -> dict[str, float]:
        """Returns ``share`` and the strength of each change of a kind."""
        strengths = {"share": self.share, **CHANGES[kind]}
        return strengths | {name: value for name in strengths if (value := getattr(self, name)) is not None}

    def check(self, modality: Modality) -> None:
        """Refuses strengths of changes that the kind of the modality does not have.

        Raises:
            ExperimentError: It is such a strength, or no row of the kind is changed.
        """
        place = f"modalities.{modality.name}.augment"
        if modality.kind not in CHANGES:
            raise ExperimentError(
                f"{place}: rows of kind '{modality.kind}' cannot be augmented, "
                f"those of {', '.join(CHANGES)} can; leave it out"
            )
        changes = CHANGES[modality.kind]
        for name in self.model_fields_set - changes.keys() - {"share"}:
            raise ExperimentError(
                f"{place}.{name}: {modality.kind} has {', '.join(changes)}; leave {name} out"
            )


def usual_or_none(setting: Any) -> Any:
    """``true`` as a table without strengths, ``false`` as no table."""
    return ({} if setting else None) if isinstance(setting, bool) else setting
