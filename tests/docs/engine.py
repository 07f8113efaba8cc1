"""Runs the containers of a copy of the project in an available engine, and removes them afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.docs.blocks import ROOT, with_commands
from tests.docs.project import Project

NAMED = {
    name
    for file in ("Dockerfile", "docker-compose.yml")
    for name in re.findall(r"^(?:FROM| +image:) (\S+)", (ROOT / file).read_text(), re.MULTILINE)
    if name not in {"base", "build"}
}
"""The images that the commands get, and those that they build."""
BUILT = {name for name in NAMED if ":" not in name}
OVERRIDE = """\
services:
  train:  # a thousand digits, and one thread, since with models that small more only wait for each other
    environment: {OMP_NUM_THREADS: "1"}
    volumes: ["./tests/data:/data:ro"]
"""


def state(project: Project, container: str) -> dict[str, Any]:
    """The container's state: running, health, exit code."""
    status: dict[str, Any] = json.loads(project.says("docker inspect -f '{{json .State}}' " + container))
    return status


def stand_in(project: Project, image: str) -> bool:
    """Whether the image only stands for the one of that name."""
    return "anyview.stand-in" in project.says(f"docker image inspect -f '{{{{.Config.Labels}}}}' {image}")


@contextmanager
def in_an_engine(project: Project) -> Iterator[None]:
    """With all images that the project names, and its containers at free ports.

    Skips the test where there is no engine, or no way to the images.
    """
    project.environment.update(with_commands(project.folder))
    project.environment["COMPOSE_PROJECT_NAME"] = f"anyview-test-{os.getpid()}"
    try:
        project.says("docker version && docker compose version")
    except (AssertionError, subprocess.TimeoutExpired):
        pytest.skip("no engine for containers answers here, or docker compose is missing")
    _publish_at_free_ports(project)
    there = {name for name in NAMED if _has(project, name)}
    for name in there & BUILT:  # or nothing would be built
        project.says(f"docker tag {name} {name}:before && docker rmi {name}")
    try:
        if reason := project.says("tests/docs/images.sh || [ $? = 3 ]", 900):
            pytest.skip(reason)
        yield
    finally:
        project.says("docker compose --profile train --profile monitoring down --volumes --timeout 10", 120)
        for name in NAMED - there:
            if _has(project, name) and (name in BUILT or stand_in(project, name)):
                project.says(f"docker rmi {name}", 300)
        project.says("docker image prune --force --filter label=anyview.stand-in", 300)  # made from those
        for name in there & BUILT:
            project.says(f"docker tag {name}:before {name} && docker rmi {name}:before")


def _has(project: Project, image: str) -> bool:
    return bool(project.says(f"docker image inspect -f here {image} || true"))


def _publish_at_free_ports(project: Project) -> None:
    compose = project.folder / "docker-compose.yml"
    text = re.sub(
        r"127\.0\.0\.1:(\d+):",
        lambda match: f"127.0.0.1:{project.ports[int(match[1])]}:",
        compose.read_text(),
    )
    compose.write_text(text)
    (project.folder / "docker-compose.override.yml").write_text(OVERRIDE)
