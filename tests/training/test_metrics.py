"""Metrics agree with what follows by hand, for models whose predictions are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training import metrics
from training.model import MVAE, MVAEConfig

CLASSES = 4


def one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES).float()


class Known:
    """Views "a", "b" and "c" hold the class of a row; "c", predicted from one view, is a class too high."""

    modalities = ("a", "b", "c")

    def predict(
        self, inputs: Any, cond_mod: Any = "all", gen_mod: Any = "all", *, generator: Any = None
    ) -> dict[str, Tensor]:
        assert generator is None
        labels = inputs["a"].argmax(-1)
        wrong = one_hot((labels + 1) % CLASSES)
        of_one_view = len(cond_mod) == 1
        return {
            name: (wrong if name == "c" and of_one_view else one_hot(labels))[:, None] for name in gen_mod
        }

    def encode(self, inputs: Any, cond_mod: Any = "all", *, return_mean: bool = False) -> Any:
        assert return_mean
        assert cond_mod
        return SimpleNamespace(z=inputs["a"][:, None])

    def decode(self, embedding: Any, modalities: Any = "all") -> dict[str, Tensor]:
        return {name: embedding.z + (0.5 if name == "c" else 0.0) for name in modalities}

    def generate_from_prior(self, n_samples: int, *, generator: Any = None) -> Any:
        assert generator is None
        return SimpleNamespace(z=one_hot(torch.arange(n_samples) % CLASSES)[:, None])


LABELS = torch.tensor([0, 1, 2, 3, 3, 0])
ROWS = dict.fromkeys(Known.modalities, one_hot(LABELS))
CLASSIFIERS = {name: lambda x: x for name in Known.modalities}


def test_coherence_is_known_by_the_size_of_the_subset() -> None:
    """Of six pairs of one view and a target, the two with target "c" are wrong."""
    assert metrics.cross_coherence(Known(), ROWS, LABELS, CLASSIFIERS) == {1: pytest.approx(4 / 6), 2: 1.0}
    only = {"c": CLASSIFIERS["c"]}
    assert metrics.cross_coherence(Known(), ROWS, LABELS, only) == {1: 0.0, 2: 1.0}


def test_joint_coherence_counts_draws_on_which_all_classifiers_agree() -> None:
    assert metrics.joint_coherence(Known(), CLASSIFIERS, 8) == 1.0
    sometimes = {**CLASSIFIERS, "b": lambda x: x * torch.tensor([1.0, 1.0, 1.0, -1.0])}
    assert metrics.joint_coherence(Known(), sometimes, 8) == 0.75  # class 3 is taken for another
    of_class_0 = metrics.joint_coherence(
        Known(), sometimes, 4, sample=lambda n: SimpleNamespace(z=one_hot(torch.zeros(n).long())[:, None])
    )
    assert of_class_0 == 1.0


def test_the_reconstruction_error_is_a_mean_square() -> None:
    assert metrics.reconstruction_error(Known(), ROWS) == {"a": 0.0, "b": 0.0, "c": 0.25}
    assert metrics.reconstruction_error(Known(), ROWS, ["c"]) == {"c": 0.25}


def normal(rng: np.random.Generator, mean: Any, covariance: Any, n: int = 50) -> Any:
    """Rows with exactly this mean and covariance."""
    x = rng.standard_normal((n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(np.asarray(covariance)).T + mean


def test_the_frechet_distance_of_independent_columns_is_a_sum() -> None:
    r"""Of diagonal covariances, it is the sum of (μ_a - μ_b)² + (σ_a - σ_b)²."""
    rng = np.random.default_rng(0)
    a = normal(rng, [0.0, 1.0], np.diag([1.0, 4.0]))
    b = normal(rng, [3.0, 1.0], np.diag([9.0, 1.0]), 80)
    assert metrics.frechet_distance(a, b) == pytest.approx(9 + 4 + 1)


def test_the_frechet_distance_of_correlated_columns_agrees_with_the_square_root_of_a_matrix() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    root = rng.standard_normal((2, 3, 3))
    covariances = root @ root.transpose(0, 2, 1) + np.eye(3)
    a, b = (normal(rng, [0.0, 0.0, 0.0], covariance) for covariance in covariances)
    expected = np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected)
    assert metrics.frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert metrics.frechet_distance(a, b) == pytest.approx(metrics.frechet_distance(b, a))


def test_rows_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(3, 2\)"):
        metrics.frechet_distance(np.zeros((1, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"got \(3, 3\) and \(3, 2\)"):
        metrics.frechet_distance(np.zeros((3, 3)), np.zeros((3, 2)))


def test_fid_is_the_distance_in_the_features_of_a_judge() -> None:
    """Predictions of "c" are the true rows plus 0.5: the means differ by 0.5 in each of four columns."""
    rows = {"a": torch.randn(20, CLASSES), "c": torch.randn(20, CLASSES)}
    model = Known()
    model.predict = lambda inputs, *_, **__: {"c": inputs["c"][:, None] + 0.5}  # type: ignore[method-assign]
    assert metrics.fid(model, rows, "c", lambda x: x, given=["a"]) == pytest.approx(4 * 0.25)
    assert metrics.fid(model, rows, "c", lambda x: 2 * x, given=["a"]) == pytest.approx(4.0)
    assert metrics.fid(model, rows, "c", lambda x: x) > 0  # from the prior


def test_clusters_that_are_apart_have_the_classes_of_their_rows() -> None:
    labels = torch.arange(40) % CLASSES
    rows = {"a": one_hot(labels) + 0.01 * torch.randn(40, CLASSES)}
    data = (rows, labels.numpy())
    assert metrics.cluster_accuracy(Known(), data, data, CLASSES) == 1.0
    swapped = (rows, np.where(labels.numpy() == 3, 0, labels.numpy()))
    assert metrics.cluster_accuracy(Known(), data, swapped, CLASSES) == 0.75


def test_they_take_the_model_of_this_project() -> None:
    model = MVAE(MVAEConfig(n_modalities=2, latent_dim=2, input_dims={"image": (1, 4, 4), "vector": (5,)}))
    rows = {"image": torch.rand(12, 1, 4, 4), "vector": torch.rand(12, 5)}
    labels = torch.arange(12) % 3
    judges = {name: lambda x: x.flatten(1)[:, :3] for name in rows}
    assert metrics.cross_coherence(model, rows, labels, judges).keys() == {1}
    assert 0 <= metrics.joint_coherence(model, judges, 10) <= 1
    assert metrics.reconstruction_error(model, rows).keys() == rows.keys()
    assert metrics.fid(model, rows, "vector", lambda x: x, ["image"]) >= 0
    assert 0 <= metrics.cluster_accuracy(model, (rows, labels.numpy()), (rows, labels.numpy()), 3) <= 1
