"""Metrics of a multimodal VAE by its predictions: coherence, reconstruction, FID, clusters of z.

The metrics of MultiVae for a model of :mod:`training.model`, as functions. ``anyview-train`` measures a model
card by :mod:`training.evaluation` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from models_store.arrays import Array

Classifier = Callable[[Tensor], Tensor]
"""Scores of the classes, (n, classes), for rows of a modality, (n, *shape)."""
Features = Callable[[Tensor], Tensor]
"""Features, (n, d), for rows of a modality, (n, *shape)."""


class Predictor(Protocol):
    """The methods of a model that the metrics use; see :class:`training.model.MVAE`."""

    @property
    def modalities(self) -> Iterable[str]: ...
    def predict(
        self, inputs: Any, cond_mod: Any = "all", gen_mod: Any = "all", *, generator: Any = None
    ) -> Mapping[str, Tensor]: ...
    def encode(self, inputs: Any, cond_mod: Any = "all", *, return_mean: bool = False) -> Any: ...
    def decode(self, embedding: Any, modalities: Any = "all") -> Mapping[str, Tensor]: ...
    def generate_from_prior(self, n_samples: int, *, generator: Any = None) -> Any: ...


def cross_coherence(
    model: Predictor,
    inputs: Any,
    labels: Tensor,
    classifiers: Mapping[str, Classifier],
    generator: torch.Generator | None = None,
) -> dict[int, float]:
    """Returns, by size of the subset that is given, how often a prediction has the class of its row.

    The mean over all subsets of that size and all modalities outside of them that have a classifier
    (Shi et al. 2019, https://arxiv.org/abs/1911.03393).

    Arguments:
        model: The model.
        inputs: Complete rows.
        labels: Classes of the rows, (n,).
        classifiers: Classifiers by modality.
        generator: Source of the draws of z.
    """
    names = list(model.modalities)
    coherence = {}
    for size in range(1, len(names)):
        accuracies = []
        for subset in combinations(names, size):
            targets = [name for name in names if name in classifiers and name not in subset]
            predicted = model.predict(inputs, list(subset), targets, generator=generator) if targets else {}
            for name, x in predicted.items():
                accuracies.append((_classes(classifiers[name], x[:, 0]) == labels).double().mean().item())
        if accuracies:
            coherence[size] = float(np.mean(accuracies))
    return coherence


def joint_coherence(
    model: Predictor,
    classifiers: Mapping[str, Classifier],
    n_samples: int,
    generator: torch.Generator | None = None,
    sample: Callable[[int], Any] | None = None,
) -> float:
    """Returns how often all classifiers find the same class in what is generated from one z.

    Arguments:
        model: The model.
        classifiers: Classifiers by modality.
        n_samples: Number of draws of z.
        generator: Source of the draws.
        sample: Draws of z, such as ``sample`` of a sampler; None: draws from the prior.
    """
    drawn = model.generate_from_prior(n_samples, generator=generator) if sample is None else sample(n_samples)
    decoded = model.decode(drawn, list(classifiers))
    classes = torch.stack([_classes(classifiers[name], x[:, 0]) for name, x in decoded.items()])
    return (classes == classes[0]).all(0).double().mean().item()


def reconstruction_error(
    model: Predictor, inputs: Mapping[str, Tensor], subset: Iterable[str] | str = "all"
) -> dict[str, float]:
    """Returns, by modality of the subset, the mean squared error of its mean at the mean of the posterior.

    Arguments:
        model: The model.
        inputs: Complete rows, (n, *shape) by modality.
        subset: Modalities that are given, and reconstructed.
    """
    names = list(model.modalities) if subset == "all" else list(subset)
    decoded = model.decode(model.encode(inputs, names, return_mean=True), names)
    return {name: (decoded[name][:, 0] - inputs[name]).double().square().mean().item() for name in names}


def fid(
    model: Predictor,
    inputs: Mapping[str, Tensor],
    target: str,
    features: Features,
    given: Iterable[str] | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """Returns the Fréchet distance of generated rows to the true ones, in the features of a judge.

    Arguments:
        model: The model.
        inputs: Rows, (n, *shape) by modality; as many are generated.
        target: Modality that is compared.
        features: Features of its rows, such as the last layer of a classifier but one.
        given: Modalities that the predictions are given; None: draws from the prior.
        generator: Source of the draws.
    """
    if given is None:
        drawn = model.generate_from_prior(len(inputs[target]), generator=generator)
        generated = model.decode(drawn, [target])[target]
    else:
        generated = model.predict(inputs, list(given), [target], generator=generator)[target]
    return frechet_distance(_numpy(features(inputs[target])), _numpy(features(generated[:, 0])))


def frechet_distance(a: Array, b: Array) -> float:
    r"""Returns the squared Fréchet distance of two normal distributions that are fitted to rows.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    Heusel et al. 2017 (https://arxiv.org/abs/1706.08500).

    Arguments:
        a: Rows, (n, d).
        b: Rows, (m, d).

    Raises:
        ValueError: There are fewer than two rows, or the numbers of columns differ.
    """
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:] or a.ndim != 2:
        raise ValueError(f"two arrays of at least two rows (n, d) are compared, got {a.shape} and {b.shape}")
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # The eigenvalues of root Σ_b root are those of Σ_a Σ_b, and it is symmetric.
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    distance = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return float(max(distance, 0.0))


def cluster_accuracy(
    model: Predictor,
    train: tuple[Any, Array],
    test: tuple[Any, Array],
    n_clusters: int,
    subset: Iterable[str] | str = "all",
    seed: int = 0,
) -> float:
    """Returns the accuracy of the clusters of z on held-out rows.

    K-means clusters the posterior means of the training rows; each cluster stands for the most frequent
    class in it.

    Arguments:
        model: The model.
        train: Training rows and their classes, (n,).
        test: Held-out rows and their classes.
        n_clusters: Number of clusters.
        subset: Modalities that are given.
        seed: Seed of k-means.
    """
    means = [_numpy(model.encode(inputs, subset, return_mean=True).z[:, 0]) for inputs, _ in (train, test)]
    kmeans = KMeans(n_clusters, n_init=10, random_state=seed).fit(means[0])
    classes = np.asarray(train[1])
    majority = [np.bincount(classes[kmeans.labels_ == cluster]).argmax() for cluster in range(n_clusters)]
    return float((np.array(majority)[kmeans.predict(means[1])] == np.asarray(test[1])).mean())


@torch.no_grad()
def _classes(classifier: Classifier, x: Tensor) -> Tensor:
    return classifier(x).argmax(-1)


def _numpy(x: Tensor) -> Array:
    return x.detach().cpu().double().numpy()
