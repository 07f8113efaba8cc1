"""Where published models are: a local folder, or any address that fsspec knows, such as ``s3://bucket/models``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from models_store.errors import UnknownModel
from models_store.folder import Bundle, names, open_bundle, publish, versions
from models_store.manifest import Manifest


class Store(Protocol):
    """Models by name, their versions by number; a version never changes once it is there."""

    address: str

    def published(self) -> dict[str, list[int]]:
        """The versions of every model, oldest first; models in alphabetical order.

        Raises:
            StoreAway: The store does not answer.
        """

    def next_number(self, name: str) -> int:
        """The number for the next version of a model.

        Raises:
            StoreAway: The store does not answer.
        """

    def stamp(self, name: str, number: int) -> str:
        """Another text whenever a file of that version is another one.

        Raises:
            StoreAway: The store does not answer.
        """

    def open(self, name: str, number: int) -> Bundle:
        """Opens one version and checks every file of it.

        Raises:
            BundleRefused: One sentence that names the file and the reason.
            StoreAway: The store does not answer.
        """

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        """Writes one version, whole or not at all, and gives its address.

        Arguments:
            manifest: Name, version and the rest; its list of files is filled in here.
            files: By name relative to the bundle.

        Raises:
            VersionExists: That version is published already, or somebody else is at it.
            BundleRefused: A file is missing, or has a path that no bundle may have.
            StoreAway: The store does not answer.
        """


class Folder:
    """A local folder.

    Arguments:
        root: The folder; it need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.address = str(root)
        self._root = root

    def published(self) -> dict[str, list[int]]:
        return {name: versions(self._root, name) for name in names(self._root)}

    def next_number(self, name: str) -> int:
        return max(versions(self._root, name), default=0) + 1

    def stamp(self, name: str, number: int) -> str:
        folder = self._root / name / str(number)
        found = ((path.relative_to(folder), path.lstat()) for path in sorted(folder.rglob("*")))
        return repr([(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found])

    def open(self, name: str, number: int) -> Bundle:
        return open_bundle(self._root / name / str(number))

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        return str(publish(self._root, manifest, files))


def store_at(address: str | Path) -> Store:
    """The store at a folder or an address.

    Raises:
        StoreAway: What it takes to ask such an address is not installed.
    """
    text = str(address)
    if "://" not in text:
        return Folder(Path(text))
    if text.startswith("file://"):
        return Folder(Path(text.removeprefix("file://")))
    from models_store.remote import ObjectStore  # a tenth of a second that a local folder need not pay

    return ObjectStore(text)


def open_named(place: Store, model: str) -> Bundle:
    """The bundle of NAME (its newest version) or NAME/VERSION.

    Raises:
        UnknownModel: There is no such model, or no such version of it; the text says which are.
        BundleRefused: It must not be used.
        StoreAway: The store does not answer.
    """
    name, _, number = model.partition("/")
    published = place.published()
    if name not in published:
        raise UnknownModel(f"no model '{name}' in the store; there are {', '.join(published) or 'none'}")
    if not number:
        return place.open(name, published[name][-1])
    if not number.isdecimal() or int(number) not in published[name]:
        known = ", ".join(map(str, published[name]))
        raise UnknownModel(f"no version {number} of '{name}' in the store; there are {known}")
    return place.open(name, int(number))
