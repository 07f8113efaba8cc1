"""Runs of the benchmark: one method on one task, in a process of its own."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.tables import mofa, multivae_models
from benchmarks.tables.baselines import BASELINES, SLOW, SLOW_COLUMNS
from benchmarks.tables.design import Learn, answers
from benchmarks.tables.questions import Task, tasks
from benchmarks.tables.scores import Prediction, averaged, view_scores
from benchmarks.tables.sets import SETS, MissingData

OURS = "AnyView"
Method = Callable[[Task, int], list[Prediction]]
"""Maps a task and a seed to predictions for its questions."""


def methods() -> Mapping[str, Method]:
    """All methods by name, also those that are not installed."""
    from benchmarks.tables import ours

    baselines = {name: _of_baseline(learn) for name, learn in BASELINES.items()}
    return {OURS: ours.answers, **baselines, **mofa.METHODS, **multivae_models.METHODS}


def _of_baseline(learn: Learn) -> Method:
    return lambda task, _seed: answers(task, learn)


@dataclass(frozen=True)
class Run:
    """One method on one task.

    Arguments:
        set: Name of the data set.
        task: Name of the task.
        split: Number of the split in training and test rows.
        method: Name of the method.
        seed: Seed of the method, and of holes made at random.
    """

    set: str
    task: str
    split: int
    method: str
    seed: int


def measured(run: Run) -> tuple[dict[str, float], float]:
    """Scores of a run, with its CPU seconds and the peak of this process's memory in MB; and its seconds."""
    import torch

    torch.set_num_threads(1)
    split = SETS[run.set](run.split)
    task = next(task for name, task in tasks(run.set, split, run.seed, quick=False) if name == run.task)
    before, started = time.process_time(), time.monotonic()
    predictions = methods()[run.method](task, run.seed)
    cpu, seconds = time.process_time() - before, time.monotonic() - started
    scores: dict[str, float] = {}
    for question, prediction in zip(task.questions, predictions, strict=True):
        truth = np.nan_to_num(question.truth)
        scores |= view_scores(task.train.columns, prediction, truth, question.requested, task.train)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**averaged(scores), **scores, "CPU seconds": cpu, "MB": peak}, seconds


def runs(sets: Sequence[str], names: Sequence[str], splits: int, seeds: int, *, quick: bool) -> Iterator[Run]:
    """Every run in order; prints what is skipped.

    Arguments:
        sets: Names of data sets.
        names: Names of methods.
        splits: Number of splits in training and test rows.
        seeds: Number of seeds of the methods that draw their first weights.
        quick: Only the first task of each set.
    """
    for set_name in sets:
        try:
            split = SETS[set_name](0)
        except MissingData as missing:
            print(f"skipped {missing}")
            continue
        wide = len(split.train.columns) > SLOW_COLUMNS
        task_names = [name for name, _ in tasks(set_name, split, 0, quick=quick)]
        for name in names:
            if reason := _unfit(name, wide):
                print(f"skipped {name} on {set_name}: {reason}")
                continue
            for number, seed, task_name in product(range(splits), _seeds(name, seeds), task_names):
                yield Run(set_name, task_name, number, name, seed)


def _seeds(name: str, count: int) -> range:
    """Seeds of a method; one where it draws nothing."""
    return range(1, 1 + (count if name == OURS or name in multivae_models.METHODS else 1))


def _unfit(name: str, wide: bool) -> str | None:
    if name in mofa.METHODS and not mofa.installed():
        return "mofapy2 is not installed"
    if name in multivae_models.METHODS and not multivae_models.installed():
        return "MultiVae is not installed: make reference"
    return f"more than {SLOW_COLUMNS} columns" if wide and name in SLOW else None
