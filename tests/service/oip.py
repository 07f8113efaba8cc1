"""Requests of the Open Inference Protocol, as tritonclient makes them."""

from __future__ import annotations

from typing import Any

import httpx2
import numpy as np
import tritonclient.http as triton

from tests.service.asking import SEVEN, pixels

PICTURES = np.stack([pixels(SEVEN), 255 - pixels(SEVEN)])
SEEDED = {"seed": 7, "N": 3}


def tensor(name: str, values: Any, binary: bool = True, datatype: str | None = None) -> triton.InferInput:
    array = np.asarray(values)
    kinds = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32", "float64": "FP64", "bool": "BOOL"}
    made = triton.InferInput(name, list(array.shape), datatype or kinds.get(array.dtype.name, "BYTES"))
    return made.set_data_from_numpy(array, binary_data=binary)


def to_return(*names: str, binary: bool = True) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def native(address: str, path: str, **body: Any) -> Any:
    """The answer of a path of the service outside /v2."""
    response = httpx2.post(f"http://{address}{path}", timeout=60, **body)
    assert response.status_code == 200, response.text
    return response.json()


def assert_agrees(result: triton.InferResult, name: str, expected: Any) -> None:
    np.testing.assert_allclose(result.as_numpy(name), np.asarray(expected, np.float32), rtol=1e-6, atol=1e-6)
