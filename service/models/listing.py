"""Models and versions of a store that a service considers: a store may hold any number of folders."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from models_store.errors import listed

log = logging.getLogger("anyview")

MOST_MODELS, MOST_VERSIONS = 1_000, 100
"""Models, the first by name, and newest versions of each that are considered."""


class Listing:
    """Selects what is considered, and logs once per model what is passed over.

    Arguments:
        required: Models that are considered in any case.
        versions: Number of newest versions of each model that are loaded.
    """

    def __init__(self, required: Collection[str], versions: int) -> None:
        self._required = required
        self._versions = max(MOST_VERSIONS, versions)
        self._logged: set[str] = set()

    def of(self, published: Mapping[str, list[int]]) -> dict[str, list[int]]:
        """Returns the newest versions of each considered model, oldest first.

        Arguments:
            published: All versions of the store, by model.
        """
        first = [name for name in published if name in self._required]
        others = [name for name in published if name not in self._required]
        names = sorted([*first, *others[: MOST_MODELS - len(first)]])
        self._log_models(len(published) - len(names))
        self._log_versions([name for name in names if len(published[name]) > self._versions])
        return {name: published[name][-self._versions :] for name in names}

    def _log_models(self, count: int) -> None:
        if count > 0 and "" not in self._logged:  # no model has this name
            self._logged.add("")
            log.warning("passed over %d models of the store: a service considers %d", count, MOST_MODELS)

    def _log_versions(self, names: Collection[str]) -> None:
        if {*names} - self._logged:
            self._logged |= {*names}
            log.warning(
                "passed over old versions of %s: a service considers the newest %d of each model",
                listed(names),
                self._versions,
            )
