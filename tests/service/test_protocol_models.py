"""Models in the Open Inference Protocol: their metadata, and how they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from service.app import create_app
from service.settings import Settings
from tests.service.oip import tensor, to_return
from tests.service.running import running, until


def test_the_server_lives_and_tells_what_it_can(oip: triton.InferenceServerClient) -> None:
    assert oip.is_server_live()
    assert oip.is_server_ready()
    reported = oip.get_server_metadata()
    assert reported["name"] == "anyview"
    assert "binary_tensor_data" in reported["extensions"]


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("tiny", "", True), ("tiny", "2", True), ("tiny", "1", False), ("nothing", "", False)],
)
def test_a_model_is_ready_when_it_is_loaded(
    oip: triton.InferenceServerClient, name: str, version: str, ready: bool
) -> None:
    assert oip.is_model_ready(name, version) is ready


def test_metadata_and_configuration_tell_the_same_tensors(oip: triton.InferenceServerClient) -> None:
    reported, config = oip.get_model_metadata("tiny"), oip.get_model_config("tiny", "2")
    assert reported["versions"] == ["2"]
    assert {"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28]} in reported["inputs"]
    assert {"name": "label", "datatype": "FP32", "shape": [-1, 10]} in reported["outputs"]
    for mine, theirs in (("inputs", "input"), ("outputs", "output")):
        assert [one["name"] for one in reported[mine]] == [one["name"] for one in config[theirs]]
    assert all(one["optional"] for one in config["input"])
    assert config["max_batch_size"] == 50


def test_every_output_of_the_metadata_can_be_asked_for_and_has_its_shape(
    oip: triton.InferenceServerClient,
) -> None:
    outputs = oip.get_model_metadata("kinds")["outputs"]
    names = [output["name"] for output in outputs]
    inputs = [tensor("body", np.full((2, 3), 1.5, np.float32))]
    result = oip.infer("kinds", inputs, outputs=to_return(*names), parameters={"N": 3})
    for output in outputs:
        actual = result.get_output(output["name"])
        assert actual["datatype"] == output["datatype"]
        free = [2, *([3] if output["name"] == "z" or output["name"].endswith(".samples") else [])]
        assert actual["shape"] == [*free, *output["shape"][len(free) :]]


def test_the_index_tells_every_stored_version_and_its_state(oip: triton.InferenceServerClient) -> None:
    index = {(one["name"], one["version"]): one for one in oip.get_model_repository_index()}
    assert {key: one["state"] for key, one in index.items()} == {
        ("broken", "1"): "UNAVAILABLE",
        ("kinds", "1"): "READY",
        ("tiny", "1"): "UNAVAILABLE",
        ("tiny", "2"): "READY",
    }
    assert "golden.npz" in index["broken", "1"]["reason"]


def test_statistics_count_rows_and_failures(oip: triton.InferenceServerClient) -> None:
    def counted() -> Any:
        (one,) = oip.get_inference_statistics("kinds", "1")["model_stats"]
        return one

    before = counted()
    oip.infer("kinds", [tensor("body", np.ones((3, 3), np.float32))], outputs=to_return("mu"))
    with pytest.raises(InferenceServerException):
        oip.infer("kinds", [])
    after = counted()
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    for phase in ("success", "fail", "compute_infer"):
        stats = [one["inference_stats"][phase] for one in (before, after)]
        assert stats[1]["count"] - stats[0]["count"] == 1
        assert stats[1]["ns"] > stats[0]["ns"]
    assert {one["name"] for one in oip.get_inference_statistics()["model_stats"]} == {"kinds", "tiny"}


def test_a_model_is_unloaded_and_loaded(oip: triton.InferenceServerClient) -> None:
    oip.unload_model("kinds")
    assert not oip.is_model_ready("kinds")
    with pytest.raises(InferenceServerException, match="no model 'kinds' is loaded"):
        oip.infer("kinds", [])
    oip.load_model("kinds")
    until(lambda: oip.is_model_ready("kinds"))


def test_what_follows_the_store_alone_is_not_unloaded(bundle_folder: Path) -> None:
    with (
        running(create_app(Settings(store=bundle_folder.parents[1]))) as (host, port),
        triton.InferenceServerClient(f"{host}:{port}") as client,
    ):
        with pytest.raises(InferenceServerException, match="--allow-loading") as refused:
            client.unload_model("tiny")
        assert refused.value.status() == "403"
        assert client.is_model_ready("tiny")
