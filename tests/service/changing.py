"""Versions of the tiny model, to be published while a service runs."""

from __future__ import annotations

from pathlib import Path

from models_store.folder import open_bundle
from models_store.manifest import Manifest
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
    bundle = open_bundle(bundle_folder)
    manifest: Manifest = bundle.manifest.model_copy(update={"version": number, "name": name, "files": {}})
    files = {file: bundle.read(file) for file in bundle.manifest.files}
    files |= {file.replace("_", "."): content for file, content in spoilt.items()}
    place.publish(manifest, files)
