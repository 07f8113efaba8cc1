"""Opens new versions for the first time in processes of their own, since a bundle is untrusted until then.

A program, ``python -m service.models.sandbox``, reads versions from its standard input and forks a process
for each. A process has limits on time, memory and files; it opens the bundle and reproduces its golden
values. The program writes a line per version to its standard output. It runs only while there are new
versions, so it takes no memory afterwards.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

import orjson

from models_store.errors import ModelsStoreError, sentence
from models_store.folder import StoredVersion
from service.engine.batching import BatchSizing
from service.models.loading import check, open_parts

WALL_TIMES = 3
"""A trial may take so many times its processor time by the clock: others use the cores too."""
FILES = 256
"""File descriptors of one trial."""
SLOW_SECONDS = 2.0
"""Processor time, in seconds, from which a trial no longer keeps others waiting."""
MOST_TRIALS = 8
"""Most trials that run at a time."""
NICE = 10
PR_SET_PDEATHSIG = 1

_context = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class TrialLimits:
    """Limits of the trial of one version.

    Arguments:
        seconds: Processor time, in seconds.
        memory: Private memory, in bytes; None: no limit, which the drivers of a GPU need.
    """

    seconds: float
    memory: int | None


@dataclass(frozen=True)
class TrialTask:
    """A version to try.

    Arguments:
        number: Identifier of the trial.
        folder: Folder of the version.
        digest: sha256 of its manifest.
        provider: Provider of its graphs.
    """

    number: int
    folder: str
    digest: str
    provider: str


@dataclass(frozen=True)
class Verdict:
    """What a trial found.

    Arguments:
        reason: Why the version is refused, as one sentence; None if it passed.
        sizing: Sizes of the batches of its graphs, by file.
    """

    reason: str | None
    sizing: dict[str, BatchSizing] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        return cls(value["reason"], {file: BatchSizing(**one) for file, one in value["sizing"].items()})


class Trial:
    """A running trial, and its verdict.

    Arguments:
        task: Version to try.
        limits: Limits of the trial.
    """

    def __init__(self, task: TrialTask, limits: TrialLimits) -> None:
        self.number = task.number
        self._limits = limits
        self.slow = False
        self._began = time.monotonic()
        self._label = "/".join(Path(task.folder).parts[-2:])
        self._parent, child = _context.Pipe(duplex=False)
        self._process: BaseProcess = _context.Process(target=_try, args=(task, limits, child))
        self._process.start()
        child.close()

    @property
    def sentinel(self) -> int:
        return self._process.sentinel

    def becomes_slow(self) -> bool:
        """Whether it has just become slow."""
        if self.slow:
            return False
        late = self._age > WALL_TIMES * self._limits.seconds / 2
        self.slow = late or _processor_seconds(self._process.pid) > SLOW_SECONDS
        return self.slow

    def ended(self) -> bool:
        """Whether it is over; ends it where it has taken too long."""
        if self._process.is_alive() and self._age > WALL_TIMES * self._limits.seconds:
            self._process.kill()
            self._process.join()
        return not self._process.is_alive()

    @property
    def _age(self) -> float:
        return time.monotonic() - self._began

    def verdict(self) -> Verdict:
        self._process.join()
        if self._parent.poll():
            with suppress(EOFError):
                return Verdict.from_json(orjson.loads(self._parent.recv_bytes()))
        return Verdict(self._reason_of_end())

    def _reason_of_end(self) -> str:
        """Returns why a process ended without a verdict, as one sentence."""
        if self._process.exitcode in (-signal.SIGKILL, -signal.SIGXCPU):
            if self._age >= self._limits.seconds:
                return (
                    f"{self._label}: was not open within {self._limits.seconds:g} s of processor time "
                    f"(ANYVIEW_OPEN_SECONDS), or {WALL_TIMES} times as many by the clock"
                )
            return f"{self._label}: its process was killed while it opened; there may be too little memory"
        return f"{self._label}: its process ended while it opened, with code {self._process.exitcode}"


def _try(task: TrialTask, limits: TrialLimits, verdict: multiprocessing.connection.Connection) -> None:
    """Opens and checks one version, within the limits; sends its verdict."""
    _limit(limits)
    label = "/".join(Path(task.folder).parts[-2:])
    sizing: dict[str, BatchSizing] = {}
    reason = None
    try:
        bundle = StoredVersion(Path(task.folder)).open()
        if bundle.digest != task.digest:
            raise ModelsStoreError(f"{label}: was changed while it was opened")
        sizing = check(bundle, open_parts(bundle, task.provider), task.provider)
    except ModelsStoreError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{label}: needs more than {limits.memory} bytes of memory (ANYVIEW_OPEN_MEMORY_BYTES)"
    except BaseException as error:  # a damaged file may raise anything
        reason = f"{label}: cannot be loaded: {error!r}"
    if reason is not None:
        reason = sentence(reason).encode(errors="replace").decode()
    verdict.send_bytes(orjson.dumps(Verdict(reason, sizing)))
    os._exit(0)  # threads of the runtime may hang


def _limit(limits: TrialLimits) -> None:
    """Limits this process, and makes it the first to end where memory is short."""
    end_with_parent()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(NICE)
    seconds = int(limits.seconds) + 1
    bounds = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: FILES,
    }
    if limits.memory is not None:
        bounds[resource.RLIMIT_DATA] = limits.memory
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))


def _processor_seconds(process: int | None) -> float:
    """Returns the processor time that a process has used; 0 where the system does not report it."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Has the kernel send this process a signal when its parent ends, or sends it where that has ended."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, number)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # the kernel sends nothing for one that ended before
        signal.raise_signal(number)


def run(tasks: list[TrialTask], limits: TrialLimits) -> Iterator[tuple[int, str, Verdict | None]]:
    """Tries versions, some at a time; yields number, event and verdict.

    The event is ``slow`` when a trial becomes slow, and ``end`` when it ends.

    Arguments:
        tasks: Versions to try.
        limits: Limits of one trial.
    """
    waiting, running = deque(tasks), list[Trial]()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    while waiting or running:
        quick = sum(not trial.slow for trial in running)
        while waiting and quick < cores and len(running) < MOST_TRIALS:
            running.append(Trial(waiting.popleft(), limits))
            quick += 1
        multiprocessing.connection.wait([trial.sentinel for trial in running], timeout=0.1)
        for trial in [trial for trial in running if trial.ended()]:
            running.remove(trial)
            yield trial.number, "end", trial.verdict()
        for trial in running:
            if trial.becomes_slow():
                yield trial.number, "slow", None


def main(source: IO[bytes], sink: IO[bytes]) -> None:
    """Reads tasks and limits as JSON; writes each event as a line of JSON: number, event, verdict."""
    end_with_parent()
    spec: dict[str, Any] = orjson.loads(source.read())
    for event in run([TrialTask(**one) for one in spec["tasks"]], TrialLimits(**spec["limits"])):
        sink.write(orjson.dumps(event) + b"\n")
        sink.flush()


def specification(tasks: list[TrialTask], limits: TrialLimits) -> bytes:
    """Returns what :func:`main` reads."""
    return orjson.dumps({"tasks": [asdict(task) for task in tasks], "limits": asdict(limits)})


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
