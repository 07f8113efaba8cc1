"""The Open Inference Protocol, asked by the client most people have: the same answers by another door."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.service.asking import SEVEN
from tests.service.oip import PICTURES, SEEDED, assert_agrees, native, tensor, to_return


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_the_answers_are_those_of_encode_and_generate(
    oip: triton.InferenceServerClient, oip_address: str, binary: bool
) -> None:
    """With the same seed; and with no output named, the posterior and the middle of every modality."""
    names = ["z", "mu", "log_var", "image", "label"]
    for requested in (None, to_return(*names, binary=binary)):
        inputs = [tensor("image", PICTURES, binary)]
        result = oip.infer("tiny", inputs, outputs=requested, request_id="mine", parameters=SEEDED)
        reported = result.get_response()
        assert [output["name"] for output in reported["outputs"]] == names
        assert (reported["model_name"], reported["model_version"], reported["id"]) == ("tiny", "2", "mine")
        assert reported["parameters"] == {"seed": 7, "cond_mod": "image"}
        body = {"inputs": {"image": PICTURES.tolist()}}
        encoded = native(oip_address, "/models/tiny/encode?seed=7&N=3", json=body)
        targets = native(oip_address, "/models/tiny/generate?seed=7", json=body)["targets"]
        for name in ("z", "mu", "log_var"):
            assert_agrees(result, name, encoded[name])
        assert_agrees(result, "image", targets["image"]["mean"])
        assert_agrees(result, "label", targets["label"]["probabilities"])


def test_summaries_and_samples_can_be_asked_for_alone(
    oip: triton.InferenceServerClient, oip_address: str
) -> None:
    names = ("image.std", "image.quantiles", "image.samples", "information", "disagreement")
    parameters = {**SEEDED, "K": 50, "noise": True}
    result = oip.infer("tiny", [tensor("label", [3])], outputs=to_return(*names), parameters=parameters)
    assert [output["name"] for output in result.get_response()["outputs"]] == list(names)
    body = {"inputs": {"label": [3]}}
    query = "seed=7&N=3&K=50&noise=true&gen_mod=image"
    target = native(oip_address, f"/models/tiny/generate?{query}", json=body)["targets"]["image"]
    for field in ("std", "quantiles", "samples"):
        assert_agrees(result, f"image.{field}", target[field])
    assert_agrees(
        result, "information", native(oip_address, "/models/tiny/encode?seed=7&N=3", json=body)["information"]
    )


def test_without_a_seed_the_answer_tells_the_one_it_drew(oip: triton.InferenceServerClient) -> None:
    first = oip.infer("tiny", [tensor("image", PICTURES)], outputs=to_return("z"))
    seed = first.get_response()["parameters"]["seed"]
    again = oip.infer("tiny", [tensor("image", PICTURES)], outputs=to_return("z"), parameters={"seed": seed})
    np.testing.assert_array_equal(first.as_numpy("z"), again.as_numpy("z"))


LABELS = {
    "indices": tensor("label", [3, 7]),
    "indices in JSON": tensor("label", [3, 7], binary=False),
    "an axis too many": tensor("label", [[3], [7]]),
    "another datatype": tensor("label", np.array([3, 7], np.uint8)),
    "texts": tensor("label", np.array([b"3", b"7"], object)),
    "texts in JSON": tensor("label", np.array(["3", "7"], object), binary=False),
}


@pytest.mark.parametrize("sent", LABELS.values(), ids=LABELS)
def test_labels_are_indices_or_texts(
    oip: triton.InferenceServerClient, oip_address: str, sent: triton.InferInput
) -> None:
    result = oip.infer("tiny", [sent], outputs=to_return("mu"))
    assert_agrees(
        result, "mu", native(oip_address, "/models/tiny/encode", json={"inputs": {"label": [3, 7]}})["mu"]
    )


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_pictures_may_come_as_files(oip: triton.InferenceServerClient, shape: tuple[int, ...]) -> None:
    content = np.array([SEVEN], object).reshape(shape)
    actual = [
        oip.infer("tiny", [sent], outputs=to_return("mu")).as_numpy("mu")
        for sent in (tensor("image", content, datatype="BYTES"), tensor("image", PICTURES[:1]))
    ]
    np.testing.assert_array_equal(*actual)


def test_a_mask_says_which_rows_lack_a_modality(oip: triton.InferenceServerClient, oip_address: str) -> None:
    inputs = [
        tensor("image", PICTURES),
        tensor("label", [3, 7]),
        tensor("mask.label", np.array([False, True])),
    ]
    result = oip.infer("tiny", inputs, outputs=to_return("mu"))
    body = {"inputs": {"image": PICTURES.tolist(), "label": [None, 7]}}
    assert_agrees(result, "mu", native(oip_address, "/models/tiny/encode", json=body)["mu"])


def test_missing_cells_are_nan_or_null(oip: triton.InferenceServerClient, oip_address: str) -> None:
    values = np.array([[172, np.nan, 40]], np.float32)
    answers = [
        oip.infer("kinds", [tensor("body", values)], outputs=to_return("mu")).as_numpy("mu"),
        native(oip_address, "/models/kinds/encode", json={"inputs": {"body": [[172, None, 40]]}})["mu"],
    ]
    sent = {"name": "body", "shape": [1, 3], "datatype": "FP32", "data": [172, None, 40]}
    document = {"inputs": [sent], "outputs": [{"name": "mu"}]}
    (answer,) = native(oip_address, "/v2/models/kinds/infer", json=document)["outputs"]
    answers.append(np.reshape(answer["data"], answer["shape"]))
    for actual in answers[1:]:
        np.testing.assert_allclose(actual, answers[0], rtol=1e-5)


def test_the_prior_is_answered_to_those_who_ask_for_it(oip: triton.InferenceServerClient) -> None:
    result = oip.infer("tiny", [], outputs=to_return("mu", "z"), parameters={"cond_mod": "none", "n_data": 4})
    np.testing.assert_array_equal(result.as_numpy("mu"), np.zeros((4, 16)))
    assert result.get_response()["parameters"]["cond_mod"] == "none"


def test_labels_come_as_a_classification(oip: triton.InferenceServerClient) -> None:
    output = triton.InferRequestedOutput("label", class_count=3)
    result = oip.infer("tiny", [tensor("image", PICTURES)], outputs=[output, *to_return("label.samples")])
    first = [text.decode().split(":") for text in result.as_numpy("label")[0]]
    assert len(first) == 3
    assert all(index == label for _, index, label in first)
    assert sorted(first, key=lambda one: -float(one[0])) == first


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_and_answers_may_be_packed(oip: triton.InferenceServerClient, algorithm: str) -> None:
    inputs, outputs = [tensor("image", PICTURES)], to_return("image")
    plain = oip.infer("tiny", inputs, outputs=outputs, parameters=SEEDED)
    packed = oip.infer(
        "tiny",
        inputs,
        outputs=outputs,
        parameters=SEEDED,
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    assert packed._result == plain._result
    np.testing.assert_array_equal(packed.as_numpy("image"), plain.as_numpy("image"))


def test_an_answer_is_packed_only_for_those_who_accept_it(oip_address: str) -> None:
    document = {"inputs": [{"name": "label", "shape": [1], "datatype": "INT64", "data": [1]}]}
    for accept, encoding in {
        "gzip": "gzip",
        "br": None,
        "deflate;q=0": None,
        "br, deflate": "deflate",
    }.items():
        response = httpx2.post(
            f"http://{oip_address}/v2/models/tiny/infer", json=document, headers={"accept-encoding": accept}
        )
        assert response.headers.get("content-encoding") == encoding
        assert response.json()["model_name"] == "tiny"


def test_who_asks_without_waiting_gets_the_same(oip_address: str) -> None:
    requested = {"inputs": [tensor("image", PICTURES)], "outputs": to_return("z"), "parameters": SEEDED}
    with triton.InferenceServerClient(oip_address, concurrency=3) as client:
        waiting = [client.async_infer("tiny", **requested) for _ in range(3)]
        expected = client.infer("tiny", **requested).as_numpy("z")
        for each in waiting:
            np.testing.assert_array_equal(each.get_result().as_numpy("z"), expected)


def test_the_asynchronous_client_gets_the_same(oip_address: str) -> None:
    async def ask() -> list[Any]:
        async with triton_aio.InferenceServerClient(oip_address) as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("tiny"))["name"] == "tiny"
            calls = (
                client.infer("tiny", [tensor("image", PICTURES)], outputs=to_return("z"), parameters=SEEDED)
                for _ in range(5)
            )
            with pytest.raises(InferenceServerException, match="no model 'nothing' is loaded"):
                await client.infer("nothing", [tensor("image", PICTURES)])
            return [result.as_numpy("z") for result in await asyncio.gather(*calls)]

    first, *others = asyncio.run(ask())
    for other in others:
        np.testing.assert_array_equal(first, other)
