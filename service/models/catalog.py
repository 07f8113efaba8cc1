"""Loaded models, and the version of each that answers."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from models_store import stores
from models_store.errors import ModelsStoreError, StoreAway, listed, sentence
from models_store.folder import SHIPPED
from service.engine.admission import Admission
from service.engine.batching import Backlog, GraphQueue
from service.engine.budget import Budget, default_bytes
from service.engine.model import Model
from service.engine.sessions import cpu_quota
from service.engine.workers import Workers
from service.errors import NotFound, NotReady, TooBusy, WrongInput
from service.models.listing import Listing
from service.models.loading import Loaded, Queue, load
from service.models.sandbox import TrialLimits
from service.models.trials import Passed, Trials
from service.models.watching import give_memory_back
from service.settings import Settings

log = logging.getLogger("anyview")

MANY_REFUSED = 20
"""Number of refused versions above which a start waits for no version but those that it must have."""


@dataclass(frozen=True)
class Refused:
    """A version that is not served, and the reason as one sentence."""

    model: str
    version: int
    reason: str


@dataclass
class Catalog:
    """The loaded models.

    The event loop reads. Changes are made in another thread, one at a time, and replace a whole dictionary,
    so a reader sees the old one or the new one.

    Arguments:
        settings: Address of the store, and which of its models to load.
        queue: Constructor of the queue of a graph.
        watch: Called with model, graph and queue, for every queue.
    """

    settings: Settings
    queue: Queue = GraphQueue
    watch: Callable[[str, str, GraphQueue], None] | None = None
    loaded: dict[str, Loaded] = field(default_factory=dict)
    """By name, the version that answers where none is asked for: the newest."""
    versions: dict[str, dict[int, Loaded]] = field(default_factory=dict)
    """By name, every version that is loaded, newest first."""

    def __post_init__(self) -> None:
        self.draining = False
        self.store_away: str | None = None
        """Why the store did not answer when it was last looked at."""
        self.published: dict[str, list[int]] = {}
        """Considered versions that were in the store when it was last looked at."""
        self._listing = Listing(self._required, self.settings.versions)
        self._store: stores.Store | None = None
        self._threads = self.settings.threads or max(1, cpu_quota() // self.settings.workers)
        self._workers = Workers(self._threads)
        self._backlog = Backlog()
        self._converters = Workers(self._threads + 1, "convert")
        memory_bytes = self.settings.memory_bytes or default_bytes(self.settings.workers)
        self.budget = Budget(memory_bytes, executor=self._converters)
        """Memory that requests may take."""
        self._long_workers = Workers(self._threads, "long")
        self._admission = Admission(self._long_workers, self.settings.deadline_seconds)
        self._changing = threading.Lock()
        self._retired: list[weakref.ref[Model]] = []  # models whose memory may still be in use
        self._refused: dict[tuple[str, int], tuple[str, Refused]] = {}
        self._pinned: set[tuple[str, int]] = set()  # versions that were loaded by hand
        self._unwanted: set[tuple[str, int]] = set()  # versions that were unloaded by hand
        self._dismissed: set[str] = set()  # models that were
        self._awaited: list[tuple[str, int]] = []  # versions on trial that the last poll would have loaded
        memory = self.settings.open_memory_bytes if self.settings.provider == "cpu" else None
        self.trials = Trials(self.settings.provider, TrialLimits(self.settings.open_seconds, memory))
        """Trials of new versions."""
        # Writers of the package's own store can change its code as well.
        self._trusting = self.settings.store == str(SHIPPED)

    # --- what answers -------------------------------------------------------------------------------------

    def get(self, name: str | None, number: int | None = None) -> Loaded:
        """The model of that name, or the default one.

        Raises:
            NotFound: No such model or version is loaded; the text says which are.
            NotReady: None is.
        """
        if not self.loaded:
            raise NotReady(f"no model is loaded from the store {self.settings.store}")
        selected = name or self.default
        if selected is None:
            raise NotFound(
                f"there is no default model; ask /models/NAME/…, where NAME is one of {listed(self.loaded)}"
            )
        newest = self.loaded.get(selected)
        if newest is None:
            raise NotFound(f"no model '{selected}' is loaded; there is {listed(self.loaded)}")
        if number in (None, newest.bundle.manifest.version):
            return newest
        versions = self.versions.get(selected, {})
        if number not in versions:
            there = " and ".join(map(str, versions))
            raise NotFound(f"version {number} of '{selected}' is not loaded; there is {there}")
        return versions[number]

    def admit(self) -> None:
        """Checks that the queues have room for a request.

        Raises:
            TooBusy: Too many rows wait already; the estimate is the time that the graphs need for them.
        """
        rows = self._backlog.rows
        if rows > self.settings.max_waiting_rows:
            seconds = math.ceil(sum(queue.waiting_seconds for queue in self._queues()) / self._threads)
            raise TooBusy(
                f"{rows} rows wait already, more than the {self.settings.max_waiting_rows} that may; "
                f"ask again in {max(seconds, 1)} s",
                max(seconds, 1),
            )

    @property
    def default(self) -> str | None:
        """The model that /encode means: the one that was set, else the only one."""
        if self.settings.default_model is not None:
            return self.settings.default_model
        return next(iter(self.loaded)) if len(self.loaded) == 1 else None

    @property
    def refused(self) -> list[Refused]:
        """The stored versions that are not served though they are new."""
        return [refused for _, refused in self._refused.values()]

    @property
    def missing(self) -> list[str]:
        """Models that are expected but not loaded; the service is not ready while there are any."""
        return [name for name in self._required if name not in self.loaded]

    @property
    def _required(self) -> list[str]:
        default = [self.settings.default_model] if self.settings.default_model else []
        return [*dict.fromkeys([*self.settings.models, *default])]

    @property
    def ready(self) -> bool:
        if not self.loaded or self.missing or self.draining:
            return False
        # Requests that wait for such a batch are refused at the deadline; it may return, or never.
        return not any(queue.hangs(self.settings.deadline_seconds) for queue in self._queues())

    def _queues(self) -> Iterator[GraphQueue]:
        for versions in self.versions.values():
            for loaded in versions.values():
                yield from loaded.queues.values()

    def drain(self) -> None:
        """Turns readiness off; requests are still answered."""
        self.draining = True

    def close(self) -> None:
        """Ends the threads; requests that still wait for them are refused."""
        self.trials.close()
        self._workers.shutdown(wait=False)  # a graph may hang; requests are finished by now
        self._long_workers.shutdown(wait=False)
        self._converters.shutdown(wait=False)

    # --- what is loaded; all of this blocks ----------------------------------------------------------------

    def refresh(self) -> None:
        """Polls the store, and waits for the trials of new versions.

        Once the service is ready, trials that take long are not waited for. If settings name the models that
        it must have, no trial is waited for after ``MANY_REFUSED`` versions were refused.
        """
        self.poll()
        while not self._fails_often() and self.trials.wait(self._awaited, patient=not self.ready):
            self.poll()

    def _fails_often(self) -> bool:
        """Whether more than ``MANY_REFUSED`` versions were refused, and all models that must be there are."""
        return bool(self._required) and self.ready and len(self._refused) > MANY_REFUSED

    def poll(self) -> None:
        """Polls the store once, and loads the newest versions of every model that passed their trial.

        Replaced versions finish their requests. A version that cannot be served changes ``refused`` alone; a
        store that does not answer changes ``store_away`` alone.
        """
        with self._changing:
            try:
                self._record_store(self._look())
            except StoreAway as error:
                self._record_store(str(error))
            except Exception as error:
                log.exception("the store %s cannot be read", self.settings.store)
                self._record_store(f"the store cannot be read: {error}")
            self._trusting = False
            self.trials.start()
            self._give_back()

    def _look(self) -> str | None:
        """Follows what is published; returns why the store is not there, or None."""
        place = self._place()
        published = place.published()
        self.published = self._listing.of(published)
        if not published and (self.versions or place.vanished()):
            return place.vanished() or f"the store {self.settings.store} is empty"
        for name, loaded in self.versions.items():
            deleted = {*loaded} - {*published.get(name, [])}
            if deleted:
                log.warning("dropped %s/%s: no longer in the store", name, ", ".join(map(str, deleted)))
                self._pinned.difference_update((name, number) for number in deleted)
                self._serve(name, {number: one for number, one in loaded.items() if number not in deleted})
        for key in [key for key in self._refused if not self._is_published(key)]:
            del self._refused[key]
        self.trials.forget(self._is_published)
        self._awaited = []
        missing = self.missing  # their trials come first
        for name in sorted(self.published, key=lambda name: name not in missing):
            if name not in self._dismissed:
                self._follow(name, self.published[name])
        return None

    def _is_published(self, key: tuple[str, int]) -> bool:
        return key[1] in self.published.get(key[0], [])

    def load(self, name: str, number: int | None = None) -> list[int]:
        """Loads a version, or the newest ones; returns all loaded versions, newest first.

        Raises:
            NotFound: It is not in the store.
            WrongInput: It cannot be served.
            StoreAway: The store does not answer.
        """
        with self._changing:
            self._request(name, number)
        while True:
            with self._changing:
                numbers = self.published.get(name, [])
                if number is None:
                    self._follow(name, numbers)
                elif self._available(name, number):
                    self._pinned.add((name, number))
                self.trials.start()
                key = (name, number or max(numbers, default=0))
                if not self.trials.is_running(key):
                    if key in self._refused:
                        raise WrongInput(self._refused[key][1].reason)
                    return list(self.versions.get(name, {}))
            self.trials.wait([key], patient=True)

    def _request(self, name: str, number: int | None) -> None:
        """Records that a version, or the newest ones, are requested by hand; it may have been mended.

        Raises:
            NotFound: It is not in the store.
            StoreAway: The store does not answer.
        """
        published = self.published = self._listing.of(self._place().published())
        if name not in published:
            raise NotFound(f"no model '{name}' is in the store; there is {listed(published)}")
        numbers = published[name]
        if number is not None and number not in numbers:
            there = ", ".join(map(str, numbers))
            raise NotFound(f"no version {number} of '{name}' is in the store; there is {there}")
        self._dismissed.discard(name)
        for one in numbers if number is None else [number]:
            self._unwanted.discard((name, one))
            self._refused.pop((name, one), None)

    def unload(self, name: str, number: int | None = None) -> list[int]:
        """Unloads a version, or all of a model, until it is loaded again; returns those still loaded.

        Raises:
            NotFound: It is not loaded.
        """
        with self._changing:
            self._retire(name, number)
            self._give_back()
            return list(self.versions.get(name, {}))

    def _retire(self, name: str, number: int | None) -> None:
        loaded = self.versions.get(name, {})
        if not loaded or (number is not None and number not in loaded):
            what = f"'{name}'" if number is None else f"version {number} of '{name}'"
            raise NotFound(f"{what} is not loaded")
        retired = set(loaded) if number is None else {number}
        if number is None:
            self._dismissed.add(name)
        else:
            self._unwanted.add((name, number))
        self._pinned.difference_update((name, one) for one in retired)
        self._serve(name, {one: kept for one, kept in loaded.items() if one not in retired})

    def _give_back(self) -> None:
        """Gives back the memory of retired models; of those that a request still uses, at the next poll."""
        if self._retired:
            give_memory_back()
            self._retired = [model for model in self._retired if model() is not None]

    def _place(self) -> stores.Store:
        if self._store is None:
            self._store = stores.store_at(self.settings.store)
        return self._store

    def _record_store(self, away: str | None) -> None:
        if away is not None and self.store_away is None:
            log.error("%s; loaded models still answer", away)
        if away is None and self.store_away is not None:
            log.warning("the store %s answers again", self.settings.store)
        self.store_away = away

    def _follow(self, name: str, numbers: list[int]) -> None:
        """Loads the newest of these versions, and retires older ones."""
        room = self.settings.versions
        for number in reversed(numbers):
            # What was unloaded by hand leaves a gap: nothing older comes back in its place.
            if (name, number) in self._unwanted or self._available(name, number):
                room -= 1
            elif self.trials.is_running((name, number)):
                self._awaited.append((name, number))
                if not self.trials.is_slow((name, number)):
                    room -= 1  # nothing older is loaded for the time of its trial
            if not room:
                break
        loaded = self.versions.get(name, {})
        following = [number for number in loaded if (name, number) not in self._pinned]
        kept = {*following[: self.settings.versions], *(set(loaded) - set(following))}
        if kept != set(loaded):
            self._serve(name, {number: one for number, one in loaded.items() if number in kept})

    def _available(self, name: str, number: int) -> bool:
        """Loads a version that passed its trial, unless it is loaded or was refused with the same files.

        Returns:
            Whether it now serves; False while it is on trial.
        """
        if number in self.versions.get(name, {}):
            return True
        place = self._place()
        stamp = place.stamp(name, number)
        if (name, number) in self._refused and self._refused[name, number][0] == stamp:
            return False
        try:
            fetch = partial(place.fetch, name, number)
            key = name, number
            passed = Passed(fetch()) if self._trusting else self.trials.passed(key, stamp, fetch)
            if passed is None:
                return False
            shared = (self._workers, self.queue, self.budget, self._admission)
            loaded = load(passed.version.open(), self.settings, *shared, passed.sizing)
        except StoreAway:
            raise
        except Exception as error:
            expected = isinstance(error, ModelsStoreError)
            reason = sentence(str(error) if expected else f"{name}/{number}: cannot be loaded: {error!r}")
            log.error("refused %s", reason, exc_info=None if expected else error)
            self._refused[name, number] = (stamp, Refused(name, number, reason))
            return False
        self._refused.pop((name, number), None)
        for file, queue in loaded.queues.items():
            queue.backlog = self._backlog
            if self.watch is not None:
                self.watch(name, file, queue)
        log.info("loaded %s/%s", name, number)
        self._serve(name, {**self.versions.get(name, {}), number: loaded})
        return True

    def _serve(self, name: str, versions: dict[int, Loaded]) -> None:
        """Replaces the versions of a model that answer."""
        ordered = {number: versions[number] for number in sorted(versions, reverse=True)}
        retired = [one.model for number, one in self.versions.get(name, {}).items() if number not in versions]
        self._retired += map(weakref.ref, retired)
        everything = {**self.versions, name: ordered}
        if not ordered:
            del everything[name]
        self.versions = {each: everything[each] for each in sorted(everything)}
        self.loaded = {
            each: next(iter(newest_first.values())) for each, newest_first in self.versions.items()
        }
