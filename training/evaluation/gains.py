"""Gains of a model's predictions: each modality from all others, beside simpler predictions of the same rows.

The references are the training mean (of labels: their shares) and, for tables, ridge or logistic regression
on the same training rows. Of a vector whose cells may be missing, a random share of them is predicted from
the rest of the row as well. The head of the card shows the gains; a model of none is not published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import norm

from models_store.arrays import Array
from models_store.manifest import Modality
from training.data.rows import Rows, with_hidden_cells
from training.evaluation.answers import CELLS, covered, label_probabilities
from training.evaluation.cells import cells_of
from training.evaluation.evaluated import EvaluatedModel, having, observed
from training.evaluation.losses import Losses
from training.evaluation.metrics import Gain
from training.evaluation.predicting import DRAWS, answered
from training.evaluation.regressions import moments, predict_labels, predict_numbers
from training.factor_choice import HIDDEN

LEARNED = 5000
"""Limit of training rows, drawn at random, for the regressions and the training mean."""
RESAMPLES = 2000
"""Bootstrap samples of the held-out rows."""
FEWEST = 20
"""Least number of held-out rows whose spread decides whether a gain is more than chance."""
LEVEL = 0.05
"""Probability of publishing a model that gains nothing, shared among its modalities."""


def gains(evaluated: EvaluatedModel) -> dict[str, Gain]:
    """Measures the predictions of every modality given all others that a row has, by modality."""
    names = evaluated.manifest.names
    train = sample(evaluated.train, LEARNED, evaluated.seed)
    measured = {}
    for target in evaluated.manifest.modalities:
        if target.traits.mixed:  # tables are measured by column
            continue
        if others := [name for name in names if name != target.name]:
            rows = rows_with(evaluated.test, target.name, others).head(_most(evaluated, target))
            if len(rows) > 1:
                measured[target.name] = _gain(evaluated, target, others, train, rows)
        if target.may_lack_cells and "columns" in target.traits.fields and math.prod(target.shape) > 1:
            rows, x = _with_hidden_cells(evaluated, target)
            if len(rows) > 1:
                measured[f"{target.name}: cells"] = _gain_of_cells(evaluated, target, train, rows, x)
    return measured


def _gain_of_cells(evaluated: EvaluatedModel, target: Modality, train: Rows, rows: Rows, x: Array) -> Gain:
    predicted, coverage = _answered(evaluated, target, evaluated.manifest.names, rows, x)
    return gain_of(Losses.of(target, train), x, predicted, None, coverage, evaluated.seed)


def _with_hidden_cells(evaluated: EvaluatedModel, target: Modality) -> tuple[Rows, Array]:
    """Rows without some cells of the target but with something else, and these cells, NaN where observed."""
    name, test = target.name, evaluated.test
    rest, hidden = with_hidden_cells(test.data[name], HIDDEN, evaluated.rng())
    here = torch.from_numpy(observed(test, name))
    seen, hides = (here & ~x.flatten(1).isnan().all(dim=1) for x in (rest, hidden))
    rest[~seen] = 0.0  # as in all rows that lack a view
    rows = Rows({**test.data, name: rest}, {**test.masks, name: seen})
    usable = hides & torch.from_numpy(np.any([observed(rows, other) for other in rows.data], axis=0))
    most = _most(evaluated, target)
    return rows.take(usable).head(most), hidden[usable][:most].numpy()


def beats_the_mean(measured: Mapping[str, Gain]) -> list[str]:
    """Modalities whose gain over the training mean is more than chance.

    One-sided at :data:`LEVEL`, shared among the modalities (Bonferroni). With fewer than :data:`FEWEST` rows
    the spread is not known, and any gain counts.
    """
    least = norm.ppf(1 - LEVEL / max(1, len(measured)))
    return [
        name
        for name, one in measured.items()
        if one["gain"] > (0 if one["rows"] < FEWEST else least * one["gain_error"])
    ]


def sample(rows: Rows, count: int, seed: int) -> Rows:
    """Random rows in their order; all of them if there are no more."""
    if len(rows) <= count:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))[:count]
    return rows.take(torch.from_numpy(np.sort(order)))


def rows_with(rows: Rows, target: str, others: Sequence[str]) -> Rows:
    """The rows that have the target and at least one of the others."""
    having_any = having(rows, others)
    return having_any.take(torch.from_numpy(observed(having_any, target)))


def _most(evaluated: EvaluatedModel, target: Modality) -> int:
    return min(evaluated.settings.rows, max(2, CELLS // (DRAWS * math.prod(target.shape))))


def _gain(
    evaluated: EvaluatedModel, target: Modality, others: Sequence[str], train: Rows, rows: Rows
) -> Gain:
    losses, x = Losses.of(target, train), rows.data[target.name].numpy()
    predicted, coverage = _answered(evaluated, target, others, rows, x)
    regression = regressed(evaluated, target, others, train, rows)
    return gain_of(losses, x, predicted, regression, coverage, evaluated.seed)


def gain_of(
    losses: Losses,
    x: Array,
    predicted: Array,
    regression: Array | None,
    coverage: tuple[float, float] | None,
    seed: int,
) -> Gain:
    """Gain of predictions over the training mean and over a regression, with bootstrap errors.

    Arguments:
        losses: Losses of the target.
        x: Observed values of the target.
        predicted: Predicted means or probabilities.
        regression: Predictions of the regression, if there is one.
        coverage: Coverage of the 50 and 90 % intervals of numbers.
        seed: Seed of the bootstrap.
    """
    by_row = [losses.by_row(x, losses.typical(len(x))), losses.by_row(x, predicted)]
    if regression is not None:
        by_row.append(losses.by_row(x, regression))
    sums = _resampled(np.stack(by_row, axis=1), seed)  # (1 + RESAMPLES, 2 or 3): the rows first
    over_mean = losses.gain(sums[:, 0], sums[:, 0], sums[:, 1], len(x))
    entry: Gain = {
        "measure": losses.measure,
        "gain": round(float(over_mean[0]), 4),
        "gain_error": round(float(over_mean[1:].std()), 4),
        "rows": len(x),
    }
    if coverage is not None:
        entry["coverage_50"], entry["coverage_90"] = coverage
    if regression is not None:
        over_regression = losses.gain(sums[:, 0], sums[:, 2], sums[:, 1], len(x))
        entry["over_regression"] = round(float(over_regression[0]), 4)
        entry["over_regression_error"] = round(float(over_regression[1:].std()), 4)
    return entry


def _resampled(by_row: Array, seed: int) -> Array:
    """Sums of losses over the rows, and over bootstrap samples of them: (1 + RESAMPLES, losses)."""
    n = len(by_row)
    times = np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return np.concatenate([by_row.sum(axis=0, keepdims=True), times @ by_row])


def _answered(
    evaluated: EvaluatedModel, target: Modality, given: Sequence[str], rows: Rows, x: Array
) -> tuple[Array, tuple[float, float] | None]:
    """Predicted means or probabilities, and of numbers x the coverage of the 50 and 90 % intervals."""
    if target.labels is not None:
        return label_probabilities(evaluated, target.name, given, rows), None
    mean, low, high = answered(evaluated, target, given, rows)
    half, _, nearly_all = covered(x.astype(np.float64), low, high)
    return mean, (half, nearly_all)


# --- ridge and logistic regression -------------------------------------------------------------------


def regressed(
    evaluated: EvaluatedModel, target: Modality, others: Sequence[str], train: Rows, rows: Rows
) -> Array | None:
    """Predictions of ridge or logistic regression from the columns of the others; None if not all are tables.

    Counts are predicted as log(1 + x), and scaled so that the training mean is kept.

    Returns:
        Means, (n, *shape), or probabilities of labels, (n, labels).
    """
    given = [evaluated.manifest.modality(name) for name in others]
    if not all(modality.traits.tabular for modality in (target, *given)):
        return None
    train = train.take(torch.from_numpy(observed(train, target.name)))
    inputs = (np.hstack([columns(modality, part) for modality in given]) for part in (train, rows))
    return regress(target, train, *inputs)


def regress(target: Modality, train: Rows, inputs: Array, new_inputs: Array) -> Array | None:
    """Predictions of a target by ridge or logistic regression; None where its labels do not vary.

    Arguments:
        target: The target, of a kind of tables.
        train: Training rows that have it.
        inputs: Their inputs, (n, q), NaN where missing.
        new_inputs: Inputs of the rows to predict, (k, q).
    """
    center, scale = moments(inputs)
    x, new = (np.nan_to_num((raw - center) / scale) for raw in (inputs, new_inputs))
    if target.labels is not None:
        return predict_labels(x, train.data[target.name].numpy(), new, len(target.labels))
    y = columns(target, train)
    middle, spread = moments(y)
    if not target.distribution.of_counts:
        return middle + spread * predict_numbers(x, (y - middle) / spread, new)
    both = middle + spread * predict_numbers(x, (y - middle) / spread, np.concatenate([x, new]))
    return _uncounted(y, both[: len(x)], both[len(x) :])


def columns(modality: Modality, rows: Rows) -> Array:
    """Columns of a modality for regressions, NaN where missing: one-hot labels, log(1 + x) of counts."""
    if modality.traits.mixed:
        return np.hstack([columns(cell.target, cell.alone(rows)) for cell in cells_of(modality)])
    x = rows.data[modality.name].numpy()
    if modality.labels is not None:
        wide = np.eye(len(modality.labels))[x]
    else:
        wide = x.reshape(len(x), -1).astype(np.float64)
    if modality.distribution.of_counts:
        wide = np.log1p(np.maximum(wide, 0))
    return np.where(observed(rows, modality.name)[:, None], wide, np.nan)


def _uncounted(y: Array, fitted: Array, predicted: Array) -> Array:
    """Counts from predictions of log(1 + x), with the means of the training rows kept."""
    back = np.where(np.isnan(y), np.nan, np.expm1(np.clip(fitted, 0, 30)))
    factor = np.nansum(np.expm1(y), axis=0) / np.maximum(np.nansum(back, axis=0), 1e-9)
    return np.expm1(np.clip(predicted, 0, 30)) * factor
