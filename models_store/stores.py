"""Stores of published models: a local folder, or an address of fsspec such as ``s3://bucket/models``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol

from models_store.errors import UnknownModel
from models_store.folder import Bundle, StoredVersion, publish, published, versions
from models_store.manifest import Manifest

MOST_STAMPED = 10_000
"""Files of a version that its stamp considers."""


class Store(Protocol):
    """Models by name and versions by number; a published version never changes."""

    address: str

    def published(self) -> dict[str, list[int]]:
        """The versions of every model, oldest first; models in alphabetical order.

        Raises:
            StoreAway: The store does not answer.
        """

    def vanished(self) -> str | None:
        """Return why there is no store at the address, as one sentence; None if there is one."""

    def next_number(self, name: str) -> int:
        """The number for the next version of a model.

        Raises:
            StoreAway: The store does not answer.
        """

    def stamp(self, name: str, number: int) -> str:
        """A text that changes whenever a file of that version changes.

        Raises:
            StoreAway: The store does not answer.
        """

    def fetch(self, name: str, number: int) -> StoredVersion:
        """Bring the files of one version to this machine, without checking them.

        Raises:
            BundleRefused: A file is missing, or has a path that no bundle may have.
            StoreAway: The store does not answer.
        """

    def open(self, name: str, number: int) -> Bundle:
        """Open one version and check every file of it.

        Raises:
            BundleRefused: One sentence that names the file and the reason.
            StoreAway: The store does not answer.
        """

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        """Write one version completely or not at all, and return its address.

        Arguments:
            manifest: Name, version and the rest; its list of files is filled in here.
            files: By name relative to the bundle.

        Raises:
            VersionExists: That version is published already, or another process is publishing it.
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
        return published(self._root)

    def vanished(self) -> str | None:
        return None if self._root.is_dir() else f"there is no folder {self._root}"

    def next_number(self, name: str) -> int:
        return max(versions(self._root, name), default=0) + 1

    def stamp(self, name: str, number: int) -> str:
        return repr(sorted(islice(_states(self._root / name / str(number)), MOST_STAMPED)))

    def fetch(self, name: str, number: int) -> StoredVersion:
        return StoredVersion(self._root / name / str(number))

    def open(self, name: str, number: int) -> Bundle:
        return self.fetch(name, number).open()

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        return str(publish(self._root, manifest, files))


def _states(folder: Path, levels: int = 2) -> Iterator[tuple[str, int, int]]:
    """Yields path, size and time of the last change of a folder and of what lies in its first levels.

    A link counts as itself: what it leads to may change at any time, and a bundle has no links.
    """
    try:
        status = folder.lstat()
        yield str(folder), status.st_size, status.st_mtime_ns
        if not stat.S_ISDIR(status.st_mode):
            return
        # Deeper folders, which no bundle needs, may be without end.
        with os.scandir(folder) as entries:
            for entry in entries:
                if levels > 1 and entry.is_dir(follow_symlinks=False):
                    yield from _states(Path(entry.path), levels - 1)
                else:
                    status = entry.stat(follow_symlinks=False)
                    yield entry.path, status.st_size, status.st_mtime_ns
    except OSError:  # removed since it was listed, or unreadable
        return


def store_at(address: str | Path) -> Store:
    """The store at a folder or an address.

    Raises:
        StoreAway: The driver of such an address is not installed.
    """
    text = str(address)
    if "://" not in text:
        return Folder(Path(text))
    if text.startswith("file://"):
        return Folder(Path(text.removeprefix("file://")))
    from models_store.remote import ObjectStore  # takes 0.1 s, which a local folder does not need

    return ObjectStore(text)


def open_named(place: Store, model: str) -> Bundle:
    """The bundle of NAME (its newest version) or NAME/VERSION.

    Raises:
        UnknownModel: There is no such model or version; the text lists those that exist.
        BundleRefused: The bundle is incomplete, altered or invalid.
        StoreAway: The store does not answer.
    """
    name, _, number = model.partition("/")
    published = place.published()
    if name not in published:
        raise UnknownModel(f"no model '{name}' in the store; there are {', '.join(published) or 'none'}")
    if not number:
        return place.open(name, published[name][-1])
    if not number.isdecimal() or int(number) not in published[name]:
        numbers = ", ".join(map(str, published[name]))
        raise UnknownModel(f"no version {number} of '{name}' in the store; there are {numbers}")
    return place.open(name, int(number))
