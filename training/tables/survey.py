"""Counts of what the fields of a file hold, taken in one pass in time linear in the number of columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models_store.arrays import Array
from training.tables.arrow_orders import stated_orders
from training.tables.ends import Ends
from training.tables.files import Block, File, is_numeric, matrix, texts
from training.tables.suspects import Suspects, find_suspects, without

MOST_LABELS = 100
"""Text with more different values than this is no category."""
MOST_KEYS = 100_000
"""Values of which it is checked whether all differ."""
LARGEST_WHOLE = 2**53
"""Floats from here on are all whole, so that this says nothing."""
SAMPLED_ROWS, SAMPLED_CELLS = 2000, 2**24
"""Most rows and cells that are kept, evenly over the file, to describe columns and to compare them."""
FEWEST_SKEWED = 8
"""Numbers from which on a skewness says something."""


@dataclass(frozen=True, eq=False)
class Field:
    """One field, and what was counted in it.

    Arguments:
        file: File that holds it.
        name: Its header.
        label: Name without the unit, unique among the columns of the file.
        unit: Unit from the header or from a line of units.
        shape: Shape of one row; () for a column of single values.
        rows: Number of rows.
        present: Rows with a value.
        numeric: Whether its single values are numbers.
        zeros: Values that are 0, unless 0 is suspected.
        whole: Whether all numbers are whole.
        low: Lowest number.
        high: Highest number.
        values: Count of each different text or whole number; None where there are too many.
        differ: Whether all texts, or whole numbers, differ.
        rises: Whether numbers rise from each row to the next.
        steps: Whether they rise by 1.
        pattern: Equal for fields that are missing in the same rows.
        texts: First different texts, at most ``MOST_LABELS``.
        skew: Skewness of the sample.
        log_skew: Skewness of its logarithms; NaN where one is not above 0.
        infinite: Whether a number is infinite.
        order: Labels in the order that a Parquet file states; none where it states none.
        one_hot: Whether each row of an array holds a single 1 among zeros.
        sample: Numbers of some rows, NaN where missing or suspected.
        suspects: Numbers that may stand for a missing value or be typos.
    """

    file: File
    name: str
    label: str
    unit: str | None
    shape: tuple[int, ...] = ()
    rows: int = 0
    present: int = 0
    numeric: bool = False
    zeros: int = 0
    whole: bool = False
    low: float = np.inf
    high: float = -np.inf
    values: Mapping[str, int] | None = None
    differ: bool = False
    rises: bool = False
    steps: bool = False
    pattern: int = 0
    texts: Sequence[str] = ()
    skew: float = np.nan
    log_skew: float = np.nan
    infinite: bool = False
    order: Sequence[str] = ()
    one_hot: bool = False
    sample: Array = field(default_factory=lambda: np.empty(0))
    suspects: Suspects = field(default_factory=Suspects)

    @property
    def missing(self) -> float:
        """The share of rows without a value."""
        return 1 - self.present / max(self.rows, 1)

    @property
    def example(self) -> str | None:
        """First text."""
        return next(iter(self.texts), None)


class _Numbers:
    """Counts of columns of numbers, side by side.

    Arguments:
        width: Number of columns.
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.present, self.zeros = np.zeros(width, int), np.zeros(width, int)
        self.low, self.high = np.full(width, np.nan), np.full(width, np.nan)
        self.whole, self.steps, self.rises = (np.ones(width, bool) for _ in range(3))
        self.infinite = np.zeros(width, bool)
        self.pattern = np.zeros(width, np.uint64)
        self.values: list[Counter[float] | None] = [Counter() for _ in range(width)]
        self.keys: list[Array | None] = [np.empty(0) for _ in range(width)]
        self.ends = Ends(width)
        self._sample, self._step = np.empty((0, width)), 1
        self._last = np.empty((0, width))

    def see(self, cells: Array) -> None:
        """Takes account of consecutive rows, (n, width), NaN where missing."""
        there, finite = ~np.isnan(cells), np.isfinite(cells)
        self._add_to_sample(cells)
        self.pattern += _weights(self.rows, len(cells)) @ there.astype(np.uint64)
        self.present += there.sum(0)
        self.infinite |= (there & ~finite).any(0)
        bounded = np.where(finite, cells, np.nan)
        self.low = np.fmin(self.low, np.fmin.reduce(bounded, axis=0))
        self.high = np.fmax(self.high, np.fmax.reduce(bounded, axis=0))
        self.zeros += (cells == 0).sum(0)
        exact = (cells == np.floor(bounded)) & (np.abs(bounded) < LARGEST_WHOLE)
        self.whole &= (~finite | exact).all(0)
        rise = np.diff(np.concatenate([self._last, cells]), axis=0)
        self.steps &= (rise == 1).all(0)
        self.rises &= (rise > 0).all(0)
        self.ends.see(bounded, self.rows)
        for column in np.flatnonzero(self.whole).tolist():
            self._count(column, bounded[finite[:, column], column])
        self._last = cells[-1:]
        self.rows += len(cells)

    def _add_to_sample(self, cells: Array) -> None:
        """Keeps each ``_step``-th row; the step doubles when these are too many."""
        self._sample = np.concatenate([self._sample, cells[-self.rows % self._step :: self._step]])
        while len(self._sample) > min(SAMPLED_ROWS, max(1, SAMPLED_CELLS // max(1, cells.shape[1]))):
            self._sample, self._step = self._sample[::2].copy(), 2 * self._step

    def _count(self, column: int, numbers: Array) -> None:
        """Counts the values of a column of whole numbers."""
        counted, keys = self.values[column], self.keys[column]
        if counted is None and keys is None:
            return
        different, times = np.unique(numbers, return_counts=True)
        if counted is not None:
            counted.update(dict(zip(different.tolist(), times.tolist(), strict=True)))
            self.values[column] = counted if len(counted) <= MOST_LABELS else None
        if keys is not None and len(keys) < MOST_KEYS:
            merged = np.concatenate([keys, different])
            distinct = len(different) == len(numbers) and len(np.unique(merged)) == len(merged)
            self.keys[column] = merged if distinct else None

    def fields(self, file: File, names: Sequence[str]) -> Iterator[Field]:
        """The columns as fields."""
        samples = np.ascontiguousarray(self._sample.T)
        for at, name in enumerate(names):
            counted = self.values[at] if self.whole[at] else None
            suspects = find_suspects(samples[at], self.ends.of_column(at), int(self.present[at]))
            sample = without(samples[at], suspects.values)
            yield _field(
                file,
                name,
                rows=self.rows,
                present=int(self.present[at]),
                numeric=True,
                zeros=int(self.zeros[at]) - suspects.codes.get(0.0, 0),
                whole=bool(self.whole[at]),
                low=float(self.low[at]),
                high=float(self.high[at]),
                values=None if counted is None else {f"{int(value)}": n for value, n in counted.items()},
                differ=bool(self.whole[at]) and self.keys[at] is not None,
                rises=bool(self.rises[at]),
                steps=bool(self.steps[at]),
                pattern=int(self.pattern[at]),
                skew=_skewness(sample),
                log_skew=_skewness(np.log(sample)) if np.nanmin(sample, initial=np.inf) > 0 else np.nan,
                infinite=bool(self.infinite[at]),
                sample=sample,
                suspects=suspects,
            )


def _skewness(numbers: Array) -> float:
    """Skewness; one cell that is far from all others does not decide it."""
    body = np.sort(numbers[np.isfinite(numbers)])
    if len(body) < FEWEST_SKEWED:
        return np.nan
    median = body[len(body) // 2]
    for end, inner in ((0, 1), (-1, -2)):
        if 2 * abs(body[end] - body[inner]) > abs(body[end] - median):
            body[end] = body[inner]
    spread = body.std()
    return float((((body - body.mean()) / spread) ** 3).mean()) if body[0] < body[-1] and spread else np.nan


def _field(file: File, name: str, **counted: Any) -> Field:
    """The field of that name in a file, with its label and unit, and what was counted."""
    label, unit = file.labels[name]
    return Field(file, name, label, unit, **counted)


class _Words:
    """Counts of one column of text."""

    def __init__(self) -> None:
        self.rows = self.present = 0
        self.values: Counter[str] | None = Counter()
        self.keys: set[str] | None = set()
        self.texts: list[str] = []
        self.pattern = np.zeros(1, np.uint64)

    def see(self, cells: Sequence[str | None]) -> None:
        """Takes account of consecutive cells."""
        filled = [cell for cell in cells if cell is not None]
        there = np.array([cell is not None for cell in cells], np.uint64)
        self.pattern += _weights(self.rows, len(cells)) @ there
        self.rows, self.present = self.rows + len(cells), self.present + len(filled)
        if self.values is not None:
            self.values.update(filled)
            self.texts = list(self.values)[:MOST_LABELS]
            self.values = self.values if len(self.values) <= MOST_LABELS else None
        if self.keys is not None and len(self.keys) < MOST_KEYS:
            before = len(self.keys)
            self.keys.update(filled)
            self.keys = self.keys if len(self.keys) == before + len(filled) else None

    def field(self, file: File, name: str, order: Sequence[str]) -> Field:
        """The column as a field."""
        return _field(
            file,
            name,
            order=order,
            rows=self.rows,
            present=self.present,
            values=self.values,
            differ=self.keys is not None,
            pattern=int(self.pattern[0]),
            texts=self.texts,
        )


class _Rows:
    """Counts of an array with larger rows."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.rows = self.present = self.zeros = 0
        self.whole = self.one_hot = True
        self.infinite = False
        self.low, self.high = np.inf, -np.inf

    def see(self, cells: Array) -> None:
        """Takes account of consecutive rows, (n, *shape)."""
        finite = cells[np.isfinite(cells)]
        self.infinite |= bool(np.isinf(cells).any())
        flat = cells.reshape(len(cells), -1)
        self.rows += len(cells)
        self.present += int((~np.isnan(flat)).any(1).sum()) if cells.dtype.kind == "f" else len(cells)
        self.one_hot &= bool(((flat == 0).sum(1) == flat.shape[1] - 1).all() and (flat.max(1) == 1).all())
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
            self.zeros += int((finite == 0).sum())
            self.whole &= bool((finite == np.floor(finite)).all())

    def field(self, file: File, name: str) -> Field:
        """The array as a field."""
        return _field(
            file,
            name,
            shape=self.shape,
            rows=self.rows,
            present=self.present,
            numeric=True,
            zeros=self.zeros,
            whole=self.whole,
            low=self.low,
            high=self.high,
            infinite=self.infinite,
            one_hot=self.one_hot and len(self.shape) == 1 and self.shape[0] > 1,
        )


def look(file: File) -> list[Field]:
    """All fields of a file, counted from the first row to the last."""
    arrays = {name: _Rows(shape) for name, shape in file.shapes.items() if shape}
    words: dict[str, _Words] = {}
    numeric: list[str] = []
    counts: _Numbers | None = None
    for block in file.blocks(list(file.shapes)):
        if counts is None:
            numeric, words = _sorted(block, [name for name in file.shapes if name not in arrays])
            counts = _Numbers(len(numeric))
        if numeric:
            counts.see(matrix(block, numeric))
        for name, column in words.items():
            column.see(texts(block[name]))
        for name, rows in arrays.items():
            rows.see(block[name])
    fields = {name: rows.field(file, name) for name, rows in arrays.items()}
    orders = stated_orders(file.path) if words and file.dialect and file.dialect.format == "parquet" else {}
    fields |= {name: column.field(file, name, orders.get(name, ())) for name, column in words.items()}
    if counts is not None:
        fields |= {one.name: one for one in counts.fields(file, numeric)}
    return [fields[name] for name in file.shapes if name in fields]


def _sorted(block: Block, names: Sequence[str]) -> tuple[list[str], dict[str, _Words]]:
    """Names of the columns of numbers, and counts for those of text."""
    numeric = [name for name in names if is_numeric(block[name])]
    among = set(numeric)
    return numeric, {name: _Words() for name in names if name not in among}


def _weights(start: int, size: int) -> Array:
    """A number for each of some rows, so that sums of them tell sets of rows apart."""
    drawn: Any = np.random.default_rng(start).integers(0, 2**64, size, np.uint64)
    return drawn
