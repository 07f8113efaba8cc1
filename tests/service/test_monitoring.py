"""Every metric that deploy/monitoring queries exists; with Prometheus installed, every query has data."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml
from fastapi.testclient import TestClient

from benchmarks.servers import free_port
from service.app import create_app
from service.settings import Settings
from tests.service.asking import SEVEN, inputs, parts
from tests.service.prometheus import MONITORING, ask, prometheus, query_of, variables
from tests.service.running import running, until

ADAPTER = MONITORING.parent / "kubernetes" / "overlays" / "prometheus" / "adapter-values.yaml"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "anyview.json"
SCRAPE_SECONDS = 5  # of deploy/monitoring/prometheus.yml
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)


def queries() -> dict[str, str]:
    """Returns the queries of every panel as Grafana sends them with all models selected."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    values = variables(dashboard, step=SCRAPE_SECONDS, scrape_seconds=SCRAPE_SECONDS)
    return {f"{p['title']} {t['refId']}": query_of(t, values) for p in panels for t in p["targets"]}


def test_every_queried_name_is_a_metric(client: TestClient) -> None:
    client.post("/encode", **parts(image=SEVEN))
    metrics = set(re.findall(r"^(\w+)", client.get("/metrics").text, re.MULTILINE)) | {"up"}
    text = " ".join(queries().values()) + (MONITORING / "alerts.yml").read_text()
    names = set(re.findall(r"\b(?:anyview|process)_\w+", text))
    assert len(names) >= 10
    assert names <= metrics


def test_every_stat_panel_has_thresholds_or_a_colour() -> None:
    """Without them, Grafana shows every value above 80 in red."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    for panel in (panel for panel in panels if panel["type"] == "stat"):
        assert {"thresholds", "color"} & set(panel["fieldConfig"]["defaults"]), panel["title"]


@pytest.fixture
def scraping(bundle_folder: Path, tmp_path: Path) -> Iterator[str]:
    """Yields the address of a Prometheus that has scraped a service with traffic."""
    with (
        running(create_app(Settings(store=str(bundle_folder.parents[1])))) as (host, port),
        prometheus(f"{host}:{port}", free_port(), 1, tmp_path) as address,
    ):
        until(lambda: _request_until_scraped(f"http://{host}:{port}", address), 60)
        yield address


@pytest.mark.slow
@needs_prometheus
def test_prometheus_refuses_a_query_with_a_syntax_error(tmp_path: Path) -> None:
    with (
        prometheus("127.0.0.1:1", free_port(), 1, tmp_path) as address,
        pytest.raises(AssertionError, match="parse error"),
    ):
        ask(address, "sum(rate(")


def _request_until_scraped(service: str, address: str) -> bool:
    """Sends two requests; returns whether Prometheus has seen the counters grow."""
    httpx2.post(f"{service}/encode", **inputs(label=[1, None], image=[None, [[0] * 28] * 28]), timeout=20)
    httpx2.post(f"{service}/generate?K=5", **parts(image=SEVEN), timeout=20)
    series = ask(address, "sum(rate(anyview_requests_total[20s])) > 0 and sum(anyview_ready) > 0")
    return bool(series)


@pytest.mark.slow
@needs_prometheus
def test_every_panel_has_data(scraping: str) -> None:
    answers = {name: ask(scraping, query) for name, query in queries().items()}
    assert [name for name, series in answers.items() if not series] == []
    values = [float(one["value"][1]) for series in answers.values() for one in series]
    assert all(value == value for value in values)  # none is NaN
    rules = httpx2.get(f"{scraping}/api/v1/rules").json()["data"]["groups"][0]["rules"]
    assert {(rule["health"], rule["state"]) for rule in rules} <= {
        ("ok", "inactive"),
        ("unknown", "inactive"),
    }


@pytest.mark.slow
@needs_prometheus
def test_the_autoscaler_gets_the_waiting_rows_of_each_pod(scraping: str) -> None:
    """The query of prometheus-adapter for pods, here for the one target of a Prometheus without a cluster."""
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    query, values = rule["metricsQuery"], {"LabelMatchers": 'job="anyview"', "GroupBy": "instance"}
    for name, value in {"Series": rule["seriesQuery"].partition("{")[0], **values}.items():
        query = query.replace(f"<<.{name}>>", value)
    (series,) = ask(scraping, query)
    assert set(series["metric"]) == {"instance"}
    queues = [float(queue["value"][1]) for queue in ask(scraping, "anyview_waiting_rows")]
    assert len(queues) > 1
    assert float(series["value"][1]) == sum(queues)
