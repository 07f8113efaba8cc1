"""Which models are loaded, and which version answers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from models_store import golden, store
from models_store.errors import BundleRefused, ModelsStoreError
from models_store.fusion import Gaussian
from models_store.likelihoods import Parameters
from models_store.manifest import Manifest, Modality, decoder_file, encoder_file
from models_store.store import Bundle
from service.batching import GraphQueue, Pace, measure
from service.errors import NotFound, NotReady, TooBusy
from service.inference import Limits, Model, listed
from service.sessions import Array, Graph, Session, UnfitGraph, cpu_quota
from service.settings import Settings
from service.workers import Workers

log = logging.getLogger("anyview")


@dataclass(frozen=True)
class Refused:
    """A version that is not served, and the one sentence that says why."""

    model: str
    version: int
    reason: str


@dataclass(frozen=True)
class Loaded:
    """A model that answers, and the bundle that it came from."""

    model: Model
    bundle: Bundle
    queues: Collection[GraphQueue]


@dataclass
class Catalog:
    """The loaded models.

    Arguments:
        settings: Where the store is, and what is wanted of it.
        queue: What makes a graph answer many callers.
    """

    settings: Settings
    queue: Callable[[Graph, Executor, Pace], GraphQueue] = GraphQueue
    loaded: dict[str, Loaded] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draining = False
        self._threads = self.settings.threads or max(1, cpu_quota() // self.settings.workers)
        self._workers = Workers(self._threads)

    def load_all(self) -> None:
        """Loads of every model the newest version that can be served; blocks."""
        for name in store.names(self.settings.store):
            for number in reversed(store.versions(self.settings.store, name)):
                try:
                    self.loaded[name] = self._load(name, number)
                    break
                except ModelsStoreError as error:
                    log.error("refused %s/%s: %s", name, number, error)
                    self.refused.append(Refused(name, number, str(error)))

    def get(self, name: str | None, number: int | None = None) -> Loaded:
        """The model of that name, or the default one.

        Raises:
            NotFound: No such model or version is loaded; the text says which are.
            NotReady: None is.
        """
        if not self.loaded:
            raise NotReady(f"no model is loaded from the store {self.settings.store}")
        chosen = name or self.default
        if chosen is None:
            raise NotFound(
                f"there is no default model; ask /models/NAME/…, where NAME is one of {listed(self.loaded)}"
            )
        if chosen not in self.loaded:
            raise NotFound(f"no model '{chosen}' is loaded; there is {listed(self.loaded)}")
        found = self.loaded[chosen]
        if number not in (None, found.bundle.manifest.version):
            raise NotFound(
                f"version {number} of '{chosen}' is not loaded; there is {found.bundle.manifest.version}"
            )
        return found

    def admit(self) -> None:
        """Lets a question in.

        Raises:
            TooBusy: Too many rows wait already; the estimate is the time that the graphs need for them.
        """
        queues = [queue for loaded in self.loaded.values() for queue in loaded.queues]
        rows = sum(queue.waiting_rows for queue in queues)
        if rows > self.settings.max_waiting_rows:
            seconds = math.ceil(sum(queue.waiting_seconds for queue in queues) / self._threads)
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
    def missing(self) -> list[str]:
        """Models that are wanted but not loaded; the service is not ready while there are any."""
        default = [self.settings.default_model] if self.settings.default_model else []
        return [name for name in dict.fromkeys([*self.settings.models, *default]) if name not in self.loaded]

    @property
    def ready(self) -> bool:
        return bool(self.loaded) and not self.missing and self._workers.whole and not self.draining

    @property
    def alive(self) -> bool:
        """Whether anything can be computed at all."""
        return self._workers.alive

    def drain(self) -> None:
        """Says that the end is near, and goes on answering."""
        self.draining = True

    def close(self) -> None:
        """Ends the threads; whoever still waits for them is told so."""
        self._workers.shutdown()

    def _load(self, name: str, number: int) -> Loaded:
        bundle = store.open_bundle(self.settings.store / name / str(number))
        sessions = open_sessions(bundle, self.settings.provider)
        values = golden.from_bytes(bundle.read(golden.FILE))
        golden.check(bundle.manifest, values, SessionGraphs(sessions))
        examples = {encoder_file(m): values[f"{m}.x"] for m in bundle.manifest.names}
        examples |= {decoder_file(m): values["z"] for m in bundle.manifest.names}
        queues = {
            file: self.queue(graph, self._workers, measure(graph, examples[file]))
            for file, graph in sessions.items()
        }
        limits = Limits(rows=self.settings.max_rows, draws=self.settings.max_draws)
        return Loaded(Model(bundle.manifest, queues, limits), bundle, queues.values())


class SessionGraphs:
    """The graphs of a bundle, asked directly."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions

    def encode(self, modality: str, x: Array) -> Gaussian:
        outputs = self._sessions[encoder_file(modality)].run(x)
        return Gaussian(outputs["mu"], outputs["log_var"])

    def decode(self, modality: str, z: Array) -> Parameters:
        return self._sessions[decoder_file(modality)].run(z)


def open_sessions(bundle: Bundle, provider: str = "cpu") -> dict[str, Session]:
    """Every graph of a bundle, its inputs and outputs checked against the manifest.

    Raises:
        BundleRefused: A graph does not load or does not fit; the text names the file.
    """
    sessions = {}
    for modality in bundle.manifest.modalities:
        for file in (encoder_file(modality.name), decoder_file(modality.name)):
            try:
                sessions[file] = Session(bundle.read(file), provider)
                _check(sessions[file], file, modality, bundle.manifest)
            except UnfitGraph as error:
                where = f"{bundle.manifest.name}/{bundle.manifest.version}"
                raise BundleRefused(f"{where}: {file} {error}") from None
    return sessions


def _check(session: Session, file: str, modality: Modality, manifest: Manifest) -> None:
    latent = (manifest.latent_dim,)
    if file == encoder_file(modality.name):
        session.check("x", modality.shape, modality.dtype, {"mu": latent, "log_var": latent})
    else:
        shape = modality.parameter_shape()
        session.check("z", latent, "float32", dict.fromkeys(modality.parameters, shape))
