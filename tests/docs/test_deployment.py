"""Checks images and containers without a container engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch

import pytest
import yaml

from benchmarks.servers import free_port
from models_store.folder import SHIPPED
from service.settings import Settings
from tests.docs.blocks import DOCUMENTS, ROOT
from tests.page.conftest import service_at

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_FILE = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_FILE)
STEPS = [
    (word, rest.strip())
    for word, rest in re.findall(r"^([A-Z]+) (.+)$", re.sub(r"\\\n", "", DOCKERFILE), re.M)
]


def test_what_an_image_copies_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for number, (word, rest) in enumerate(STEPS):
        *sources, _ = rest.split()
        if word == "COPY" and sources[0].startswith("--from="):
            earlier = [step for kind, step in STEPS[:number] if kind == "FROM"]
            assert any(step.endswith(f" AS {sources[0][7:]}") for step in earlier)
        elif word == "COPY":
            for source in sources:
                assert (ROOT / source).exists(), source
                last = [rule for rule in ignored if fnmatch(source, rule.removeprefix("!"))][-1]
                assert last.startswith("!"), source


def test_the_files_for_gpus_change_services_and_images_that_exist() -> None:
    folder = ROOT / "deploy" / "gpu"
    over = yaml.safe_load((folder / "compose.yml").read_text())["services"]
    assert over.keys() <= COMPOSE["services"].keys()
    for service in over.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    image = (ROOT / over["service"]["build"]["dockerfile"]).read_text()
    assert f"ARG SERVICE={COMPOSE['services']['service']['image']}\n" in image
    (provider,) = re.findall("^ENV ANYVIEW_PROVIDER=(.+)$", image, re.M)
    assert Settings(provider=provider).provider == "cuda"
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert any(pin.startswith("onnxruntime-gpu==") for pin in pins)


def environment_of_image() -> dict[str, str]:
    """Variables of the last stage, with those of the compose file where the caller sets nothing."""
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    image = dict(pair.split("=", 1) for line in re.findall("^ENV (.+)$", last, re.M) for pair in line.split())
    over = COMPOSE["services"]["service"]["environment"]
    return {**image, **{name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in over.items()}}


def test_the_image_serves_the_shipped_models_at_the_published_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of_image().items():
        if name != "PATH":
            assert name.removeprefix("ANYVIEW_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.host, settings.store) == ("0.0.0.0", str(SHIPPED))  # noqa: S104 - in a container
    assert (SHIPPED / str(settings.default_model)).is_dir()
    assert ("EXPOSE", str(settings.port)) in STEPS
    assert COMPOSE["services"]["service"]["ports"] == [f"127.0.0.1:8000:{settings.port}"]


def test_every_volume_and_file_of_the_services_is_there() -> None:
    named = set()
    for service in COMPOSE["services"].values():
        assert service.get("build") or ":v" in service["image"] or re.search(r":\d", service["image"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                named.add(source)
    assert named == set(COMPOSE["volumes"])
    targets = re.findall(
        r'targets: \["(\w+):(\d+)"\]', (ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text()
    )
    assert targets == [("service", environment_of_image()["ANYVIEW_PORT"])]


@pytest.mark.slow
def test_the_image_is_healthy_while_the_service_is_ready() -> None:
    (line,) = [rest for word, rest in STEPS if word == "HEALTHCHECK"]
    _, *rest = json.loads(line.partition(" CMD ")[2])
    port = free_port()

    def healthy() -> bool:
        environment = {**os.environ, "ANYVIEW_PORT": str(port)}
        command = [sys.executable, *rest]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603 - ours
        return done.returncode == 0

    assert not healthy()
    with service_at(port, "--models", '["mnist"]', "--default-model", "mnist"):
        assert healthy()


def test_every_extra_that_a_document_installs_exists() -> None:
    defined = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = DOCKERFILE + "".join(document.read_text() for document in DOCUMENTS)
    named = {
        name for extras in re.findall(r"(?:anyview|'\.)\[([\w,]+)\]", texts) for name in extras.split(",")
    }
    assert {"training", "mudata", "otel", "s3"} <= named <= set(defined)
