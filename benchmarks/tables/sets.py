"""The data sets of the benchmark: public ones, and four that are made with known structure."""

from __future__ import annotations

import csv
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn import datasets

from benchmarks.tables.table import Column, Table, from_values
from models_store.arrays import Array
from training.data import HOME

LABS = ("bili", "chol", "albumin", "copper", "alk.phos", "ast", "trig", "platelet", "protime")
PERSON = ("age", "time")
NOT_LEARNED = ("rownames", "id", "trt")
"""Columns of pbc that number rows or were drawn by lot."""
SCIKIT_LEARN = ("iris", "wine", "breast_cancer", "diabetes")
"""Tables of scikit-learn: 150 to 569 rows of 5 to 31 columns."""
STATSMODELS: Mapping[str, Sequence[str]] = {
    "statecrime": (),
    "modechoice": ("mode", "choice", "psize"),
    "fair": ("rate_marriage", "religious", "educ", "occupation", "occupation_husb"),
    "randhie": ("idp", "hlthg", "hlthf", "hlthp"),
}
"""Tables of statsmodels, 51 to 20,190 rows of 7 to 10 columns, and their categories."""
TEST_SHARE = 0.3


@dataclass(frozen=True)
class Split:
    """Training and test rows.

    Arguments:
        train: Rows that a user has.
        test: Rows that are requested about.
        truth: Test rows without holes, where only a made table knows them.
    """

    train: Table
    test: Table
    truth: Table | None = None


class MissingData(Exception):
    """A public data set is not on this machine."""


def data_folder(name: str) -> Path:
    """Folder of a public data set: ``$ANYVIEW_DATA/NAME``, else ``../shared/data/NAME``.

    Raises:
        MissingData: There is no such folder.
    """
    roots = [Path(root) for root in (os.environ.get("ANYVIEW_DATA"), str(HOME)) if root]
    for root in roots:
        if (root / name).is_dir():
            return root / name
    raise MissingData(f"{name}: there is no folder {' or '.join(str(root / name) for root in roots)}")


def pbc(split: int) -> Split:
    """Primary biliary cholangitis: 418 patients, nine views of one to nine columns, true gaps."""
    header, lines = _read(data_folder("pbc") / "pbc.csv")
    kept = [index for index, name in enumerate(header) if name not in NOT_LEARNED]
    views = {**dict.fromkeys(LABS, "labs"), **dict.fromkeys(PERSON, "person")}
    names = [header[index] for index in kept]
    table = _table(
        [(name, views.get(name, name), name not in views, "pbc") for name in names], lines[:, kept]
    )
    return _at_random(table, np.arange(len(table)), split)


def breast(split: int) -> Split:
    """Three assays of 220 tumours and their subtype, in four files; 70 rows lack the proteins."""
    views = {"mrna": "mrna", "mirna": "mirna", "protein": "protein", "clinical": "subtype"}
    tables = {view: _read(data_folder("breast") / f"breast_{view}.csv") for view in views}
    samples = tables["clinical"][1][:, 0]
    columns, parts = [], []
    for stem, (header, lines) in tables.items():
        place = dict(zip(lines[:, 0], lines[:, 1:], strict=True))
        empty = np.full(len(header) - 1, "", dtype=object)
        parts.append(np.stack([place.get(sample, empty) for sample in samples]))
        columns += [(name, views[stem], stem == "clinical", f"breast_{stem}") for name in header[1:]]
    table = _table(columns, np.hstack(parts))
    return _at_random(table, np.flatnonzero(table.present.all(axis=1)), split)


def mfeat(split: int) -> Split:
    """Handwritten digits: 2,000 rows, six sets of 6 to 240 features and the label, in seven files."""
    with np.load(data_folder("mfeat") / "mfeat.npz") as arrays:
        views = {name: arrays[name].astype(float) for name in arrays.files}
    digits = tuple(f"digit{label}" for label in range(10))
    columns, parts = [], []
    for view, values in views.items():
        if view == "labels":
            columns.append(Column("digit", "digit", digits, file="digit"))
            parts.append(values[:, None])
        else:
            columns += [Column(f"{view}_{number}", view, file=view) for number in range(values.shape[1])]
            parts.append(values)
    table = from_values(columns, np.hstack(parts), digits=5)
    return _at_random(table, np.arange(len(table)), split)


def of_scikit_learn(name: str, split: int) -> Split:
    """A table of scikit-learn."""
    loaded = getattr(datasets, f"load_{name}")()
    headers = [str(feature).split(" (")[0] for feature in loaded.feature_names]
    labels = {"target": tuple(map(str, getattr(loaded, "target_names", ())))}
    return _complete(name, [*headers, "target"], np.column_stack([loaded.data, loaded.target]), labels, split)


def of_statsmodels(name: str, split: int) -> Split:
    """A table of statsmodels; its categories are numbers."""
    if importlib.util.find_spec("statsmodels") is None:
        raise MissingData(f"{name}: statsmodels is not installed")
    from statsmodels import datasets as others

    frame = getattr(others, name).load_pandas().data
    values, labels = frame.to_numpy(float), {}
    for at, header in enumerate(frame.columns):
        if header in STATSMODELS[name]:
            numbers, values[:, at] = np.unique(values[:, at], return_inverse=True)
            labels[header] = tuple(f"{number:g}" for number in numbers)
    return _complete(name, [*frame.columns], values, labels, split)


