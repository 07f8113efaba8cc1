"""A first experiment file for files that were never seen before: to be read, edited, and run.

Guessed are the modalities, their kinds, units and likelihoods, and the split: ``roles`` decides on each
column, ``views`` on what belongs together, and here each view becomes a modality.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from models_store.kinds import KINDS
from models_store.kinds.category import CategoryKind
from models_store.kinds.image import ImageKind
from models_store.kinds.tensor import TensorKind
from models_store.kinds.vector import VectorKind
from models_store.tables.dialect import TableLayout, layout_of
from training.errors import DataError, ExperimentError
from training.tables.cases import load_keys
from training.tables.counts import count_likelihood
from training.tables.dataset import DataSetFile, is_data_set
from training.tables.doubts import doubts
from training.tables.draft import Draft, Guess, joined
from training.tables.files import File, texts
from training.tables.joins import key_of
from training.tables.marks import NO_MARKS, Marks
from training.tables.media import FILES, Files, remarks_on
from training.tables.mixed import tables_of
from training.tables.naming import modality_name
from training.tables.opening import open_file
from training.tables.order import labels_in_order
from training.tables.pictures import is_picture, range_of, remarks_on_shape
from training.tables.relations import across_files, by_file
from training.tables.report import join_lines, report_lines
from training.tables.roles import decide, kinds_of, remedy
from training.tables.survey import Field, look
from training.tables.suspects import suspect_lines
from training.tables.views import View, form_views, regrouped

FEWEST_ROWS = 10
SEEN = 50
"""Files that are looked at before a shape is chosen, ..."""
LOOKED_FOR = 100_000
"""... of the first so many that a column names."""


@dataclass(frozen=True)
class Guessed:
    """A first experiment.

    Arguments:
        text: The experiment file.
        report: Lines on what was read, learned, left out and joined; at most 40.
        left_out: Sentence on each column that is not learned.
    """

    text: str
    report: Sequence[str]
    left_out: Sequence[str] = ()


def experiment_for(paths: Sequence[Path], output: Path) -> str:
    """The text of an experiment file on these files; see :func:`guess`."""
    return guess(paths, output).text


def guess(
    paths: Sequence[Path | str],
    output: Path,
    key: str | None = None,
    marks: Marks = NO_MARKS,
    groups: Mapping[str, str] | None = None,
    *,
    table: bool = False,
) -> Guessed:
    """Guesses an experiment on these files.

    Arguments:
        paths: CSV, Parquet, npz, npy, or folders with a table in each; or one data set: a folder of Parquet
            files, a pattern of paths, or an address of fsspec.
        output: Where it will be written; its first lines say how to run it.
        key: Header of the column that joins the files; chosen by content where None.
        marks: Cells that mean a missing value, besides empty ones.
        groups: Name of the view by header, for columns that the user has grouped.
        table: Whether columns of numbers, counts and labels become views of the kind ``table``.

    Raises:
        DataError: A file cannot be read, there are too few rows, or a number that is learned is infinite.
        ExperimentError: Several files do not fit together, or nothing in them can be learned.
    """
    files = [_opened(path, marks) for path in paths]
    address = _address_of(files, key)
    fields = [field for file in files for field in look(file)]
    key = key or key_of(files, fields)
    cases = load_keys(files, key)
    if (rows := len(cases)) < FEWEST_ROWS:
        least = f"at least {FEWEST_ROWS} are needed to learn anything"
        raise DataError(f"{joined(paths)} has {rows} rows; {least}")
    decisions = decide(fields, cases.headers)
    left_out = [f"{one.field.name}: {one.reason}" for one in decisions if one.reason]
    taken: set[str] = set()
    kept = [one for one in decisions if one.role != "left out"]
    tables, rest = tables_of(kept, _spelled(fields), taken) if table else ([], kept)
    views = regrouped(form_views(rest), groups or {})
    if not views and not tables:
        raise ExperimentError(f"nothing in {joined(paths)} can be learned ({'; '.join(left_out)})")
    guesses = [*tables, *_modalities(views, fields, taken)]
    used = [one.field for one in decisions if not one.reason]
    _check_finite(used)
    notes = {
        "left out": left_out,
        "how cells were read": [f"{file.path.name}: {line}" for file in files for line in file.report],
        "how files were joined": join_lines(files, cases),
        "to check": [
            *_same_columns(files),
            *suspect_lines(used),
            *_remarks(guesses),
            *across_files(used, cases),
            *by_file(used),
            *doubts(kept),
        ],
    }
    places = [file.path if address else Path(path) for file, path in zip(files, paths, strict=True)]
    draft = Draft(places, output, _layouts(files, paths), key, rows, guesses, notes, marks, address)
    return Guessed(draft.text(), report_lines(draft, files, fields, cases, decisions), left_out)


def _layouts(files: Sequence[File], paths: Sequence[Path | str]) -> dict[str, TableLayout]:
    """How each file is written, by its path; marks of missing cells are those of the experiment's data."""
    return {
        str(path): layout_of(file.dialect).model_copy(update={"missing": ()})
        for path, file in zip(paths, files, strict=True)
        if file.dialect and not isinstance(file, DataSetFile)
    }


