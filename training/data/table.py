"""The source `table`: columns, arrays and files named in columns, as modalities.

The files are read twice, block by block. The first pass counts rows and, if a key joins several files, maps
rows to cases. Every case is then assigned to a split, and the second pass checks every value and writes it to
its place in the dtype of its modality. Large arrays are memory-mapped, so a million rows need no more memory
than a thousand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models_store import kinds
from models_store.arrays import Array
from models_store.errors import InputRefused, UnreadableFile, WrongValue
from models_store.kinds import KINDS, levels
from models_store.kinds.fields import Column
from models_store.manifest import Modality
from models_store.tables.dialect import TrainingTable, training_table
from training.config import Experiment, ModalityChoice
from training.data.background import LOOKED_AT, opaque_levels, with_background
from training.data.cells import checked_numbers, mixed_cells
from training.data.rows import Rows, Splits
from training.data.storage import allocate
from training.errors import DataError, ExperimentError
from training.tables.cases import NO_CASE, Cases, load_keys
from training.tables.files import Block, File, some_of, texts
from training.tables.marks import Marks
from training.tables.opening import open_file

LOGGER = logging.getLogger(__name__)
BLANK = Modality(
    name="blank",
    kind="tensor",
    shape=(),
    dtype="float32",
    likelihood="normal",
)
"""Default fields of a modality."""


@dataclass(frozen=True)
class View:
    """One modality, its fields in a file, and the function that reads a block of them.

    Arguments:
        modality: Description of the rows.
        file: File of the fields.
        fields: Names of the fields.
        read: Returns the rows of a block, (n, *shape), and whether each is observed, (n,).
    """

    modality: Modality
    file: File
    fields: tuple[str, ...]
    read: Callable[[Block], tuple[Array, Array]]


def load(experiment: Experiment) -> Splits:
    """Loads the modalities of an experiment, split at random by its seed.

    Raises:
        ExperimentError: A file, field or key is not there, or the settings of a modality are inconsistent.
        DataError: A file is damaged, or a value in it is not what the experiment says.
    """
    settings = experiment.data
    if not settings.files:
        raise ExperimentError("data.files: the source 'table' needs at least one file")
    marks = Marks(settings.missing, settings.missing_by_column)
    files = [open_file(path, settings.dialects.get(str(path)), marks) for path in settings.files]
    views = [view_of(name, choice, files, settings.files) for name, choice in experiment.modalities.items()]
    cases = load_keys(files, settings.key)
    if settings.test + settings.validation >= len(cases):
        raise ExperimentError(
            f"data.test and data.validation hold out {settings.test} and {settings.validation} rows, "
            f"but there are {len(cases)}"
        )
    places = _Places.drawn(len(cases), settings.test, settings.validation, experiment.seed)
    splits: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = [({}, {}) for _ in places.sizes]
    for view in views:
        for (data, masks), (values, present) in zip(splits, _filled(view, cases, places), strict=True):
            data[view.modality.name] = torch.from_numpy(values)
            masks[view.modality.name] = torch.from_numpy(present)
    train, validation, test = (Rows(data, masks) for data, masks in splits)
    return Splits(tuple(view.modality for view in views), train, test, validation, tables_of(files, views))


def tables_of(files: Sequence[File], views: Sequence[View]) -> tuple[TrainingTable, ...]:
    """The tables among the files, as the manifest describes them."""
    return tuple(
        training_table(file.dialect, tuple(view.modality.name for view in views if view.file is file))
        for file in files
        if file.dialect is not None
    )


@dataclass(frozen=True)
class _Places:
    """Split of every case (0 training, 1 validation, 2 test), its row there, and the sizes of splits."""

    split: Array
    row: Array
    sizes: tuple[int, int, int]

    @classmethod
    def drawn(cls, count: int, test: int, validation: int, seed: int) -> _Places:
        order = np.random.default_rng(seed).permutation(count)
        split = np.zeros(count, np.int8)
        split[order[:test]] = 2
        split[order[test : test + validation]] = 1
        row = np.empty(count, np.int64)
        for number in range(3):
            row[split == number] = np.arange((split == number).sum())
        return cls(split, row, (count - test - validation, validation, test))


def _filled(view: View, cases: Cases, places: _Places) -> list[tuple[Array, Array]]:
    """Returns, for each split, the rows of one modality and whether each is observed."""
    modality = view.modality
    filled = [
        (allocate((size, *modality.shape), modality.numpy_dtype), np.zeros(size, bool))
        for size in places.sizes
    ]
    for numbers_of_cases, block in cases.blocks(view.file, view.fields):
        values, present = read_rows(view, block)
        for split, (rows, masks) in enumerate(filled):
            here = (places.split[numbers_of_cases] == split) & (numbers_of_cases != NO_CASE)
            at = places.row[numbers_of_cases[here]]
            rows[at], masks[at] = values[here], present[here]
    return filled


def read_rows(view: View, block: Block, where: str | Path | None = None) -> tuple[Array, Array]:
    """Rows of a modality, (n, *shape), and whether each is observed, (n,).

    Arguments:
        view: The modality.
        block: Rows of its file.
        where: Path or address of the block, for messages; default: that of the file.

    Raises:
        DataError: A cell does not fit the modality.
    """
    try:
        return view.read(block)
    except (ValueError, InputRefused) as error:
        raise DataError(f"{where or view.file.path}: modality '{view.modality.name}': {error}") from None


# --- views of modalities by kind -------------------------------------------


def view_of(name: str, choice: ModalityChoice, files: Sequence[File], paths: Sequence[Path | str]) -> View:
    """Finds the fields of a modality of an experiment, and the function that reads them.

    Raises:
        ExperimentError: A field is not there, or the settings of the modality are inconsistent.
    """
    where = f"modalities.{name}"
    if choice.kind is None:
        raise ExperimentError(f"{where}: the source 'table' needs the kind of every modality")
    by_column = "columns" in KINDS[choice.kind].fields
    if (choice.field is None) == (choice.columns is None) and not by_column:
        raise ExperimentError(f"{where}.field must name the column or array that holds it")
    named = [choice.field] if choice.field else [c.field or c.name for c in choice.columns or ()]
    if not named:
        raise ExperimentError(f"{where} needs a field, or columns that each have one")
    located = [_locate(where, field, files, paths) for field in named]
    file, fields = located[0][0], tuple(field for _, field in located)
    if any(other is not file for other, _ in located):
        raise ExperimentError(f"{where}: its columns are in several files; make one modality of each")
    is_array = bool(file.shapes[fields[0]])
    if KINDS[choice.kind].mixed:
        return _of_mixed_columns(name, choice, file, fields)
    if by_column and not is_array:
        return _of_columns(name, choice, file, fields)
    if "labels" in KINDS[choice.kind].fields:
        return _of_labels(name, choice, file, fields)
    return (_of_array if is_array else _of_paths)(name, choice, file, fields)


def _locate(where: str, field: str, files: Sequence[File], paths: Sequence[Path | str]) -> tuple[File, str]:
    """Returns the file that has a field, and the field's name; ``FILE:FIELD`` names both."""
    holders = [file for file in files if field in file.shapes]
    if len(holders) == 1:
        return holders[0], field
    if holders:
        choices = " or ".join(f"'{file.path.name}:{field}'" for file in holders)
        raise ExperimentError(f"{where}: several files have the field '{field}'; write {choices}")
    for file in files:
        prefix = f"{file.path.name}:"
        if field.startswith(prefix) and field.removeprefix(prefix) in file.shapes:
            return file, field.removeprefix(prefix)
    available = some_of([name for file in files for name in file.shapes])
    raise ExperimentError(
        f"{where}: {', '.join(map(str, paths))} has no field '{field}'; there are {available}"
    )


