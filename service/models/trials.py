"""Trials of new versions in a process of their own (``sandbox``), and their verdicts."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import NamedTuple, cast

import orjson

from models_store.errors import BundleRefused
from models_store.folder import StoredVersion
from service.engine.batching import BatchSizing
from service.models.sandbox import TrialLimits, TrialTask, Verdict, specification
from service.models.warm import Streams, WarmProcess, environment

log = logging.getLogger("anyview")

Key = tuple[str, int]
"""Name and number of a version."""

PASSED: dict[str, Mapping[str, BatchSizing]] = {}
"""Sizes of the batches of versions that passed a trial while this process runs, by digest of the manifest."""
COMMAND = (sys.executable, "-m", "service.models.sandbox")
WARM: WarmProcess | None = None
"""Process that starts the program of trials without importing its modules, where there is one."""
STOPPED = "the trial of the version did not end: its process was stopped"


class Pending(NamedTuple):
    """A version on trial.

    Arguments:
        number: Identifier of the trial.
        stamp: Stamp of the files when the trial began.
        version: The files.
        digest: sha256 of the manifest.
    """

    number: int
    stamp: str
    version: StoredVersion
    digest: str


class Passed(NamedTuple):
    """A version that passed its trial, or needs none.

    Arguments:
        version: The files.
        sizing: Sizes of the batches of each graph, by file, from its trial.
    """

    version: StoredVersion
    sizing: Mapping[str, BatchSizing] | None = None


class Trials:
    """Trials of the versions of one catalog; methods are called under its lock, except :meth:`wait`.

    Arguments:
        provider: Provider of graphs.
        limits: Limits of one trial.
    """

    def __init__(self, provider: str, limits: TrialLimits) -> None:
        self._on_verdict: Callable[[], None] = lambda: None
        self._provider = provider
        self._limits = limits
        self._numbers = count()
        self._new: list[TrialTask] = []
        self._pending: dict[Key, Pending] = {}
        self._verdicts: dict[int, Verdict] = {}
        self._slow: set[int] = set()
        self._changed = threading.Condition()  # guards verdicts and processes
        self._processes: set[subprocess.Popen[bytes]] = set()

    def passed(self, key: Key, stamp: str, fetch: Callable[[], StoredVersion]) -> Passed | None:
        """Returns a version that passed its trial; None while it is on trial.

        Arguments:
            key: Name and number of the version.
            stamp: Stamp of its files.
            fetch: Fetches its files; called when its trial begins.

        Raises:
            BundleRefused: It did not pass.
            StoreAway: The store does not answer.
        """
        pending = self._pending.get(key)
        if pending is None or pending.stamp != stamp:
            version = fetch()
            if (digest := version.digest()) in PASSED:
                return Passed(version, PASSED[digest])
            number = next(self._numbers)
            self._pending[key] = Pending(number, stamp, version, digest)
            self._new.append(TrialTask(number, str(version.folder.absolute()), digest, self._provider))
            return None
        with self._changed:
            if pending.number not in self._verdicts:
                return None
            verdict = self._verdicts.pop(pending.number)
        del self._pending[key]
        if verdict.reason is not None:
            raise BundleRefused(verdict.reason)
        PASSED[pending.digest] = verdict.sizing
        return Passed(pending.version, verdict.sizing)

    def is_running(self, key: Key) -> bool:
        return key in self._pending

    def is_slow(self, key: Key) -> bool:
        """Whether other versions no longer wait for this one."""
        return key in self._pending and self._pending[key].number in self._slow

    def forget(self, published: Callable[[Key], bool]) -> None:
        """Drops trials of versions that are no longer published."""
        for key in [key for key in self._pending if not published(key)]:
            del self._pending[key]

    def call_back(self, on_verdict: Callable[[], None]) -> None:
        """Sets a function to be called, in another thread, when a trial ends; at once if one has."""
        with self._changed:
            self._on_verdict = on_verdict
            ended = bool(self._verdicts)
        if ended:
            on_verdict()

    def start(self) -> None:
        """Starts a process for the versions that are new since the last call."""
        if self._new:
            tasks, self._new = self._new, []
            threading.Thread(target=self._run, args=(tasks,), name="trials", daemon=True).start()

    def wait(self, keys: Collection[Key], patient: bool) -> bool:
        """Waits until one of these trials ends or becomes slow; returns False where none of them runs.

        Arguments:
            keys: Versions whose verdicts the caller will take; those of others may stay for ever.
            patient: Whether to wait for trials that are slow.
        """
        with self._changed:
            slow = {*self._slow}
            while running := [
                self._pending[key].number
                for key in keys
                if key in self._pending and (patient or self._pending[key].number not in slow)
            ]:
                if any(number in self._verdicts or number in self._slow - slow for number in running):
                    return True
                self._changed.wait(0.2)
            return False

    def close(self) -> None:
        """Ends all trials."""
        with self._changed:
            for process in self._processes:
                process.kill()  # its children end with it
        if WARM is not None:
            WARM.close()

    def _run(self, tasks: list[TrialTask]) -> None:
        """Runs a process to its end, and records each verdict as it comes."""
        missing = {task.number for task in tasks}
        try:
            with self._program() as (stdin, stdout):
                with suppress(BrokenPipeError), stdin:
                    stdin.write(specification(tasks, self._limits))
                for line in stdout:
                    number, event, verdict = orjson.loads(line)
                    if event == "end":
                        missing.discard(number)
                    self._record(number, Verdict.from_json(verdict) if event == "end" else None)
        except OSError as error:
            log.error("no process for the trial of new versions: %s", error)
        for number in missing:
            self._record(number, Verdict(STOPPED))

    @contextmanager
    def _program(self) -> Iterator[Streams]:
        """Starts the program of trials, and waits for its end.

        Raises:
            OSError: The system starts no process.
        """
        if (streams := _forked()) is not None:
            with streams[1]:
                yield streams
            return
        with subprocess.Popen(  # noqa: S603 - our own program
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            start_new_session=True,  # SIGINT of a terminal ends the service, which ends this process
        ) as process:
            with self._changed:
                self._processes.add(process)
            yield cast("Streams", (process.stdin, process.stdout))
            with self._changed:
                self._processes.discard(process)

    def _record(self, number: int, verdict: Verdict | None) -> None:
        """Records that a trial ended, or without a verdict that it became slow."""
        with self._changed:
            if verdict is None:
                self._slow.add(number)
            else:
                self._slow.discard(number)
                self._verdicts[number] = verdict
            self._changed.notify_all()
            on_verdict = self._on_verdict
        on_verdict()


def _forked() -> Streams | None:
    """Starts the program of trials by a fork; None where no process forks, or it has ended."""
    with suppress(OSError):
        return None if WARM is None else WARM.start()
    return None
