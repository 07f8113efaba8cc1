"""Columns that follow from others: copies, columns of one order, sums and products."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from itertools import product as pairs_of

import numpy as np

from models_store.arrays import Array
from training.tables.cases import Cases, plain
from training.tables.files import Block, File, is_numeric, matrix, texts
from training.tables.survey import Field

MOST_COLUMNS = 100
"""Columns of a file up to which each is compared with sums and products of the others."""
MOST_CASES = 10_000
"""Cases of which columns of several files are compared."""
MOST_TERMS = 8
FEWEST_ROWS = 20
EXACT = 1e-4
"""Share of the variance that rounding may leave unexplained."""
FEWEST_LABELS = 3
"""Columns of a one-hot group; of two, one follows from the other."""
_LAST_WORD = re.compile(r"[^\W_]*$")
FEWEST_VALUES = 4
"""Columns with fewer different values are in one order by chance."""


def relations(fields: Sequence[Field]) -> list[str]:
    """A sentence for each column of one file that follows from others; of numbers, on its first rows."""
    lines = [_one_hot_sentence(group) for group in _truth_groups(fields)]
    numeric = [one for one in fields if one.numeric and not one.shape and one.low < one.high]
    if not numeric or len(numeric[0].sample) < FEWEST_ROWS:
        return lines
    groups = list(_one_hot_groups(numeric))
    single = {one.name for group in groups for one in group}
    sentences, copies = _copies([one for one in numeric if one.name not in single])
    lines += sentences + [_one_hot_sentence(group) for group in groups]
    rest = [one for one in numeric if one.name not in copies | single]
    if len(rest) <= MOST_COLUMNS:
        lines += [_sentence(one, terms, product) for one, terms, product in _combinations(rest)]
    return lines


def _one_hot_groups(fields: Sequence[Field]) -> Iterator[list[Field]]:
    """Neighbours of 0 and 1 of which exactly one is 1 in every row that has them."""
    start = 0
    while start < len(fields):
        group, total = list[Field](), np.zeros(len(fields[start].sample))
        for at in range(start, len(fields)):
            one = fields[at]
            if not (one.whole and (one.low, one.high) == (0, 1)):
                break
            group.append(one)
            total = total + one.sample
            if np.nanmax(total, initial=0) > 1 or np.nanmin(total, initial=1) == 1:
                break
        complete = (
            len(group) >= FEWEST_LABELS and np.nanmin(total, initial=1) == np.nanmax(total, initial=0) == 1
        )
        if complete:
            yield group
        start += len(group) if complete else 1


def _truth_groups(fields: Sequence[Field]) -> Iterator[list[Field]]:
    """Neighbours of truth values with alike names, of which one is true in each row by their counts."""

    def alike(one: Field) -> tuple[str, bool, int]:
        return _LAST_WORD.sub("", one.name), _truths(one) is None, one.present

    for _, neighbours in groupby(fields, key=alike):
        group = list(neighbours)
        counts = [_truths(one) or 0 for one in group]
        if len(group) >= FEWEST_LABELS and sum(counts) == group[0].present > 0:
            yield group


def _truths(field: Field) -> int | None:
    """Number of rows that are true; None for a column of other values."""
    values = {word.casefold(): count for word, count in (field.values or {}).items()}
    return values["true"] if values.keys() == {"true", "false"} else None


def _one_hot_sentence(group: Sequence[Field]) -> str:
    names = ", ".join(f"'{one.name}'" for one in group[:MOST_TERMS])
    more = f" and {len(group) - MOST_TERMS} more" if len(group) > MOST_TERMS else ""
    return (
        f"{names}{more} are one-hot: make them one column of labels, which is learned as a category; each is "
        "learned and filled alone, so that a filled row may have none or two"
    )


def _copies(fields: Sequence[Field]) -> tuple[list[str], set[str]]:
    """Sentences on columns that are equal to an earlier one or in the same order, and their names."""
    equal: dict[bytes, Field] = {}
    ranked: dict[bytes, Field] = {}
    lines, names = [], set()
    for one in fields:
        values = one.sample + 0.0  # -0 as 0
        order = _ranks(values)
        falling = np.where(order > 0, order.max() + 1 - order, 0)
        first = equal.setdefault(values.tobytes(), one)
        alike = [ranked.get(order.tobytes()), ranked.get(falling.tobytes())]
        ranked.setdefault(order.tobytes(), one)
        if first is not one:
            lines.append(f"'{one.name}' is equal to '{first.name}'")
            names.add(one.name)
        elif (other := next((match for match in alike if match), None)) and order.max() >= FEWEST_VALUES:
            lines.append(
                f"'{one.name}' rises or falls with '{other.name}' in every row, as another unit would"
            )
            names.add(one.name)
    return lines, names


def _ranks(values: Array) -> Array:
    """Ranks from 1, equal for equal values, 0 where missing."""
    there = ~np.isnan(values)
    ranks = np.zeros(len(values), np.int32)
    ranks[there] = np.unique(values[there], return_inverse=True)[1] + 1
    return ranks


def _combinations(fields: Sequence[Field]) -> Iterator[tuple[Field, list[Field], bool]]:
    """Columns that are a sum of few others, or a product of their powers, but for rounding; last first."""
    fields, table = _complete(fields)
    for product in (False, True):
        usable = [at for at in range(len(fields)) if not product or (table[:, at] > 0).all()]
        values = np.log(table[:, usable]) if product else table[:, usable]
        while (at := _last_explained(values)) is not None:
            terms = _terms(values[:, at], np.delete(values, at, axis=1))
            column = usable.pop(at)
            values = np.delete(values, at, axis=1)
            if terms is not None:
                yield fields[column], [fields[usable[term]] for term in terms], product


def _complete(fields: Sequence[Field]) -> tuple[list[Field], Array]:
    """Columns and their complete rows; columns with most gaps are left out until there are enough rows."""
    kept = list(fields)
    table = np.stack([one.sample for one in kept], axis=1) if kept else np.empty((0, 0))
    while kept and (~np.isnan(table).any(1)).sum() < max(FEWEST_ROWS, 3 * len(kept)):
        gaps = np.isnan(table).sum(0)
        if not gaps.any():
            return [], np.empty((0, 0))
        kept.pop(gaps.argmax())
        table = np.delete(table, gaps.argmax(), axis=1)
    return kept, table[~np.isnan(table).any(1)]


def _last_explained(values: Array) -> int | None:
    """The last column that the others explain but for ``EXACT`` of its variance.

    The unexplained share of column j is 1 / (C⁻¹)ⱼⱼ, with C the matrix of correlations.
    """
    if values.shape[1] < 3:
        return None
    spread = values.std(0)
    varying = np.flatnonzero(spread > 0)
    scaled = (values[:, varying] - values[:, varying].mean(0)) / spread[varying]
    correlations = scaled.T @ scaled / len(values) + 1e-9 * np.eye(len(varying))
    unexplained = 1 / np.diag(np.linalg.inv(correlations))
    explained = np.flatnonzero(unexplained < EXACT)
    return int(varying[explained[-1]]) if len(explained) else None


def _terms(target: Array, others: Array) -> list[int] | None:
    """Columns, at most ``MOST_TERMS``, of which the target is a linear function; None where it is none.

    Found by orthogonal matching pursuit.
    """
    target, others = target - target.mean(), others - others.mean(0)
    spread = np.sqrt((others**2).sum(0))
    scaled = others / np.where(spread > 0, spread, 1.0)
    terms: list[int] = []
    rest = target
    while len(terms) < min(MOST_TERMS, scaled.shape[1]):
        terms.append(int(np.abs(scaled.T @ rest).argmax()))
        rest = target - scaled[:, terms] @ np.linalg.lstsq(scaled[:, terms], target, rcond=None)[0]
        if (rest**2).sum() <= EXACT * (target**2).sum():
            return terms
    return None


def _sentence(field: Field, terms: Sequence[Field], product: bool) -> str:
    names = ", ".join(f"'{one.name}'" for one in terms)
    return f"'{field.name}' follows from {names} by a {'product of powers' if product else 'weighted sum'}"


def across_files(fields: Sequence[Field], cases: Cases) -> list[str]:
    """A sentence for each column that is equal to one of an earlier file in all cases that have both.

    Compared are columns of one header but for case, blanks and punctuation; and, of files that are not wide,
    all columns of numbers.
    """
    files = {one.file.path: one.file for one in fields}
    columns = {path: [one for one in fields if one.file.path == path and not one.shape] for path in files}
    lines = []
    for first, second in combinations(files, 2):
        pairs = list(_comparable(columns[first], columns[second]))
        if pairs:
            values = [
                _by_case(files[path], sorted({pair[at].name for pair in pairs}), cases)
                for at, path in enumerate((first, second))
            ]
            lines += [
                f"'{other.name}' of {second.name} is equal to '{one.name}' of {first.name} in all {n} cases "
                "that have both: leave one out, since it gives the other away"
                for one, other in pairs
                if (n := _equal_cases(values[0][one.name], values[1][other.name]))
            ]
    return lines


def _comparable(first: Sequence[Field], second: Sequence[Field]) -> Iterator[tuple[Field, Field]]:
    narrow = len(first) * len(second) <= MOST_COLUMNS
    for one, other in pairs_of(first, second):
        named = plain(one.name) == plain(other.name)
        if named or (narrow and one.numeric and other.numeric and one.values is None):
            yield one, other


def _by_case(file: File, names: Sequence[str], cases: Cases) -> dict[str, Array]:
    """Cells of the first cases as text, None where missing: by name, (n,)."""
    size = min(len(cases), MOST_CASES)
    cells = {name: np.full(size, None, object) for name in names}
    for numbers, block in cases.blocks(file, names):
        there = (numbers >= 0) & (numbers < size)
        for name in names if there.any() else ():
            cells[name][numbers[there]] = _texts(block, name)[there]
    return cells


def _texts(block: Block, name: str) -> Array:
    """Cells of a column as text, numbers with seven digits, None where missing: (n,)."""
    if not is_numeric(block[name]):
        return np.array(texts(block[name]), object)
    numbers = matrix(block, [name])[:, 0]
    return np.array([None if np.isnan(one) else f"{one:.7g}" for one in numbers], object)


def _equal_cases(first: Array, second: Array) -> int:
    """Number of cases that have both cells, if these are equal, and enough to differ by chance; else 0."""
    there = (first != None) & (second != None)  # noqa: E711 - elementwise
    values = first[there]
    if there.sum() < FEWEST_ROWS or len({*values}) < 2 or (values != second[there]).any():
        return 0
    return int(there.sum())


def by_file(fields: Sequence[Field]) -> list[str]:
    """The sentences of :func:`relations` on all files."""
    groups: dict[str, list[Field]] = defaultdict(list)
    for one in fields:
        groups[str(one.file.path)].append(one)
    return [line for group in groups.values() for line in relations(group)]
