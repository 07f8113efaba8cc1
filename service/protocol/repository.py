"""The index of the repository: every version that was in the store at the last look, and if it answers."""

from __future__ import annotations

from service.catalog import Catalog

READY, UNAVAILABLE = "READY", "UNAVAILABLE"


def index(catalog: Catalog) -> list[dict[str, str]]:
    """One entry per version, newest first."""
    refused = {(one.model, one.version): one.reason for one in catalog.refused}
    entries = []
    for name in sorted({*catalog.published, *catalog.versions}):
        loaded = catalog.versions.get(name, {})
        for number in sorted({*catalog.published.get(name, []), *loaded}, reverse=True):
            ready = number in loaded
            reason = "" if ready else refused.get((name, number), "not loaded")
            entries.append(
                {
                    "name": name,
                    "version": str(number),
                    "state": READY if ready else UNAVAILABLE,
                    "reason": reason,
                }
            )
    return entries
