"""Lists the files of a data set: Parquet files below a folder, or those of a pattern of paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENDINGS = (".parquet", ".pq")


def has_pattern(text: str) -> bool:
    """Whether a path stands for several files."""
    return any(mark in text for mark in "*?[")


def list_parts(files: Any, path: str) -> tuple[str, Mapping[str, int]]:
    """Lists the Parquet files of a data set; names that begin with a dot or ``_`` are skipped.

    Arguments:
        files: File system of fsspec.
        path: Folder, file, or pattern of paths in it.

    Returns:
        The folder of the data set, and the bytes of each file by its path in the folder, sorted by path.
    """
    folder = path
    if has_pattern(path):
        entries = files.glob(path, detail=True)
        while has_pattern(folder):
            folder = folder.rpartition("/")[0]
    elif files.isfile(path):
        entries = {path: files.info(path)}
        folder = path.rpartition("/")[0]
    else:
        entries = files.find(path, detail=True)
    names = {place.removeprefix(folder).lstrip("/"): entry for place, entry in sorted(entries.items())}
    return folder, {name: entry["size"] for name, entry in names.items() if _is_part(name, entry)}


def _is_part(name: str, entry: Mapping[str, Any]) -> bool:
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    return entry["type"] == "file" and name.lower().endswith(ENDINGS) and not hidden
