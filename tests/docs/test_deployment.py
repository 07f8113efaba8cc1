"""What is installed and what runs in containers, as far as it can be tried without an engine or a download.

Nothing here starts a container, builds an image, or asks for the images of others (Prometheus, Grafana).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup as Group

from models_store.store import SHIPPED
from service.settings import Settings
from tests.docs.blocks import DOCUMENTS, ROOT, blocks, elsewhere, free_port, in_bash
from tests.page.conftest import service_at
from training import cli

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_FILE = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_FILE)
STEPS = [
    (word, rest.strip())
    for word, rest in re.findall(r"^([A-Z]+) (.+)$", re.sub(r"\\\n", "", DOCKERFILE), re.M)
]
STAGES = [rest.split(" AS ")[1] for word, rest in STEPS if word == "FROM"]


def docker() -> argparse.ArgumentParser:
    """What of the commands of docker is known here; anything else is an error."""
    parser = argparse.ArgumentParser("docker")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build")
    build.add_argument("-t", dest="tag", required=True)
    build.add_argument("--target", choices=STAGES)
    build.add_argument("context", choices=["."])
    compose = commands.add_parser("compose")
    compose.add_argument("--profile", action="append", default=[])
    verbs = compose.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up")
    run = verbs.add_parser("run")
    run.add_argument("--rm", action="store_true")
    run.add_argument("service", choices=COMPOSE["services"])
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def commands_of_docker() -> list[str]:
    """Those of the documents, and those in the first lines of the two files."""
    told = "".join(block.code for document in DOCUMENTS for block in blocks(document) if block.skip)
    heads = re.findall(
        r"^# +((?:[A-Z_]+=\S+ )*docker .+?)(?:  .*)?$", DOCKERFILE + COMPOSE_FILE, re.MULTILINE
    )
    inline = [
        found for document in DOCUMENTS for found in re.findall(r"`(docker [^`]+)`", document.read_text())
    ]
    return [line for line in told.splitlines() if "docker " in line] + heads + inline


def understood_by_train(arguments: list[str]) -> None:
    """Refuses what ``anyview-train`` would refuse."""
    train = typer.main.get_command(cli.app)
    assert isinstance(train, Group)
    name, *rest = arguments
    train.commands[name].make_context(name, rest)


@pytest.mark.parametrize("line", sorted(set(commands_of_docker())))
def test_a_command_of_docker_names_what_is_there(line: str) -> None:
    words = shlex.split(line, comments=True)
    start = words.index("docker")
    given = dict(assignment.split("=") for assignment in words[:start])
    if given.get("ANYVIEW_STORE"):  # which holds what was trained, as the line before it says
        assert any(f"fit {given['ANYVIEW_DEFAULT_MODEL']}" in other for other in commands_of_docker())
    for name in given:
        assert f"${{{name}:-" in COMPOSE_FILE
        assert name.removeprefix("ANYVIEW_").lower() in Settings.model_fields
    asked = docker().parse_args(words[start + 1 :])
    if asked.command == "compose":
        profiles = {name: set(service.get("profiles", ())) for name, service in COMPOSE["services"].items()}
        assert set(asked.profile) <= set().union(*profiles.values())
        if asked.verb == "run":
            assert profiles[asked.service] <= set(asked.profile)
            understood_by_train(asked.arguments)
            assert (ROOT / "training" / "experiments" / f"{asked.arguments[-1]}.toml").exists()


def test_a_command_that_only_a_reader_can_run_is_understood() -> None:
    skipped = "".join(block.code for document in DOCUMENTS for block in blocks(document) if block.skip)
    lines = re.findall(r"^anyview-(train|serve) (.+)", skipped, re.MULTILINE)
    assert {program for program, _ in lines} == {"train", "serve"}
    for program, line in lines:
        if program == "train":
            understood_by_train(shlex.split(line, comments=True))
        else:
            Settings(_cli_parse_args=shlex.split(line, comments=True))


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


def environment_of_image() -> dict[str, str]:
    """Of the last stage, and what the compose file puts over it where the caller sets nothing."""
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    own = dict(pair.split("=", 1) for line in re.findall("^ENV (.+)$", last, re.M) for pair in line.split())
    over = COMPOSE["services"]["service"]["environment"]
    return {**own, **{name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in over.items()}}


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
    targets = re.findall(r'targets: \["(\w+):(\d+)"\]', (ROOT / "monitoring" / "prometheus.yml").read_text())
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
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = DOCKERFILE + "".join(document.read_text() for document in DOCUMENTS)
    named = {name for found in re.findall(r"(?:anyview|'\.)\[([\w,]+)\]", told) for name in found.split(",")}
    assert {"training", "mudata", "otel", "s3"} <= named <= set(extras)


@pytest.mark.slow
def test_what_the_readme_installs_can_be_installed_as_it_was_tested(tmp_path: Path) -> None:
    """From what the image copies, by pip in an environment of its own; short of the download."""
    copied = {
        name for word, rest in STEPS if word == "COPY" and "--from" not in rest for name in rest.split()
    }
    without = (
        f'for name in *; do case " {" ".join(copied)} " in *" $name "*) ;; *) rm "$name" ;; esac; done\n'
    )
    dry = 'pip() { command pip "$@" --dry-run --report report.json; }\n'
    try:
        in_bash(without + dry + elsewhere("README.md", "docs/test_deployment.py"), tmp_path)
    except AssertionError as error:
        if re.search("NewConnectionError|name resolution|Network is unreachable", str(error)):
            pytest.skip("no package index within reach")
        raise
    chosen = [one["metadata"] for one in json.loads((tmp_path / "report.json").read_text())["install"]]
    pinned = dict(
        re.findall(r"^([\w.\-]+)==(\S+)", (ROOT / "constraints.txt").read_text().lower(), re.MULTILINE)
    )
    found = {re.sub(r"[-_.]+", "-", one["name"].lower()): one["version"].split("+")[0] for one in chosen}
    normal = {re.sub(r"[-_.]+", "-", name): version for name, version in pinned.items()}
    assert "torch" in found
    assert {name for name, version in found.items() if normal.get(name) != version} <= {
        "anyview",
        "setuptools",
    }
