"""The table of the benchmark's results."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from training.ablation.records import Record

SCORES = ("R²", "deviance", "accuracy", "log-loss", "CRPS", "coverage50", "coverage90", "CPU seconds", "MB")
LOWER_IS_BETTER = frozenset({"log-loss", "CRPS"})
RANKED = ("R²", "deviance", "accuracy", "log-loss", "CRPS")


def markdown(records: Sequence[Record]) -> str:
    """A table for every set and task: methods by rows, scores by columns, the best of each column bold."""
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        grouped.setdefault((record.case["set"], record.case["task"]), []).append(record)
    return "\n\n".join(f"### {name}, {task}\n\n{_table(runs)}" for (name, task), runs in grouped.items())


def _table(records: Sequence[Record]) -> str:
    names = [name for name in SCORES if any(name in record.results for record in records)]
    methods = list(dict.fromkeys(record.case["method"] for record in records))
    means = {method: _means([r for r in records if r.case["method"] == method], names) for method in methods}
    best = {
        name: (min if name in LOWER_IS_BETTER else max)(
            round(row[name], 3) for row in means.values() if name in row
        )
        for name in names
        if name in RANKED
    }
    lines = [["method", "runs", *names], ["---", *["---:"] * (len(names) + 1)]]
    for method, row in means.items():
        runs = sum(record.case["method"] == method for record in records)
        cells = [_cell(name, row, best) for name in names]
        lines.append([method, str(runs), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _means(records: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
    return {n: fmean(r.results[n] for r in records) for n in names if all(n in r.results for r in records)}


def _cell(name: str, row: dict[str, float], best: dict[str, float]) -> str:
    if name not in row:
        return "–"
    if name in ("CPU seconds", "MB"):
        return f"{row[name]:.0f}"
    text = f"{row[name]:.3f}"
    return f"**{text}**" if name in best and round(row[name], 3) == best[name] else text
