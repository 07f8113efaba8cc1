"""Files at a path or at an address of fsspec, such as ``s3://bucket/rows``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models_store.errors import ModelsStoreError, first_line
from service.errors import NotReady, Refusal, WrongInput


class Location(NamedTuple):
    """A path in a file system of fsspec.

    Arguments:
        files: The file system.
        path: The path, as the file system has it.
    """

    files: Any
    path: str

    @property
    def is_local(self) -> bool:
        return isinstance(self.files, LocalFileSystem)

    @property
    def address(self) -> str:
        """The path, or the address with its protocol."""
        return self.path if self.is_local else str(self.files.unstrip_protocol(self.path))

    def __truediv__(self, name: str) -> Location:
        return Location(self.files, f"{self.path.rstrip('/')}/{name}")

    @property
    def draft(self) -> Location:
        """Path of the file while it is incomplete: beside it, with a name that readers of data sets skip."""
        folder, _, name = self.path.rpartition("/")
        return Location(self.files, f"{folder}/.{name}.part")


def locate(address: str) -> Location:
    """The place at an address.

    Raises:
        WrongInput: The driver of such an address is not installed.
    """
    try:
        # A cached listing would hide files of other processes.
        files, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        extra = "; pip install 'anyview[s3]'" if address.startswith("s3:") else ""
        raise WrongInput(f"{address} cannot be opened: {error}{extra}") from None
    return Location(files, path.rstrip("/") or path)


@contextmanager
def answering(location: Location) -> Iterator[None]:
    """Turns errors of a driver into one sentence; those of local files stay as they are.

    Raises:
        NotReady: The driver failed; the text names the address.
    """
    try:
        yield
    except (Refusal, ModelsStoreError):
        raise
    except OSError as error:
        if location.is_local:
            raise
        raise NotReady(f"{location.address}: {first_line(error)}") from error
    except Exception as error:  # each driver raises its own types
        raise NotReady(f"{location.address} does not answer: {first_line(error)}") from error


def fetch(location: Location, folder: Path) -> Path:
    """A local file with the content: the file itself, or a copy in a folder.

    Raises:
        NotReady: The file cannot be read.
    """
    if location.is_local:
        return Path(location.path)
    copy = folder / "source.parquet"
    with answering(location):
        location.files.get_file(location.path, str(copy))
    return copy


@contextmanager
def written(targets: Sequence[Location], folder: Path) -> Iterator[Sequence[Path]]:
    """Yields local files, which appear at the targets when all are complete.

    Arguments:
        targets: Places of the files, all in one file system.
        folder: Folder for files whose target is not local.

    Raises:
        NotReady: A target cannot be written.
    """
    drafts = []
    for number, target in enumerate(targets):
        draft = Path(target.draft.path) if target.is_local else folder / f"{number}.parquet"
        draft.parent.mkdir(parents=True, exist_ok=True)
        drafts.append(draft)
    try:
        yield drafts
        for draft, target in zip(drafts, targets, strict=True):
            with answering(target):
                if not target.is_local:
                    target.files.put_file(str(draft), target.draft.path)
                target.files.mv(target.draft.path, target.path)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def write_bytes(location: Location, content: bytes) -> None:
    """Replaces a file at once.

    Raises:
        NotReady: The file cannot be written.
    """
    with answering(location):
        location.files.makedirs(location.path.rpartition("/")[0], exist_ok=True)
        location.files.pipe_file(location.draft.path, content)
        location.files.mv(location.draft.path, location.path)
