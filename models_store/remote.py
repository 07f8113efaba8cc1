"""Models in an object store: keys ``NAME/VERSION/FILE`` below an address of fsspec.

An object store cannot rename. A version exists once its manifest does, which is written last. No object is
ever overwritten: of two processes that publish the same version, one fails at the first file.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec

from models_store.errors import BundleRefused, ManifestError, StoreAway, VersionExists
from models_store.folder import MANIFEST, VERSION, Bundle, StoredVersion, completed, inside
from models_store.limits import MAX_MANIFEST_BYTES
from models_store.manifest import Manifest

CHANGING = ("ETag", "LastModified", "mtime", "created", "md5Hash", "updated", "size")
"""Fields of an object's metadata, as drivers report it, that change when it is written again."""


class ObjectStore:
    """The models below an address.

    Arguments:
        address: Address such as ``s3://bucket/models``; its driver finds the credentials.
        driver: File system of fsspec to use instead of the one for that address.

    Raises:
        StoreAway: Its driver is not installed.
    """

    def __init__(self, address: str, driver: Any = None) -> None:
        self.address = address.rstrip("/")
        try:
            # A cached listing would hide what others publish.
            usual, root = fsspec.core.url_to_fs(self.address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            extra = "; pip install 'anyview[s3]'" if address.startswith("s3:") else ""
            raise StoreAway(f"the store {self.address} cannot be asked: {error}{extra}") from None
        self._fs = driver or usual
        self._root = root.rstrip("/")

    def published(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for name, number, file in self._keys():
            if file == MANIFEST:
                numbers.setdefault(name, []).append(number)
        return {name: sorted(numbers[name]) for name in sorted(numbers)}

    def vanished(self) -> str | None:
        return None  # a store without objects and one that does not exist look alike

    def next_number(self, name: str) -> int:
        # A killed publisher leaves files without a manifest; their number is not used again.
        return max((number for model, number, _ in self._keys() if model == name), default=0) + 1

    def stamp(self, name: str, number: int) -> str:
        objects = self._find(self._key(name, number, ""))
        return repr(
            [(key, [str(fields.get(field)) for field in CHANGING]) for key, fields in sorted(objects.items())]
        )

    def fetch(self, name: str, number: int) -> StoredVersion:
        """Copy one version to a temporary folder, which exists as long as the returned object.

        Raises:
            BundleRefused: The manifest is invalid, or a file is missing.
            StoreAway: The store does not answer.
        """
        kept = Path(tempfile.mkdtemp(prefix="anyview-"))
        version = StoredVersion(kept / name / str(number))
        weakref.finalize(version, shutil.rmtree, kept, ignore_errors=True)
        self._copy(version.folder)
        return version

    def open(self, name: str, number: int) -> Bundle:
        return self.fetch(name, number).open()

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> str:
        name, number = manifest.name, manifest.version
        complete = completed(Path(name) / str(number), manifest, files)
        if number in [other for model, other, _ in self._keys() if model == name]:
            raise VersionExists(
                f"{name}/{number} is published already, or was begun; a version never changes"
            )
        written: list[str] = []
        try:
            for file in sorted(files):
                self._create(name, number, file, files[file])
                written.append(file)
        except BaseException:
            self._remove(name, number, written)
            raise
        # After a failure here the manifest may have been written nevertheless: keep the files.
        self._create(name, number, MANIFEST, complete.to_json())
        return f"{self.address}/{name}/{number}"

    def _keys(self) -> list[tuple[str, int, str]]:
        """Name, version and file of every object that belongs to a version."""
        keys = []
        for key in self._find(self._root):
            name, number, file = (*key[len(self._root) :].strip("/").split("/", 2), "", "")[:3]
            if file and re.fullmatch(VERSION, number):
                keys.append((name, int(number), file))
        return keys

    def _copy(self, folder: Path) -> None:
        """Copy one version into a folder."""
        name, number = folder.parent.name, int(folder.name)
        # One byte more shows that a manifest is too large, without all of it in memory.
        content = self._read(name, number, MANIFEST, end=MAX_MANIFEST_BYTES + 1)
        try:
            listed = Manifest.from_json(content).files
        except ManifestError as error:
            raise BundleRefused(f"{name}/{number}: {error}") from None
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_bytes(content)
        for file in listed:
            path = inside(folder, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._read(name, number, file))

    def _read(self, name: str, number: int, file: str, end: int | None = None) -> bytes:
        try:
            return self._ask(self._fs.cat_file, self._key(name, number, file), end=end)
        except FileNotFoundError:
            raise BundleRefused(f"{name}/{number}: {file} is missing or unreadable") from None

    def _create(self, name: str, number: int, file: str, content: bytes) -> None:
        try:
            self._ask(self._fs.pipe_file, self._key(name, number, file), content, mode="create")
        except FileExistsError:
            raise VersionExists(f"another process publishes {name}/{number}: {file} exists already") from None
        except FileNotFoundError as error:
            raise StoreAway(f"nothing can be published at {self.address}: {error}") from None

    def _remove(self, name: str, number: int, files: list[str]) -> None:
        for file in files:
            try:
                self._fs.rm_file(self._key(name, number, file))
            except Exception:  # noqa: S112 - the error that led here is the one to report
                continue

    def _key(self, name: str, number: int, file: str) -> str:
        return f"{self._root}/{name}/{number}/{file}".rstrip("/")

    def _find(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Metadata of every object below a prefix, by key."""
        try:
            return self._ask(self._fs.find, prefix, detail=True)
        except FileNotFoundError:  # nothing is published there yet
            return {}

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the driver.

        Raises:
            StoreAway: The call fails, except because a file exists or is missing.
        """
        try:
            return call(*arguments, **options)
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # each driver raises its own types
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise StoreAway(f"the store {self.address} does not answer: {reason}") from error
