"""What the Open Inference Protocol cannot have here is refused, with the reason."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.service.oip import PICTURES, tensor, to_return

IMAGE = tensor("image", PICTURES)
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing": ({"inputs": []}, "422", "nothing was sent"),
    "an unknown input": ({"inputs": [tensor("sound", [1])]}, "422", "unknown modality 'sound'"),
    "a mask of nothing": ({"inputs": [tensor("mask.image", [True])]}, "422", "is the mask of nothing"),
    "another shape": (
        {"inputs": [tensor("image", PICTURES[:, :5])]},
        "422",
        r"rows must have the shape \(28, 28\)",
    ),
    "an unknown label": (
        {"inputs": [tensor("label", np.array([b"x"], object))]},
        "422",
        "row 0 .*must be a label",
    ),
    "a broken file": (
        {"inputs": [tensor("image", np.array([b"GIF"], object))]},
        "400",
        "input 'image', row 0",
    ),
    "too many rows": ({"inputs": [tensor("label", [1] * 51)]}, "413", "51 rows are more than the 50"),
    "unequal rows": ({"inputs": [IMAGE, tensor("label", [1])]}, "422", "the same number of rows"),
    "an unknown output": (
        {"outputs": to_return("sound")},
        "422",
        "unknown output 'sound'; this model gives 'z'",
    ),
    "a target outside of gen_mod": (
        {"outputs": to_return("label"), "parameters": {"gen_mod": "image"}},
        "422",
        "gen_mod",
    ),
    "an unknown parameter": ({"parameters": {"M": 1}}, "422", "unknown parameter 'M'"),
    "a parameter in the query": (
        {"query_params": {"N": 5}},
        "422",
        "parameters are a field .* got the query 'N=5'",
    ),
    "a wrong parameter": ({"parameters": {"N": 0}}, "422", "parameters N: .*greater than or equal to 1"),
    "cond_mod of what was not sent": ({"parameters": {"cond_mod": "label"}}, "422", "only 'image' was sent"),
    "the prior beside an input": ({"parameters": {"cond_mod": "none"}}, "422", "asks for the prior"),
    "a sequence": ({"sequence_id": 5, "sequence_start": True}, "422", "'sequence_id' is not supported"),
    "a priority": ({"priority": 1}, "422", "'priority' is not supported"),
    "a classification of pixels": (
        {"outputs": [triton.InferRequestedOutput("image", class_count=2)]},
        "422",
        "has no labels",
    ),
    "another version": ({"model_version": "1"}, "404", "version 1 of 'tiny' is not loaded; there is 2"),
    "a version in words": (
        {"model_version": "latest"},
        "404",
        "a version is a number of at most 9 digits, got 'latest'",
    ),
    "a time that is too short": ({"timeout": 1, "parameters": {"K": 500}}, "503", "timeout of 1 µs"),
}


@pytest.mark.parametrize(("call", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    oip: triton.InferenceServerClient, call: dict[str, Any], status: str, reason: str
) -> None:
    with pytest.raises(InferenceServerException, match=reason) as refused:
        oip.infer("tiny", **{"inputs": [IMAGE], **call})
    assert refused.value.status() == status


def shared(name: str) -> triton.InferInput:
    return triton.InferInput(name, [1], "INT64").set_shared_memory("region", 8)


ELSEWHERE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "shared memory": (lambda c: c.get_system_shared_memory_status(), "shared memory is not supported"),
    "a region": (lambda c: c.register_system_shared_memory("a", "/a", 8), "shared memory is not supported"),
    "no region": (lambda c: c.unregister_system_shared_memory(), "shared memory is not supported"),
    "CUDA memory": (lambda c: c.get_cuda_shared_memory_status(), "shared memory is not supported"),
    "a CUDA region": (
        lambda c: c.register_cuda_shared_memory("a", b"handle", 0, 8),
        "shared memory is not supported",
    ),
    "no CUDA region": (lambda c: c.unregister_cuda_shared_memory(), "shared memory is not supported"),
    "an input in shared memory": (
        lambda c: c.infer("tiny", [shared("label")]),
        "shared memory is not supported",
    ),
    "traces": (lambda c: c.get_trace_settings("tiny"), "traces are not set here"),
    "other traces": (
        lambda c: c.update_trace_settings("tiny", {"trace_rate": "1"}),
        "traces are not set here",
    ),
    "logging": (lambda c: c.get_log_settings(), "logging is not set here"),
    "log settings": (lambda c: c.update_log_settings({"log_info": True}), "logging is not set here"),
    "loading with a configuration": (
        lambda c: c.load_model("tiny", config="{}"),
        "parameters are not supported",
    ),
    "loading what is broken": (lambda c: c.load_model("broken"), "golden.npz is no archive"),
    "loading what is not there": (lambda c: c.load_model("nothing"), "no model 'nothing' is in the store"),
    "unloading what is not there": (lambda c: c.unload_model("nothing"), "'nothing' is not loaded"),
    "statistics of nothing": (
        lambda c: c.get_inference_statistics("nothing"),
        "no model 'nothing' is loaded",
    ),
}


@pytest.mark.parametrize(("call", "reason"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_whatever_else_the_client_can_ask_has_a_clear_answer(
    oip: triton.InferenceServerClient, call: Callable[[Any], Any], reason: str
) -> None:
    with pytest.raises(InferenceServerException, match=reason):
        call(oip)


SENDS_NOTHING = {"close", "generate_request_body", "parse_response_body"}


@pytest.mark.parametrize("client", [triton.InferenceServerClient, triton_aio.InferenceServerClient])
def test_all_that_the_client_can_ask_is_in_the_documents_and_is_asked_here(client: type) -> None:
    requested = {name for name in dir(client) if not name.startswith("_") and "plugin" not in name}
    document = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_protocol*.py"))
    assert len(requested) > 20
    assert {name for name in requested - SENDS_NOTHING if f"`{name}`" not in document} == set()
    assert {name for name in requested - SENDS_NOTHING if f".{name}(" not in tests} == set()


def head(**changes: Any) -> bytes:
    sent = {"name": "label", "shape": [1], "datatype": "INT64", "data": [1], **changes}
    return json.dumps({"inputs": [{key: value for key, value in sent.items() if value is not None}]}).encode()


def binary(size: Any) -> bytes:
    return head(data=None, parameters={"binary_data_size": size})


BOMB = gzip.compress(bytes(10_000_000))
ILL_FORMED: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "no body": (b"", {}, 400, "not JSON"),
    "no JSON": (b"{", {}, 400, "not JSON"),
    "no object": (b"[]", {}, 422, "the request must be"),
    "an unknown field": (b'{"input": []}', {}, 422, "unknown field 'input'"),
    "inputs that are no list": (b'{"inputs": {}}', {}, 422, "'inputs' must be a list"),
    "no shape": (head(shape=None), {}, 422, "'shape' must be a list of at most 16 sizes"),
    "a negative size": (head(shape=[-1]), {}, 422, "sizes from 0 to"),
    "another number": (head(shape=[2]), {}, 422, "has 2 elements, 'data' 1"),
    "a size beyond all": (head(shape=[2**62, 2**62]), {}, 422, "sizes from 0 to 1099511627776"),
    "an unknown datatype": (head(datatype="BF16"), {}, 422, "'datatype' must be one of 'BOOL'"),
    "text as a number": (head(data=["1"]), {}, 422, "must hold values of INT64"),
    "a fraction as an integer": (head(data=[1.5]), {}, 422, "must hold values of INT64"),
    "an integer that does not fit": (head(datatype="INT8", data=[200]), {}, 422, "must hold values of INT8"),
    "an integer beyond all": (head(data=[2**70]), {}, 422, "must hold values of INT64"),
    "null as an integer": (head(data=[None]), {}, 422, "must hold values of INT64"),
    "ragged lists": (head(data=[[1], [1, 2]]), {}, 422, "must all have the same length"),
    "no data": (head(data=None), {}, 422, "'data' must be a list"),
    "a header length beyond the body": (
        head(),
        {"inference-header-content-length": "9999"},
        400,
        "at most the body",
    ),
    "a header length in words": (head(), {"inference-header-content-length": "ten"}, 400, "got 'ten'"),
    "an output twice": (
        head()[:-1] + b', "outputs": [{"name": "mu"}, {"name": "mu"}]}',
        {},
        422,
        "output 'mu' is requested twice",
    ),
    "bytes that are missing": (binary(8), {}, 422, "at most the 0 bytes that are left"),
    "bytes that are not enough": (
        binary(4) + bytes(4),
        {"inference-header-content-length": str(len(binary(4)))},
        422,
        "has 8 bytes",
    ),
    "bytes of no tensor": (
        head() + bytes(4),
        {"inference-header-content-length": str(len(head()))},
        422,
        "4 bytes behind",
    ),
    "a bomb": (BOMB, {"content-encoding": "gzip"}, 413, "longer than the 200000 bytes"),
    "half an archive": (gzip.compress(head())[:-9], {"content-encoding": "gzip"}, 400, "ends too early"),
    "another encoding": (zlib.compress(head())[::-1], {"content-encoding": "deflate"}, 400, "is not deflate"),
    "an unknown encoding": (head(), {"content-encoding": "br"}, 415, "must be 'gzip', 'deflate' or 'zstd'"),
}


@pytest.mark.parametrize(("body", "headers", "status", "reason"), ILL_FORMED.values(), ids=ILL_FORMED)
def test_an_ill_formed_request_is_refused_with_the_reason(
    oip_address: str, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    response = httpx2.post(f"http://{oip_address}/v2/models/tiny/infer", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert reason in response.json()["error"]
