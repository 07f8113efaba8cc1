"""Per loaded version, the outputs that clients request and the statistics of inferences."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from weakref import WeakKeyDictionary

from service.models.loading import Loaded
from service.oip import outputs
from service.oip.outputs import RequestedOutputs
from service.oip.requests import RequestedOutput
from service.oip.statistics import Statistics

MOST_NAMES = 64
"""Requests that name more outputs and modalities than this are not cached."""

Resolve = Callable[[tuple[RequestedOutput, ...], tuple[str, ...], bool], RequestedOutputs]


class VersionCache:
    """Requested outputs and statistics of one loaded version.

    Arguments:
        loaded: The version. The cache holds no reference to it.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.statistics = Statistics()
        available = outputs.outputs_of(loaded.bundle.manifest)
        self._resolve: Resolve = partial(outputs.resolve, available, loaded.model.rules)
        self._cached: Resolve = lru_cache(maxsize=256)(self._resolve)

    def resolve(
        self, requested: tuple[RequestedOutput, ...], targets: tuple[str, ...], binary: bool
    ) -> RequestedOutputs:
        """Resolves the outputs of a request, see :func:`outputs.resolve`; most clients repeat theirs.

        Raises:
            WrongInput: There is no such output or modality, or they contradict each other.
        """
        resolve = self._cached if len(requested) + len(targets) <= MOST_NAMES else self._resolve
        return resolve(requested, targets, binary)


_caches: WeakKeyDictionary[Loaded, VersionCache] = WeakKeyDictionary()


def cache_of(loaded: Loaded) -> VersionCache:
    """The cache of a loaded version; it is dropped with the version."""
    cache = _caches.get(loaded)
    if cache is None:
        cache = _caches[loaded] = VersionCache(loaded)
    return cache