def _modality(
    name: str, choice: ModalityChoice, shape: tuple[int, ...], dtype: str, **usual: Any
) -> Modality:
    """Returns the modality with the settings of the experiment, and defaults where it has none."""
    kind = KINDS[choice.kind or BLANK.kind]
    described = {
        "name": name,
        "kind": choice.kind,
        "shape": shape,
        "dtype": dtype,
        "likelihood": choice.likelihood or kind.usual_likelihood,
        "labels": choice.labels,
        "range": choice.range,
        "spectrogram": choice.spectrogram,
    }
    settings = {key: value for key, value in described.items() if value is not None}
    return BLANK.model_copy(update={"name": name}).with_changes({**usual, **settings})


def _header(file: File, fields: Sequence[str]) -> str | None:
    """The header of a modality's column, where the file is a table."""
    return fields[0] if file.dialect is not None else None


def _of_columns(name: str, choice: ModalityChoice, file: File, fields: tuple[str, ...]) -> View:
    """Reads columns of numbers; an empty cell is NaN, and a row of empty cells is missing."""
    columns = [
        one.model_copy(update={"field": None if one.name == field else field})
        for one, field in zip(_columns(choice, fields), fields, strict=True)
    ]
    modality = _modality(name, choice, (len(fields),), "float32", columns=columns)
    whole = modality.traits.lowest == 0
    above = modality.likelihood if modality.distribution.above_zero else None

    def read(block: Block) -> tuple[Array, Array]:
        cells = [checked_numbers(block[field], field, whole, above) for field in fields]
        values = np.stack(cells, axis=1)
        return values.astype(np.float32), ~np.isnan(values).all(axis=1)

    return View(modality, file, fields, read)