def _check_finite(fields: Sequence[Field]) -> None:
    if wrong := next((one for one in fields if one.infinite), None):
        raise DataError(
            f"{wrong.file.path}: '{wrong.name}': numbers must be finite within float32, got an infinity; "
            "write NaN where a value is missing"
        )


def _opened(path: Path | str, marks: Marks) -> File:
    return DataSetFile(str(path), marks) if is_data_set(str(path)) else open_file(Path(path), marks=marks)


def _address_of(files: Sequence[File], key: str | None) -> str | None:
    """The address of a data set; None for other files.

    Raises:
        ExperimentError: One of several files is a data set, or a key would join it.
    """
    address = next((one.address for one in files if isinstance(one, DataSetFile)), None)
    if address is not None and (len(files) > 1 or key):
        raise ExperimentError(
            f"{address} is a data set of many files, whose rows are not joined with those of others; name it "
            "alone, with all columns in each of its files"
        )
    return address


def _remarks(guesses: Sequence[Guess]) -> list[str]:
    return [line for one in guesses for line in one.remarks]


def _same_columns(files: Sequence[File]) -> list[str]:
    """A sentence on files that may hold the rows of one table."""
    tables = {tuple(file.shapes) for file in files if file.dialect}
    if len(files) == 1 or len(tables) != 1 or not all(file.dialect for file in files):
        return []
    return [
        "all files have the same columns, and are joined side by side; if each holds rows of one table, "
        "name their folder, or their pattern in quotes (Parquet)"
    ]


def _modalities(views: Sequence[View], fields: Sequence[Field], taken: set[str]) -> list[Guess]:
    """A guess for every view; its name is added to those that are taken."""
    names = _spelled(fields)
    guesses = []
    for view in views:
        spelled = {field.name: names[id(field)] for field in view.fields}
        guesses.append(_guess(view, modality_name(view.title, taken), spelled))
    return guesses


def _spelled(fields: Sequence[Field]) -> dict[int, str]:
    """Name of each field by its ``id``, with its file where several files have one of a name."""
    holders = Counter(field.name for field in fields)
    return {
        id(field): field.name if holders[field.name] == 1 else f"{field.file.path.name}:{field.name}"
        for field in fields
    }


def _guess(view: View, name: str, spelled: Mapping[str, str]) -> Guess:
    first = view.fields[0]
    if view.role == "array":
        return _array(first, name, spelled[first.name])
    if view.role == "files":
        return _paths(first, name, spelled[first.name])
    if view.role == "category":
        return _category(first, name, spelled[first.name])
    return _columns(view, name, spelled)


def _columns(view: View, name: str, spelled: Mapping[str, str]) -> Guess:
    kind = "counts" if view.role == "count" else "vector"
    settings: dict[str, Any] = {"likelihood": KINDS[kind].usual_likelihood}
    if view.role == "count":
        settings = {"likelihood": count_likelihood([field.sample for field in view.fields])}
    if view.role == "skewed":
        settings = {"likelihood": "log_normal"}
    if view.role == "level" and _mostly_at_ends(view.fields):
        low, high = min(field.low for field in view.fields), max(field.high for field in view.fields)
        settings = {"likelihood": "bernoulli", "range": [low, high]}
    settings["columns"] = [
        {
            "name": field.label,
            **({"unit": field.unit} if field.unit else {}),
            **({"field": spelled[field.name]} if spelled[field.name] != field.label else {}),
        }
        for field in view.fields
    ]
    group = view.fields
    patterns = {field.pattern for field in group}
    together = ", missing together" if len(patterns) == 1 and len(group) > 1 and group[0].missing else ""
    missing = np.mean([field.missing for field in group])
    columns = "1 column" if len(group) == 1 else f"{len(group)} columns"
    scale = " on a log scale, for their long tails" if view.role == "skewed" else ""
    comment = f"{columns} of {group[0].file.path.name}{together}{scale}; {missing:.0%} of the cells are empty"
    return Guess(name, kind, settings, (len(group),), comment)


