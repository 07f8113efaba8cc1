"""A cluster of Ray serves ``deploy.ray:app`` with two replicas, while one is killed, both are replaced, a
version is published, one is drained, and one is added for more requests.

Runs in namespaces of its own for network and processes, since Ray's ports are bound to all interfaces:
``unshare --net --pid … python -m tests.deploy.run_ray FOLDER BUNDLE``. Writes what was answered as JSON.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import yaml

from benchmarks.replicas import HAPROXY_FILES, settings
from models_store.stores import store_at
from tests.deploy.test_haproxy import Callers
from tests.service.changing import publish
from tests.service.running import readiness, until

Event = Callable[[], object]
"""Whether an event is over."""
ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8000"
CONNECTIONS, REQUESTS = 6, int(os.environ.get("REQUESTS", "60"))
"""Callers, and requests that must be answered after each event."""
SECONDS = 280.0 + REQUESTS / 20
"""Seconds after which it fails: for the end of an event, and for so many requests on a busy machine."""
BODY, HALF_SENT = json.dumps({"inputs": {"label": [3]}}).encode(), 8
"""A request, and how many are on their way when a replica is killed: each replica would have got some."""
LARGE, IN_PROGRESS = BODY.ljust(400_000), 80
"""A request of which HAProxy sends a half on, and as many as Ray starts a second replica for (beyond 32)."""


def main(folder: Path, bundle: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607 - the system's
    shutil.copytree(bundle.parents[1], folder / "store")
    os.environ |= environment(folder)
    begin(folder)
    callers = Callers(ADDRESS, attempts=2)  # HAProxy closes connections without a request when it reloads
    threads = [threading.Thread(target=callers.run, args=(n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    report: dict[str, Any] = {"request_ids": request_ids()}
    try:
        resume(callers)
        for event in (killed, redeployed, published, scraped, drained, added):
            before, then = callers.answered, event(folder, bundle, callers)
            resume(callers, then)
            print(f"{event.__name__}: 0 failed of {callers.answered - before}", file=sys.stderr)
    finally:
        callers.stop.set()
        for thread in threads:
            thread.join()
        if callers.failures:
            print(unusual(folder), file=sys.stderr)
    report |= {
        "answered": callers.answered,
        "failures": callers.failures,
        "versions": sorted(callers.versions),
    }
    print(json.dumps(report))


def killed(_folder: Path, _bundle: Path, callers: Callers) -> Event:
    """Kills a replica while the bodies of some requests are on their way; another takes its place."""
    victim, connections = next(replicas()), [*half_sent(HALF_SENT, BODY)]
    os.kill(victim, signal.SIGKILL)
    send_rest(connections, BODY, callers)
    return lambda: victim not in replicas() and len([*replicas()]) == 2


def half_sent(count: int, body: bytes) -> Iterator[HTTPConnection]:
    """Requests with a half of their bodies."""
    for _ in range(count):
        connection = HTTPConnection(ADDRESS.removeprefix("http://"), timeout=SECONDS)
        connection.putrequest("POST", "/models/tiny/encode")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        connection.send(body[: len(body) // 2])
        yield connection


def send_rest(connections: Iterable[HTTPConnection], body: bytes, callers: Callers) -> None:
    """Sends the other half of the bodies, and reads the responses."""
    for connection in connections:
        connection.send(body[len(body) // 2 :])
        if (status := connection.getresponse().status) != 200:
            callers.failures.append(f"{status} to a request whose body came in two parts")


def redeployed(folder: Path, _bundle: Path, _callers: Callers) -> Event:
    """Changes a setting: Ray starts new replicas, and drains the old ones."""
    before = {*replicas()}
    deploy(folder, "999")
    return lambda: before.isdisjoint(replicas()) and len([*replicas()]) == 2


def published(folder: Path, bundle: Path, callers: Callers) -> Event:
    """Publishes a version, which the replicas find in the store."""
    begin = time.monotonic()
    publish(store_at(str(folder / "store")), bundle, 2)
    until(lambda: all('version="2"} 1.0' in text for text in metrics()), SECONDS)
    print(f"both replicas have the version after {time.monotonic() - begin:.1f} s", file=sys.stderr)
    return lambda: "2" in callers.versions


def scraped(_folder: Path, _bundle: Path, _callers: Callers) -> Event:
    """Each replica answers /metrics at a port of its own, with the rows of its requests."""
    return lambda: ["anyview_rows_total{" in text for text in metrics()] == [True, True]


def drained(folder: Path, _bundle: Path, _callers: Callers) -> Event:
    """Lowers the number of replicas: Ray drains one, and may then replace the other."""
    deploy(folder, "999", {"min_replicas": 1, "max_replicas": 1})
    return lambda: len([*replicas()]) == 1


def added(folder: Path, _bundle: Path, callers: Callers) -> Event:
    """Has more requests in progress than one replica is for: Ray adds a replica."""
    soon = {"upscale_delay_s": 1, "look_back_period_s": 2, "metrics_interval_s": 0.5}  # from 30, 30, 10
    deploy(folder, "999", {"min_replicas": 1, "max_replicas": 2, **soon})
    connections = [*half_sent(IN_PROGRESS, LARGE)]
    until(lambda: len([*replicas()]) == 2 and servers_up(folder) == 2, SECONDS)
    send_rest(connections, LARGE, callers)
    return lambda: True


def environment(folder: Path) -> dict[str, str]:
    """Variables of settings.env, and those that keep this cluster apart from others of the machine."""
    return {
        **settings(),
        **{f"RAY_SERVE_HAPROXY_{name}": str(folder / file) for name, file in HAPROXY_FILES.items()},
        "HOME": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ADDRESS": "127.0.0.1:6379",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ANYVIEW_STORE": str(folder / "store"),
        "ANYVIEW_POLL_SECONDS": "0.5",
        "ANYVIEW_RAY_CORES": "0.5",
        "ANYVIEW_RAY_MAX_REPLICAS": "2",
        "ANYVIEW_DEADLINE_SECONDS": "600",  # half of some requests waits until a replica is added
        "RAY_SERVE_HAPROXY_LOG_TARGET": "stdout format raw",
        # A drained replica takes no new requests, but Ray lets it live for 30 s by default.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "10",
    }


def begin(folder: Path) -> None:
    """Starts the cluster and the application, and waits until it answers."""
    start = "ray start --head --node-ip-address 127.0.0.1 --dashboard-host 127.0.0.1 --num-cpus 3"
    memory = ["--object-store-memory", "100000000", "--temp-dir", str(folder / "ray")]
    (folder / "haproxy").mkdir()
    subprocess.run([*start.split(), *memory], cwd=ROOT, check=True, stdout=sys.stderr)  # noqa: S603
    deploy(folder, "1000")
    until(lambda: readiness(ADDRESS) == 200, SECONDS)
    # Until then a proxy of Ray in Python answers, which may refuse requests while replicas start.
    until(lambda: servers_up(folder) == 2, SECONDS)


def deploy(folder: Path, rows: str, scaling: Mapping[str, float] | None = None) -> None:
    """Starts or changes the application by the project's file, with the settings of this process."""
    content = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text())
    settings = {name: value for name, value in os.environ.items() if name.startswith("ANYVIEW_")}
    variables = {**settings, "PYTHONPATH": str(ROOT), "ANYVIEW_MAX_ROWS": rows}
    (application,) = content["applications"]
    application["runtime_env"] = {"env_vars": variables}
    application["deployments"] = [{"name": "anyview", "autoscaling_config": scaling}] if scaling else []
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(content))
    subprocess.run(["serve", "deploy", file], cwd=ROOT, check=True, stdout=sys.stderr)  # noqa: S603, S607


