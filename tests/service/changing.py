"""Versions of the tiny model, to be published while a service runs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.bundle import renumbered
from models_store.stores import Store


def publish(place: Store, bundle_folder: Path, number: int, name: str = "tiny", **spoilt: bytes) -> None:
    """Publishes the tiny model under another number.

    Arguments:
        place: Where.
        bundle_folder: A version of it.
        number: The new version.
        name: The new name.
        spoilt: Files with other contents than they should have, an underscore for every dot.
    """
    manifest, files = renumbered(bundle_folder, number, name)
    files |= {file.replace("_", "."): content for file, content in spoilt.items()}
    place.publish(manifest, files)
