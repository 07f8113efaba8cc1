"""Reads tables to observations, and fills their empty cells."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, repeat
from typing import Any, NamedTuple

import numpy as np

from models_store.arrays import Array
from models_store.errors import UnreadableFile, WrongValue, listed
from models_store.manifest import Manifest
from models_store.tables import AddedColumn, ColumnDialect, Dialect, Label, Plan, Table, table_writer
from models_store.tables.dialect import layout_of
from models_store.tables.matching import (
    MatchedTable,
    Place,
    check_every_column,
    full_names,
    read_matched,
)
from models_store.tables.sources import Source
from service.engine.model import Generated
from service.engine.observations import Column, Observations
from service.engine.rules import Rules
from service.engine.summaries import Summary
from service.errors import Unparsable, WrongInput
from service.formats import table_size

FIELDS = ("mean", "quantiles", "probabilities")
"""Summaries that fill an empty cell."""
OBSERVED = "row.observed"
"""Header of the column that marks rows in which nothing is observed; there where a table has such rows."""


def read(rules: Rules, content: bytes) -> Observations:
    """Reads a table of text with a header, in any dialect.

    Raises:
        Unparsable: The content is not a table.
        WrongInput: No column is known, or a cell does not fit.
        TooLarge: There are more rows or cells than one request may have.
    """
    if not content.strip():
        raise WrongInput("the table is empty; its first line must name columns")
    rules.check_rows(max(content.rstrip().count(b"\n"), content.rstrip().count(b"\r")))
    table_size.check(rules, content)
    with _refused():
        matched = read_matched(rules.manifest, content, where="the body").whole()
    return observed(matched)


def observed(sent: MatchedTable) -> Observations:
    """Reads the rows of a table; a row whose cells of a modality are all empty lacks the modality.

    Raises:
        WrongInput: A cell does not fit; the text names the row.
    """
    with _refused():
        columns = {name: Column.masked(*rows) for name, rows in sent.observed().items()}
    return Observations(columns, len(sent.rows), sent, sent.first_row)


def check_known(manifest: Manifest, sent: MatchedTable) -> None:
    """Refuses a table with a column that neither the model nor the tables that trained it have.

    Raises:
        WrongInput: There is such a column.
    """
    with _refused():
        check_every_column(manifest, sent)


@contextmanager
def _refused() -> Iterator[None]:
    """Turns an error of a table into the refusal of a request."""
    try:
        yield
    except UnreadableFile as error:
        raise Unparsable(str(error)) from None
    except WrongValue as error:
        raise WrongInput(str(error)) from None


# --- filling -------------------------------------------------------------------------------------------


class FilledRow(NamedTuple):
    """A row of a table with its gaps filled; see :meth:`models_store.tables.Writer.append`."""

    row: Sequence[Any]
    fills: dict[int, Any]
    added: Sequence[Any]


@dataclass(frozen=True)
class _Addition:
    """A column beside those of the table: a value, a bound of one, or the mark of a row."""

    column: AddedColumn
    place: Place | None
    part: int
    at: int | None


@dataclass(frozen=True)
class Filling:
    """A table to fill.

    Arguments:
        sent: Table that was sent; for another media type, one without columns.
        observations: Rows of the request.
        further: Columns of the model that the table lacks and gets.
        targets: Names of the modalities that fill it.
        mark: Whether a column marks the rows in which nothing is observed.
        bounds: Whether columns with bounds follow.
    """

    sent: MatchedTable
    observations: Observations
    further: tuple[Place, ...]
    targets: tuple[str, ...]
    mark: bool
    bounds: bool = True

    @property
    def present(self) -> Array:
        """Mask of the rows in which something is observed, (n,)."""
        return present(self.observations)

    def rows(self, before: int = 0) -> Observations:
        """Rows in which something is observed, as a request of their own.

        Arguments:
            before: Number of such rows before the first of these, where they are a piece of a table.
        """
        if self.observations.table is None:
            return self.observations
        rows = np.flatnonzero(self.present)
        columns = {
            name: Column.masked(column.values[rows], column.present[rows])
            for name, column in self.observations.columns.items()
        }
        return Observations(columns, len(rows), self.sent, before)

    def plan(self, dialect: Dialect | None = None) -> Plan:
        """What is written: the table, and the further columns."""
        table = self.sent.table
        added = tuple(addition.column for addition in self._additions())
        return Plan(table.source, dialect or table.dialect, tuple(self.sent.places), added)

    def fill(self, estimate: Callable[[Place], Sequence[Sequence[Any]] | None]) -> Iterator[FilledRow]:
        """Yields the rows with their gaps filled.

        Arguments:
            estimate: Returns value and bounds of a column for every row in which something is observed; None
                where the column is not to be filled.
        """
        number = np.cumsum(self.present) - 1
        values = {at: self._values(at, estimate(place), number) for at, place in self.sent.places.items()}
        beside = {place: _beside(place, self.observations, estimate(place), number) for place in self.further}
        firsts = [[parts[0] for parts in column] for column in values.values()]
        added = [self._added(addition, values, beside) for addition in self._additions()]
        for cells, new, more in zip(self.sent.rows, _rows(firsts), _rows(added), strict=False):
            fills = {at: value for at, value in zip(values, new, strict=True) if value is not _SENT}
            yield FilledRow(cells, fills, more)

    def _added(
        self,
        addition: _Addition,
        values: Mapping[int, Sequence[Sequence[Any]]],
        beside: Mapping[Place, Sequence[Sequence[Any]]],
    ) -> list[Any]:
        """An added column, by row."""
        if addition.place is None:
            return ["true" if present else "false" for present in self.present]
        if addition.at is None:
            return [parts[addition.part] for parts in beside[addition.place]]
        parts = [parts[addition.part] for parts in values[addition.at]]
        rows = zip(parts, self.sent.rows, strict=True)
        return [cells[addition.at] if part is _SENT else part for part, cells in rows]

    def _values(
        self, at: int, estimates: Sequence[Sequence[Any]] | None, number: Array
    ) -> list[Sequence[Any]]:
        """Value and bounds of a column by row; ``_SENT`` where the cell of the table stands."""
        place = self.sent.places[at]
        certain = [_SENT, 1] if place.labels is not None else [_SENT, _SENT, _SENT]
        nothing = [_SENT, None, None]
        present, rows = self.present, list[Sequence[Any]]()
        for row, gap in enumerate(self.sent.missing(at)):
            if not gap:
                rows.append(certain)
            elif estimates is None or not present[row]:
                rows.append(nothing)
            elif place.cell is None:
                sent = self.sent.rows[row][at]
                rows.append([_merged(sent, part) for part in estimates[number[row]]])
            else:
                rows.append(estimates[number[row]])
        return rows

    def _additions(self) -> list[_Addition]:
        dialect = self.sent.table.dialect
        usual = ColumnDialect(header="", name="", content="number", decimal=layout_of(dialect).decimal or ".")
        additions = []
        for place in self.further:
            like = usual if place.labels is None else None
            additions.append(_Addition(AddedColumn(place.name, _content(place), like), place, 0, None))
        if self.bounds:
            columns = [(at, place, dialect.headers[at]) for at, place in self.sent.places.items()]
            for at, place, header in [*columns, *((None, place, place.name) for place in self.further)]:
                like = usual if at is None or place.labels is not None else dialect.columns[at]
                for part, suffix in enumerate(_suffixes(place), start=1):
                    content = "vector" if place.cell is None else "number"
                    column = AddedColumn(f"{header}.{suffix}", content, like)  # type: ignore[arg-type]
                    additions.append(_Addition(column, place, part, at))
        there = {*dialect.headers}  # a table that was filled before has some of them
        if self.mark:
            mark = next(name for n in count(1) if (name := OBSERVED + f".{n}" * (n > 1)) not in there)
            additions.append(_Addition(AddedColumn(mark, "text"), None, 0, None))
        return [addition for addition in additions if addition.column.header not in there]


_SENT: Any = object()
"""In the place of a value: the cell as it was sent."""


def filling(
    manifest: Manifest,
    observations: Observations,
    targets: Sequence[str],
    *,
    mark: bool | None = None,
    bounds: bool = True,
) -> Filling:
    """Returns the table to fill, and the modalities that fill it.

    A table that was sent keeps its columns, and gets columns for further targets. For another media type, the
    table has the columns of the observed modalities and of the targets.

    Arguments:
        manifest: Manifest of the model.
        observations: Observations of the request, from a table or not.
        targets: Names of modalities, or ``all``.
        mark: Whether a column marks rows in which nothing is observed; None: where there are some.
        bounds: Whether columns with bounds follow.

    Raises:
        WrongInput: A target does not fit into a table, or nothing is observed in any row.
    """
    sent = observations.table or _without_columns(observations.n)
    there = {place.modality.name for place in sent.places.values()}
    tabular = [name for name in manifest.names if manifest.modality(name).traits.tabular]
    unfit = [name for name in targets if name in manifest.names and name not in tabular]
    if unfit or not tabular:
        raise WrongInput(
            "a table holds vectors, counts, categories and rows of mixed columns, "
            f"but {listed(unfit or manifest.names)} is none of them"
        )
    everything = list(targets) == ["all"]
    requested = [] if everything and observations.table else tabular if everything else targets
    shown = {*there, *requested, *(() if observations.table else observations.columns)}
    further = tuple(
        Place(modality, cell)
        for modality in map(manifest.modality, tabular)
        if modality.name in shown - there
        for cell in range(len(full_names(modality)))
    )
    filled = tuple(sorted(shown & set(tabular)) if everything else targets)
    if mark is None:
        some = present(observations)
        if observations.columns and not some.any():
            raise WrongInput(f"no row of the table has anything observed of {listed(observations.columns)}")
        mark = observations.table is not None and not some.all()
    return Filling(sent, observations, further, filled, mark, bounds)


def present(observations: Observations) -> Array:
    """Mask of the rows in which something is observed, (n,); all, if the request has no modality."""
    if not observations.columns:
        return np.ones(observations.n, bool)
    return np.any([column.present for column in observations.columns.values()], axis=0)


def means(generated: Generated) -> Callable[[Place], Sequence[Sequence[Any]] | None]:
    """Estimates for :meth:`Filling.fill`: the mean and bounds of 90 %, or the label and its probability."""

    def estimate(place: Place) -> Sequence[Sequence[Any]] | None:
        summary = _summary(place, generated)
        if summary is None:
            return None
        if place.labels is not None:
            best = summary["probabilities"].max(axis=1)
            pairs = zip(summary["ranked"][:, 0], best, strict=True)
            return [[Label(label), float(probability)] for label, probability in pairs]
        cell = slice(None) if place.cell is None else place.cell
        quantiles = summary["quantiles"]
        parts = (summary["mean"][:, cell], quantiles[:, 0, cell], quantiles[:, -1, cell])
        return list(zip(*(part.tolist() for part in parts), strict=True))

    return estimate


def _summary(place: Place, generated: Generated) -> Summary | None:
    """Summary of a modality, or of a column with labels of the kind table; None where it is no target."""
    summary = generated.targets.get(place.modality.name)
    if summary is None or place.column is None or place.column.labels is None:
        return summary
    return summary["labelled"][place.column.name]


def draws(generated: Generated, number: int) -> Callable[[Place], list[list[Any]] | None]:
    """Estimates for :meth:`Filling.fill`: draw ``number`` of every row, all of its cells from one z."""

    def estimate(place: Place) -> list[list[Any]] | None:
        summary = generated.targets.get(place.modality.name)
        if summary is None:
            return None
        drawn = summary["samples"][:, number]
        cells = drawn if drawn.ndim == 1 else drawn[:, slice(None) if place.cell is None else place.cell]
        if labels := place.labels:
            return [[Label(labels[int(index)])] for index in cells]
        return [[value] for value in cells.tolist()]

    return estimate


def to_text(filling: Filling, generated: Generated) -> bytes:
    """The filled table as it was sent."""
    stream = io.BytesIO()
    with table_writer(stream, filling.plan()) as writer:
        for filled in filling.fill(means(generated)):
            writer.append(*filled)
    return stream.getvalue()


class _NoColumns(Source):
    """Rows without cells."""

    headers = ()
    typed = False

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def rows(self) -> Iterator[Sequence[Any]]:
        return iter([()] * self._rows)


def _without_columns(rows: int) -> MatchedTable:
    return replace(MatchedTable(Table("", Dialect(), (), _NoColumns(rows)), {}), rows=[()] * rows)


def _rows(columns: Sequence[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    """The rows of some columns of equal length; without columns, empty rows without end."""
    return zip(*columns, strict=True) if columns else repeat(())


def _beside(
    place: Place, observations: Observations, estimates: Sequence[Sequence[Any]] | None, number: Array
) -> list[Sequence[Any]]:
    """Value and bounds of a column that the table lacks, by row: as sent in another form, or estimates."""
    column = observations.columns.get(place.modality.name)
    labels, some = place.labels, present(observations)
    rows: list[Sequence[Any]] = []
    for row in range(observations.n):
        if column is not None and column.present[row]:
            value = column.values[row].ravel()[place.cell]
            if not np.isnan(value):
                rows.append([float(value)] * 3 if labels is None else [Label(labels[int(value)]), 1])
                continue
        rows.append([None, None, None] if estimates is None or not some[row] else estimates[number[row]])
    return rows


def _merged(sent: Any, part: Any) -> Any:
    """A list with its gaps filled."""
    if not isinstance(sent, list | tuple) or not isinstance(part, list):
        return part
    return [
        cell if cell is not None and cell == cell else other for cell, other in zip(sent, part, strict=True)
    ]


def _content(place: Place) -> Any:
    return "text" if place.labels is not None else "number"


def _suffixes(place: Place) -> tuple[str, ...]:
    return ("probability",) if place.labels is not None else ("low", "high")
