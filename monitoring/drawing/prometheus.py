"""A Prometheus of our own, and what it answers to the queries of a dashboard."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

MONITORING = Path(__file__).parents[1]


@dataclass(frozen=True)
class Range:
    """When to ask about, in Unix seconds, and how many seconds lie between two values."""

    start: float
    end: float
    step: int


@contextmanager
def prometheus(service: str, port: int, scrape_seconds: int, folder: Path) -> Iterator[str]:
    """Asks the service at ``host:port`` as ``monitoring/prometheus.yml`` says; gives its own address."""
    config = (MONITORING / "prometheus.yml").read_text()
    for written, wanted in (
        ("service:8000", service),
        ("scrape_interval: 5s", f"scrape_interval: {scrape_seconds}s"),
    ):
        if written not in config:
            raise RuntimeError(f"monitoring/prometheus.yml does not say '{written}'")
        config = config.replace(written, wanted)
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


def answers(address: str, dashboard: dict[str, Any], asked: Range, scrape_seconds: int) -> dict[int, Any]:
    """By panel id, for each of its queries the query itself and its series.

    Raises:
        RuntimeError: Prometheus refuses a query; says which and why.
    """
    values = variables(dashboard, asked.step, scrape_seconds)
    return {
        panel["id"]: [
            {"target": target, "series": _series(address, panel["title"], target, values, asked)}
            for target in panel["targets"]
        ]
        for panel in dashboard["panels"]
    }


def variables(dashboard: dict[str, Any], step: int, scrape_seconds: int) -> dict[str, str]:
    """What Grafana puts in the place of each ``$name``."""
    values = {
        "$__interval": f"{step}s",
        # Long enough for four values, as Grafana's documentation of its Prometheus source defines it.
        "$__rate_interval": f"{max(step + scrape_seconds, 4 * scrape_seconds)}s",
    }
    for variable in dashboard["templating"]["list"]:
        chosen = variable["current"]["value"]
        everything = "$__all" in chosen
        values[f"${variable['name']}"] = variable["allValue"] if everything else f"({'|'.join(chosen)})"
    return values


def query_of(target: dict[str, Any], values: dict[str, str]) -> str:
    """What a panel asks, with its variables filled in."""
    query: str = target["expr"]
    for name in sorted(values, key=len, reverse=True):
        query = query.replace(name, values[name])
    return query


def _series(
    address: str, title: str, target: dict[str, Any], values: dict[str, str], asked: Range
) -> list[dict[str, Any]]:
    query = query_of(target, values)
    if target.get("instant"):
        path, when = "query", {"time": asked.end}
    else:
        path, when = "query_range", {"start": asked.start, "end": asked.end, "step": asked.step}
    told = httpx2.get(f"{address}/api/v1/{path}", params={"query": query, **when}, timeout=60).json()
    if told["status"] != "success":
        raise RuntimeError(f"panel '{title}', query {target['refId']}: {told['error']} ({query})")
    return [{"values": [one["value"]], **one} if "value" in one else one for one in told["data"]["result"]]
