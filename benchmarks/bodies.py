"""The same rows as a request body of each media type."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import numpy as np

from benchmarks.bundle import NAME
from benchmarks.load import request
from models_store.arrays import Array

BOUNDARY = b"8d2f"


def as_json(rows: Mapping[str, Array], path: str = "/encode") -> bytes:
    body = json.dumps({"inputs": {name: values.tolist() for name, values in rows.items()}})
    return request(path, body.encode(), {"content-type": "application/json"})


def as_form(rows: Mapping[str, Array], path: str = "/encode", accept: str = "*/*") -> bytes:
    """One ``.npy`` per modality."""
    body = b""
    for name, values in rows.items():
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        disposition = f'content-disposition: form-data; name="{name}"; filename="{name}.npy"\r\n'
        body += b"--%s\r\n%s\r\n%s\r\n" % (BOUNDARY, disposition.encode(), stream.getvalue())
    body += b"--%s--\r\n" % BOUNDARY
    return request(
        path, body, {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}", "accept": accept}
    )


def as_npz(rows: Mapping[str, Array], path: str = "/encode") -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **rows)
    headers = {"content-type": "application/x-npz", "accept": "application/x-npz"}
    return request(path, stream.getvalue(), headers)


def as_raw(rows: Mapping[str, Array], path: str) -> bytes:
    """Values alone."""
    content = b"".join(values.tobytes() for values in rows.values())
    return request(path, content, {"content-type": "application/octet-stream"})


def as_oip_binary(rows: Mapping[str, Array], path: str = f"/v2/models/{NAME}/infer") -> bytes:
    """The binary extension of the Open Inference Protocol, asking for the posterior in binary outputs."""
    inputs = [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": "UINT8",
            "parameters": {"binary_data_size": values.nbytes},
        }
        for name, values in rows.items()
    ]
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in ("z", "mu", "log_var")]
    head = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    body = head + b"".join(values.tobytes() for values in rows.values())
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return request(path, body, headers)
