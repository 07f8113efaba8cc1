"""Responses of the protocol: JSON, followed by the tensors that are requested as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from models_store.arrays import Array
from models_store.kinds import category
from models_store.manifest import Manifest, Modality
from service.engine.budget import BYTES_OF_CHARACTER
from service.errors import WrongInput
from service.formats import render
from service.http.response import BYTES, JSON, Reply
from service.oip import tensors
from service.oip.outputs import Output
from service.oip.requests import RequestedOutput

CHARACTERS_OF_CLASS = 16
"""Characters beside the label in an entry of a classification."""


def write(
    manifest: Manifest,
    request_id: str | None,
    parameters: dict[str, Any],
    answers: Sequence[tuple[RequestedOutput, Output, Array]],
) -> Reply:
    """Writes a response.

    Arguments:
        manifest: Manifest of the model that answered.
        request_id: Id that the client gave the request.
        parameters: Parameters of the response, such as the seed.
        answers: Requested outputs with their values.

    Raises:
        WrongInput: A classification is requested of an output without labels.
    """
    described: list[Any] = []
    contents: list[bytes] = []
    for requested, output, array in answers:
        values = values_of(manifest, requested, output, array)
        datatype = tensors.datatype_of(values)
        if requested.binary:
            content = tensors.to_bytes(values)
            contents.append(content)
            described.append(_binary_tensor(output.name, datatype, values.shape, len(content)))
            continue
        data = [text.decode() for text in values.flat] if values.dtype == object else values.ravel()
        described.append({"name": output.name, "datatype": datatype, "shape": values.shape, "data": data})
    head: dict[str, Any] = {
        "model_name": manifest.name,
        "model_version": str(manifest.version),
        "parameters": parameters,
        "outputs": described,
    }
    if request_id is not None:
        head["id"] = request_id
    all_binary = len(contents) == len(described) > 0
    content = orjson.dumps(head) if all_binary else render.to_json(head)
    if not contents:
        return Reply(JSON, content)
    length = (b"inference-header-content-length", b"%d" % len(content))
    return Reply(BYTES, b"".join((content, *contents)), (length,))


@lru_cache(maxsize=256)  # most answers repeat the names and shapes of those before them
def _binary_tensor(name: str, datatype: str, shape: tuple[int, ...], size: int) -> orjson.Fragment:
    """Returns the JSON of a tensor that is sent as bytes after the JSON."""
    parameters = {"binary_data_size": size}
    fields = {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}
    return orjson.Fragment(orjson.dumps(fields))


def values_of(manifest: Manifest, requested: RequestedOutput, output: Output, array: Array) -> Array:
    """Returns the tensor that is sent for an output: its values, or its most probable labels as texts.

    Raises:
        WrongInput: A classification is requested of an output without labels.
    """
    if requested.classes:
        return _classes(manifest, output, array, requested.classes)
    return _plain(manifest, output, array)


def memory(manifest: Manifest, answers: Sequence[tuple[RequestedOutput, Output, Array]]) -> int:
    """Bytes of the labels that classifications name, beside their numbers."""
    characters = 0
    for requested, output, array in answers:
        labels = output.labels(manifest) if requested.classes else ()
        if labels:
            longest = CHARACTERS_OF_CLASS + max(map(len, labels))
            characters += len(array) * min(requested.classes, len(labels)) * longest
    return characters * BYTES_OF_CHARACTER


def _plain(manifest: Manifest, output: Output, array: Array) -> Array:
    """Returns floats as float32, and samples of labels as the integers of these."""
    if output.field == "samples" and output.target is not None and array.dtype.kind in "iu":
        modality = manifest.modality(output.target)
        array = category.samples_as_integers(modality, array) if modality.labels else array
    if output.field == "samples" and output.target is not None:
        array = _with_integers(manifest.modality(output.target), array)
    return np.ascontiguousarray(array, np.int64 if array.dtype.kind in "iu" else np.float32)


def _with_integers(modality: Modality, samples: Array) -> Array:
    """Returns samples of the kind table with the integers of labels instead of their indices."""
    labelled = [at for at, part in enumerate(modality.parts) if part.labels]
    if not labelled:
        return samples
    whole = samples.copy()
    for at in labelled:
        codes = np.array(category.integers((modality.columns or ())[at].labels or ()))
        whole[..., at] = codes[samples[..., at].astype(int)]
    return whole


def _classes(manifest: Manifest, output: Output, array: Array, count: int) -> Array:
    """Returns the most probable labels as "probability:index:label", (n, count)."""
    labels = output.labels(manifest)
    if not labels or output.field != "probabilities":
        raise WrongInput(
            f"output '{output.name}' has no labels, so it cannot be answered as a classification"
        )
    best = np.argsort(-array, axis=-1, kind="stable")[:, :count]
    texts = np.empty(best.shape, object)
    for row, column in np.ndindex(best.shape):
        index = best[row, column]
        texts[row, column] = f"{array[row, index]:.6f}:{index}:{labels[index]}".encode()
    return texts