def _mostly_at_ends(fields: Sequence[Field]) -> bool:
    """Whether most numbers of some columns are the lowest or the highest one."""
    low, high = min(field.low for field in fields), max(field.high for field in fields)
    at_ends = sum(
        count
        for field in fields
        for value, count in (field.values or {}).items()
        if float(value) in (low, high)
    )
    return 2 * at_ends > sum(field.present for field in fields)


def _category(field: Field, name: str, spelled: str) -> Guess:
    labels, sized = labels_in_order(field)
    order = f" in the order {', '.join(labels)}" if sized and not field.numeric else ""
    comment = f"{len(labels)} different values{order}; {field.missing:.0%} are empty"
    return Guess(name, "category", {"field": spelled, "labels": labels}, (), comment)


def _array(field: Field, name: str, spelled: str) -> Guess:
    dtype = field.file.dtype(field.name)
    comment = f"{dtype} of shape {field.shape}"
    if field.one_hot:
        labels = [str(index) for index in range(field.shape[0])]
        one_hot = f"{comment}, one-hot: the label of a row is the position of its 1"
        return Guess(name, CategoryKind.name, {"field": spelled, "labels": labels}, (), one_hot)
    kind = _kind_of_array(field, dtype)
    settings: dict[str, Any] = {"field": spelled, "likelihood": KINDS[kind].usual_likelihood}
    if KINDS[kind].levels:
        settings["range"] = range_of(field, dtype)
    elif _is_binary(field):
        kind, settings = VectorKind.name, {"field": spelled, "likelihood": "bernoulli", "range": [0.0, 1.0]}
        comment += ", only 0 and 1"
    return Guess(name, kind, settings, tuple(field.shape), comment, remarks_on_shape(field))


def _is_binary(field: Field) -> bool:
    """Whether the rows of an array are vectors of 0 and 1."""
    return len(field.shape) == 1 and field.whole and (field.low, field.high) == (0.0, 1.0)


def _kind_of_array(field: Field, dtype: str) -> str:
    counted = field.whole and field.low >= 0 and field.zeros > 0.2 * field.present * field.shape[0]
    if is_picture(field, dtype):
        return ImageKind.name
    suited = (name for name, kind in KINDS.items() if kind.suits_array(field.shape, dtype, counted))
    return next(suited, TensorKind.name)


def _paths(field: Field, name: str, spelled: str) -> Guess:
    there = list(islice((path for path in _named_files(field) if path.is_file()), SEEN))
    if not there:
        raise DataError(
            f"{field.file.path}: none of the files that '{field.name}' names is in {field.file.path.parent}; "
            "put them there, or leave that column out of the table"
        )
    comment = f"paths of files, seen from the folder of {field.file.path.name}; what is not there is missing"
    kind, files, sentences = _kind_of_files(field, there)
    remarks = [f"'{field.name}': {sentence}" for sentence in sentences]
    return Guess(name, kind, {"field": spelled, **files.settings}, files.shape, comment, remarks)


def _kind_of_files(field: Field, paths: Sequence[Path]) -> tuple[str, Files, list[str]]:
    """The kind of some files that a column names, their settings, and sentences on them.

    Raises:
        DataError: None of the files can be read.
    """
    try:
        kinds = ((kind, FILES[kind](paths)) for kind in kinds_of(field))
        kind, files = next((kind, some) for kind, some in kinds if some is not None)
        return kind, files, remarks_on(kind, files, paths)
    except DataError as error:
        raise DataError(
            f"none of the files that '{field.name}' names can be read: {error}; convert them to "
            f"{remedy(paths[0].name)}, or leave that column out of the table"
        ) from None


def _named_files(field: Field) -> Iterator[Path]:
    """Paths in the first cells of a column."""
    cells = (cell for block in field.file.blocks([field.name]) for cell in texts(block[field.name]))
    return (field.file.path.parent / cell for cell in islice(filter(None, cells), LOOKED_FOR))
