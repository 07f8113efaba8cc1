"""Cases: rows of several files that belong together, by a key column or by their position."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from models_store.arrays import Array
from training.errors import DataError, ExperimentError
from training.tables.files import Block, File, some_of, texts

LOGGER = logging.getLogger(__name__)
NO_CASE = -1
"""Number of a row without a key, which belongs to no case."""
_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?", re.ASCII)


@dataclass(frozen=True)
class Cases:
    """Number of the case of each row of each file.

    Arguments:
        headers: By file, the header of its key column; none where rows are joined by their position.
        numbers: By key, the number of the case, in order of first appearance.
        alike: Whether ``1``, ``1.0`` and ``001``, ``a`` and ``A`` are one key.
        rows: Number of cases where there is no key.
        shared: By pair of files, the number of cases that have rows in both.
        without: By file, the number of rows without a key.
        unmatched: By file, the keys that no other file has, as it writes them.
    """

    headers: Mapping[Path, str]
    numbers: Mapping[str, int]
    alike: bool
    rows: int
    shared: Mapping[tuple[Path, Path], int]
    without: Mapping[Path, int]
    unmatched: Mapping[Path, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers) if self.headers else self.rows

    def blocks(self, file: File, fields: Sequence[str]) -> Iterator[tuple[Array, Block]]:
        """The blocks of a file, each with the cases of its rows; ``NO_CASE`` for a row without a key."""
        start = 0
        header = self.headers.get(file.path)
        for block in file.blocks([*fields, *([header] if header else [])]):
            if header:
                keys = _keys(block, header, self.alike)
                yield np.array([NO_CASE if key is None else self.numbers[key] for key in keys]), block
            else:
                size = len(block[fields[0]])
                yield np.arange(start, start + size), block
                start += size


def load_keys(files: Sequence[File], key: str | None) -> Cases:
    """Numbers the cases of some files; the first of the two passes.

    Arguments:
        files: The files.
        key: Header of the key column; case, blanks and punctuation may differ from file to file.

    Raises:
        ExperimentError: The files do not fit together.
        DataError: A key occurs more than once in a file, or no key is in two files.
    """
    if key is None:
        rows = {str(file.path): file.rows for file in files}
        if len(set(rows.values())) > 1:
            raise ExperimentError(f"files without data.key must have the same number of rows, got {rows}")
        pairs = combinations([file.path for file in files], 2)
        return Cases({}, {}, False, files[0].rows, dict.fromkeys(pairs, files[0].rows), {})
    headers = {file.path: _header(file, key) for file in files}
    spelled = {
        file.path: [
            text for block in file.blocks([headers[file.path]]) for text in _keys(block, headers[file.path])
        ]
        for file in files
    }
    alike = all(_repeated(_canonical(keys)) is None for keys in spelled.values())
    keys_of_files = {path: _canonical(keys) if alike else keys for path, keys in spelled.items()}
    numbers: dict[str, int] = {}
    for path, keys in keys_of_files.items():
        if (twice := _repeated(keys)) is not None:
            written = spelled[path][keys.index(twice)]
            raise DataError(f"{path}: the key '{written}' occurs more than once in '{headers[path]}'")
        for one in keys:
            if one is not None:
                numbers.setdefault(one, len(numbers))
    without = {path: n for path, keys in spelled.items() if (n := keys.count(None))}
    for path, count in without.items():
        LOGGER.warning("%s: '%s' is empty in %d rows, which are left out", path, headers[path], count)
    unmatched = _unmatched(keys_of_files, spelled) if len(files) > 1 else {}
    shared = _shared(keys_of_files, spelled, headers)
    return Cases(headers, numbers, alike, 0, shared, without, unmatched)


def plain(header: str) -> str:
    """A header without case, blanks and punctuation."""
    return "".join(filter(str.isalnum, header.casefold()))


def _header(file: File, key: str) -> str:
    """The column of a file that a key names."""
    if key in file.shapes:
        return key
    alike = [header for header in file.shapes if plain(header) == plain(key)]
    if len(alike) != 1:
        raise ExperimentError(f"data.key: {file.path} has no column '{key}', it has {some_of(file.shapes)}")
    return alike[0]


def _shared(
    keys: Mapping[Path, Sequence[str | None]],
    spelled: Mapping[Path, Sequence[str | None]],
    headers: Mapping[Path, str],
) -> dict[tuple[Path, Path], int]:
    """By pair of files, the number of keys in both.

    Arguments:
        keys: By file, its keys.
        spelled: The same, as the file writes them.
        headers: By file, the header of its key column.

    Raises:
        DataError: No key is in two files.
    """
    present = {path: set(some) - {None} for path, some in keys.items()}
    shared = {pair: len(present[pair[0]] & present[pair[1]]) for pair in combinations(keys, 2)}
    if shared and not any(shared.values()):
        examples = " and ".join(
            f"{path} has {some_of(sorted({text for text in some if text})[:3])}"
            for path, some in list(spelled.items())[:3]
        )
        raise DataError(
            f"no value of '{next(iter(headers.values()))}' is in two of the files, so that nothing joins "
            f"them: {examples}; make the keys equal"
        )
    return shared


def _unmatched(
    keys: Mapping[Path, Sequence[str | None]], spelled: Mapping[Path, Sequence[str | None]]
) -> dict[Path, list[str]]:
    """By file, the keys that no other file has, in its order and as it writes them."""
    holders = Counter(key for some in keys.values() for key in some)
    single = {
        path: [text for key, text in zip(some, spelled[path], strict=True) if text and holders[key] == 1]
        for path, some in keys.items()
    }
    return {path: some for path, some in single.items() if some}


def _keys(block: Block, header: str, alike: bool = False) -> Sequence[str | None]:
    keys = texts(block[header])
    return _canonical(keys) if alike else keys


def _canonical(keys: Sequence[str | None]) -> list[str | None]:
    """Keys without leading zeros, ``.0`` and case."""
    return [None if key is None else _one_canonical(key) for key in keys]


def _one_canonical(key: str) -> str:
    match = _WHOLE.fullmatch(key)
    return f"{match[1].replace('+', '')}{match[2]}" if match else key.casefold()


def _repeated(keys: Sequence[str | None]) -> str | None:
    """A key that occurs more than once."""
    return next((key for key, times in Counter(keys).items() if key is not None and times > 1), None)
