"""Numbers and nesting that a request holds are bounded before anything is computed with them."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.engine.budget import Costly
from service.engine.workers import FEW
from service.oip import requests, tensors

HUGE = 2**62
INFER = "/v2/models/tiny/infer"


def infer(client: TestClient, **fields: Any) -> Any:
    tensor = {"name": "label", "datatype": "INT64", "shape": [1], "data": [1], **fields}
    return client.post(INFER, json={"inputs": [tensor]})


@pytest.mark.parametrize("shape", [[HUGE] * 300, [2**20] * 3, [0, HUGE], [1] * 40, [-1], [1.5], "1", None])
@pytest.mark.parametrize("sent", [{"data": [1]}, {"parameters": {"binary_data_size": 0}}])
def test_shapes_that_no_tensor_has_are_refused(client: TestClient, shape: Any, sent: dict[str, Any]) -> None:
    response = infer(client, shape=shape, **sent)
    assert response.status_code == 422
    assert "'shape' must" in response.json()["detail"]
    assert len(response.json()["detail"]) < 300


def test_the_product_of_sizes_never_exceeds_what_a_processor_multiplies() -> None:
    assert tensors.checked_shape("x", [2**20, 2**20]) == (2**20, 2**20)


@pytest.mark.parametrize("depth", [tensors.MAX_DEPTH + 1, 900])
def test_deeply_nested_texts_are_refused(client: TestClient, depth: int) -> None:
    nested: Any = "7"
    for _ in range(depth):
        nested = [nested]
    response = infer(client, datatype="BYTES", data=nested)
    assert response.status_code == 422
    assert f"nested {tensors.MAX_DEPTH} lists deep" in response.json()["detail"]


@pytest.mark.parametrize("digits", [10, 4301, 20_000])
def test_a_version_of_too_many_digits_does_not_exist(client: TestClient, digits: int) -> None:
    assert client.get(f"/v2/models/tiny/versions/{'9' * digits}").status_code == 404
    assert client.post(f"/v2/models/tiny/versions/{'9' * digits}/infer", json={}).status_code == 404


def test_a_length_of_too_many_digits_is_refused(client: TestClient) -> None:
    response = client.post(INFER, content=b"{}", headers={"inference-header-content-length": "9" * 4301})
    assert response.status_code == 400


def test_many_texts_and_long_json_are_read_in_a_thread() -> None:
    texts = {
        "name": "label",
        "datatype": "BYTES",
        "shape": [FEW],
        "parameters": {"binary_data_size": 4 * FEW},
    }
    head = json.dumps({"inputs": [texts]}).encode()
    rules: Any = None
    for body, length in ((head + bytes(4 * FEW), str(len(head))), (b" " * (FEW + 1), None)):
        with pytest.raises(Costly):
            requests.parse(rules, body, length)


def npy_of(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header


@pytest.mark.parametrize(
    "shape", [f"({'9' * 4000}, {'9' * 4000})", f"({'1, ' * 60})", f"({HUGE}, {HUGE})", f"(-{'9' * 400},)"]
)
def test_a_file_that_promises_more_than_it_holds_is_refused(client: TestClient, shape: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("image.npy", npy_of(shape))
    headers = {"content-type": "application/x-npz"}
    response = client.post("/models/tiny/encode", content=archive.getvalue(), headers=headers)
    assert response.status_code in (400, 422), response.text
    response = client.post("/models/tiny/encode", files={"image": npy_of(shape)})
    assert response.status_code in (400, 422), response.text


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_an_archive_is_refused(client: TestClient, method: int) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as members:
        members.writestr("image.npy", bytes(range(256)) * 40)
    content = bytearray(archive.getvalue())
    middle = len(content) // 2
    for start in range(40, len(content) - 80, 7):
        damaged = content.copy()
        damaged[start] ^= 0xFF
        damaged[middle] ^= 0x55
        headers = {"content-type": "application/x-npz"}
        response = client.post("/models/tiny/encode", content=bytes(damaged), headers=headers)
        assert response.status_code in (400, 422), response.text
        assert json.loads(response.content)["detail"]
