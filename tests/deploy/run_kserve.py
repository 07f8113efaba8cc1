"""Starts the container of a pod in namespaces of mounts and network, and sends requests of KServe's clients.

``unshare --net --mount … python -m tests.deploy.run_kserve STORE < POD``: the folder STORE is what
``storageUri`` names, POD is JSON. Writes the responses as JSON.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from tests.service.asking import inputs
from tests.service.running import readiness, until

ROOT = Path(__file__).parents[2]


def main(store: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607 - the system's
    pod = json.load(sys.stdin)
    (container,) = pod["spec"]["containers"]
    for mount in container["volumeMounts"]:
        if mount["name"] == "kserve-provision-location":
            provision(store, mount["mountPath"])
    command = [*container["command"], *container.get("args", [])]
    process = subprocess.Popen(command, env=environment(container), stderr=sys.stderr)  # noqa: S603
    try:
        address = address_of(container["startupProbe"])
        until(lambda: process.poll() is not None or readiness(address) == 200, 120)
        report = responses(container, f"{pod['metadata']['name']}-predictor")
        process.terminate()
        report["exit"] = process.wait(30)
    finally:
        process.kill()
    print(json.dumps(report))


def provision(store: Path, path: str) -> None:
    """Copies the store into a new volume, which the container may only read."""
    top = str(Path(*Path(path).parts[:2]))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", top], check=True)  # noqa: S603, S607
    shutil.copytree(store, path, dirs_exist_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", top], check=True)  # noqa: S603, S607


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Variables of the image, and over them those of the container; programs are those of this test."""
    image = (ROOT / "Dockerfile").read_text().rpartition(" AS service\n")[2]
    programs = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    modules = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    variables = {each["name"]: each["value"] for each in container["env"]}
    return {**dict(re.findall(r"(ANYVIEW_\w+)=(\S+)", image)), **programs, **modules, **variables}


def address_of(probe: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{probe['httpGet']['port']}"


def responses(container: dict[str, Any], host: str) -> dict[str, Any]:
    """Status of each probe, and what the Open Inference Protocol answers of the model."""
    probes = {name: container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    report: dict[str, Any] = {
        name: httpx2.get(address_of(probe) + probe["httpGet"]["path"]).status_code
        for name, probe in probes.items()
    }
    (port,) = container["ports"]
    address = f"http://127.0.0.1:{port['containerPort']}"
    with httpx2.Client(base_url=address, headers={"host": host}) as client:
        report["ready"] = client.get("/v2/health/ready").status_code
        report["model ready"] = client.get("/v2/models/tiny/ready").status_code
        report["model"] = client.get("/v2/models/tiny").json()
        (label,) = (each for each in report["model"]["inputs"] if each["name"] == "label")
        tensor = {"name": "label", "datatype": label["datatype"], "shape": [1], "data": [7]}
        report["inference"] = client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).json()
        report["encode"] = client.post("/encode", **inputs(label=[7])).status_code
        report["other host"] = client.get("/v2/models/tiny", headers={"host": "other"}).status_code
    return report


if __name__ == "__main__":
    main(Path(sys.argv[1]))
