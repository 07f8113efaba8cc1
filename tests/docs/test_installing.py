"""The README's installation uses the package index and tested versions, and runs."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks, elsewhere
from tests.docs.project import Project, copied

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = copied(tmp_path / "anyview")
    project.environment.update(
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        PIP_COMPILE="0",  # compiling unused modules would take most of the time
        ANYVIEW_PORT=str(project.ports[8000]),
        ANYVIEW_GRACE_SECONDS="0",
    )
    return project


@contextmanager
def out_of_an_index() -> Iterator[None]:
    """Skips the test where pip reaches no package index."""
    try:
        yield
    except AssertionError as error:
        if re.search("NewConnectionError|name resolution|Network is unreachable", str(error)):
            pytest.skip("no package index within reach")
        raise


def has_torch(project: Project, environment: str) -> bool:
    python = f"{environment}/bin/python -I -c 'import importlib.util as u; print(u.find_spec(\"torch\"))'"
    return project.says(python) != "None"


def test_the_first_command_installs_the_service_alone_and_serves(project: Project) -> None:
    serve, test = next(
        block.code.splitlines() for block in blocks(ROOT / "README.md") if block.language == "sh"
    )
    with out_of_an_index(), project.serving(serve):
        assert not has_torch(project, ".venv/serve")
    assert test in (ROOT / ".ci" / "run").read_text().splitlines()  # which is how this came to run


def test_what_is_installed_for_training_is_what_was_tested(project: Project) -> None:
    reported = 'pip() { command pip "$@" --report report.json; }\n'
    with out_of_an_index():
        project.says(reported + elsewhere("README.md", "docs/test_installing.py"), 600)
    report = json.loads((project.folder / "report.json").read_text())
    installed = {_normal(one["metadata"]["name"]): one["metadata"]["version"] for one in report["install"]}
    tested = _pins("constraints.txt")
    others = {name for name, version in installed.items() if tested.get(name) != version.partition("+")[0]}
    assert others <= {"anyview", "setuptools"}
    assert has_torch(project, ".venv/mine")
    project.says(
        ". .venv/mine/bin/activate && anyview-serve openapi openapi.json && command -v anyview-train"
    )


def test_the_image_installs_each_file_by_its_hash_in_the_tested_versions() -> None:
    locked = _pins("requirements-service.txt")
    assert locked.items() <= _pins("constraints.txt").items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    direct = [*project["dependencies"], *extras["grpc"], *extras["s3"]]
    assert {_normal(re.split(r"[^\w.-]", one)[0]) for one in direct} <= locked.keys()
    text = (ROOT / "requirements-service.txt").read_text()
    assert len(re.findall(r"== *\S+ \\\n +--hash=sha256:[0-9a-f]{64}\b", text)) == len(locked)


def _pins(file: str) -> dict[str, str]:
    """Returns the version of each distribution that a file of requirements names."""
    pinned = re.findall(r"^([\w.\-]+)(?:\[\w+\])?==(\S+)", (ROOT / file).read_text(), re.MULTILINE)
    return {_normal(name): version for name, version in pinned}


def _normal(name: str) -> str:
    """Returns the name as a package index spells it."""
    return re.sub(r"[-_.]+", "-", name.lower())
