"""Loads a stored version: opens its graphs; checks them against golden values, and times them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from models_store import calibration, golden, latent, residuals
from models_store.arrays import Array
from models_store.calibration import Calibration
from models_store.errors import BundleRefused
from models_store.folder import Bundle
from models_store.latent import Latent
from models_store.likelihoods import Parameters
from models_store.linear import NATURAL, EncoderOutput
from models_store.manifest import Manifest, Modality, decoder_file, encoder_file
from models_store.residuals import Residuals
from service.engine.admission import Admission
from service.engine.batching import BatchSizing, GraphQueue, measure
from service.engine.budget import BYTES_OF_NUMBER, Budget
from service.engine.model import Model
from service.engine.rules import Limits
from service.engine.sessions import Graph, Session, UnfitGraph, ended_after
from service.engine.workers import Workers
from service.settings import Settings

Queue = Callable[[Graph, Executor, BatchSizing], GraphQueue]
"""Constructor of the queue of a graph."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that answers, its bundle, and the queues of its graphs by file."""

    model: Model
    bundle: Bundle
    queues: Mapping[str, GraphQueue]


def load(
    bundle: Bundle,
    settings: Settings,
    threads: Executor,
    queue: Queue,
    budget: Budget | None = None,
    admission: Admission | None = None,
    sizing: Mapping[str, BatchSizing] | None = None,
) -> Loaded:
    """Opens every graph of a bundle, and checks and times those that passed no trial; blocks.

    Arguments:
        bundle: Bundle to load.
        settings: Provider of the graphs, and limits of one request.
        threads: Threads in which graphs run.
        queue: Constructor of the queue of a graph.
        budget: Memory that requests may take; None: no limit.
        admission: Long computations of the process; None: without limits.
        sizing: Sizes of the batches of each graph, from the trial that the bundle passed; None: it had none.

    Raises:
        BundleRefused: A graph does not load, does not fit, or does not give its golden values; or latent.npz,
            calibration.npz or residuals.npz does not fit the model.
    """
    parts = open_parts(bundle, settings.provider)
    if sizing is None:
        sizing = check(bundle, parts, settings.provider, settings.open_seconds)
    queues = {file: queue(graph, threads, sizing[file]) for file, graph in parts.sessions.items()}
    budget = budget or Budget()
    numbers = int(min(settings.max_numbers, budget.share // BYTES_OF_NUMBER))
    limits = Limits(settings.max_rows, settings.max_draws, numbers, drawn=settings.max_numbers)
    model = Model(
        bundle.manifest,
        queues,
        limits,
        parts.latent,
        parts.calibration,
        budget,
        admission,
        parts.residuals,
    )
    return Loaded(model, bundle, queues)


def opened(bundle: Bundle, queue: Queue = GraphQueue) -> Model:
    """The model of a bundle, without a service around it: one thread, and no limit on numbers.

    Raises:
        BundleRefused: As for :func:`load`.
    """
    return load(bundle, Settings(max_numbers=sys.maxsize), Workers(1), queue).model


class Parts(NamedTuple):
    """Contents of a bundle, which fit its manifest.

    Arguments:
        sessions: Graphs by file.
        latent: Statistics of the latent space, where the bundle has them.
        calibration: Corrections of intervals and probabilities, where the bundle has them.
        residuals: Correlation between numbers beyond z, where the bundle has it.
    """

    sessions: dict[str, Session]
    latent: Latent | None
    calibration: Calibration | None
    residuals: Residuals | None


def open_parts(bundle: Bundle, provider: str) -> Parts:
    """Opens every graph and array of a bundle; runs no graph.

    Raises:
        BundleRefused: One does not fit the manifest.
    """
    manifest = bundle.manifest
    sessions = open_sessions(bundle, provider)
    space = None
    if latent.FILE in manifest.files:
        space = Latent.from_bytes(bundle.read(latent.FILE), manifest)
    corrections = None
    if calibration.FILE in manifest.files:
        corrections = Calibration.from_bytes(bundle.read(calibration.FILE), manifest)
    factors = None
    if residuals.FILE in manifest.files:
        factors = Residuals.from_bytes(bundle.read(residuals.FILE), manifest)
    return Parts(sessions, space, corrections, factors)


def check(
    bundle: Bundle, parts: Parts, provider: str, seconds: float | None = None
) -> dict[str, BatchSizing]:
    """Has the graphs of a bundle reproduce its golden values, and times them by file; blocks.

    Arguments:
        bundle: Bundle to check.
        parts: Its contents.
        provider: Provider of its graphs.
        seconds: Seconds after which the graphs are ended: one may run once in finite time and not again;
            None: they are not ended.

    Raises:
        BundleRefused: A graph does not run, or does not give its golden values.
    """
    values = golden.from_bytes(bundle.read(golden.FILE))
    with ended_after(parts.sessions.values(), seconds):
        golden.check(bundle.manifest, values, SessionGraphs(parts.sessions))
        return _sizing(parts.sessions, bundle.manifest, values, provider)


def _sizing(
    sessions: Mapping[str, Session], manifest: Manifest, values: Mapping[str, Array], provider: str
) -> dict[str, BatchSizing]:
    """Times every graph on golden rows."""
    examples = {encoder_file(m): values[f"{m}.x"] for m in manifest.names}
    examples |= {decoder_file(m): values["z"] for m in manifest.names}
    # A thread that others hold up is not slow: on a processor, only the time that it runs counts.
    clock = time.thread_time if provider == "cpu" else time.perf_counter
    sizing = {}
    for file, graph in sessions.items():
        with _named(file):
            sizing[file] = measure(graph, examples[file], clock=clock)
    return sizing


@contextmanager
def _named(file: str, where: str = "") -> Iterator[None]:
    """Puts the file before the reason why a graph is unfit.

    Raises:
        BundleRefused: The graph is unfit.
    """
    try:
        yield
    except UnfitGraph as error:
        raise BundleRefused(f"{where}{file} {error}") from None


class SessionGraphs:
    """The graphs of a bundle, called without a queue."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions

    def encode(self, modality: str, x: Array) -> EncoderOutput:
        return EncoderOutput(**self._run(encoder_file(modality), x))

    def decode(self, modality: str, z: Array) -> Parameters:
        return self._run(decoder_file(modality), z)

    def _run(self, file: str, rows: Array) -> dict[str, Array]:
        with _named(file):
            return self._sessions[file].run(rows)


def open_sessions(bundle: Bundle, provider: str = "cpu") -> dict[str, Session]:
    """Every graph of a bundle, its inputs and outputs checked against the manifest.

    Raises:
        BundleRefused: A graph does not load or does not fit; the text names the file.
    """
    sessions = {}
    for modality in bundle.manifest.modalities:
        for file in (encoder_file(modality.name), decoder_file(modality.name)):
            with _named(file, f"{bundle.manifest.name}/{bundle.manifest.version}: "):
                sessions[file] = Session(bundle.read(file), provider)
                _check(sessions[file], file, modality, bundle.manifest)
    return sessions


def _check(session: Session, file: str, modality: Modality, manifest: Manifest) -> None:
    latent = (manifest.latent_dim,)
    if file == encoder_file(modality.name):
        outputs = {"mu": latent, "log_var": latent}
        if manifest.linear is not None:
            outputs[NATURAL] = (manifest.linear.natural_size,)
        session.check("x", modality.shape, modality.dtype, outputs)
    else:
        shape = modality.parameter_shape()
        session.check("z", latent, "float32", dict.fromkeys(modality.parameters, shape))
