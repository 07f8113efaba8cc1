"""A folder of published models: ``ROOT/NAME/VERSION/``, where a version never changes.

Other stores are in ``stores.py``. Publishing writes a temporary folder beside the target, flushes it to disk
and renames it: a crash at any moment leaves nothing that a reader takes for a bundle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from models_store import golden
from models_store.errors import BundleRefused, ManifestError, UnknownModel, VersionExists
from models_store.limits import MAX_MANIFEST_BYTES
from models_store.manifest import FileEntry, Manifest, decoder_file, encoder_file
from models_store.protobuf import has_external_data
from models_store.regular import NotRegular, open_regular

log = logging.getLogger("anyview")

SHIPPED = Path(__file__).parent / "bundles"
"""The models that come with the project."""

MANIFEST = "manifest.json"
REPORT = "report/"
MAX_REPORT_BYTES = 2**25
"""Largest file of a report, which is one response."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")
READABLE_FOLDER, READABLE_FILE = 0o755, 0o644
"""Modes of what is published: a service may run as another user, and the umask of training has no effect."""
DRAFT = re.compile(r"\.[1-9][0-9]*-[A-Za-z0-9_]+")
STALE_SECONDS = 24 * 3600
"""Age from which the draft of a killed process is removed."""


@dataclass(frozen=True)
class StoredVersion:
    """The files of one version on this machine, not checked yet."""

    folder: Path

    def digest(self) -> str:
        """Return the sha256 of the manifest, which lists the sha256 of every other file.

        Raises:
            BundleRefused: There is no manifest that can be read.
        """
        return hashlib.sha256(_read(self.folder.absolute(), MANIFEST)).hexdigest()

    def open(self) -> Bundle:
        """Open the version and check every file of it.

        Raises:
            BundleRefused: One sentence that names the file and the reason.
        """
        return dataclasses.replace(open_bundle(self.folder), source=self)


@dataclass(frozen=True)
class Bundle:
    """A stored model whose files were all there, with the right checksums, when it was opened.

    Arguments:
        folder: Folder of its files.
        manifest: Parsed manifest.
        digest: sha256 of the bytes of the manifest.
        source: Version that it was opened from; a temporary folder exists as long as this object.
    """

    folder: Path
    manifest: Manifest
    digest: str = ""
    source: StoredVersion | None = None

    def read(self, name: str) -> bytes:
        """Read one file, and check it again, so that the checked bytes are the used ones.

        Raises:
            BundleRefused: The file is missing, altered, or not in the manifest.
        """
        if name not in self.manifest.files:
            raise BundleRefused(f"{_label(self.folder)}: {MANIFEST} does not list {name}")
        return _read_checked(self.folder, name, self.manifest.files[name])


def open_bundle(folder: Path) -> Bundle:
    """Open one version and check every file of it.

    Raises:
        BundleRefused: One sentence that names the file and the reason.
    """
    folder = folder.absolute()
    document = _read(folder, MANIFEST)
    try:
        manifest = Manifest.from_json(document)
    except ManifestError as error:
        raise BundleRefused(f"{_label(folder)}: {error}") from None
    if f"{manifest.name}/{manifest.version}" != _label(folder):
        raise BundleRefused(f"{_label(folder)}: {MANIFEST} says {manifest.name}/{manifest.version}")
    check_listed(_label(folder), manifest, manifest.files)
    for name, entry in manifest.files.items():
        if name.startswith(REPORT) and entry.bytes > MAX_REPORT_BYTES:
            size = entry.bytes
            raise BundleRefused(f"{_label(folder)}: {name} has {size} bytes, and may have {MAX_REPORT_BYTES}")
        content = _read_checked(folder, name, entry)
        if name.endswith(".onnx"):
            _check_self_contained(_label(folder), name, content)
    return Bundle(folder, manifest, hashlib.sha256(document).hexdigest())


