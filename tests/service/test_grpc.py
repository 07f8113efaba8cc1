"""The Open Inference Protocol over gRPC gives the answers of HTTP, and its refusals in the same words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import httpx2
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http

from models_store.stores import Folder
from tests.service.asking import SEVEN
from tests.service.counted import samples
from tests.service.grpc_server import (
    problem,
    refusal,
    request,
    serving,
    stub_of,
    tensor,
    to_return,
    typed,
    values_of,
)
from tests.service.oip import PICTURES, SEEDED, native
from tests.service.oip import tensor as http_tensor


@pytest.fixture(scope="module")
def addresses(protocol_store: Folder) -> Iterator[tuple[str, str]]:
    with serving(protocol_store.address, max_body_bytes=200_000, max_rows=50, allow_loading=True) as both:
        yield both


@pytest.fixture(scope="module")
def http(addresses: tuple[str, str]) -> str:
    return addresses[0]


@pytest.fixture(scope="module")
def stub(addresses: tuple[str, str]) -> Any:
    return stub_of(addresses[1])


@pytest.fixture(scope="module")
def client(addresses: tuple[str, str]) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(addresses[1]) as client:
        yield client


# --- answers ----------------------------------------------------------------------------------------------


def test_the_answers_are_those_of_http(client: triton.InferenceServerClient, http: str) -> None:
    names = ["z", "mu", "log_var", "image", "label"]
    result = client.infer("tiny", [tensor("image", PICTURES)], request_id="mine", parameters=SEEDED)
    response = result.get_response()
    assert [output.name for output in response.outputs] == names
    assert (response.model_name, response.model_version, response.id) == ("tiny", "2", "mine")
    assert response.parameters["seed"].int64_param == SEEDED["seed"]
    assert response.parameters["cond_mod"].string_param == "image"
    with triton_http.InferenceServerClient(http) as other:
        expected = other.infer("tiny", [http_tensor("image", PICTURES)], parameters=SEEDED)
    for name in names:
        np.testing.assert_array_equal(result.as_numpy(name), expected.as_numpy(name))


def test_typed_contents_come_back_as_typed_contents(stub: Any, client: triton.InferenceServerClient) -> None:
    sent = typed("image", "UINT8", [2, 28, 28], uint_contents=PICTURES.ravel().tolist())
    response = stub.ModelInfer(request(sent, outputs=("mu", "image")))
    assert not response.raw_output_contents
    expected = client.infer("tiny", [tensor("image", PICTURES)], outputs=to_return("mu"))
    np.testing.assert_array_equal(values_of(response.outputs[0]), expected.as_numpy("mu"))
    assert [*response.outputs[1].shape] == [2, 28, 28]


def test_the_form_of_the_answer_can_be_chosen(stub: Any) -> None:
    message = request(typed("label", "INT64", [1], int64_contents=[3]), outputs=("mu", "label"))
    message.parameters["binary_data_output"].bool_param = True
    response = stub.ModelInfer(message)
    assert len(response.raw_output_contents) == 2
    assert not any(output.HasField("contents") for output in response.outputs)
    message.outputs[0].parameters["binary_data"].bool_param = False
    code, reason = refusal(stub.ModelInfer, message)
    assert code == "INVALID_ARGUMENT"
    assert reason == "'binary_data' must be the same for all outputs: a response is raw as a whole, or not"


LABELS: dict[str, Any] = {
    **{
        f"raw {kind}": (kind, np.array([3, 7], kind.lower()).tobytes()) for kind in ("INT8", "INT16", "INT32")
    },
    **{
        f"raw U{kind}": (f"U{kind}", np.array([3, 7], f"u{kind.lower()}").tobytes())
        for kind in ("INT8", "INT64")
    },
    **{
        f"raw {kind}": (
            kind,
            np.array(
                [3, 7], f"<f{kind[2:]}".replace("16", "2").replace("32", "4").replace("64", "8")
            ).tobytes(),
        )
        for kind in ("FP16", "FP32", "FP64")
    },
    "raw BYTES": ("BYTES", b"\x01\0\0\x003\x01\0\0\x007"),
    **{kind: (kind, {"int_contents": [3, 7]}) for kind in ("INT8", "INT16", "INT32")},
    **{kind: (kind, {"uint_contents": [3, 7]}) for kind in ("UINT8", "UINT16", "UINT32")},
    "INT64": ("INT64", {"int64_contents": [3, 7]}),
    "UINT64": ("UINT64", {"uint64_contents": [3, 7]}),
    "FP32": ("FP32", {"fp32_contents": [3, 7]}),
    "FP64": ("FP64", {"fp64_contents": [3, 7]}),
    "BYTES": ("BYTES", {"bytes_contents": [b"3", b"7"]}),
}


@pytest.mark.parametrize(("datatype", "values"), LABELS.values(), ids=LABELS)
def test_every_datatype_is_read(stub: Any, http: str, datatype: str, values: Any) -> None:
    if isinstance(values, dict):
        message = request(typed("label", datatype, [2], **values))
    else:
        message = request(typed("label", datatype, [2]), raw_input_contents=[values])
        message.inputs[0].ClearField("contents")
    response = stub.ModelInfer(message)
    raw = response.raw_output_contents
    mu = np.frombuffer(raw[0], np.float32).reshape(2, -1) if raw else values_of(response.outputs[0])
    expected = native(http, "/models/tiny/encode", json={"inputs": {"label": [3, 7]}})["mu"]
    np.testing.assert_allclose(mu, expected, rtol=1e-5, atol=1e-6)


def test_masks_files_and_classifications_are_those_of_http(
    client: triton.InferenceServerClient, http: str
) -> None:
    files = np.array([SEVEN, b""], object)
    inputs = [tensor("image", files), tensor("mask.image", [True, False]), tensor("label", [7, 3])]
    classes = [triton.InferRequestedOutput("label", class_count=2)]
    result = client.infer("tiny", inputs, outputs=classes, parameters={"seed": 1})
    with triton_http.InferenceServerClient(http) as other:
        sent = [
            http_tensor("image", files),
            http_tensor("mask.image", [True, False]),
            http_tensor("label", [7, 3]),
        ]
        requested = [triton_http.InferRequestedOutput("label", class_count=2)]
        expected = other.infer("tiny", sent, outputs=requested, parameters={"seed": 1})
    np.testing.assert_array_equal(result.as_numpy("label"), expected.as_numpy("label"))


def test_a_compressed_request_is_answered_alike(client: triton.InferenceServerClient) -> None:
    plain, packed = (
        client.infer(
            "tiny", [tensor("image", PICTURES)], outputs=to_return("mu"), compression_algorithm=coding
        )
        for coding in (None, "gzip")
    )
    np.testing.assert_array_equal(plain.as_numpy("mu"), packed.as_numpy("mu"))


def test_asyncio_clients_share_batches(addresses: tuple[str, str]) -> None:
    async def ask() -> list[Any]:
        async with triton_aio.InferenceServerClient(addresses[1]) as client:
            calls = [client.infer("tiny", [tensor("label", [n])], outputs=to_return("mu")) for n in range(10)]
            return await asyncio.gather(*calls)

    results = np.concatenate([result.as_numpy("mu") for result in asyncio.run(ask())])
    expected = native(addresses[0], "/models/tiny/encode", json={"inputs": {"label": [*range(10)]}})["mu"]
    np.testing.assert_allclose(results, expected, rtol=1e-5, atol=1e-6)


# --- streams ----------------------------------------------------------------------------------------------


def test_a_stream_is_answered_in_order_and_continues_after_a_refusal(
    client: triton.InferenceServerClient,
) -> None:
    answers: list[Any] = []
    complete = threading.Event()

    def add(result: Any, error: Any) -> None:
        answers.append(result if error is None else error)
        if len(answers) == 41:
            complete.set()

    client.start_stream(add)
    for number in range(41):
        label = "x" if number == 20 else str(number % 10)
        sent = [tensor("label", np.array([label.encode()], object))]
        client.async_stream_infer(
            "tiny", sent, request_id=str(number), enable_empty_final_response=number == 5
        )
    assert complete.wait(60)
    client.stop_stream()
    assert "row 0 (counted from 0): must be a label" in answers.pop(20).message()
    assert [one.get_response().id for one in answers] == [str(n) for n in range(41) if n != 20]
    finals = [one.get_response().parameters["triton_final_response"].bool_param for one in answers]
    assert [number for number, final in enumerate(finals) if final] == [5]


def test_a_refusal_in_a_stream_has_the_id_of_its_request(stub: Any) -> None:
    wrong = request(typed("sound", "INT64", [1], int64_contents=[1]), id="wrong")
    (response,) = stub.ModelStreamInfer(iter([wrong]))
    assert response.infer_response.id == "wrong"
    assert response.error_message.startswith("unknown modality 'sound'")


# --- refusals ----------------------------------------------------------------------------------------------

LABEL = typed("label", "INT64", [1], int64_contents=[3])
ZERO = np.zeros(1, np.int64).tobytes()
REFUSED: dict[str, tuple[Any, str, str]] = {
    "an unknown input": (
        request(typed("sound", "FP32", [1], fp32_contents=[1])),
        "INVALID_ARGUMENT",
        "'sound'",
    ),
    "nothing": (request(), "INVALID_ARGUMENT", "nothing was sent"),
    "an unknown model": (request(LABEL, model="x"), "NOT_FOUND", "no model 'x' is loaded"),
    "a version in words": (
        request(LABEL, model_version="latest"),
        "NOT_FOUND",
        "at most 9 digits, got 'latest'",
    ),
    "an unknown output": (request(LABEL, outputs=("sound",)), "INVALID_ARGUMENT", "unknown output 'sound'"),
    "too many rows": (
        request(typed("label", "INT64", [51], int64_contents=[1] * 51)),
        "RESOURCE_EXHAUSTED",
        "51 rows are more than the 50",
    ),
    "too few values": (
        request(typed("label", "INT64", [2], int64_contents=[1])),
        "INVALID_ARGUMENT",
        "2 elements",
    ),
    "the field of another datatype": (
        request(typed("label", "INT64", [1], int_contents=[1])),
        "INVALID_ARGUMENT",
        "values of INT64 must be in 'int64_contents', got 'int_contents'",
    ),
    "a value beyond its datatype": (
        request(typed("label", "UINT8", [1], uint_contents=[300])),
        "INVALID_ARGUMENT",
        "must hold values of UINT8, got",
    ),
    "FP16 in typed contents": (
        request(typed("label", "FP16", [1], fp32_contents=[1])),
        "INVALID_ARGUMENT",
        "FP16 must be sent in 'raw_input_contents'",
    ),
    "an unknown datatype": (
        request(typed("label", "BF16", [1])),
        "INVALID_ARGUMENT",
        "'datatype' must be one of",
    ),
    "a negative size": (request(typed("label", "INT64", [-1])), "INVALID_ARGUMENT", "sizes from 0"),
    "an input twice": (request(LABEL, LABEL), "INVALID_ARGUMENT", "a 'name' of its own, got 'label'"),
    "raw and typed contents": (request(LABEL, raw_input_contents=[ZERO]), "INVALID_ARGUMENT", "cannot both"),
    "a raw tensor too many": (
        request(typed("label", "INT64", [1]), raw_input_contents=[ZERO, ZERO]),
        "INVALID_ARGUMENT",
        "must have one item for each of 1 inputs, got 2",
    ),
}


@pytest.mark.parametrize(("message", "code", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    stub: Any, message: Any, code: str, reason: str
) -> None:
    reported, sentence = refusal(stub.ModelInfer, message)
    assert (reported, reason in sentence) == (code, True), sentence


PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"M": 1}, "INVALID_ARGUMENT"),
    "wrong": ({"N": 0}, "INVALID_ARGUMENT"),
    "of another type": ({"N": "many"}, "INVALID_ARGUMENT"),
    "of a sequence": ({"sequence_id": 5}, "INVALID_ARGUMENT"),
    "a condition that was not sent": ({"cond_mod": "image"}, "INVALID_ARGUMENT"),
    "a time that is too short": ({"timeout": 1, "K": 500}, "DEADLINE_EXCEEDED"),
}


@pytest.mark.parametrize(("parameters", "code"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_are_refused_in_the_words_of_http(
    stub: Any, http: str, parameters: dict[str, Any], code: str
) -> None:
    message = request(LABEL, outputs=("image",))
    for name, value in parameters.items():
        setattr(message.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)
    body = {
        "inputs": [{"name": "label", "shape": [1], "datatype": "INT64", "data": [3]}],
        "outputs": [{"name": "image"}],
        "parameters": parameters,
    }
    expected = problem(http, "/v2/models/tiny/infer", json=body)
    assert refusal(stub.ModelInfer, message) == (code, expected)


def test_a_message_beyond_the_limit_is_refused(stub: Any) -> None:
    message = request(LABEL, raw_input_contents=[bytes(200_000)])
    for coding in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        code, reason = refusal(stub.ModelInfer, message, compression=coding)
        assert (code, "larger than max" in reason) == ("RESOURCE_EXHAUSTED", True)


def test_bytes_that_are_no_message_are_refused(addresses: tuple[str, str], stub: Any) -> None:
    with grpc.insecure_channel(addresses[1]) as channel:
        for method in ("ModelInfer", "ModelMetadata", "RepositoryIndex"):
            send = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            code, reason = refusal(send, b"\xff\xff")
            assert (code, f"{method}Request: it is damaged" in reason) == ("INVALID_ARGUMENT", True)
        nothing = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        assert refusal(nothing, iter(())) == ("INVALID_ARGUMENT", "the call ended without a request")
        lost = channel.unary_unary("/inference.GRPCInferenceService/Train")
        assert refusal(lost, b"")[0] == "UNIMPLEMENTED"
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        (answer,) = stream(iter([b"\xff\xff"]))
        assert b"it is damaged" in answer
    assert stub.ModelInfer(request(LABEL)).model_name == "tiny"


# --- what is counted ----------------------------------------------------------------------------------------


def test_requests_are_counted_beside_those_of_http(stub: Any, http: str) -> None:
    def counted() -> dict[tuple[str, ...], float]:
        return samples(httpx2.get(f"http://{http}/metrics").text)["anyview_requests_total"]

    before = counted()
    stub.ModelInfer(request(LABEL))
    refusal(stub.ModelInfer, request(LABEL, outputs=("sound",)))
    (response,) = stub.ModelStreamInfer(iter([request(LABEL)]))
    assert not response.error_message
    after = counted()
    added = {labels: count - before.get(labels, 0) for labels, count in after.items()}
    kinds = {labels: count for labels, count in added.items() if count and "grpc" in "".join(labels)}
    assert kinds == {
        ("1", "tiny", "grpc_infer", "2xx"): 1,
        ("1", "tiny", "grpc_infer", "4xx"): 1,
        ("1", "tiny", "grpc_stream_infer", "2xx"): 1,
    }


def test_a_call_has_the_request_id_of_its_client(stub: Any) -> None:
    _, call = stub.ModelInfer.with_call(request(LABEL), metadata=(("x-request-id", "mine-1"),))
    assert ("x-request-id", "mine-1") in {(key, value) for key, value in call.trailing_metadata()}
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request(), metadata=(("x-request-id", "mine-2"),))
    error: Any = caught.value
    assert ("x-request-id", "mine-2") in {(key, value) for key, value in error.trailing_metadata()}
