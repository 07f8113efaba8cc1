"""Linear probes: how much of a label a straight cut through the latent space finds."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from training.evaluation.evaluated import EvaluatedModel, having_all, question

LEARNED = 5000
"""Training rows from which a probe learns."""
FEWEST = 20


def probes(evaluated: EvaluatedModel) -> dict[str, float]:
    """By question, such as `label|image`: how often a logistic regression on mu of q(z | x_S) is right.

    Of each modality alone, and of all but the category that is asked for.
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
