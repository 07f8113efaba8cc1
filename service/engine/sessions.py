"""Graphs in onnxruntime; the only file that knows it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import onnxruntime

from models_store.arrays import Array

PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),  # TF32 has too few bits for the golden values
    "tensorrt": ("TensorrtExecutionProvider", {}),
}
"""What can run a graph, as onnxruntime calls it, and how it is set."""
DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

LARGE_FILE = 2**24
"""Bytes of an ONNX file from which onnxruntime gets a path: it copies bytes under the interpreter's lock."""
STRIKE_SECONDS = 0.1
"""A run on the event loop that takes longer is ended and repeated in a thread."""


class Graph(Protocol):
    """One function from a batch of rows to named outputs, each with the same rows."""

    def run(self, rows: Array) -> dict[str, Array]:
        """Computes; blocks, and may be called from several threads."""


@runtime_checkable
class StoppableGraph(Graph, Protocol):
    """A graph whose run can be ended before it returns."""

    def stop(self) -> None:
        """Ends the latest run, which then raises; may be called from any thread."""


class UnfitGraph(Exception):
    """A graph that does not load or run, or whose inputs and outputs are not as they should be."""


class Session:
    """A graph of one input, run by onnxruntime.

    Arguments:
        content: The ONNX file.
        provider: Of ``PROVIDERS``.

    Raises:
        UnfitGraph: It does not load, or not on that provider: onnxruntime would quietly take another.
    """

    def __init__(self, content: bytes, provider: str = "cpu") -> None:
        name, settings = PROVIDERS[provider]
        if name not in onnxruntime.get_available_providers():
            raise UnfitGraph(f"does not load: this onnxruntime cannot run on '{provider}'")
        if provider != "cpu":
            onnxruntime.preload_dlls()  # of CUDA, from their Python packages
        options = onnxruntime.SessionOptions()
        # Several graphs run at once; threads inside each would fight over the cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it keeps the largest batch that ever ran, per graph
        # Without it, the runtime takes some files for its own format, which nothing here has checked.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.enable_mem_pattern = False  # batches change their size from call to call
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            with _source(content) as source:
                self._session = onnxruntime.InferenceSession(source, options, providers=[(name, settings)])
        except Exception as error:  # onnxruntime raises a dozen classes without a common one
            raise UnfitGraph(f"does not load: {_reason(error)}") from None
        if (got := self._session.get_providers()[0]) != name:
            raise UnfitGraph(f"does not load on '{provider}': onnxruntime took {got} instead")
        self._outputs = [output.name for output in self._session.get_outputs()]
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise UnfitGraph(f"must have one input, has {len(inputs)}")
        self._input = inputs[0].name
        self._options = onnxruntime.RunOptions()
        self._row_shapes: list[tuple[int, ...]] = []

    def run(self, rows: Array) -> dict[str, Array]:
        """Computes; blocks, and may be called from several threads.

        Raises:
            UnfitGraph: It fails, or an output has another shape than :meth:`check` compared.
        """
        options = self._options = onnxruntime.RunOptions()
        try:
            values = self._session.run(self._outputs, {self._input: rows}, options)
        except Exception as error:  # onnxruntime raises a dozen classes without a common one
            raise UnfitGraph(f"fails: {_reason(error)}") from error
        # The runtime only warns of shapes that the graph did not state.
        for name, value, row in zip(self._outputs, values, self._row_shapes, strict=False):
            if value.shape != (len(rows), *row):
                raise UnfitGraph(f"gives '{name}' of shape {value.shape} for {len(rows)} rows of {row}")
        return dict(zip(self._outputs, values, strict=True))

    def stop(self) -> None:
        """Ends the latest run, which then raises; may be called from any thread."""
        self._options.terminate = True

    def check(
        self, argument: str, shape: Sequence[int], dtype: str, outputs: Mapping[str, Sequence[int]]
    ) -> None:
        """Compares inputs and outputs with what the manifest says.

        Arguments:
            argument: The name of the input.
            shape: Of one row of it.
            dtype: Of the input.
            outputs: By name, the shape of one row.

        Raises:
            UnfitGraph: The text says what differs.
        """
        (graph_input,) = self._session.get_inputs()
        if (graph_input.name, DTYPES.get(graph_input.type)) != (argument, dtype):
            raise UnfitGraph(
                f"takes '{graph_input.name}' of {graph_input.type}, the manifest says '{argument}' of {dtype}"
            )
        _check_rows(graph_input.name, graph_input.shape, shape)
        given = {output.name: output for output in self._session.get_outputs()}
        if given.keys() != outputs.keys():
            raise UnfitGraph(f"gives {sorted(given)}, the manifest says {sorted(outputs)}")
        for name, row in outputs.items():
            if DTYPES.get(given[name].type) != "float32":
                raise UnfitGraph(f"gives '{name}' of {given[name].type}, tensor(float) is expected")
            _check_rows(name, given[name].shape, row)
        self._row_shapes = [tuple(outputs[name]) for name in self._outputs]


