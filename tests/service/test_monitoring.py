"""What monitoring/ asks of the metrics is there: names always, numbers where Prometheus is installed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from benchmarks.servers import free_port
from monitoring.drawing.prometheus import MONITORING, Range, answers, prometheus, query_of, variables
from service.app import create_app
from service.settings import Settings
from tests.service.asking import SEVEN, inputs, parts
from tests.service.running import running, until

DASHBOARD = MONITORING / "grafana" / "dashboards" / "anyview.json"
SCRAPE_SECONDS = 5  # of monitoring/prometheus.yml
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)


def queries() -> dict[str, str]:
    """Those of every panel, as Grafana sends them where all models are chosen."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    values = variables(dashboard, step=SCRAPE_SECONDS, scrape_seconds=SCRAPE_SECONDS)
    return {f"{p['title']} {t['refId']}": query_of(t, values) for p in panels for t in p["targets"]}


def test_every_name_that_is_asked_for_is_a_metric(client: TestClient) -> None:
    client.post("/encode", **parts(image=SEVEN))
    told = set(re.findall(r"^(\w+)", client.get("/metrics").text, re.MULTILINE)) | {"up"}
    text = " ".join(queries().values()) + (MONITORING / "alerts.yml").read_text()
    names = set(re.findall(r"\b(?:anyview|process)_\w+", text))
    assert len(names) >= 10
    assert names <= told


def test_no_number_is_red_without_a_reason() -> None:
    """Grafana makes one red above 80 where nobody says what is too much."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    for panel in (panel for panel in panels if panel["type"] == "stat"):
        assert {"thresholds", "color"} & set(panel["fieldConfig"]["defaults"]), panel["title"]


@pytest.fixture
def watching(bundle_folder: Path, tmp_path: Path) -> Iterator[str]:
    """Prometheus, asking a service that is asked; its address."""
    with (
        running(create_app(Settings(store=str(bundle_folder.parents[1])))) as (host, port),
        prometheus(f"{host}:{port}", free_port(), 1, tmp_path) as address,
    ):
        until(lambda: _asked_until_scraped(f"http://{host}:{port}", address), 60)
        yield address


@pytest.mark.slow
@needs_prometheus
def test_a_query_that_is_wrong_is_not_drawn(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    dashboard["panels"][1]["targets"][0]["expr"] = "sum(rate("
    with (
        prometheus("127.0.0.1:1", free_port(), 1, tmp_path) as address,
        pytest.raises(RuntimeError, match=r"panel 'Requests per second', query A: .*parse error"),
    ):
        answers(address, dashboard, Range(start=0, end=10, step=1), scrape_seconds=1)


def _asked_until_scraped(service: str, address: str) -> bool:
    """Asks a little, and says whether what was asked has been seen to grow."""
    httpx2.post(f"{service}/encode", **inputs(label=[1, None], image=[None, [[0] * 28] * 28]), timeout=20)
    httpx2.post(f"{service}/generate?K=5", **parts(image=SEVEN), timeout=20)
    found = ask(address, "sum(rate(anyview_requests_total[20s])) > 0 and sum(anyview_ready) > 0")
    return bool(found)


def ask(address: str, query: str) -> list[Any]:
    try:
        answer = httpx2.get(f"{address}/api/v1/query", params={"query": query}, timeout=20).json()
    except (httpx2.TransportError, json.JSONDecodeError):  # it has only just started
        return []
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


@pytest.mark.slow
@needs_prometheus
def test_every_panel_has_numbers(watching: str) -> None:
    answers = {name: ask(watching, query) for name, query in queries().items()}
    assert [name for name, found in answers.items() if not found] == []
    values = [float(series["value"][1]) for found in answers.values() for series in found]
    assert all(value == value for value in values)  # none is NaN
    rules = httpx2.get(f"{watching}/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert {(rule["health"], rule["state"]) for rule in rules} <= {
        ("ok", "inactive"),
        ("unknown", "inactive"),
    }
