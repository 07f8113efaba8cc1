"""Which column of a table is which cell of which modality, and the rows of modalities in its cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from models_store import kinds
from models_store.arrays import Array
from models_store.errors import InputRefused, WrongValue, listed
from models_store.kinds import category
from models_store.kinds.fields import Column
from models_store.kinds.mixed import checked_numbers
from models_store.manifest import Manifest, Modality
from models_store.tables.cells import number
from models_store.tables.dialect import normal
from models_store.tables.known import Content, KnownTables
from models_store.tables.table import Block, Table, read_known

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Place of a table's column in a model.

    Arguments:
        modality: Modality of the column.
        cell: Index in a row of the modality; None for a column of lists, which are whole rows.
    """

    modality: Modality
    cell: int | None

    @property
    def name(self) -> str:
        """Full name of the column: that of the modality, or ``modality.column``."""
        return full_names(self.modality)[self.cell or 0] if self.cell is not None else self.modality.name

    @property
    def content(self) -> Content:
        """Content of the column's cells."""
        if self.labels is not None:
            return self.labels
        return "number" if self.cell is not None else self.modality.shape[0]

    @property
    def column(self) -> Column | None:
        """Description of the column, where the modality has one of each."""
        return self.modality.columns[self.cell] if self.modality.columns and self.cell is not None else None

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Labels of the column; None where it holds numbers."""
        return self.modality.labels or (self.column.labels if self.column else None)


@dataclass(frozen=True)
class MatchedTable:
    """A table, or some of its rows, of which columns are cells of a model.

    Arguments:
        table: The table, whose columns are described as the model reads them.
        places: Place of each column that the model reads, by the column's position.
        rows: Rows of the table as the file has them.
        first_row: Index of the first of these rows in the whole table.
    """

    table: Table
    places: Mapping[int, Place]
    rows: Sequence[Sequence[object]] = ()
    first_row: int = 0

    @property
    def headers(self) -> tuple[str, ...]:
        return self.table.dialect.headers

    def pieces(self, rows: int) -> Iterator[MatchedTable]:
        """All rows of the table, some at a time."""
        for block in self.table.blocks(rows):
            yield replace(self, rows=block.rows, first_row=block.first_row)

    def whole(self) -> MatchedTable:
        """All rows at once."""
        return replace(self, rows=list(self.table.source.rows()))

    def observed(self) -> dict[str, tuple[Array, Array]]:
        """Rows, (n, *shape), and the mask of those that are observed, (n,), of every modality of the table.

        Raises:
            WrongValue: A cell does not fit; the text names its row and column.
        """
        block = self._block
        positions: dict[str, dict[int | None, int]] = {}
        for at, place in self.places.items():
            positions.setdefault(place.modality.name, {})[place.cell] = at
        modalities = {place.modality.name: place.modality for place in self.places.values()}
        return {name: _reader(one)(one, positions[name], block) for name, one in modalities.items()}

    def missing(self, column: int) -> list[bool]:
        """Which cells of a column are missing, by row; a list is where one of its numbers is."""
        place = self.places[column]
        if place.cell is not None and not isinstance(place.content, str):
            return [text is None for text in self._block.texts(column)]
        gaps = np.atleast_2d(np.isnan(self._block.numbers(column)).T)
        return list(np.logical_or.reduce(gaps, axis=0).tolist())

    @cached_property
    def _block(self) -> Block:
        return Block(self.table, self.first_row, self.rows)


def full_names(modality: Modality) -> list[str]:
    """Full names of the columns of a modality."""
    if modality.labels is not None:
        return [modality.name]
    return [f"{modality.name}.{column}" for column in modality.column_names]


def read_matched(
    manifest: Manifest, content: Path | bytes, keep: Collection[str] = (), where: str | None = None
) -> MatchedTable:
    """Opens a table and matches its columns with those of a model.

    Arguments:
        manifest: Manifest of the model.
        content: A file, or its bytes.
        keep: Headers of columns that are not read, though the model may know them.
        where: The file, for messages; default: its path.

    Raises:
        UnreadableFile: It is no table, or damaged.
        WrongValue: No column is known, a header is ambiguous, or two headers are of one column.
    """
    names = _names(_Identity(manifest))

    def contents(headers: Sequence[str]) -> Sequence[Content]:
        places = names.places(headers, keep)
        return [places[at].content if at in places else None for at in range(len(headers))]

    table = read_known(content, names.tables, contents, where or str(content))
    places = names.places(table.dialect.headers, keep)
    if not places:
        unknown = [header for header in table.dialect.headers if header not in keep]
        raise WrongValue(f"{_unknown(unknown[:1] or keep)}; there are {listed(names.listed())}")
    return MatchedTable(table, places)


def check_every_column(manifest: Manifest, matched: MatchedTable) -> None:
    """Refuses a table with a column that neither the model nor the tables that trained it have.

    Raises:
        WrongValue: There is such a column.
    """
    for header in untrained_columns(manifest, matched)[:1]:
        raise WrongValue(f"{_unknown([header])}; there are {listed(_names(_Identity(manifest)).listed())}")


def untrained_columns(manifest: Manifest, matched: MatchedTable) -> list[str]:
    """Headers that neither the model nor the tables that trained it have."""
    trained = frozenset[str]().union(*(table.headers for table in manifest.tables))
    others = (header for at, header in enumerate(matched.headers) if at not in matched.places)
    return [header for header in others if normal(header) and normal(header) not in trained]


def _unknown(headers: Collection[str]) -> str:
    return f"unknown column {listed(headers)} of the table"


class _Names:
    """Names by which the columns of a model are known.

    A header of a training table comes first; then the full name, then the column alone where it is unique.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._fields: dict[str, list[Place]] = {}
        self._full: dict[str, Place] = {}
        self._alone: dict[str, list[Place]] = {}
        for modality in manifest.modalities:
            if modality.traits.tabular:
                self._add(modality)
        headers = frozenset((*self._fields, *self._full, *self._alone))
        self.tables = KnownTables(headers, manifest.tables)

    def _add(self, modality: Modality) -> None:
        fields: list[str | None] = [modality.field]
        places = [Place(modality, 0)]
        if modality.columns is not None:
            fields = [column.field or column.name for column in modality.columns]
        elif modality.field is not None and modality.labels is None and self._manifest.tables:
            self._fields.setdefault(normal(modality.field), []).append(Place(modality, None))
            fields = []
        if modality.labels is None:
            places = [Place(modality, cell) for cell in range(len(full_names(modality)))]
        if self._manifest.tables:
            for field, place in zip(fields, places, strict=False):
                if field is not None:
                    self._fields.setdefault(normal(field), []).append(place)
        for name, place in zip(full_names(modality), places, strict=True):
            self._full[name] = place
            alone = name if modality.labels is not None else name.removeprefix(f"{modality.name}.")
            self._alone.setdefault(normal(alone), []).append(place)

    def listed(self) -> list[str]:
        """Names for messages: at most 20."""
        return list(self._full)[:20]

    def places(self, headers: Sequence[str], keep: Collection[str]) -> dict[int, Place]:
        """The place of each column that the model has, by position.

        Raises:
            WrongValue: A header is ambiguous, or two headers are of one column.
        """
        table = self.tables.best(headers)
        trained = table.headers if table else frozenset[str]()
        modalities: Collection[str] = table.modalities if table else ()
        places = {}
        for at, header in enumerate(headers):
            if header not in keep and (place := self._place(normal(header), trained, modalities)):
                places[at] = place
        taken: dict[tuple[str, int | None], str] = {}
        for at, place in places.items():
            key = (place.modality.name, place.cell)
            if key in taken:
                raise WrongValue(f"columns '{taken[key]}' and '{headers[at]}' of the table are the same")
            taken[key] = headers[at]
        return places

    def _place(self, header: str, trained: Collection[str], modalities: Collection[str]) -> Place | None:
        places = self._fields.get(header, [])
        if header in trained:  # of several files with this header, that which the table is most like
            places = [place for place in places if place.modality.name in modalities]
            return _only(header, places)
        if header in self._full:
            return self._full[header]
        return _only(header, self._alone.get(header, []) or places)