def _reason(error: Exception) -> str:
    """First line of an error of onnxruntime, without its code."""
    return (str(error).splitlines() or [type(error).__name__])[0].rpartition("] : ")[2][:400]


@contextmanager
def ended_after(graphs: Collection[StoppableGraph], seconds: float | None) -> Iterator[None]:
    """Ends all runs of these graphs once so many seconds have passed, until the end of the block.

    Arguments:
        graphs: The graphs.
        seconds: Seconds by the clock; None: runs are not ended.
    """
    over = threading.Event()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            wait = STRIKE_SECONDS  # a run may begin just after the one that was ended
            for graph in graphs:
                graph.stop()

    threading.Thread(target=watch, name="load", daemon=True).start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def _source(content: bytes) -> Iterator[bytes | str]:
    """Yields an ONNX file as onnxruntime reads it: a large one as the path of a file in memory."""
    if len(content) < LARGE_FILE or not hasattr(os, "memfd_create"):
        yield content
        return
    with os.fdopen(os.memfd_create("graph"), "wb", buffering=0) as file:
        try:
            written = file.write(content)
        except OSError:  # no file may be written, as in the trial of a version
            written = 0
        yield f"/proc/self/fd/{file.fileno()}" if written == len(content) else content


class TooSlowForLoop(Exception):
    """A run on the event loop was ended, since it took far longer than measured."""


class Watchdog:
    """Ends runs on the event loop that take longer than ``STRIKE_SECONDS``, from a thread of its own.

    A graph that is fast for the rows that it was timed with may compute without end for others.
    """

    def __init__(self) -> None:
        self.struck = False
        self._stop: Callable[[], None] | None = None
        self._since = 0.0
        self._thread: threading.Thread | None = None

    def begin(self, stop: Callable[[], None]) -> None:
        """Watches a run; ``stop`` ends it."""
        self.struck, self._since = False, time.monotonic()
        self._stop = stop
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def end(self) -> None:
        self._stop = None

    def _watch(self) -> None:
        while True:
            time.sleep(STRIKE_SECONDS / 2)
            stop, since = self._stop, self._since
            if stop is not None and time.monotonic() - since > STRIKE_SECONDS:
                self.struck = True
                stop()


WATCHDOG = Watchdog()
"""Watchdog of the process; one event loop runs at a time."""


def _check_rows(name: str, sizes: Sequence[int | str | None], row: Sequence[int]) -> None:
    fixed = [size for size in sizes[1:] if isinstance(size, int)]
    if isinstance(sizes[0], int) or len(sizes) != len(row) + 1 or fixed != list(row):
        raise UnfitGraph(f"'{name}' has the shape {sizes}, the manifest says (batch, *{tuple(row)})")


def cpu_quota(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """How many cores this process may use: its affinity, and the quota of its control group.

    Arguments:
        groups: Where control groups are mounted, of version 2 or 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for read in (_quota_of_version_2, _quota_of_version_1):
        try:
            quota, period = read(groups)
        except (OSError, ValueError):  # another version, no control group, or "max": no quota
            continue
        if quota > 0 and period > 0:  # version 1 says -1 for no quota
            return max(1, min(cores, math.ceil(quota / period)))
    return cores


def _quota_of_version_2(groups: Path) -> tuple[int, int]:
    quota, period = (groups / "cpu.max").read_text().split()
    return int(quota), int(period)


def _quota_of_version_1(groups: Path) -> tuple[int, int]:
    quota, period = (
        (groups / "cpu" / file).read_text() for file in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    return int(quota), int(period)
