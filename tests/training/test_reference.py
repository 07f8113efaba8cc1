"""Our model against MultiVae's on the same weights."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.reference import needs_reference, reference
from training.model import MVAE, MVAEConfig

pytestmark = needs_reference

DIMS = {"image": (1, 3, 4), "vector": (5,), "sound": (2, 3)}
DISTS = {"image": "bernoulli", "vector": "normal", "sound": "laplace"}
FIELDS: dict[str, Any] = {
    "n_modalities": 3,
    "latent_dim": 4,
    "input_dims": DIMS,
    "uses_likelihood_rescaling": True,
    "decoders_dist": DISTS,
    "decoder_dist_params": {"vector": {"scale": 0.75}},
    "warmup": 2,
    "beta": 1.5,
}
SUBSETS = [list(names) for size in (1, 2, 3) for names in itertools.combinations(DIMS, size)]


@pytest.fixture(scope="module")
def library() -> SimpleNamespace:
    return reference()


@pytest.fixture(scope="module")
def theirs(library: SimpleNamespace) -> Any:
    torch.manual_seed(0)
    return library.MVAE(library.MVAEConfig(**FIELDS)).eval()


@pytest.fixture(scope="module")
def ours(theirs: Any) -> MVAE:
    """Our model around the networks of theirs, which were written for MultiVae."""
    return MVAE(MVAEConfig(**FIELDS), theirs.encoders, theirs.decoders).eval()


def rows(n: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = {name: torch.randn(n, *shape, generator=generator) for name, shape in DIMS.items()}
    return {**x, "image": (x["image"] > 0).float()}


def masks(n: int) -> dict[str, Tensor]:
    present = torch.rand(3, n, generator=torch.Generator().manual_seed(2)) < 0.6
    return dict(zip(DIMS, present, strict=True))


@pytest.mark.parametrize("names", SUBSETS, ids=",".join)
def test_the_posterior_of_every_subset_of_complete_rows(
    names: list[str], library: SimpleNamespace, theirs: Any, ours: MVAE
) -> None:
    x = rows(20)
    expected = theirs.compute_mu_log_var_subset(library.Complete(x), names)
    torch.testing.assert_close(ours.compute_mu_log_var_subset(x, names), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("names", SUBSETS, ids=",".join)
def test_the_posterior_of_every_subset_of_masked_rows(
    names: list[str], library: SimpleNamespace, theirs: Any, ours: MVAE
) -> None:
    inputs = library.Incomplete(rows(20), masks(20))
    expected = theirs.compute_mu_log_var_subset(inputs, names)
    torch.testing.assert_close(ours.compute_mu_log_var_subset(inputs, names), expected, rtol=1e-5, atol=1e-5)


def test_the_joint_nll_from_the_same_draws(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    x = rows(6)
    torch.manual_seed(3)
    expected = theirs.compute_joint_nll(library.Complete(x), K=200, batch_size_K=100)
    torch.manual_seed(3)
    nll = ours.compute_joint_nll(x, K=200, batch_size_K=200)
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=1e-4)


def test_the_loss_of_complete_rows_after_the_warmup_from_the_same_draws(
    library: SimpleNamespace, theirs: Any, ours: MVAE
) -> None:
    x, epoch = rows(10), FIELDS["warmup"] + 1
    torch.manual_seed(4)
    expected = theirs(library.Complete(x), epoch=epoch).loss
    torch.manual_seed(4)
    noise = torch.stack([torch.randn(10, 4) for _ in range(4)])
    loss = ours(x, epoch=epoch, batch_ratio=0.0, noise=noise).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)


def test_what_is_predicted_from_the_mean(library: SimpleNamespace, theirs: Any, ours: MVAE) -> None:
    """One row of z per row of data, where theirs drops the axis; means, where theirs are logits."""
    x = rows(5)
    expected = theirs.predict(library.Complete(x), "vector", "all", return_mean=True)
    predicted = ours.predict(x, "vector", "all", return_mean=True)
    for name in ("vector", "sound"):
        torch.testing.assert_close(predicted[name][:, 0], expected[name])
    torch.testing.assert_close(predicted["image"][:, 0], torch.sigmoid(expected["image"]))
    assert theirs.encode(library.Complete(x)).z.shape == (5, 4)
    assert ours.encode(x).z.shape == (5, 1, 4)


def test_default_rescaling_is_theirs(theirs: Any, ours: MVAE) -> None:
    assert ours.weights.tolist() == pytest.approx([theirs.rescale_factors[name] for name in DIMS])
