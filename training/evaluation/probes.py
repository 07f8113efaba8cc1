"""Linear probes: accuracy of a logistic regression from the latent space to a label."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from training.evaluation.evaluated import EvaluatedModel, having_all, question

LEARNED = 5000
"""Limit of training rows per probe."""
FEWEST = 20


def probes(evaluated: EvaluatedModel) -> dict[str, float]:
    """Returns the accuracy of logistic regressions on mu of q(z | x_S), by name such as `label|image`.

    S is each other modality alone, and all other modalities.
    """
    results = {}
    for category in evaluated.manifest.modalities:
        others = tuple(name for name in evaluated.manifest.names if name != category.name)
        if category.labels is None or not others:
            continue
        for given in dict.fromkeys([*((name,) for name in others), others]):
            train = having_all(evaluated.train, [category.name, *given]).head(LEARNED)
            test = having_all(evaluated.test, [category.name, *given])
            labels = train.data[category.name].numpy()
            if len(train) < FEWEST or len(test) < 2 or len(np.unique(labels)) < 2:
                continue
            probe = LogisticRegression(max_iter=300)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the last digit is of no interest
                probe.fit(evaluated.posterior(train, given).mu, labels)
            right = probe.predict(evaluated.posterior(test, given).mu) == test.data[category.name].numpy()
            results[question([category.name], given)] = round(float(right.mean()), 4)
    return results
