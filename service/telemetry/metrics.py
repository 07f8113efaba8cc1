"""Prometheus metrics. No label is ever what a client sent: operations and loaded models only."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from weakref import WeakSet

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    multiprocess,
)
from prometheus_client.exposition import choose_encoder

from service.telemetry import logs
from service.telemetry.context import RequestContext
from service.telemetry.tracing import Tracer

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable in which prometheus-client finds where several processes put their numbers together."""

RESERVED = {
    "counter": 2**20,
    "histogram": 2**20,
    "gauge_livemax": 2**16,
    "gauge_livesum": 2**16,
    "gauge_livemin": 2**16,
}
"""Bytes of the files of one process, by prometheus-client's name for what they hold."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SLOW_SECONDS = 0.1
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


Kind = tuple[str, str, int, int]
"""Operation, model, number of modalities, class of the status."""


class Queue(Protocol):
    """What runs a graph for many callers, and calls ``on_batch`` with the size of every batch."""

    waiting_rows: int
    on_batch: Callable[[int], None] | None


@dataclass(slots=True)
class _Series:
    """What one kind of request added since it was last written down; a counter with a lock takes longer."""

    seconds: Histogram
    requests: int = 0
    rows: int = 0
    phases: dict[str, float] = field(default_factory=dict)


class Metrics:
    """What one process counts.

    Where the environment variable ``PROMETHEUS_MULTIPROC_DIR`` is set, :meth:`expose` gives what all of them
    counted; resident memory and processor time are then not among it.
    """

    def __init__(self) -> None:
        self.together = os.environ.get(DIRECTORY)
        if self.together:
            for kind, size in RESERVED.items():
                _reserve(Path(self.together) / f"{kind}_{os.getpid()}.db", size)
        self._registry = registry = CollectorRegistry()
        if not self.together:
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)
        labels = ["operation", "model"]
        self._requests = Counter(
            "anyview_requests",
            "Requests answered, by the number of modalities sent and the class of the status.",
            [*labels, "modalities", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "anyview_request_seconds",
            "From the first byte of a request to the last of its answer.",
            labels,
            buckets=SECONDS,
            registry=registry,
        )
        self._phases = Counter(
            "anyview_phase_seconds",
            "Time spent in each phase of requests.",
            [*labels, "phase"],
            registry=registry,
        )
        self._rows = Counter("anyview_rows", "Rows that were sent.", labels, registry=registry)
        self._batch_rows = Histogram(
            "anyview_batch_rows", "Rows in a batch.", ["model", "graph"], buckets=ROWS, registry=registry
        )
        gauge = partial(Gauge, registry=registry)
        highest = partial(gauge, multiprocess_mode="livemax")
        self._waiting = gauge(
            "anyview_waiting_rows",
            "Rows that wait for a graph.",
            ["model", "graph"],
            multiprocess_mode="livesum",
        )
        self._loaded = highest(
            "anyview_model_loaded", "1 for every version that answers.", ["model", "version"]
        )
        self._refused = highest(
            "anyview_refused_bundles", "Stored versions that are not served; GET /models has the reasons."
        )
        self._store_away = highest(
            "anyview_store_away",
            "1 while the store does not answer, or is not there; loaded models do.",
        )
        self._ready = gauge(
            "anyview_ready", "1 while /readyz says so, in every process.", multiprocess_mode="livemin"
        )
        self._series: dict[Kind, _Series] = {}
        self._queues: dict[tuple[str, str], WeakSet[Queue]] = {}
        self._versions: set[tuple[str, str]] = set()

    def count(self, context: RequestContext, seconds: float) -> None:
        """Adds a request that is over.

        Arguments:
            context: The request.
            seconds: How long it took.
        """
        kind = (context.operation, context.model, context.modalities, context.status // 100)
        series = self._series.get(kind)
        if series is None:
            series = self._series[kind] = _Series(self._seconds.labels(*_labels(kind)))
        series.requests += 1
        series.rows += context.rows
        sums = series.phases
        for phase, spent in context.phases.seconds.items():
            sums[phase] = sums.get(phase, 0.0) + spent
        # Slow requests, which are worth a look in the log, carry their id as an exemplar.
        exemplar = {"request_id": context.request_id} if seconds > SLOW_SECONDS else None
        series.seconds.observe(seconds, exemplar)

    def watch(self, model: str, graph: str, queue: Queue) -> None:
        """Follows what runs a graph, for as long as it exists."""
        self._queues.setdefault((model, graph), WeakSet()).add(queue)
        queue.on_batch = self._batch_rows.labels(model, graph).observe

    def refresh(self, versions: Iterable[tuple[str, int]], refused: int, ready: bool, away: bool) -> None:
        """Writes down what was counted and how things stand.

        Arguments:
            versions: The models that answer.
            refused: How many versions do not.
            ready: Whether the service is.
            away: Whether the store does not answer.
        """
        for kind, series in self._series.items():
            self._add(kind, series)
        for labels, queues in list(self._queues.items()):  # another thread may load a model
            self._waiting.labels(*labels).set(sum(queue.waiting_rows for queue in queues))
        now = {(name, str(version)) for name, version in versions}
        for labels in now:
            self._loaded.labels(*labels).set(1)
        for labels in self._versions - now:
            self._loaded.labels(*labels).set(0)  # for the other processes, which keep what was removed
            self._loaded.remove(*labels)
        self._versions = now
        self._refused.set(refused)
        self._ready.set(ready)
        self._store_away.set(away)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """All numbers as text, and its media type: OpenMetrics, with request ids, for who accepts it."""
        registry = self._registry
        if self.together:
            _bury(Path(self.together))
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry, self.together)  # type: ignore[no-untyped-call]
        encode, media = choose_encoder(accept)
        return encode(registry), media

    def _add(self, kind: Kind, series: _Series) -> None:
        labels, (_, _, modalities, status) = _labels(kind), kind
        self._requests.labels(*labels, modalities, f"{status}xx" if status else "none").inc(series.requests)
        self._rows.labels(*labels).inc(series.rows)
        for phase, seconds in series.phases.items():
            self._phases.labels(*labels, phase).inc(seconds)
        series.requests = series.rows = 0
        series.phases = {}


def record_end(context: RequestContext, metrics: Metrics, tracer: Tracer | None) -> None:
    """Counts a request that has ended, logs it where requests are logged, and ends its span."""
    seconds = time.perf_counter() - context.phases.began
    metrics.count(context, seconds)
    if logs.requests.isEnabledFor(logging.INFO):
        logs.request(context, seconds)
    if tracer is not None:
        tracer.end(context)


def _labels(kind: Kind) -> tuple[str, str]:
    operation, model, _, _ = kind
    return operation or "none", model or "none"


@contextmanager
def counted_together(processes: int) -> Iterator[None]:
    """Gives several processes a folder to count in; none for one, which counts in its memory.

    Where the temporary folder cannot hold their files, each process counts alone, with a warning.
    """
    if processes == 1 or os.environ.get(DIRECTORY):
        yield
        return
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="anyview-metrics-")))
            _reserve(folder / "room", processes * sum(RESERVED.values()))
            (folder / "room").unlink()
            os.environ[DIRECTORY] = str(folder)
        except OSError as error:
            megabytes = math.ceil(processes * sum(RESERVED.values()) / 1e6)
            logging.getLogger("anyview").warning(
                "the temporary folder cannot hold %d MB for the metrics of %d processes (%s): /metrics gives "
                "those of the process that answers; free some space or set TMPDIR",
                megabytes,
                processes,
                error,
            )
        yield


def _reserve(file: Path, size: int) -> None:
    """Creates a file of zeros whose blocks are allocated.

    A process that writes into a mapped file for which the file system has no block ends by SIGBUS.

    Raises:
        OSError: There is not enough space.
    """
    with file.open("wb") as new:
        os.posix_fallocate(new.fileno(), 0, size)


def _bury(directory: Path) -> None:
    """Forgets the gauges of processes that are no more."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
