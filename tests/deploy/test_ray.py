"""Two replicas under Ray Serve, as deploy/ray says, lose no request of those sent all the time."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from benchmarks.replicas import ROOT, settings
from tests.deploy.namespaces import NAMESPACES, has_namespaces
from tests.deploy.run_ray import SECONDS


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
@pytest.mark.skipif(
    find_spec("ray") is not None and not has_namespaces(), reason="no namespaces of the network"
)
def test_no_request_fails_when_replicas_are_killed_replaced_drained_or_added_or_a_version_comes(
    bundle_folder: Path,
) -> None:
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # sockets need a short path
        command = [*NAMESPACES, sys.executable, "-m", "tests.deploy.run_ray", folder, str(bundle_folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    print(done.stderr[-10_000:])
    assert done.returncode == 0
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == []
    assert report["versions"] == ["1", "2"]
    assert report["request_ids"] == ["one"]


def test_settings_are_valid_for_shells_and_for_readers_of_lines() -> None:
    """The option is a line of its own in HAProxy's configuration, or in a comment there."""
    name = "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM"
    assert settings()[name].splitlines() == ["leastconn # ", "    option http-buffer-request"]
    lines = (ROOT / "deploy" / "ray" / "settings.env").read_text().splitlines()
    stated = dict(line.split("=", maxsplit=1) for line in lines if not line.startswith("#"))
    (value,) = shlex.split(stated[name])
    assert value.startswith("leastconn # ")
    assert {key for key in stated if key.startswith("RAY_")} == settings().keys()
