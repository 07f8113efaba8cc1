"""A first experiment file for files that were never seen before: to be read, edited, and run.

Guessed are the modalities, their kinds, units and likelihoods, and the split. What is numeric and missing
in the same rows, or begins with the same word, becomes one vector; each column of text or of few whole
numbers a category; columns that look like counts, counts; columns of paths, pictures or sounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from models_store.kinds import KINDS
from models_store.kinds.tensor import TensorKind
from models_store.tables.names import unit_of
from training.errors import DataError, ExperimentError
from training.tables.cases import load_keys
from training.tables.draft import Guess, called, draft, joined, quoted
from training.tables.files import File, texts
from training.tables.media import FILES
from training.tables.opening import open_file
from training.tables.survey import Field, look

FEWEST_ROWS = 10
FEW_NUMBERS = 10
"""Whole numbers with at most so many different values are a category."""
FEW_LEVELS = 16
"""Arrays of bytes whose highest value is at most this are masks or few levels, not pictures up to 255."""
SEEN = 50
"""Files whose size is looked at before a shape is chosen."""


def experiment_for(paths: Sequence[Path], output: Path) -> str:
    """The text of an experiment file on these files.

    Arguments:
        paths: CSV, Parquet, npz, npy, or folders with a table in each.
        output: Where it will be written; its first lines say how to run it.

    Raises:
        DataError: A file cannot be read, or there are too few rows.
        ExperimentError: Several files do not fit together, or nothing in them can be learned.
    """
    files = [open_file(path) for path in paths]
    fields = [field for file in files for field in look(file)]
    key = _key(files, fields)
    rows = len(load_keys(files, key))
    if rows < FEWEST_ROWS:
        raise DataError(
            f"{joined(paths)} has {rows} rows; at least {FEWEST_ROWS} are needed to learn anything"
        )
    guesses, left_out = _modalities(fields, key)
    if not guesses:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ExperimentError(f"nothing in {joined(paths)} can be learned ({why})")
    report = [f"{file.path.name}: {line}" for file in files for line in file.report]
    return draft(paths, output, key, rows, guesses, left_out, report)


def _key(files: Sequence[File], fields: Sequence[Field]) -> str | None:
    """The field that all files have and that is never empty; None where rows are joined one by one."""
    if len(files) == 1:
        return None
    for field in fields:
        same = [other for other in fields if other.name == field.name]
        if len(same) == len(files) and all(f.shape == () and f.present == f.rows for f in same):
            return field.name
    if len({file.rows for file in files}) > 1:
        counts = " and ".join(f"{file.path.name} {file.rows}" for file in files)
        raise ExperimentError(
            f"the files have different numbers of rows ({counts}) and no key column in common"
        )
    return None


# --- what becomes of a field ---------------------------------------------------------------------------


def _modalities(fields: Sequence[Field], key: str | None) -> tuple[list[Guess], dict[str, str]]:
    """A guess for every modality, and why the other fields are left out."""
    taken: set[str] = set()
    guesses: list[Guess] = []
    measured: list[Field] = []
    counted: list[Field] = []
    left_out: dict[str, str] = {}
    for field in fields:
        if field.name == key:
            left_out[field.name] = "the key that joins the files"
        elif field.shape:
            guesses.append(_array(field, called(field.name, taken), _spelled(field, fields)))
        elif reason := _useless(field):
            left_out[field.name] = reason
        elif suffix := _suffix(field):
            guesses.append(_paths(field, suffix, called(field.name, taken), _spelled(field, fields)))
        elif _is_category(field):
            guesses.append(_category(field, called(field.name, taken), _spelled(field, fields)))
        elif _is_count(field):
            counted.append(field)
        else:
            measured.append(field)
    for kind, suffix, members in (("vector", "", measured), ("counts", "_counts", counted)):
        for name, group in _groups(members, suffix).items():
            guesses.append(_columns(group, kind, called(name, taken), fields))
    return guesses, left_out


def _useless(field: Field) -> str | None:
    if not field.present:
        return "always empty"
    if field.numeric and field.low == field.high:
        return f"always {field.low:g}"
    if field.labels is not None and len(field.labels) == 1:
        return f"always {min(field.labels)!r}"
    if field.numeric and field.steps and field.rows > FEW_NUMBERS:
        return "numbers the rows"
    if (
        field.numeric
        and field.whole
        and field.labels is None
        and re.search(r"(^|[_ ])id$", field.name.lower())
    ):
        return "looks like an identifier"
    if not field.numeric and field.labels is None and not _suffix(field):
        return "text with too many different values for a category"
    return None


def _is_category(field: Field) -> bool:
    if field.labels is None:
        return False
    return not field.numeric or (field.whole and len(field.labels) <= FEW_NUMBERS)


def _is_count(field: Field) -> bool:
    """Whole numbers from 0 that are called counts or are often 0, and have no unit."""
    if not field.whole or field.low < 0 or unit_of(field.name)[1]:
        return False
    called = re.search(r"(^|[_ ])(n|num|count|counts|number of)([_ ]|$)", field.name.lower())
    return bool(called) or field.zeros > 0.2 * field.present


def _suffix(field: Field) -> str | None:
    """The kind of file that a column of paths names."""
    suffix = Path(field.example or "").suffix.lower()
    return suffix if not field.numeric and _kinds_of(suffix) else None


def _groups(fields: Sequence[Field], suffix: str) -> dict[str, list[Field]]:
    """Columns that belong together: one first word, else missing in the same rows, else of one file."""
    groups: dict[tuple[str, str], list[Field]] = {}
    for field in fields:
        groups.setdefault(
            (str(field.file.path), _first_word(field, fields) or f"#{field.pattern}"), []
        ).append(field)
    apart = sum(key[1].startswith("#") for key in groups)
    named: dict[str, list[Field]] = {}
    for (path, word), group in groups.items():
        stem = f"{Path(path).stem}{suffix}"
        if not word.startswith("#"):
            name = word
        elif len(group) > 1 and group[0].missing and apart > 1:
            name = unit_of(group[0].name)[0]
        else:
            name = stem
        named.setdefault(name, []).extend(group)
    return named


def _first_word(field: Field, fields: Sequence[Field]) -> str | None:
    """The word before the first separator, where another column of the file begins with it too."""

    def word(one: Field) -> str | None:
        parts = re.split(r"[_.:/ ]", unit_of(one.name)[0], maxsplit=1)
        return parts[0] if len(parts) > 1 and parts[0] else None

    first = word(field)
    alike = [one for one in fields if one.file is field.file and word(one) == first]
    return first if first is not None and len(alike) > 1 else None


# --- the lines of a modality ---------------------------------------------------------------------------


def _columns(group: Sequence[Field], kind: str, name: str, fields: Sequence[Field]) -> Guess:
    lines = [
        f'kind = "{kind}"',
        f'likelihood = "{KINDS[kind].usual_likelihood}"',
        "columns = [",
    ]
    for field in group:
        called, unit = unit_of(field.name)
        spelled = _spelled(field, fields)
        keys = {"name": called, "unit": unit, "field": spelled if spelled != called else None}
        pairs = ", ".join(f"{key} = {quoted(value)}" for key, value in keys.items() if value is not None)
        lines.append(f"    {{ {pairs} }},")
    lines.append("]")
    together = (
        ", missing together"
        if len({f.pattern for f in group}) == 1 and len(group) > 1 and group[0].missing
        else ""
    )
    missing = np.mean([field.missing for field in group])
    comment = (
        f"{len(group)} columns of {group[0].file.path.name}{together}; {missing:.0%} of the cells are empty"
    )
    return Guess(name, kind, lines, (len(group),), comment)


def _category(field: Field, name: str, spelled: str) -> Guess:
    labels = sorted(field.labels or (), key=lambda label: (float(label) if field.numeric else 0.0, label))
    lines = [
        'kind = "category"',
        f"field = {quoted(spelled)}",
        f"labels = [{', '.join(map(quoted, labels))}]",
    ]
    return Guess(
        name, "category", lines, (), f"{len(labels)} different values; {field.missing:.0%} are empty"
    )


def _array(field: Field, name: str, spelled: str) -> Guess:
    dtype = field.file.dtype(field.name)
    kind = _kind_of_array(field, dtype)
    lines = [
        f'kind = "{kind}"',
        f"field = {quoted(spelled)}",
        f'likelihood = "{KINDS[kind].usual_likelihood}"',
    ]
    if KINDS[kind].levels:
        by_dtype = dtype == "uint8" and field.high > FEW_LEVELS
        lines.append(f"range = [0.0, {255.0 if by_dtype else field.high or 1.0}]")
    comment = f"{dtype} of shape {field.shape}"
    if _is_one_hot(field):
        comment += "; looks one-hot: save its argmax, (rows,), to have a category"
    return Guess(name, kind, lines, tuple(field.shape), comment)


def _is_one_hot(field: Field) -> bool:
    """Whether a matrix of 0 and 1 has as many ones as rows."""
    ones = field.present * field.shape[0] - field.zeros
    return (
        len(field.shape) == 1 and field.whole and (field.low, field.high) == (0, 1) and ones == field.present
    )


def _kind_of_array(field: Field, dtype: str) -> str:
    counted = field.whole and field.low >= 0 and field.zeros > 0.2 * field.present * field.shape[0]
    suited = (name for name, kind in KINDS.items() if kind.suits_array(field.shape, dtype, counted))
    return next(suited, TensorKind.name)


def _paths(field: Field, suffix: str, name: str, spelled: str) -> Guess:
    there = [path for path in _some_paths(field) if path.is_file()]
    if not there:
        raise DataError(
            f"{field.file.path}: of the files that '{field.name}' names, none of the first {SEEN} is in "
            f"{field.file.path.parent}"
        )
    lines = [f"field = {quoted(spelled)}"]
    comment = f"paths of files, seen from the folder of {field.file.path.name}; what is not there is missing"
    kind, files = next(
        (kind, files) for kind in _kinds_of(suffix) if (files := FILES[kind](there)) is not None
    )
    return Guess(name, kind, [f'kind = "{kind}"', *lines, files.line], files.shape, comment)


def _kinds_of(suffix: str) -> list[str]:
    """The kinds that have such files."""
    return [name for name in FILES if suffix in KINDS[name].suffixes]


def _some_paths(field: Field) -> Iterable[Path]:
    for block in field.file.blocks([field.name]):
        named = [path for path in texts(block[field.name]) if path is not None]
        return [field.file.path.parent / path for path in named[:SEEN]]
    return []


def _spelled(field: Field, fields: Sequence[Field]) -> str:
    """The name of a field, with its file where others have it too."""
    alike = [other for other in fields if other.name == field.name]
    return field.name if len(alike) == 1 else f"{field.file.path.name}:{field.name}"
