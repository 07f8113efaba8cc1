"""Answers of the service, with arrays as attributes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


class Field:
    """An array of an answer; reading it raises ``AttributeError`` where the service has not sent it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, fields: None, owner: type) -> Field: ...
    @overload
    def __get__(self, fields: Fields, owner: type) -> Array: ...
    def __get__(self, fields: Fields | None, owner: type) -> Field | Array:
        if fields is None:
            return self
        try:
            return fields.arrays[self._name]
        except KeyError:
            names = ", ".join(fields.arrays)
            raise AttributeError(f"there is no '{self._name}' in this answer; it has {names}") from None


class Fields:
    """Arrays by name.

    Arguments:
        arrays: The arrays.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = arrays

    def __repr__(self) -> str:
        shapes = (f"{name}: {array.dtype} {array.shape}" for name, array in self.arrays.items())
        return f"{type(self).__name__}({', '.join(shapes)})"

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where the service has not sent it."""
        return [str(text) for text in self.arrays.get(name, ())]

    def below(self, name: str) -> dict[str, Array]:
        """Arrays whose names begin with a name and a dot, by the rest of their name."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): x for key, x in self.arrays.items() if key.startswith(prefix)}


class Answer(Fields):
    """Fields of every answer."""

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.arrays["model"])

    @property
    def version(self) -> int:
        """Version of the model."""
        return int(self.arrays["version"])

    @property
    def n_data(self) -> int:
        """Number of rows."""
        return int(self.arrays["n_data"])

    @property
    def seed(self) -> int:
        """Seed of all draws; a request with it has the same answer."""
        return int(self.arrays["seed"])

    @property
    def cond_mod(self) -> list[str]:
        """Modalities that the answer is conditional on."""
        return self.texts("cond_mod")


class Encoded(Answer):
    """The posterior of z, as far as it was requested.

    Attributes:
        z: Draws, (n_data, N, latent_dim), or (n_data N, latent_dim) with ``flatten``.
        mu: Means, (n_data, latent_dim).
        log_var: Logarithms of the variances, (n_data, latent_dim).
        information: KL from the prior in nats, (n_data,).
        disagreement: Contradiction of the modalities in nats, (n_data,).
    """

    z = Field()
    mu = Field()
    log_var = Field()
    information = Field()
    disagreement = Field()

    @property
    def contributions(self) -> dict[str, Array]:
        """Share of the prior and of each modality in the posterior's precision, (n_data,) each."""
        return self.below("contributions")


class Target(Fields):
    """What was generated of one modality, as far as it was requested.

    Attributes:
        mean: (n_data, *shape).
        std: (n_data, *shape).
        quantiles: (n_data, levels, *shape).
        levels: Levels of the quantiles.
        probabilities: Of each label of a category, (n_data, labels).
        ranked: Labels of a category, the most probable first, (n_data, labels).
        samples: (n_data, N, *shape).
    """

    mean = Field()
    std = Field()
    quantiles = Field()
    levels = Field()
    probabilities = Field()
    ranked = Field()
    samples = Field()

    @property
    def labels(self) -> list[str]:
        """Labels of a category."""
        return self.texts("labels")

    @property
    def columns(self) -> list[str]:
        """Names of the columns of a vector."""
        return self.texts("columns")

    @property
    def units(self) -> list[str]:
        """Units of the columns of a vector."""
        return self.texts("units")


class Generated(Answer):
    """Generated modalities; ``generated["image"]`` is that of one."""

    @property
    def targets(self) -> dict[str, Target]:
        """Generated modalities by name."""
        names = (name.split(".")[1] for name in self.arrays if name.startswith("targets."))
        return {name: self[name] for name in dict.fromkeys(names)}

    def __getitem__(self, name: str) -> Target:
        fields = self.below(f"targets.{name}")
        if not fields:
            raise KeyError(f"'{name}' was not generated; there are {', '.join(self.targets)}")
        return Target(fields)


class Scored(Answer):
    """Log-likelihoods by row, (n_data,) each.

    Attributes:
        log_prob: The estimates, in nats.
        std_error: Their standard errors; NaN where an estimate is not reliable.
        ess: Effective sample sizes.
        k_hat: Shapes of the tails of the importance weights.
        reliable: Whether an estimate lies within its error.
        p_value: Two-sided p-values among the scores of held-out rows; NaN without a reference.
    """

    log_prob = Field()
    std_error = Field()
    ess = Field()
    k_hat = Field()
    reliable = Field()
    p_value = Field()

    @property
    def question(self) -> list[str]:
        """Distribution that each row is scored by, such as ``label|image``."""
        return self.texts("question")


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Arguments:
        name: Its name.
        version: Version that answers.
        versions: All loaded versions, newest first.
        description: Description in a sentence.
        modalities: Names of its modalities.
    """

    name: str
    version: int
    versions: list[int]
    description: str
    modalities: list[str]


def from_npz(content: bytes) -> dict[str, Array]:
    """Reads an npz archive."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)
