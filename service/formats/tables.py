"""Reads tables to observations, and fills their empty cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models_store import kinds
from models_store.arrays import Array
from models_store.errors import listed
from models_store.kinds import table
from models_store.manifest import Manifest, Modality
from service.engine.model import Generated
from service.engine.observations import Column, Observations, Table
from service.engine.rules import Rules
from service.errors import TooLarge, WrongInput, located

FIELDS = ("mean", "quantiles", "probabilities")
"""Summaries that fill an empty cell."""


@dataclass(frozen=True)
class Place:
    """Place of a table's column in the model.

    Arguments:
        modality: Modality of the column.
        cell: Index in a row of the modality.
    """

    modality: Modality
    cell: int


def read(rules: Rules, content: bytes) -> Table:
    """Reads a CSV table with a header.

    Raises:
        Unparsable: The content is not a table.
        WrongInput: There is no header.
        TooLarge: There are more rows or cells than one request may have.
    """
    rules.check_rows(max(content.rstrip().count(b"\n"), content.rstrip().count(b"\r")))
    cells = rules.limits.rows * (len(_columns(rules.manifest)[0]) + 1)
    if content.count(b",") > cells:
        raise TooLarge(f"the table has more than the {cells} cells that one request may have")
    lines: list[list[str]] = located(
        "the body", lambda: list(table.read_csv(table.as_text(io.BytesIO(content))))
    )
    if not lines:
        raise WrongInput("the table is empty; its first line must name columns")
    return Table(tuple(lines[0]), lines[1:])


def places(manifest: Manifest, sent: Table) -> dict[int, Place]:
    """Returns the place of each column of a table, by the column's index.

    A column has the name ``modality.column``, or ``column`` where only one modality has it.

    Arguments:
        manifest: Manifest of the model.
        sent: Table; its columns ``keep`` are skipped.

    Raises:
        WrongInput: A name is unknown, ambiguous, or there twice.
    """
    full, alone = _columns(manifest)
    by_index = {at: _place(name, full, alone) for at, name in enumerate(sent.header) if name not in sent.keep}
    taken: dict[tuple[str, int], str] = {}
    for at, place in by_index.items():
        key = (place.modality.name, place.cell)
        if key in taken:
            raise WrongInput(f"columns '{taken[key]}' and '{sent.header[at]}' of the table are the same")
        taken[key] = sent.header[at]
    return by_index


def observed(manifest: Manifest, sent: Table, first_row: int = 0) -> Observations:
    """Reads the rows of a table; a row whose cells of a modality are all empty lacks the modality.

    Arguments:
        manifest: Manifest of the model.
        sent: Table.
        first_row: Number of its first row, where it is a piece of a longer table.

    Raises:
        WrongInput: A column is unknown, or a cell does not fit; the text names the row.
    """
    by_index = places(manifest, sent)
    columns = {}
    for modality in manifest.modalities:
        index_by_cell = {place.cell: at for at, place in by_index.items() if place.modality is modality}
        if index_by_cell:
            read = _categories if modality.labels is not None else _numbers
            columns[modality.name] = read(modality, index_by_cell, sent, first_row)
    return Observations(columns, len(sent.lines), sent, first_row)


def to_fill(
    manifest: Manifest, observations: Observations, targets: Sequence[str]
) -> tuple[Table, list[str]]:
    """Returns the table to fill, and the modalities that fill it.

    A table that was sent keeps its columns, and gets columns for further targets. For another media type, the
    table has the columns of the observed modalities and of the targets.

    Arguments:
        manifest: Manifest of the model.
        observations: Observations of the request, from a table or not.
        targets: Names of modalities, or ``all``.

    Raises:
        WrongInput: A target does not fit into a table.
    """
    sent = observations.table or Table((), [()] * observations.n)
    there = {place.modality.name for place in places(manifest, sent).values()}
    tabular = [name for name in manifest.names if manifest.modality(name).traits.tabular]
    unfit = [name for name in targets if name in manifest.names and name not in tabular]
    if unfit or not tabular:
        raise WrongInput(
            "a table holds vectors, counts and categories, "
            f"but {listed(unfit or manifest.names)} is none of them"
        )
    everything = list(targets) == ["all"]
    requested = [] if everything and observations.table else tabular if everything else targets
    shown = {*there, *requested, *(() if observations.table else observations.columns)}
    added = [manifest.modality(name) for name in tabular if name in shown - there]
    cells = [_written(modality, observations) for modality in added]
    names = [name for modality in added for name in _names(modality)]
    joined = [(*line, *(cell for rows in cells for cell in rows[row])) for row, line in enumerate(sent.lines)]
    table_of_all = Table((*sent.header, *names), joined, sent.keep)
    return table_of_all, sorted(shown & set(tabular)) if everything else list(targets)


def fill(manifest: Manifest, sent: Table, generated: Generated) -> Iterator[list[str]]:
    """Yields the lines of a table with its empty cells filled, the header first.

    An empty cell gets the mean, or the most probable label. Further columns follow the table: ``.low`` and
    ``.high`` of every column of numbers, which bound 90 % of the predictive distribution, and
    ``.probability`` of every category. Cells that were sent have the bounds of their value, or probability 1.
    """
    by_index = places(manifest, sent)
    yield [
        *sent.header,
        *(f"{sent.header[at]}.{suffix}" for at, place in by_index.items() for suffix in _suffixes(place)),
    ]
    estimates = [(at, place, _estimates(place, generated)) for at, place in by_index.items()]
    for row, line in enumerate(sent.lines):
        filled, further = list(line), []
        for at, place, estimate in estimates:
            if line[at] or estimate is None:
                certain = "1" if place.modality.labels is not None and line[at] else line[at]
                further += [certain] * len(_suffixes(place))
            else:
                filled[at], *bounds = estimate[row]
                further += bounds
        yield filled + further


def to_csv(lines: Iterable[list[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue().encode()


# --- columns -----------------------------------------------------------------------------------------


def _columns(manifest: Manifest) -> tuple[dict[str, Place], dict[str, list[str]]]:
    """Returns the place of each full column name; and the full names of each short name."""
    full, alone = {}, dict[str, list[str]]()
    for modality in manifest.modalities:
        if modality.traits.tabular:
            for cell, name in enumerate(_names(modality)):
                full[name] = Place(modality, cell)
                alone.setdefault(name.rpartition(".")[2] if name != modality.name else name, []).append(name)
    return full, alone


def _names(modality: Modality) -> list[str]:
    """Returns the full names of a modality's columns."""
    if modality.labels is not None:
        return [modality.name]
    return [f"{modality.name}.{column}" for column in table.column_names(modality)]