def _only(header: str, places: Sequence[Place]) -> Place | None:
    if len(places) > 1:
        choices = listed(place.name for place in places)
        raise WrongValue(f"column '{header}' of the table could be {choices}; write one of these")
    return places[0] if places else None


class _Identity:
    """A manifest as a key: equal to itself alone."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def __hash__(self) -> int:
        return id(self.manifest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.manifest is self.manifest


@lru_cache(maxsize=16)
def _names(key: _Identity) -> _Names:
    return _Names(key.manifest)


# --- cells ---------------------------------------------------------------------------------------------


def _reader(modality: Modality) -> Callable[..., tuple[Array, Array]]:
    if modality.traits.mixed:
        return _mixed
    return _categories if modality.labels is not None else _numbers


def _categories(modality: Modality, positions: Mapping[int | None, int], block: Block) -> tuple[Array, Array]:
    indices = _indices(modality.labels or (), positions[0], block)
    present = ~np.isnan(indices)
    return np.where(present, indices, 0).astype(modality.numpy_dtype), present


def _mixed(modality: Modality, positions: Mapping[int | None, int], block: Block) -> tuple[Array, Array]:
    cells = np.full((len(block.rows), *modality.shape), np.nan)
    for cell, at in positions.items():
        column = Place(modality, cell).column
        if column is not None and column.labels:
            cells[:, cell] = _indices(column.labels, at, block)
        elif column is not None:
            where = f"columns of '{modality.name}'"
            cells[:, cell] = _located(where, partial(checked_numbers, column, block.numbers(at)))
    return cells.astype(modality.numpy_dtype), ~np.isnan(cells).all(axis=1)


def _indices(labels: tuple[str, ...], at: int, block: Block) -> Array:
    """Indices of the labels in a column of a table, NaN where missing: (n,)."""
    header = block.table.dialect.columns[at].header
    texts = block.texts(at)
    by_number = _labels_by_number(labels)
    indices: dict[str | None, float] = {None: math.nan}
    for row, text in enumerate(texts):
        if text in indices or text is None:
            continue
        value = number(text)
        if value in by_number and text not in labels:
            indices[text] = by_number[value]
        else:
            where = f"row {block.first_row + row} (counted from 0), column '{header}'"
            indices[text] = _located(where, partial(_index_of_cell, text, labels))
    return np.array([indices[text] for text in texts], np.float64)


def _index_of_cell(text: str, labels: tuple[str, ...]) -> int:
    """Index of the label in a cell.

    Raises:
        WrongValue: It is no label; the text ends with what to do.
    """
    try:
        return category.index_of(text, labels)
    except WrongValue as error:
        further = 'make the column counts (kind = "counts") or ' if _labels_by_number(labels) else ""
        raise WrongValue(
            f"{error}; leave the cell empty to have the label filled; to know further ones, {further}"
            "train on rows that have them"
        ) from None


def _labels_by_number(labels: Sequence[str]) -> Mapping[float | None, int]:
    """Indices of labels that all read as different numbers, by number."""
    values = [number(label) for label in labels]
    if None in values or len({*values}) < len(labels):
        return {}
    return {value: index for index, value in enumerate(values)}


def _numbers(modality: Modality, positions: Mapping[int | None, int], block: Block) -> tuple[Array, Array]:
    cells = np.full((len(block.rows), *modality.shape), np.nan)
    for cell, at in positions.items():
        cells[:, slice(None) if cell is None else cell] = block.numbers(at)
    present = ~np.isnan(cells).all(axis=1)
    values = np.zeros(cells.shape, modality.numpy_dtype)
    where = f"columns of '{modality.name}'"
    values[present] = _located(where, lambda: kinds.rows(modality, cells[present]))
    return values, present


def _located(where: str, read: Callable[[], T]) -> T:
    """Calls a function; its errors begin with a place.

    Raises:
        WrongValue: The function refuses its input.
    """
    try:
        return read()
    except InputRefused as error:
        raise WrongValue(f"{where}: {error}") from None
