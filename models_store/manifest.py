"""The manifest: the description of a stored model. Format 1."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    Field,
    FiniteFloat,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    computed_field,
    model_validator,
)

from models_store.errors import ManifestError, listed, shown
from models_store.kinds import KINDS
from models_store.kinds.base import Kind
from models_store.kinds.fields import Column, Frozen, ModalityFields, Name
from models_store.likelihoods import FAMILIES, Likelihood, Part, likelihood
from models_store.likelihoods.mixed import CELLS
from models_store.limits import (
    MOST_MODALITIES,
    Description,
    Text,
    cause_of,
    check_document,
    first_of,
    place_of,
)
from models_store.linear import LinearModels
from models_store.members import MOST_MEMBERS, Members
from models_store.tables.dialect import TrainingTable

FORMAT: Final = 1
PRODUCT: Final = "poe"
LINEAR: Final = "poe_linear"
INDENTED_BYTES = 2**20
"""Size up to which a manifest is indented, which more than doubles it."""
RESERVED = frozenset({"all", "none", "prior"})
"""Words with a special meaning in ``cond_mod`` and ``gen_mod``."""

if TYPE_CHECKING:
    KindName: TypeAlias = str
else:
    KindName = Literal[tuple(KINDS)]


class Modality(ModalityFields):
    """One view of a case: the shape of its rows, and the likelihood of its decoder."""

    kind: KindName

    @model_validator(mode="after")
    def _consistent(self) -> Modality:
        if self.name in RESERVED:
            raise ValueError(f"'{self.name}' is reserved and cannot name a modality")
        if self.likelihood not in FAMILIES:
            raise ValueError(f"unknown likelihood '{self.likelihood}'; known are {', '.join(FAMILIES)}")
        labelled = "labels" in self.traits.fields
        if labelled != (self.likelihood == "categorical"):
            raise ValueError("a category goes with the likelihood 'categorical', and only a category")
        if not self.traits.fits(self.shape):
            raise ValueError(f"{self.shape} cannot be the shape of the kind '{self.kind}'")
        if labelled:
            _check_labels(self.labels, self.dtype)
        elif self.labels is not None:
            raise ValueError("labels are for a category alone")
        if self.range is not None and not -math.inf < self.range[0] < self.range[1] < math.inf:
            raise ValueError(f"a range must go from low to high, got {self.range}")
        recipe = self.spectrogram
        if recipe is not None and self.shape != (recipe.bands, recipe.frames):
            raise ValueError(
                f"a spectrogram of {recipe.bands} bands and {recipe.frames} frames does not fit the shape "
                f"{self.shape}"
            )
        self._check_columns()
        return self

    def _check_columns(self) -> None:
        if self.columns is not None and len(self.columns) != math.prod(self.shape):
            raise ValueError(f"{len(self.columns)} columns do not fit the shape {self.shape}")
        if self.traits.mixed != (self.likelihood == "mixed"):
            raise ValueError("a table goes with the likelihood 'mixed', and only a table")
        if self.traits.mixed:
            _check_mixed(self.columns, self.dtype)
        elif any(column.likelihood or column.labels for column in self.columns or ()):
            raise ValueError("columns have likelihoods and labels in a table alone")
        _check_columns([column.name for column in self.columns or ()])

    @model_validator(mode="wrap")
    @classmethod
    def _without_parameters(cls, fields: Any, handler: ModelWrapValidatorHandler[Modality]) -> Modality:
        """Accepts ``parameters`` in a stored manifest, where they must be those of the likelihood."""
        if not isinstance(fields, Mapping) or "parameters" not in fields:
            return handler(fields)
        modality = handler({key: value for key, value in fields.items() if key != "parameters"})
        stated = fields["parameters"]
        if stated not in (modality.parameters, [*modality.parameters]):
            raise ValueError(
                f"'{modality.likelihood}' has the parameters {modality.parameters}, not {stated}"
            )
        return modality

    @cached_property
    def traits(self) -> Kind:
        """Properties of its kind."""
        return KINDS[self.kind]

    @property
    def may_lack_cells(self) -> bool:
        """Whether NaN in a row is a missing cell."""
        return self.traits.cells_may_be_missing and self.numpy_dtype.kind == "f"

    @property
    def distribution(self) -> Likelihood:
        """The likelihood, in this modality's units."""
        return _likelihood(self.likelihood, self.range, self.parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The family of each column of a table; () for other kinds."""
        if not self.traits.mixed:
            return ()
        return tuple(
            Part(column.likelihood or "normal", len(column.labels or ())) for column in self.columns or ()
        )

    @cached_property
    def label_sets(self) -> tuple[tuple[int, int], ...]:
        """Number of labels and length of the longest, of the category or of each column with labels."""
        sets = [self.labels, *(column.labels for column in self.columns or ())]
        return tuple((len(labels), max(map(len, labels))) for labels in sets if labels)

    @cached_property
    def characters(self) -> int:
        """Number of characters of all labels, and of the names and units of columns."""
        texts = list(self.labels or ())
        for column in self.columns or ():
            texts += [column.name, column.unit or "", *(column.labels or ())]
        return sum(map(len, texts))

    @computed_field  # type: ignore[prop-decorator]  # how pydantic declares a property
    @property
    def parameters(self) -> tuple[str, ...]:
        """The decoder's outputs, by name."""
        return FAMILIES[self.likelihood].parameters

    def with_changes(self, changes: dict[str, Any]) -> Modality:
        """A copy with other values, checked again; its parameters are those of its likelihood.

        Raises:
            ManifestError: The values contradict each other.
        """
        fields = self.model_dump(exclude={"parameters"})
        try:
            return Modality.model_validate({**fields, **changes})
        except ValidationError as error:
            raise ManifestError(f"modality '{self.name}': {_first_message(error)}") from None

    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of one row of each parameter: that of x, for a category (classes,), for a table (P,)."""
        if self.traits.mixed:
            return (sum(part.width for part in self.parts),)
        return (len(self.labels),) if self.labels else self.shape


class Reference(Frozen):
    """Scores of held-out rows of one conditional distribution, such as p(label | image)."""

    K: Annotated[int, Field(ge=1)]
    """Importance samples per score."""
    rows: Annotated[int, Field(ge=1)]
    quantiles: Annotated[tuple[FiniteFloat, ...], Field(min_length=2)]
    """Quantiles of the scores at equally spaced levels, from the lowest to the highest score."""
    disagreement: tuple[FiniteFloat, ...] | None = None
    """The same quantiles of the disagreement between the experts."""
    estimator: Text | None = None
    """Name of the estimator of the scores; only scores of one estimator compare."""


class FileEntry(Frozen):
    """Checksum and size of a file of the bundle."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Frozen):
    """Description of a stored model: everything but its weights."""

    format: Literal[1] = 1
    name: Name
    version: Annotated[int, Field(ge=1)]
    created: datetime
    description: Description = ""
    licence: Description = ""
    latent_dim: Annotated[int, Field(gt=0)]
    members: Annotated[int, Field(ge=1, le=MOST_MEMBERS)] = 1
    """Models whose latent spaces lie beside each other in z: see ``models_store/members.py``."""
    weights: Annotated[tuple[float, ...], Field(max_length=MOST_MEMBERS)] = ()
    """Weight of each member in the mixture; none where all are equal."""
    linear_members: Annotated[int, Field(ge=0, le=MOST_MEMBERS)] = 0
    """Number of the members that are linear models; they are the last ones."""
    fusion: Literal["poe", "poe_linear"] = PRODUCT
    """Rule that joins the experts of a row: their product, with the prior; in the dimensions of linear
    members that of full covariances, see ``models_store/linear.py``."""
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1, max_length=MOST_MODALITIES)]
    files: dict[Text, FileEntry] = Field(default={})
    trained: dict[str, Any] = Field(default={})
    """Experiment, data, seed and versions of the training run."""
    metrics: dict[str, Any] = Field(default={})
    tables: tuple[TrainingTable, ...] = ()
    """How the tables that trained the model are written, and the headers of their columns."""
    reference: dict[str, Reference] | None = None
    """Scores of held-out rows by conditional distribution (`label|image`) or joint (`image,label`)."""

    @model_validator(mode="after")
    def _names_differ(self) -> Manifest:
        names = [modality.name for modality in self.modalities]
        if len(set(names)) != len(names):
            raise ValueError(f"modalities must have different names, got {names}")
        Members.of(self.latent_dim, self.members, self.weights)
        if (self.fusion == LINEAR) != (0 < self.linear_members <= self.members):
            raise ValueError(
                f"fusion is {self.fusion!r}, but {self.linear_members} of {self.members} members are linear"
            )
        for index, table in enumerate(self.tables):
            if unknown := [name for name in table.modalities if name not in names]:
                raise ValueError(f"tables.{index}.modalities names '{unknown[0]}', which is no modality")
        return self

    @property
    def mixture(self) -> Members:
        """The members, their weights, and their places in z."""
        return Members.of(self.latent_dim, self.members, self.weights)

    @cached_property
    def linear(self) -> LinearModels | None:
        """Place of the linear models in z; None where no expert has a full covariance."""
        return LinearModels(self.mixture, self.linear_members) if self.fusion == LINEAR else None

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(modality.name for modality in self.modalities)

    def modality(self, name: str) -> Modality:
        """The modality of that name.

        Raises:
            KeyError: No modality has that name.
        """
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Modality]:
        return {modality.name: modality for modality in self.modalities}

    def to_json(self) -> bytes:
        usual = {"tables": (), "members": 1, "weights": (), "linear_members": 0}
        unset = {name for name, value in usual.items() if getattr(self, name) == value}
        text = self.model_dump_json(indent=2, exclude_none=True, exclude=unset).encode() + b"\n"
        if len(text) <= INDENTED_BYTES:
            return text
        return self.model_dump_json(exclude_none=True, exclude=unset).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Read and check a manifest.

        Raises:
            ManifestError: The text is too large, no JSON, of another format, or has invalid values.
        """
        check_document(text)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ManifestError(f"manifest.json: {_first_message(error)}") from None


def _first_message(error: ValidationError) -> str:
    first = first_of(error)
    where = place_of(first)
    if where == "format":
        return f"format is {shown(first['input'])}, this program reads format {FORMAT}"
    if where == "fusion":
        served = f"{PRODUCT!r} and {LINEAR!r}, products of experts"
        return f"fusion is {shown(first['input'])}, this program serves {served}"
    return f"{where}: {cause_of(first)}" if where else cause_of(first)


def _check_columns(names: Sequence[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(
            f"the columns of a modality must have different names, {listed(twice[:5])} occurs again"
        )


_likelihood = lru_cache(maxsize=256)(likelihood)


def _check_mixed(columns: tuple[Column, ...] | None, dtype: str) -> None:
    """Checks the columns of a table."""
    if not columns:
        raise ValueError("a table needs columns")
    if dtype != "float32":
        raise ValueError(f"a table must be of dtype float32, got '{dtype}'")
    for column in columns:
        where = f"column '{column.name}'"
        if column.likelihood not in CELLS:
            raise ValueError(f"{where} needs a likelihood of {', '.join(CELLS)}, got '{column.likelihood}'")
        if (column.likelihood == "categorical") != (column.labels is not None):
            raise ValueError(f"{where}: labels go with the likelihood 'categorical', and only with it")
        if column.labels is not None:
            _check_different(column.labels, where)
        if column.ordered and len(column.labels or ()) < 2:
            raise ValueError(f"{where}: an order needs at least two labels")


def _check_different(labels: tuple[str, ...], where: str) -> None:
    if not labels:
        raise ValueError(f"{where} needs labels")
    if len(set(labels)) != len(labels):
        raise ValueError(f"the labels of {where} must differ")


def _check_labels(labels: tuple[str, ...] | None, dtype: str) -> None:
    _check_different(labels or (), "a category")
    if dtype != "int64":
        raise ValueError(f"a category must be of dtype int64, got '{dtype}'")


def encoder_file(modality: str) -> str:
    return f"{modality}.encoder.onnx"


def decoder_file(modality: str) -> str:
    return f"{modality}.decoder.onnx"