def servers_up(folder: Path) -> int:
    """Number of replicas to which HAProxy sends requests; 0 while it starts anew."""
    (path,) = folder.glob("haproxy/*/admin.sock")
    try:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(path))
            admin.sendall(b"show stat\n")
            with admin.makefile() as answer:
                lines = answer.read().removeprefix("# ").splitlines()
    except OSError:
        return 0
    servers = [line for line in csv.DictReader(lines) if line["svname"].startswith("SERVE_REPLICA")]
    return sum(line["status"].startswith("UP") for line in servers)


def replicas() -> Iterator[int]:
    """Process ids of the replicas."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.exists() and path.read_bytes().startswith(b"ray::ServeReplica"):
            yield int(path.parent.name)


def resume(callers: Callers, until_then: Event = lambda: True) -> None:
    """Waits for further responses, and for an event."""
    goal = callers.answered + REQUESTS
    until(lambda: callers.failures or (callers.answered >= goal and until_then()), SECONDS)
    if callers.failures:
        sys.exit(callers.failures[0])


def unusual(folder: Path) -> str:
    """Lines of HAProxy's logs without those of requests that were answered."""
    files = sorted(folder.glob("haproxy/**/*.log"))
    lines = [line for file in files for line in (file.name, *file.read_text().splitlines())]
    return "\n".join(line for line in lines if " 200 " not in line and "/readyz" not in line)


def request_ids() -> list[str]:
    return httpx2.get(f"{ADDRESS}/livez", headers={"x-request-id": "one"}).headers.get_list("x-request-id")


def metrics() -> list[str]:
    return [httpx2.get(f"http://127.0.0.1:{port}/metrics").text for port in metrics_ports()]


def metrics_ports() -> list[int]:
    """Ports of the replicas: the first ones from 30000 on that answer."""
    return [port for port in range(30000, 30006) if readiness(f"http://127.0.0.1:{port}") == 200]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