def _place(name: str, full: Mapping[str, Place], alone: Mapping[str, Sequence[str]]) -> Place:
    if name in full:
        return full[name]
    meant = alone.get(name, [])
    if len(meant) == 1:
        return full[meant[0]]
    if meant:
        raise WrongInput(f"column '{name}' of the table could be {listed(meant)}")
    raise WrongInput(f"unknown column '{name}' of the table; there are {listed(list(full)[:20])}")


# --- cells ---------------------------------------------------------------------------------------------


def _categories(modality: Modality, index_by_cell: Mapping[int, int], sent: Table, first_row: int) -> Column:
    at = index_by_cell[0]
    texts = [line[at] for line in sent.lines]
    indices: dict[str, int] = {"": 0}
    for row, text in enumerate(texts):
        if text not in indices:
            where = f"row {first_row + row} (counted from 0), column '{sent.header[at]}'"
            indices[text] = int(located(where, kinds.read_values, modality, [text])[0])
    values = np.array([indices[text] for text in texts], modality.numpy_dtype)
    return Column.masked(values, np.array([text != "" for text in texts], bool))


def _numbers(modality: Modality, index_by_cell: Mapping[int, int], sent: Table, first_row: int) -> Column:
    cells = np.full((len(sent.lines), *modality.shape), np.nan)
    for cell, at in index_by_cell.items():
        for row, line in enumerate(sent.lines):
            if line[at]:
                where = f"row {first_row + row} (counted from 0), column '{sent.header[at]}'"
                cells[row, cell] = located(where, table.number, line[at])
    present = ~np.isnan(cells).all(axis=1)
    values = np.zeros(cells.shape, modality.numpy_dtype)
    values[present] = located(f"columns of '{modality.name}'", kinds.rows, modality, cells[present])
    return Column.masked(values, present)


def _written(modality: Modality, observations: Observations) -> list[list[str]]:
    """Returns the rows of a modality as cells, empty where missing."""
    column = observations.columns.get(modality.name)
    if column is None:
        return [[""] * len(_names(modality))] * observations.n
    rows = zip(column.values.reshape(observations.n, -1), column.present, strict=True)
    return [[_cell(modality, value) if present else "" for value in row] for row, present in rows]


def _cell(modality: Modality, value: Array) -> str:
    if modality.labels:
        return modality.labels[int(value)]
    return "" if np.isnan(value) else f"{value:.7g}"


def _suffixes(place: Place) -> tuple[str, ...]:
    return ("probability",) if place.modality.labels is not None else ("low", "high")


def _estimates(place: Place, generated: Generated) -> list[list[str]] | None:
    """Returns the value and its bounds or probability, per row; None where the modality is not a target."""
    summary = generated.targets.get(place.modality.name)
    if summary is None:
        return None
    if place.modality.labels is not None:
        best = summary["probabilities"].max(axis=1)
        return [[str(label), f"{p:.7g}"] for label, p in zip(summary["ranked"][:, 0], best, strict=True)]
    quantiles = summary["quantiles"][:, :, place.cell]
    columns = (summary["mean"][:, place.cell], quantiles[:, 0], quantiles[:, -1])
    return [[f"{value:.7g}" for value in row] for row in zip(*columns, strict=True)]
