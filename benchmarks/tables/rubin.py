"""``python -m benchmarks.tables.rubin``: do pooled intervals of completed tables cover a known linear model?

Many tables are drawn from one linear model and lose cells at random given what stays. Of each, the estimator
draws m completed tables; least squares on each and Rubin's rules give an interval per coefficient. The share
of the tables whose 95 % interval contains the true coefficient is the coverage.

References:
    | Multiple Imputation for Nonresponse in Surveys (Rubin, 1987), section 3.1
    | Small-sample degrees of freedom with multiple imputation (Barnard & Rubin, 1999)
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from models_store.arrays import Array
from training.ablation.records import Record, append, done, mean_of, read

COEFFICIENTS: Mapping[str, float] = {"(constant)": 1.0, "iron": 1.0, "sleep": -0.5, "dose": 0.0}
"""Of the outcome on three measures, whose correlations are all CORRELATION; the noise has a variance of 1."""
CORRELATION = 0.4
COLUMNS = (*list(COEFFICIENTS)[1:], "mood")
"""The measures, then the outcome."""
MISSING = 0.25
"""Mean share of missing cells in the columns after the first."""
LEVEL = 0.95


@dataclass(frozen=True)
class Pooled:
    """Estimates and interval ends by coefficient: (p,) each."""

    estimate: Array
    low: Array
    high: Array


def complete_table(rng: np.random.Generator, rows: int) -> Array:
    """Draws a table without gaps: (rows, columns)."""
    constant, *slopes = COEFFICIENTS.values()
    covariance = np.full((len(slopes), len(slopes)), CORRELATION)
    np.fill_diagonal(covariance, 1.0)
    x = rng.multivariate_normal(np.zeros(len(slopes)), covariance, rows)
    return np.column_stack([x, constant + x @ np.array(slopes) + rng.normal(size=rows)])


def with_gaps(table: Array, rng: np.random.Generator) -> Array:
    """Empties cells of all columns but the first, the more likely the larger the first is."""
    chance = 2 * MISSING / (1 + np.exp(-table[:, :1]))
    hidden = rng.random((len(table), table.shape[1] - 1)) < chance
    return np.where(np.column_stack([np.zeros(len(table), bool), hidden]), np.nan, table)


def least_squares(table: Array) -> tuple[Array, Array]:
    """Coefficients of the last column on the others, and their variances: (p,) each."""
    x, y = np.column_stack([np.ones(len(table)), table[:, :-1]]), table[:, -1]
    inverse = np.linalg.inv(x.T @ x)
    estimate = inverse @ x.T @ y
    noise = ((y - x @ estimate) ** 2).sum() / (len(y) - x.shape[1])
    return estimate, noise * inverse.diagonal()


def pooled(tables: Sequence[Array]) -> Pooled:
    """Rubin's rules, with Barnard and Rubin's degrees of freedom."""
    estimates, variances = (np.stack(part) for part in zip(*map(least_squares, tables), strict=True))
    m, p = estimates.shape
    within, between = variances.mean(axis=0), estimates.var(axis=0, ddof=1)
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total
    complete = len(tables[0]) - p
    observed = (complete + 1) / (complete + 3) * complete * (1 - share)
    freedom = 1 / (share**2 / (m - 1) + 1 / observed)
    reach = student.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(total)
    mean = estimates.mean(axis=0)
    return Pooled(mean, mean - reach, mean + reach)


def scores_of(interval: Pooled) -> dict[str, float]:
    """By coefficient, whether the interval contains it, its error and the interval's width."""
    scores: dict[str, float] = {}
    for index, (name, truth) in enumerate(COEFFICIENTS.items()):
        low, high = float(interval.low[index]), float(interval.high[index])
        scores |= {f"{name} covered": float(low <= truth <= high), f"{name} width": high - low}
        scores[f"{name} error"] = float(interval.estimate[index]) - truth
    return scores


def measured(number: int, rows: int, m: int, method: str) -> tuple[dict[str, float], float]:
    """Scores of one simulated table, and its seconds."""
    import torch

    torch.set_num_threads(1)
    started, rng = time.monotonic(), np.random.default_rng([500, number])
    whole = complete_table(rng, rows)
    table = with_gaps(whole, rng)
    return scores_of(pooled(METHODS[method](whole, table, m, number))), time.monotonic() - started


def _ours(_whole: Array, table: Array, m: int, number: int) -> list[Array]:
    from pandas import DataFrame

    from training.imputer import MultimodalImputer

    frame = DataFrame(table, columns=list(COLUMNS))
    return MultimodalImputer(random_state=number).fit(frame).sample(frame, m)


def _without_gaps(whole: Array, _table: Array, m: int, _number: int) -> list[Array]:
    return [whole] * m


def _complete_rows(_whole: Array, table: Array, m: int, _number: int) -> list[Array]:
    return [table[~np.isnan(table).any(axis=1)]] * m


METHODS: Mapping[str, Callable[[Array, Array, int, int], list[Array]]] = {
    "AnyView": _ours,
    "no cell missing": _without_gaps,
    "complete rows": _complete_rows,
}


def summary(records: Sequence[Record]) -> str:
    """Coverage, bias and mean width by method and coefficient, as a table of Markdown."""
    head = ("method", "coefficient", "tables", "coverage", "bias", "width")
    lines = [head, ("---", "---", *["---:"] * 4)]
    for method in dict.fromkeys(record.case["method"] for record in records):
        runs = [record for record in records if record.case["method"] == method]
        for name in COEFFICIENTS:
            means = [mean_of(runs, f"{name} {what}") for what in ("covered", "error", "width")]
            lines.append((method, name, str(len(runs)), *(f"{mean:.3f}" for mean in means)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    arguments = _parser().parse_args()
    path: Path = arguments.output
    cases = [
        {"method": method, "number": number, "rows": arguments.rows, "m": arguments.m}
        for number in range(arguments.tables)
        for method in arguments.methods
    ]
    left = [case for case in cases if not done(path, case)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        futures = {pool.submit(measured, c["number"], c["rows"], c["m"], c["method"]): c for c in left}
        for future in as_completed(futures):
            append(path, Record(futures[future], *future.result()))
    print(summary([record for record in read(path) if record.case in cases]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.tables.rubin", description=__doc__)
    add = parser.add_argument
    add("--tables", type=int, default=200, help="simulated tables")
    add("--rows", type=int, default=200, help="rows of a table")
    add("--m", type=int, default=20, help="completed tables of each")
    add("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    add("--processes", type=int, default=1, help="tables that are measured at the same time")
    add("--output", type=Path, default=Path("build/rubin.jsonl"), help="a JSON line per table; resumed")
    return parser


if __name__ == "__main__":
    main()
