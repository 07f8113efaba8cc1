"""KServe's objects are valid, and the container that they describe answers as KServe asks it.

No cluster runs here: the schemas of the API validate what KServe makes of both objects, and a process with
the environment of the container answers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from benchmarks.servers import free_port
from service.settings import Settings
from tests.service.running import readiness, until

FOLDER = Path(__file__).parents[2] / "deploy" / "kserve"
RUNTIME_FIELDS = {"supportedModelFormats", "protocolVersions", "multiModel", "containers", "volumes"}
"""Fields of a ServingRuntime that are used, of API version v1alpha1 (kserve 0.21)."""
PREDICTOR_FIELDS = {
    "minReplicas",
    "maxReplicas",
    "scaleMetric",
    "scaleTarget",
    "deploymentStrategy",
    "model",
}
"""Fields of a predictor beside those of a pod, of API version v1beta1 (kserve 0.21)."""
MODEL_FIELDS = {"modelFormat", "runtime", "protocolVersion"}
"""Fields of a predictor's model beside those of a container."""


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return document


RUNTIME, SERVICE = read("servingruntime.yaml"), read("inferenceservice.yaml")
PREDICTOR = SERVICE["spec"]["predictor"]


def environment() -> dict[str, str]:
    """Variables of the container: those of the runtime, and over them those of the service's model."""
    (container,) = RUNTIME["spec"]["containers"]
    return {each["name"]: each["value"] for each in (*container["env"], *PREDICTOR["model"]["env"])}


def pod() -> dict[str, Any]:
    """The pod that KServe makes of both objects."""
    (container,) = RUNTIME["spec"]["containers"]
    of_model = {key: value for key, value in PREDICTOR["model"].items() if key not in MODEL_FIELDS}
    env = [{"name": name, "value": value} for name, value in environment().items()]
    spec = {key: value for key, value in PREDICTOR.items() if key not in PREDICTOR_FIELDS}
    spec |= {"containers": [{**container, **of_model, "env": env}], "volumes": RUNTIME["spec"]["volumes"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "anyview"}, "spec": spec}


def test_the_pod_is_valid() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(pod(), kubernetes_validate.latest_version(), strict=True)


def test_the_objects_fit_each_other() -> None:
    assert set(RUNTIME["spec"]) == RUNTIME_FIELDS
    (container,) = RUNTIME["spec"]["containers"]
    assert container["name"] == "kserve-container"  # the one into which KServe merges a model
    assert container["image"] == f"anyview:{version('anyview')}"
    model, formats = PREDICTOR["model"], RUNTIME["spec"]["supportedModelFormats"]
    assert model["runtime"] == RUNTIME["metadata"]["name"]
    assert model["modelFormat"] in [{key: each[key] for key in ("name", "version")} for each in formats]
    assert model["protocolVersion"] in RUNTIME["spec"]["protocolVersions"]


def test_a_drain_is_noticed_and_finished_before_the_process_is_killed() -> None:
    (container,) = RUNTIME["spec"]["containers"]
    grace, deadline = (float(environment()[f"ANYVIEW_{name}_SECONDS"]) for name in ("GRACE", "DEADLINE"))
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert PREDICTOR["terminationGracePeriodSeconds"] > stop + grace + deadline
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < grace


def test_every_setting_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        assert name.removeprefix("ANYVIEW_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    settings = Settings()
    (container,) = RUNTIME["spec"]["containers"]
    assert [each["containerPort"] for each in container["ports"]] == [settings.port]
    assert f"{SERVICE['metadata']['name']}-predictor" in settings.allowed_hosts


@pytest.mark.slow
def test_the_container_answers_over_v2_from_a_copied_store(bundle_folder: Path) -> None:
    """As with ``storageUri``: KServe copies the store into a folder of the container."""
    port = free_port()
    settings = {**environment(), "ANYVIEW_STORE": str(bundle_folder.parents[1]), "ANYVIEW_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], env={**os.environ, **settings}, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or readiness(address) == 200, 120)
        headers = {"host": f"{SERVICE['metadata']['name']}-predictor"}
        with httpx2.Client(base_url=address, headers=headers) as client:
            assert client.get("/v2/health/ready").status_code == 200
            assert client.get("/v2/models/tiny/ready").status_code == 200
            (tensor,) = [
                each for each in client.get("/v2/models/tiny").json()["inputs"] if each["name"] == "label"
            ]
            label = {"name": "label", "datatype": tensor["datatype"], "shape": [1], "data": [7]}
            response = client.post("/v2/models/tiny/infer", json={"inputs": [label]})
            assert response.status_code == 200, response.text
            assert {each["name"] for each in response.json()["outputs"]} >= {"mu", "log_var"}
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
