"""``make bench-tables``: `init` and `fit` without an edit beside what people use for such tables.

Each set is split in training and test rows; each method learns from the training rows and answers for test
rows what is hidden of them: each view from all others, views or cells taken at random. Scores are averaged
over views. A method that is not installed, or too slow for a wide table, is skipped by name.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.tables.report import SCORES, markdown
from benchmarks.tables.runs import measured, methods, runs
from benchmarks.tables.sets import SETS
from training.ablation.records import Record, append, done, read


def main() -> None:
    arguments = _parser().parse_args()
    path: Path = arguments.output
    few = 1 if arguments.quick else 3
    splits, seeds = arguments.splits or few, arguments.seeds or few
    for run in runs(arguments.sets, arguments.methods, splits, seeds, quick=arguments.quick):
        case = vars(run)
        if done(path, case):
            continue
        # a process of its own: its peak of memory is that of one method
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            scores, seconds = pool.submit(measured, run).result()
        append(path, Record(case, scores, seconds))
        shown = {name: round(scores[name], 3) for name in SCORES if name in scores}
        print(json.dumps(case), json.dumps(shown, ensure_ascii=False), flush=True)
    print(markdown([record for record in read(path) if record.case["set"] in arguments.sets]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.tables", description=__doc__)
    add = parser.add_argument
    add("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    add("--methods", nargs="+", choices=list(methods()), default=list(methods()))
    add("--splits", type=int, help="splits in training and test rows (default 3, or 1 with --quick)")
    add("--seeds", type=int, help="seeds of methods that draw their first weights (default as for --splits)")
    add("--quick", action="store_true", help="without the holes made at random")
    add("--output", type=Path, default=Path("build/tables.jsonl"), help="a JSON line per run; resumed")
    return parser


if __name__ == "__main__":
    main()