def publish(root: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write one version completely or not at all.

    Arguments:
        root: The store.
        manifest: Name, version and the rest; its list of files is filled in here.
        files: By name relative to the bundle, such as ``image.encoder.onnx`` or ``report/card.md``.

    Returns:
        The folder of the new version.

    Raises:
        VersionExists: That version is published already.
        BundleRefused: A file is missing, or has a path that no bundle may have.
    """
    target = root / manifest.name / str(manifest.version)
    if target.exists():
        raise VersionExists(f"{_label(target)} is published already, and a version never changes")
    complete = completed(target, manifest, files)
    for folder in (root, target.parent):
        _make_readable_folder(folder)
    _remove_stale_drafts(target.parent)
    _flush(root)
    # versions() skips a name with a dot, so readers do not open the draft.
    draft = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=target.parent))
    try:
        for name, content in {**files, MANIFEST: complete.to_json()}.items():
            _write_flushed(inside(draft, name), content)
        for path in [draft, *draft.rglob("*")]:
            path.chmod(READABLE_FOLDER if path.is_dir() else READABLE_FILE)
            if path.is_dir():
                _flush(path)
        _rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _flush(target.parent)
    return target


def completed(target: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Return the manifest with its list of files.

    Arguments:
        target: Folder of the version.
        manifest: Without the list.
        files: By name relative to the bundle.

    Raises:
        BundleRefused: A file is missing, or has a path that no bundle may have, or a service would refuse
            the manifest.
    """
    check_listed(_label(target), manifest, files)
    for name in files:
        if inside(target, name) == target / MANIFEST:
            raise BundleRefused(f"{_label(target)}: {MANIFEST} is written by publishing")
    entries = {
        name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        for name, content in files.items()
    }
    complete = manifest.model_copy(update={"files": entries})
    try:
        # Metrics were added without a check; a service must not be the first to refuse them.
        Manifest.from_json(complete.to_json())
    except ManifestError as error:
        raise BundleRefused(f"{_label(target)}: {error}") from None
    return complete


def names(root: Path) -> list[str]:
    """Names of the models that have at least one version, in alphabetical order."""
    return list(published(root))


def published(root: Path) -> dict[str, list[int]]:
    """The versions of every model that has one, oldest first; models in alphabetical order.

    A folder whose name no model can have, such as one that is not UTF-8, is passed over.
    """
    if not root.is_dir():
        return {}
    every = {name: versions(root, name) for name in sorted(_folders(root, NAME))}
    return {name: numbers for name, numbers in every.items() if numbers}


def _folders(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Names of the folders in a folder that match a pattern.

    Raises:
        OSError: The folder is not there or unreadable.
    """
    # One call of the system lists them with their types: a store may hold 100,000.
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if pattern.fullmatch(entry.name) and _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into an unreadable folder
        return False


def versions(root: Path, name: str) -> list[int]:
    """The published versions of a model, oldest first; none if its folder is not there or unreadable."""
    folder = root / name
    try:
        return sorted(map(int, _folders(folder, VERSION)))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _log_unreadable(folder, error.strerror)
        return []


@cache
def _log_unreadable(folder: Path, reason: str) -> None:
    """Logs, once per folder and reason, that a model is passed over."""
    log.warning("passed over %s: %s", folder, reason)


def newest(root: Path, name: str) -> Path:
    """The folder of the newest version.

    Raises:
        UnknownModel: There is no version.
    """
    published = versions(root, name)
    if not published:
        raise UnknownModel(f"no model '{name}' in the store; there are {', '.join(names(root)) or 'none'}")
    return root / name / str(published[-1])


def _label(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def check_listed(label: str, manifest: Manifest, files: Collection[str]) -> None:
    """Check that a list of files has those that every bundle needs.

    Raises:
        BundleRefused: A file is not listed.
    """
    graphs = [file(name) for name in manifest.names for file in (encoder_file, decoder_file)]
    for name in [*graphs, golden.FILE]:
        if name not in files:
            raise BundleRefused(f"{label}: {MANIFEST} does not list {name}")


def _check_self_contained(label: str, name: str, content: bytes) -> None:
    try:
        external = has_external_data(content)
    except ValueError as error:  # a runtime may be more lenient, and read what this check did not
        raise BundleRefused(f"{label}: {name} is no ONNX file: {error}") from None
    if external:
        raise BundleRefused(f"{label}: {name} refers to data outside of its own file")


def inside(folder: Path, name: str) -> Path:
    """Return the path of a bundle's file.

    Raises:
        BundleRefused: The path leaves the folder, be it by a link.
    """
    parts = PurePosixPath(name).parts
    path = folder.joinpath(*parts)
    escapes = not parts or parts[0] == "/" or ".." in parts or "\\" in name or "\0" in name
    if escapes or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise BundleRefused(f"{_label(folder)}: the path '{name}' leaves the bundle's folder")
    return path


def _read(folder: Path, name: str, limit: int = MAX_MANIFEST_BYTES) -> bytes:
    """Read a regular file; a pipe, which would never end, or a device is refused."""
    path = inside(folder, name)
    if folder.is_symlink():  # what it leads to may change, and be of any size
        raise BundleRefused(f"{_label(folder)}: is a symbolic link; a version is a folder, copy it there")
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BundleRefused(f"{_label(folder)}: {name} has {size} bytes, and may have {limit}")
            return file.read()
    except NotRegular:
        raise BundleRefused(f"{_label(folder)}: {name} is no regular file") from None
    except OSError:
        raise BundleRefused(f"{_label(folder)}: {name} is missing or unreadable") from None


def _read_checked(folder: Path, name: str, entry: FileEntry) -> bytes:
    content = _read(folder, name, limit=2**63 - 1)
    if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise BundleRefused(f"{_label(folder)}: {name} is not the file that was published (sha256 differs)")
    return content


def _make_readable_folder(folder: Path) -> None:
    """Make a folder that others may read; the mode of one that exists is its owner's choice."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(READABLE_FOLDER)


def _remove_stale_drafts(folder: Path) -> None:
    """Remove the drafts of processes that were killed while they published."""
    oldest = time.time() - STALE_SECONDS
    for draft in folder.glob(".*-*"):
        with suppress(FileNotFoundError):  # another process has published it in the meantime
            if DRAFT.fullmatch(draft.name) and draft.stat().st_mtime < oldest:
                shutil.rmtree(draft, ignore_errors=True)


def _write_flushed(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError as error:  # another process was first: a rename never replaces a folder with files
        if target.exists():
            raise VersionExists(
                f"{_label(target)} is published already, and a version never changes"
            ) from error
        raise
