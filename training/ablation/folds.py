"""Five folds of mfeat: any three views predicted from any three others, beside ridge regression.

The regression is fitted for each set of inputs, with a penalty per column, selected by leave-one-out on the
training rows; the model is fitted once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from models_store.arrays import Array
from models_store.manifest import Modality
from training.ablation.studies import Results
from training.data import Prepared
from training.data.rows import Rows
from training.evaluation.answers import intervals, r2
from training.evaluation.evaluated import EvaluatedModel

FOLDS = 5
GIVEN = 3
PENALTIES = np.logspace(-2, 4, 13)


def fold(prepared: Prepared, number: int, validation: int) -> Prepared:
    """Returns the same rows with another fifth held out.

    Arguments:
        prepared: All rows, in any split.
        number: Number of the fifth to hold out, 0 … 4.
        validation: Number of the other rows to hold out for the validation loss.
    """
    parts = [prepared.train, prepared.validation, prepared.test]
    rows = Rows({name: torch.cat([part.data[name] for part in parts]) for name in prepared.train.data})
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    held_out = torch.arange(len(rows)) % FOLDS == number
    left = order[~held_out]
    return replace(
        prepared,
        train=rows.take(left[validation:]),
        validation=rows.take(left[:validation]),
        test=rows.take(order[held_out]),
        anew=None,
    )


def questions(names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yields every three views as inputs, and the others as targets."""
    for given in combinations(names, GIVEN):
        yield given, tuple(name for name in names if name not in given)


def compare(evaluated: EvaluatedModel, everything: Rows) -> Results:
    """Returns R² and coverage of the model and R² of the regression, averaged over columns, then targets.

    Arguments:
        evaluated: The model, with the rows of the fold held out.
        everything: Training and validation rows, for the regression.
    """
    views = [m.name for m in evaluated.manifest.modalities if m.labels is None]
    ours, theirs, covered = [], [], []
    by_target: dict[str, list[tuple[float, float, float]]] = {name: [] for name in views}
    for given, targets in questions(views):
        target_modalities = [evaluated.manifest.modality(target) for target in targets]
        regression = ridge(everything, evaluated.test, given, target_modalities)
        for target in target_modalities:
            metrics = intervals(evaluated, target, given, evaluated.test)
            ours.append(metrics["r2"])
            theirs.append(regression[target.name])
            covered.append((metrics["coverage_50"], metrics["coverage_90"]))
            by_target[target.name].append((ours[-1], theirs[-1], covered[-1][1]))
    half, most = np.mean(covered, axis=0)
    results = {
        "R²": float(np.mean(ours)),
        "R² of ridge": float(np.mean(theirs)),
        "in 50 %": float(half),
        "in 90 %": float(most),
        "questions won": float(np.mean(np.array(ours) >= np.array(theirs))),
    }
    for name, values in by_target.items():
        model_r2, linear, inside = np.mean(values, axis=0)
        results |= {f"R² {name}": float(model_r2), f"R² of ridge {name}": float(linear)}
        results[f"in 90 % {name}"] = float(inside)
    return results


def ridge(train: Rows, test: Rows, given: Sequence[str], targets: Sequence[Modality]) -> dict[str, float]:
    """Returns R² of ridge regression for each target, see :func:`r2`."""
    names = [target.name for target in targets]
    inputs = StandardScaler().fit(_flat(train, given))
    answers = StandardScaler().fit(_flat(train, names))
    model = RidgeCV(PENALTIES, alpha_per_target=True)
    model.fit(inputs.transform(_flat(train, given)), answers.transform(_flat(train, names)))
    predicted = answers.inverse_transform(model.predict(inputs.transform(_flat(test, given))))
    results, start = {}, 0
    for target in targets:
        x = _flat(test, [target.name])
        results[target.name] = r2(target, x, predicted[:, start : start + x.shape[1]])
        start += x.shape[1]
    return results


def _flat(rows: Rows, names: Sequence[str]) -> Array:
    return np.concatenate(
        [rows.data[name].numpy().reshape(len(rows), -1).astype(np.float64) for name in names], axis=1
    )
