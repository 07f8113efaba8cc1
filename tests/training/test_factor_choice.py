"""The choice of the number of factors and of the shrinkage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.training.factors import COLUMNS, VIEWS, drawn, known_factors
from training import factor_choice
from training.factor_choice import Choice, best_choice
from training.features import Features


def test_few_factors_are_chosen_for_rows_of_few() -> None:
    x, _ = drawn(known_factors(), 300)
    views = [slice(k * COLUMNS, (k + 1) * COLUMNS) for k in range(VIEWS)]
    p = VIEWS * COLUMNS
    numbers = Features(x, views, np.zeros(p), np.ones(p), np.zeros(p, bool), np.arange(p))
    assert best_choice(numbers, p, 1).factors == factor_choice.RANKS[0]
    noise = np.random.default_rng(0).standard_normal((60, p))
    assert best_choice(replace(numbers, x=noise), p, 1).shrinkage == factor_choice.SHRINKAGES[-1]


def test_labels_do_not_choose_the_number_of_factors_of_numbers() -> None:
    x, _ = drawn(known_factors(), 300)
    noise = np.random.default_rng(0).standard_normal((300, 6))
    views = [*(slice(k * COLUMNS, (k + 1) * COLUMNS) for k in range(VIEWS)), slice(12, 15), slice(15, 18)]
    both = np.concatenate([x, noise], axis=1)
    features = Features(both, views, np.zeros(18), np.ones(18), np.arange(18) >= 12, np.arange(18))
    held, hidden = np.arange(300) % 5 == 0, np.zeros(both.shape, bool)
    choice = Choice(2, 0.1, 240)
    of_numbers = factor_choice._error(features, held, hidden, choice)
    of_all = factor_choice._error(replace(features, labels=np.zeros(18, bool)), held, hidden, choice)
    assert of_numbers < of_all  # noise is not predicted
    assert factor_choice._error(replace(features, labels=np.ones(18, bool)), held, hidden, choice) == of_all


def test_labels_of_a_column_are_hidden_together() -> None:
    """Independent labels of one table: the other label of a column does not predict a hidden one."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 10))
    x = np.stack([labels, 1 - labels], axis=2).reshape(200, 20).astype(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    columns = np.arange(20) // 2
    features = Features(x, [slice(0, 20)], np.zeros(20), np.ones(20), np.ones(20, bool), columns)
    assert best_choice(features, 20, 1).shrinkage >= 0.6