def _columns(choice: ModalityChoice, fields: Sequence[str]) -> list[Column]:
    if choice.columns is None:
        return [Column(name=field) for field in fields]
    mixed = KINDS[choice.kind or BLANK.kind].mixed
    return [
        column.described(mixed).model_copy(update={"field": None if column.name == field else field})
        for column, field in zip(choice.columns, fields, strict=True)
    ]


def _of_mixed_columns(name: str, choice: ModalityChoice, file: File, fields: tuple[str, ...]) -> View:
    """Reads columns of numbers and of labels; a row of empty cells is missing."""
    if choice.columns is None or any(file.shapes[field] for field in fields):
        raise ExperimentError(f"modalities.{name}: a {choice.kind} needs columns of single values")
    modality = _modality(name, choice, (len(fields),), "float32", columns=_columns(choice, fields))
    columns = list(zip(fields, modality.columns or (), strict=True))

    def read(block: Block) -> tuple[Array, Array]:
        values = np.stack([mixed_cells(block[field], field, column) for field, column in columns], axis=1)
        return values.astype(np.float32), ~np.isnan(values).all(axis=1)

    return View(modality, file, fields, read)


def _of_labels(name: str, choice: ModalityChoice, file: File, fields: tuple[str, ...]) -> View:
    if not choice.labels:
        raise ExperimentError(f"modalities.{name}.labels: a category of the source 'table' needs its labels")
    modality = _modality(name, choice, (), "int64", field=_header(file, fields))
    if file.shapes[fields[0]]:
        return _of_one_hot(modality, file, fields)

    def read(block: Block) -> tuple[Array, Array]:
        cells = texts(block[fields[0]])
        indices: dict[str | None, int] = {None: 0}
        for label in set(cells) - {None}:
            try:
                (indices[label],) = kinds.read_values(modality, [label])
            except WrongValue:
                raise ValueError(f"column '{fields[0]}' has '{label}', which is none of its labels") from None
        present = np.array([label is not None for label in cells], bool)
        return np.array([indices[label] for label in cells], np.int64), present

    return View(modality, file, fields, read)


