"""Runs the documents' docker commands unchanged in a container engine.

Where no registry gives an image, ``images.sh`` makes another that stands in for it: Debian's Python and
Prometheus, in other versions; and for Grafana a container that only holds what is mounted and listens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import yaml

from tests.conftest import DATA
from tests.docs.blocks import DOCUMENTS, ROOT, blocks, elsewhere
from tests.docs.engine import in_an_engine, stand_in, state
from tests.docs.project import Project, copied
from tests.service.prometheus import MONITORING, ask
from tests.service.running import readiness, until
from training.fit import LAST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def commands(text: str) -> list[str]:
    """Returns the docker commands in a text, one per line, without their comments."""
    lines = (line.strip("# ").partition("  ")[0] for line in text.splitlines())
    return [line for line in lines if "docker " in line]


DOCKERFILE, COMPOSE_FILE = ((ROOT / name).read_text() for name in ("Dockerfile", "docker-compose.yml"))
UP, TRAIN, UP_WITH_OWN, UP_WITH_MONITORING = commands(elsewhere("README.md", "docs/test_containers.py"))
BUILD, BUILD_TRAINING = commands(DOCKERFILE.partition("\n\n")[0])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = copied(tmp_path_factory.mktemp("containers") / "anyview")
    with in_an_engine(project):
        yield project


@pytest.fixture(scope="module")
def trained(project: Project) -> Project:
    """The project after training into its volume."""
    assert "published /store/mnist/1" in project.says(TRAIN, 900)
    return project


@pytest.fixture(scope="module")
def monitored(project: Project) -> Iterator[Project]:
    """The project while it runs with Prometheus and Grafana, or its stand-in."""
    with project.serving(UP_WITH_MONITORING):
        yield project


def label_of_the_seven(project: Project, model: str) -> str:
    """Returns a model's most probable label for the picture of a seven."""
    question = {"image": (DATA / "seven.png").read_bytes()}
    answer = httpx2.post(
        f"{project.at(8000)}/models/{model}/generate?gen_mod=label&seed=1", files=question, timeout=60
    )
    assert answer.status_code == 200, answer.text
    ranked: list[list[str]] = answer.json()["targets"]["label"]["ranked"]
    return ranked[0][0]


def test_every_command_of_docker_that_a_document_tells_is_run_here() -> None:
    documented = commands(DOCKERFILE.partition("\n\n")[0] + "\n" + COMPOSE_FILE.partition("\nservices:")[0])
    for document in DOCUMENTS:
        documented += commands("".join(block.code for block in blocks(document)))
        documented += re.findall(r"`(docker [^`]+)`", document.read_text())
    assert set(documented) == {UP, TRAIN, UP_WITH_OWN, UP_WITH_MONITORING, BUILD, BUILD_TRAINING}


def test_up_serves_the_shipped_models_as_an_ordinary_user_until_it_is_stopped(project: Project) -> None:
    with project.serving(UP):
        assert label_of_the_seven(project, "digits") == "7"
        assert project.says("docker compose exec -T service id -u") == "10001"
        container = project.says("docker compose ps -q service")
        until(lambda: state(project, container)["Health"]["Status"] == "healthy", 60, every=0.5)
    assert state(project, container)["ExitCode"] == 0


def test_what_is_trained_in_a_container_is_served_from_the_volume(trained: Project) -> None:
    with trained.serving(UP_WITH_OWN):
        served: dict[str, Any] = httpx2.get(f"{trained.at(8000)}/models/mnist").json()
        assert served["trained"]["data"]["train_rows"] == 1000
        assert label_of_the_seven(trained, "mnist") == "7"


def test_a_run_outlives_its_container_so_that_it_can_go_on(trained: Project) -> None:
    train = TRAIN.partition(" fit ")[0].replace("--rm", "--rm -T --entrypoint sh")
    assert LAST in trained.says(f"{train} -c 'ls runs/mnist-*'").split()
    trained.says(f"{train} -c 'touch /cache/a-data-set'")
    trained.says(f"{train} -c 'cat /cache/a-data-set'")


def test_the_image_for_training_has_torch_and_the_other_has_not(project: Project) -> None:
    project.says(BUILD, 900)
    project.says(BUILD_TRAINING, 900)
    assert "fit" in project.says("docker run --rm anyview-train")
    project.says("docker run --rm --entrypoint python anyview-train -c 'import torch'")
    project.says("! docker run --rm anyview python -c 'import torch'")


def test_prometheus_asks_the_service_and_knows_when_to_warn(monitored: Project) -> None:
    address = monitored.at(9090)
    until(lambda: ask(address, 'up{job="anyview"} == 1 and on() sum(anyview_ready) == 1'), 90, every=0.5)
    groups = httpx2.get(f"{address}/api/v1/rules", timeout=10).json()["data"]["groups"]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
    assert [rule["name"] for rule in groups[0]["rules"]] == [rule["alert"] for rule in rules]


def test_grafana_or_what_stands_in_for_it_finds_its_source_and_its_dashboard(monitored: Project) -> None:
    def read(path: str) -> str:
        return monitored.says(f"docker compose exec -T grafana cat {path}")

    provisioning = "/etc/grafana/provisioning"
    (source,) = yaml.safe_load(read(f"{provisioning}/datasources/prometheus.yml"))["datasources"]
    (provider,) = yaml.safe_load(read(f"{provisioning}/dashboards/anyview.yml"))["providers"]
    home = monitored.says("docker compose exec -T grafana printenv GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")
    assert home == f"{provider['options']['path']}/anyview.json"
    assert {panel["datasource"]["uid"] for panel in json.loads(read(home))["panels"]} == {source["uid"]}
    until(lambda: readiness(monitored.at(3000), "/") == 200, 90, every=0.5)


def test_grafana_shows_the_dashboard_to_everybody(monitored: Project) -> None:
    (image,) = re.findall(r"image: (grafana/\S+)", COMPOSE_FILE)
    if stand_in(monitored, image):
        pytest.skip("no registry gives Grafana's image")
    until(lambda: readiness(monitored.at(3000), "/api/dashboards/uid/anyview") == 200, 90, every=0.5)
