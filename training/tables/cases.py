"""Which rows of several files are of one case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_store.arrays import Array
from training.errors import DataError, ExperimentError
from training.tables.files import Block, File, some_of, texts


@dataclass(frozen=True)
class Cases:
    """Which case each row of each file belongs to.

    Arguments:
        key: The field that says so, if any.
        numbers: By its value, the number of the case, in order of first appearance.
        rows: The number of cases where there is no key.
    """

    key: str | None
    numbers: Mapping[str, int]
    rows: int

    def __len__(self) -> int:
        return len(self.numbers) if self.key else self.rows

    def blocks(self, file: File, fields: Sequence[str]) -> Iterator[tuple[Array, Block]]:
        """The blocks of a file, each with the cases of its rows."""
        start = 0
        for block in file.blocks([*fields, *([self.key] if self.key else [])]):
            if self.key:
                yield np.array([self.numbers[value] for value in _keys(file, self.key, block)]), block
            else:
                size = len(block[fields[0]])
                yield np.arange(start, start + size), block
                start += size


def load_keys(files: Sequence[File], key: str | None) -> Cases:
    """Counts the cases of some files; the first of the two passes.

    Raises:
        ExperimentError: The files do not fit together.
        DataError: A key is empty, or occurs more than once in a file.
    """
    if key is None:
        rows = {str(file.path): file.rows for file in files}
        if len(set(rows.values())) > 1:
            raise ExperimentError(f"files without data.key must have the same number of rows, got {rows}")
        return Cases(None, {}, files[0].rows)
    numbers_of_cases: dict[str, int] = {}
    for file in files:
        if key not in file.shapes:
            raise ExperimentError(
                f"data.key: {file.path} has no column '{key}', it has {some_of(file.shapes)}"
            )
        seen: set[str] = set()
        for block in file.blocks([key]):
            for value in _keys(file, key, block):
                if value in seen:
                    raise DataError(f"{file.path}: the key '{value}' occurs more than once in '{key}'")
                seen.add(value)
                numbers_of_cases.setdefault(value, len(numbers_of_cases))
    return Cases(key, numbers_of_cases, 0)


def _keys(file: File, key: str, block: Block) -> list[str]:
    positions = texts(block[key])
    if None in positions:
        raise DataError(f"{file.path}: the key '{key}' is empty in a row")
    return [value for value in positions if value is not None]
