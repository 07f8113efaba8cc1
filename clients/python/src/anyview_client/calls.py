"""Requests of each operation, and how their responses are read."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import httpx

from anyview_client.answers import Encoded, Generated, Model, Scored, from_npz
from anyview_client.bodies import CSV, NPZ, Body, Inputs, body_of, is_frame

T = TypeVar("T")
Names = str | Sequence[str]
NOTHING = Body(NPZ, b"PK\x05\x06" + bytes(18))
"""An empty archive: no modality is observed."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and the function that reads its response.

    Arguments:
        path: Path; ``{model}`` is the place of ``/models/NAME``, or of nothing for the default model.
        read: Reads a response with status 200.
        model: Name of the model; None: the client's.
        accept: Media type of the response.
        body: Body; None: a GET request.
        query: Parameters; None is left out.
    """

    path: str
    read: Callable[[httpx.Response], T]
    model: str | None = None
    accept: str = "application/json"
    body: Body | None = None
    query: dict[str, Any] = field(default_factory=dict)


def encode(
    inputs: Inputs,
    *,
    model: str | None = None,
    cond_mod: Names = "all",
    N: int = 1,  # noqa: N803 - the name in the service
    return_mean: bool = False,
    flatten: bool = False,
    seed: int | None = None,
    fields: Names | None = None,
    robust: bool = True,
    version: int | None = None,
) -> Call[Encoded]:
    """Answers with the posterior of z given the observed modalities.

    Arguments:
        inputs: Rows of each observed modality, see ``anyview_client.bodies.Inputs``; or a whole data frame
            with the columns of the training table.
        model: Name of the model; default: the client's, else the service's.
        cond_mod: Modalities to condition on; ``all`` that were sent.
        N: Draws of z per row.
        return_mean: Return the mean of the posterior instead of draws.
        flatten: Join rows and draws to one axis.
        seed: Seed of the draws.
        fields: Fields of the answer; default: all.
        robust: Give less weight to a view that is unlike held-out rows.
        version: Version of the model; default: the newest.

    Raises:
        ServiceError: The service has refused the request.
    """
    query = _query(
        cond_mod=cond_mod,
        N=N,
        return_mean=return_mean,
        flatten=flatten,
        seed=seed,
        fields=fields,
        robust=robust,
        version=version,
    )
    return Call("{model}/encode", lambda r: Encoded(from_npz(r.content)), model, NPZ, body_of(inputs), query)


def generate(
    inputs: Inputs | None = None,
    *,
    model: str | None = None,
    cond_mod: Names = "all",
    gen_mod: Names = "all",
    N: int = 1,  # noqa: N803
    K: int = 100,  # noqa: N803
    fields: Names | None = None,
    return_mean: bool = False,
    noise: bool = False,
    calibrated: bool = True,
    robust: bool = True,
    n_data: int | None = None,
    prior: Literal["standard", "mixture"] | None = None,
    flatten: bool = False,
    seed: int | None = None,
    version: int | None = None,
) -> Call[Generated]:
    """Answers with modalities given the observed ones.

    Arguments:
        inputs: As for ``encode``; None with ``cond_mod="none"``: draws from the prior.
        model: Name of the model; default: the client's, else the service's.
        cond_mod: Modalities to condition on; ``all`` that were sent, ``none``: the prior.
        gen_mod: Modalities to generate.
        N: Samples per row.
        K: Draws of z behind means, quantiles and probabilities.
        fields: Fields of each target; default: all.
        return_mean: Use the mean of the posterior instead of draws of z.
        noise: Samples are draws of x instead of means of p(x | z).
        calibrated: Correct quantiles and probabilities by held-out rows.
        robust: Give less weight to a view that is unlike held-out rows.
        n_data: Rows to draw from the prior.
        prior: Prior to draw from.
        flatten: Join rows and samples to one axis.
        seed: Seed of the draws.
        version: Version of the model; default: the newest.

    Raises:
        ServiceError: The service has refused the request.
    """
    query = _query(
        cond_mod=cond_mod,
        gen_mod=gen_mod,
        N=N,
        K=K,
        fields=fields,
        return_mean=return_mean,
        noise=noise,
        calibrated=calibrated,
        robust=robust,
        n_data=n_data,
        prior=prior,
        flatten=flatten,
        seed=seed,
        version=version,
    )
    body = NOTHING if inputs is None else body_of(inputs)
    return Call("{model}/generate", lambda r: Generated(from_npz(r.content)), model, NPZ, body, query)


def score(
    inputs: Inputs,
    *,
    model: str | None = None,
    cond_mod: Names = "none",
    gen_mod: Names = "all",
    K: int = 1000,  # noqa: N803
    batch_size_K: int = 100,  # noqa: N803
    robust: bool = True,
    seed: int | None = None,
    version: int | None = None,
) -> Call[Scored]:
    """Answers with log-likelihoods of the observed modalities.

    Arguments:
        inputs: As for ``encode``.
        model: Name of the model; default: the client's, else the service's.
        cond_mod: Modalities that the score is conditional on.
        gen_mod: Modalities to score; ``all`` others that were sent.
        K: Importance samples per row.
        batch_size_K: Importance samples that are decoded at a time.
        robust: Give less weight to a view that is unlike held-out rows.
        seed: Seed of the draws.
        version: Version of the model; default: the newest.

    Raises:
        ServiceError: The service has refused the request.
    """
    query = _query(
        cond_mod=cond_mod,
        gen_mod=gen_mod,
        K=K,
        batch_size_K=batch_size_K,
        robust=robust,
        seed=seed,
        version=version,
    )
    return Call("{model}/score", lambda r: Scored(from_npz(r.content)), model, NPZ, body_of(inputs), query)


def fill(
    frame: Any, *, model: str | None = None, seed: int | None = None, version: int | None = None
) -> Call[Any]:
    """Answers with a data frame whose gaps are filled, and an interval beside each filled column.

    Arguments:
        frame: Data frame of pandas with the columns of the training table.
        model: Name of the model; default: the client's, else the service's.
        seed: Seed of the draws.
        version: Version of the model; default: the newest.

    Raises:
        TypeError: The argument is no data frame.
        ServiceError: The service has refused the request.
    """
    if not is_frame(frame):
        raise TypeError(f"fill takes a data frame, got {type(frame).__name__}")

    def read(response: httpx.Response) -> Any:
        import pandas  # the caller has it

        filled = pandas.read_csv(io.BytesIO(response.content))
        filled.index = frame.index
        return filled

    query = _query(seed=seed, version=version)
    return Call("{model}/generate", read, model, CSV, body_of(frame), query)


def models() -> Call[list[Model]]:
    """Answers with the loaded models."""
    return Call("/models", lambda r: [Model(**one) for one in r.json()["models"]])


def manifest(model: str | None = None) -> Call[dict[str, Any]]:
    """Answers with the manifest of a model: its modalities with shapes, units and labels.

    Arguments:
        model: Name of the model; default: the client's.
    """
    return Call("{model}", lambda r: dict(r.json()), model)


def _query(**values: Any) -> dict[str, Any]:
    """Parameters without those that are None; a list is one text with commas."""
    return {
        name: value if isinstance(value, str | int) else ",".join(value)
        for name, value in values.items()
        if value is not None
    }