def _complete(
    name: str, headers: Sequence[str], values: Array, labels: Mapping[str, tuple[str, ...]], split: int
) -> Split:
    """A table without gaps in one file, each of whose columns is asked for by itself."""
    columns = [Column(header, header, labels.get(header, ()), file=name) for header in headers]
    table = from_values(columns, values)
    return _at_random(table, np.arange(len(table)), split)


def weak(split: int, rows: int = 1000, columns: int = 18) -> Split:
    """Eighteen views of one column, each of which says a little of two common causes."""
    rng = np.random.default_rng(100 + split)
    causes, described, parts = rng.normal(size=(rows, 2)), [], []
    for number in range(columns):
        x = 0.8 * causes @ rng.normal(size=2) + rng.normal(size=rows)
        letter, levels = "abcdefghijklmnopqr"[number], 2 + number % 3
        if number % 3 == 0:
            described.append(Column(f"{letter}size", f"{letter}size"))
            parts.append(10 + 2 * x)
        else:
            labels = ("one", "two", "three", "four")[:levels]
            described.append(Column(f"{letter}kind", f"{letter}kind", labels))
            parts.append(np.searchsorted(np.quantile(x, np.arange(1, levels) / levels), x).astype(float))
    return _last_third(from_values(described, np.stack(parts, axis=1)))


def linear(split: int, rows: int = 1500, columns: int = 54) -> Split:
    """Views of one number each, in files of their own: two common causes and noise, all normal.

    Ridge regression is then the exact conditional mean, up to its estimation error.
    """
    rng = np.random.default_rng(400 + split)
    weights = rng.normal(size=(2, columns)) / 2**0.5
    values = rng.normal(size=(rows, 2)) @ weights + 0.5 * rng.normal(size=(rows, columns))
    names = [f"x{number}" for number in range(columns)]
    return _last_third(from_values([Column(name, name, file=name) for name in names], values))


def holes(split: int, rows: int = 300, columns: int = 40, rank: int = 4) -> Split:
    """Two views of a low-rank table with noise, of which 30 % of the cells are missing."""
    rng = np.random.default_rng(200 + split)
    signal = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns)) / rank**0.5
    values = signal + 0.6 * rng.normal(size=(rows, columns))
    sides = ["left" if number < columns // 2 else "right" for number in range(columns)]
    described = [Column(f"{side}_{number}", side) for number, side in enumerate(sides)]
    whole = _last_third(from_values(described, values))
    hidden = rng.random((rows, columns)) < TEST_SHARE
    train, test = hidden[: len(whole.train)], hidden[len(whole.train) :]
    return Split(whole.train.without(train), whole.test.without(test), whole.test)


def counts(split: int, rows: int = 400) -> Split:
    """Overdispersed counts of two assays; each row has a depth of its own in each assay."""
    rng = np.random.default_rng(300 + split)
    causes, described, parts = rng.normal(size=(rows, 2)), list[Column](), []
    for assay, width, level, spread in (("gene", 40, 0.5, 0.7), ("protein", 12, 3.0, 0.4)):
        depth = np.exp(spread * rng.normal(size=(rows, 1)))
        effects = 0.6 * causes @ rng.normal(size=(2, width))
        rate = depth * np.exp(level + 0.7 * rng.normal(size=width) + effects)
        parts.append(rng.poisson(rng.gamma(1.5, rate / 1.5)).astype(float))
        described += [Column(f"{assay}_{number}", assay, counts=True) for number in range(width)]
    return _last_third(from_values(described, np.hstack(parts)))


SETS: Mapping[str, Callable[[int], Split]] = {
    "pbc": pbc,
    "breast": breast,
    "mfeat": mfeat,
    **{name: partial(of_scikit_learn, name) for name in SCIKIT_LEARN},
    **{name: partial(of_statsmodels, name) for name in STATSMODELS},
    "weak": weak,
    "linear": linear,
    "holes": holes,
    "counts": counts,
}


def _read(path: Path) -> tuple[list[str], Array]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    cells = np.array(lines, dtype=object)
    return header, np.where(cells == "NA", "", cells)


def _table(columns: Sequence[tuple[str, str, bool, str]], cells: Array) -> Table:
    """The table of (name, view, whether a category, file) by column, and cells (n, columns)."""
    return Table(
        tuple(
            Column(name, view, tuple(sorted({*column} - {""})) if category else (), file=file)
            for (name, view, category, file), column in zip(columns, cells.T, strict=True)
        ),
        cells,
    )


def _at_random(table: Table, candidates: Array, split: int) -> Split:
    """Draws the test rows among the candidates, which have all views."""
    order = np.random.default_rng(split).permutation(candidates)
    test = np.sort(order[: min(round(TEST_SHARE * len(table)), len(candidates) // 2)])
    return Split(table.take(np.setdiff1d(np.arange(len(table)), test)), table.take(test))


def _last_third(table: Table) -> Split:
    first = len(table) - len(table) // 3
    return Split(table.take(np.arange(first)), table.take(np.arange(first, len(table))))