def _of_one_hot(modality: Modality, file: File, fields: tuple[str, ...]) -> View:
    """Reads labels from rows with a 1 at the place of each label; a row of zeros or NaN is missing."""
    labels = modality.labels or ()
    if file.shapes[fields[0]] != (len(labels),):
        raise ExperimentError(
            f"modalities.{modality.name}: a category needs single values, or rows of {len(labels)} with one "
            f"1 among zeros; the rows of '{fields[0]}' have the shape {file.shapes[fields[0]]}"
        )

    def read(block: Block) -> tuple[Array, Array]:
        values = np.nan_to_num(np.asarray(block[fields[0]], np.float64), nan=0.0)
        present = values.any(axis=1)
        wrong = present & (((values == 1).sum(1) != 1) | ((values != 0).sum(1) != 1))
        if wrong.any():
            raise ValueError(f"'{fields[0]}' must have one 1 among zeros in each row, got {values[wrong][0]}")
        return values.argmax(1), np.asarray(present)

    return View(modality, file, fields, read)


def _of_array(name: str, choice: ModalityChoice, file: File, fields: tuple[str, ...]) -> View:
    """Reads rows of an array; a row of NaN is missing."""
    if choice.shape is not None:
        raise ExperimentError(f"modalities.{name}.shape: an array has a shape of its own")
    shape, dtype = file.shapes[fields[0]], file.dtype(fields[0])
    modality = _modality(name, choice, shape, dtype, field=_header(file, fields))
    if modality.traits.pictures and modality.traits.layout == 2 and dtype == "uint8":
        first = next(file.blocks(fields))[fields[0]][:LOOKED_AT]
        modality = with_background(modality, levels.to_bytes(modality, first))

    def read(block: Block) -> tuple[Array, Array]:
        values = np.array(block[fields[0]])
        if values.dtype.kind != "f":
            return values, np.ones(len(values), bool)
        present = ~np.isnan(values).reshape(len(values), -1).all(axis=1)
        if not modality.traits.cells_may_be_missing:
            values[~present] = 0
        kinds.rows(modality, values)
        return values, present

    return View(modality, file, fields, read)


def _of_paths(name: str, choice: ModalityChoice, file: File, fields: tuple[str, ...]) -> View:
    """Reads files whose paths, relative to the folder of the table, are in a column."""
    sound = choice.spectrogram
    shape = (sound.bands, sound.frames) if sound else choice.shape
    kind = KINDS[choice.kind or BLANK.kind]
    if kind.tabular or shape is None:
        needed = "its spectrogram" if "spectrogram" in kind.fields else "its shape"
        raise ExperimentError(f"modalities.{name}: a {choice.kind} from files needs {needed}")
    byte = kind.levels
    usual = {"range": (0, 255) if byte else None, "field": _header(file, fields)}
    modality = _modality(name, choice, shape, "uint8" if byte else "float32", **usual)
    if kind.pictures and kind.layout == 2:
        modality = with_background(modality, opaque_levels(modality, file, fields[0]))

    def read(block: Block) -> tuple[Array, Array]:
        paths = texts(block[fields[0]])
        values = np.zeros((len(paths), *shape), modality.numpy_dtype)
        present = np.zeros(len(paths), bool)
        unreadable = []
        for index, path in enumerate(paths):
            place = file.path.parent / path if path else None
            if place is not None and place.is_file():
                try:
                    values[index], present[index] = _one_row(modality, place), True
                except UnreadableFile as error:
                    unreadable.append(f"{place}: {error}")
        _report(name, unreadable, some_readable=bool(present.any()))
        return values, present

    return View(modality, file, fields, read)


def _report(name: str, unreadable: Sequence[str], some_readable: bool) -> None:
    """Logs files that cannot be read and so are missing entries.

    Raises:
        ValueError: No file of the block can be read.
    """
    if not unreadable:
        return
    if not some_readable:
        raise ValueError(unreadable[0])
    count = "1 file is" if len(unreadable) == 1 else f"{len(unreadable)} files are"
    LOGGER.warning("modality '%s': %s missing, since unreadable: %s", name, count, "; ".join(unreadable[:3]))


def _one_row(modality: Modality, path: Path) -> Array:
    try:
        rows = kinds.read_file(modality, path.read_bytes())
    except WrongValue as error:
        raise ValueError(f"{path}: {error}") from None
    if len(rows) != 1:
        raise ValueError(f"{path} must hold one row, it holds {len(rows)}")
    return rows[0]
