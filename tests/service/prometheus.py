"""A Prometheus server for tests, and the queries of a Grafana dashboard as Grafana sends them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"


@contextmanager
def prometheus(service: str, port: int, scrape_seconds: int, folder: Path) -> Iterator[str]:
    """Runs Prometheus with ``deploy/monitoring/prometheus.yml``, scraping the service at ``host:port``.

    Arguments:
        service: Address of the service, ``host:port``.
        port: Port that Prometheus listens on.
        scrape_seconds: Seconds between two scrapes.
        folder: Folder for its configuration, data and log.

    Yields:
        The address of Prometheus.

    Raises:
        RuntimeError: The configuration lacks a line that is replaced here, or Prometheus ended.
    """
    config = (MONITORING / "prometheus.yml").read_text()
    for line, replacement in (
        ("service:8000", service),
        ("scrape_interval: 5s", f"scrape_interval: {scrape_seconds}s"),
    ):
        if line not in config:
            raise RuntimeError(f"deploy/monitoring/prometheus.yml lacks '{line}'")
        config = config.replace(line, replacement)
    (folder / "prometheus.yml").write_text(config)
    shutil.copy(MONITORING / "alerts.yml", folder)
    address = f"127.0.0.1:{port}"
    options = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'metrics'}"]
    command = ["prometheus", *options, f"--web.listen-address={address}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:  # noqa: S603
        try:
            while not _ready(f"http://{address}"):
                if process.poll() is not None:
                    raise RuntimeError(f"Prometheus ended: {(folder / 'log').read_text()}")
                time.sleep(0.1)
            yield f"http://{address}"
        finally:
            process.kill()


def _ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/-/ready").status_code == 200
    except httpx2.TransportError:
        return False


def ask(address: str, query: str) -> list[Any]:
    """Returns the series of an instant query; none while Prometheus starts.

    Raises:
        AssertionError: Prometheus refuses the query.
    """
    try:
        answer = httpx2.get(f"{address}/api/v1/query", params={"query": query}, timeout=20).json()
    except (httpx2.TransportError, json.JSONDecodeError):
        return []
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


def variables(dashboard: dict[str, Any], step: int, scrape_seconds: int) -> dict[str, str]:
    """Returns what Grafana substitutes for each ``$name``; times in seconds."""
    values = {
        "$__interval": f"{step}s",
        # At least four scrapes, as Grafana's documentation of its Prometheus source defines it.
        "$__rate_interval": f"{max(step + scrape_seconds, 4 * scrape_seconds)}s",
    }
    for variable in dashboard["templating"]["list"]:
        selected = variable["current"]["value"]
        everything = "$__all" in selected
        values[f"${variable['name']}"] = variable["allValue"] if everything else f"({'|'.join(selected)})"
    return values


def query_of(target: dict[str, Any], values: dict[str, str]) -> str:
    """Returns the query of a panel with its variables substituted."""
    query: str = target["expr"]
    for name in sorted(values, key=len, reverse=True):
        query = query.replace(name, values[name])
    return query
