"""Cost of a request in one process, behind HAProxy and under Ray Serve: ``python -m benchmarks.replicas``.

Needs the extra ``ray``, HAProxy and namespaces of the network (``unshare``), since Ray's ports are bound to
all interfaces. The cost is the processor time of all processes but the load generator.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from benchmarks.balancing import CONFIGURATION, haproxy
from benchmarks.load import drive, request

ROOT = Path(__file__).parents[1]
NAMESPACES = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "--map-root-user"]
PORT, SECONDS = 8000, 10.0
IDLE = 0.25
"""Processor seconds in a second below which servers have started; Ray uses 0.14 without requests."""
SERVICE = {"ANYVIEW_DEFAULT_MODEL": "digits", "ANYVIEW_RAY_CORES": "0.5", "ANYVIEW_RAY_MAX_REPLICAS": "2"}
ONE, FORWARDED, HALVED, BALANCED, RAY, SLOW_RAY = SERVERS = (
    "one process",
    "HAProxy and one process",
    "HAProxy and two processes, half of the connections each",
    "HAProxy and two processes, as many connections each",
    "Ray Serve with settings.env, two replicas, as many connections each",
    "Ray Serve with its default proxy, two replicas, as many connections each",
)
BEHIND = {FORWARDED: (8001,), HALVED: (8001, 8002), BALANCED: (8001, 8002)}
"""Ports of the processes behind HAProxy, as its configuration states them."""
CONNECTIONS = {ONE: 16, FORWARDED: 16, HALVED: 16, BALANCED: 32, RAY: 32, SLOW_RAY: 32}
"""Connections that send requests all the time; a request costs less where more come at once."""


def main() -> None:
    cost = {}
    for name in SERVERS:
        with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
            command = [*NAMESPACES, sys.executable, "-m", "benchmarks.replicas", "--server", name]
            command += ["--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
        cost[name] = json.loads(done.stdout.splitlines()[-1])
    one = cost[ONE]["microseconds"]
    print("| | µs of processor time per request | ÷ one process | memory (PSS), all processes |")
    print("| --- | --- | --- | --- |")
    for name, of in cost.items():
        time_of, memory = of["microseconds"], of["megabytes"]
        print(f"| {name} | {time_of:.0f} | {time_of / one:.1f} | {memory:.0f} MB |")


def measure(name: str, folder: Path) -> None:
    """Starts a server, sends requests for some seconds, and writes what one cost; runs in namespaces."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607 - the system's
    start(name, folder, {**os.environ, **SERVICE, "PYTHONPATH": str(ROOT)})
    while not all(map(answers, (PORT, *BEHIND.get(name, ())))):
        time.sleep(0.2)
    until_idle()
    body = json.dumps({"inputs": {"label": [3]}}).encode()
    requests = [request("/encode", body, {"content-type": "application/json"})]
    drive(PORT, requests, CONNECTIONS[name], SECONDS / 5)
    before = processor_seconds()
    answered = drive(PORT, requests, CONNECTIONS[name], SECONDS).answered
    used = processor_seconds() - before
    print(json.dumps({"microseconds": 1e6 * used / answered, "megabytes": megabytes()}))


def start(name: str, folder: Path, environment: Mapping[str, str]) -> None:
    if name in (ONE, *BEHIND):
        for port in BEHIND.get(name, (PORT,)):
            command = [sys.executable, "-m", "service", "--port", str(port)]
            subprocess.Popen(command, env=environment)  # noqa: S603 - our own program
        if name in BEHIND:
            subprocess.Popen([str(haproxy()), "-db", "-f", str(CONFIGURATION)])  # noqa: S603
        return
    environment = {
        **environment,
        **(settings() if name == RAY else {}),
        **{f"RAY_SERVE_HAPROXY_{key}": str(folder / value) for key, value in HAPROXY_FILES.items()},
        "HOME": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ADDRESS": "127.0.0.1:6379",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    head = "ray start --head --node-ip-address 127.0.0.1 --include-dashboard false --num-cpus 2"
    cluster = [*head.split(), "--object-store-memory", "100000000", "--temp-dir", str(folder / "ray")]
    (folder / "haproxy").mkdir()
    for command in (cluster, ["serve", "run", "--non-blocking", "deploy.ray:app"]):
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr)  # noqa: S603


HAPROXY_FILES = {
    "CONFIG_FILE_LOC": "haproxy/haproxy.cfg",
    "SOCKET_PATH": "haproxy/admin.sock",
    "SERVER_STATE_BASE": "haproxy",
    "SERVER_STATE_FILE": "haproxy/state",
    "METRICS_SOCKET_PATH": "haproxy/metrics.sock",
}
"""Files of HAProxy, which lie in one folder of the machine by default, by the end of their variables."""


def settings() -> dict[str, str]:
    """Variables of deploy/ray/settings.env, as a shell reads them."""
    command = ["sh", "-c", "set -a; . deploy/ray/settings.env; env -0"]
    printed = subprocess.check_output(command, cwd=ROOT, env={}, text=True)  # noqa: S603 - our own file
    stated = [line.partition("=") for line in printed.split("\0")]
    return {name: value for name, _, value in stated if name.startswith("RAY_")}


def until_idle() -> None:
    """Waits until the servers have started: the service loads further models after it is ready."""
    idle, before = 0, processor_seconds()
    while idle < 2:
        time.sleep(1)
        now = processor_seconds()
        idle = idle + 1 if now - before < IDLE else 0
        before = now


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def processor_seconds() -> float:
    """Processor time of all processes of the namespace but this one."""
    ticks = 0
    for path in others("stat"):
        fields = path.read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # with those of children that have ended
    return ticks / os.sysconf("SC_CLK_TCK")


def megabytes() -> float:
    """Memory of all processes of the namespace but this one: the sum of their proportional set sizes."""
    texts = [path.read_text() for path in others("smaps_rollup")]
    return sum(int(text.partition("Pss:")[2].split()[0]) for text in texts if "Pss:" in text) / 1000


def others(file: str) -> list[Path]:
    return [path for path in Path("/proc").glob(f"[0-9]*/{file}") if path.parent.name != str(os.getpid())]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, help="measure this one here, in namespaces of its own")
    parser.add_argument("--folder", type=Path, help="folder of its temporary files")
    options = parser.parse_args()
    if options.server:
        measure(options.server, options.folder)
    else:
        main()
