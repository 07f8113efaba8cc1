"""The objectives, against the formula written down once per row and subset."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

import training.objective
from models_store.fusion import Gaussian, product
from tests.training.examples import NAMES, incomplete_rows, small_model
from training.data.rows import Rows
from training.model import MVAE
from training.objective import OBJECTIVES, Batch, Runs, evaluate
from training.subsets import subsets

BETA = 0.7
EPOCH = 8  # of a warm-up of 10: beta is 0.7 at its start


def posterior_of(model: MVAE, rows: Rows, row: int, names: list[str]) -> Normal:
    """q(z | x_S) of one row from the precisions, one encoder after the other."""
    precision, weighted = torch.ones(model.latent_dim), torch.zeros(model.latent_dim)
    for name in names:
        expert = model.encoders[name](rows.data[name][row : row + 1])
        expert_precision = torch.exp(-expert.log_covariance[0])
        precision = precision + expert_precision
        weighted = weighted + expert_precision * expert.embedding[0]
    return Normal(weighted / precision, precision.rsqrt())


def log_prob_of(model: MVAE, rows: Rows, row: int, name: str, z: Tensor) -> Tensor:
    """lambda_m log p(x_m | z) of one row, by torch's distributions."""
    output, x = model.decoders[name](z[None]).reconstruction[0], rows.data[name][row]
    weight = model.weights[model.modalities.index(name)]
    if name == "label":
        return weight * Categorical(logits=output).log_prob(x)
    if name == "image":
        return weight * Bernoulli(logits=output, validate_args=False).log_prob(x / 255).sum()
    return weight * Normal(output, torch.tensor(0.5)).log_prob(x).sum()


def naive_loss(model: MVAE, objective: str, rows: Rows, family: Tensor, noise: Tensor) -> Tensor:
    """The loss of the docstring, one pass per row and subset."""
    total, count = torch.zeros(()), 0
    for row in range(len(rows)):
        has = [name for name in NAMES if name not in rows.masks or rows.masks[name][row]]
        bounds = []
        for s, members in enumerate(family):
            inside = [name for name, member in zip(NAMES, members, strict=True) if member and name in has]
            if inside:
                bound = naive_bound(model, objective, rows, row, inside, has, noise[s, row], noise[0, row])
                if objective == "coherent" and "label" in has:
                    lacking = [n for n, m in zip(NAMES, members, strict=True) if not m and n != "label"]
                    q = posterior_of(model, rows, row, inside)
                    z = q.mean + q.stddev * noise[s, row]
                    seen = [seen_again(model, rows, row, name, z) for name in lacking]
                    bound = bound + BETA * sum(seen, torch.zeros(()))
                bounds.append(bound)
        if bounds:
            total, count = total - len(family) * torch.stack(bounds).mean(), count + 1
    return total / count


def seen_again(model: MVAE, rows: Rows, row: int, name: str, z: Tensor) -> Tensor:
    """lambda log p(label | the modality generated from z, encoded again by copies of the networks)."""
    fixed = copy.deepcopy(model).requires_grad_(False)
    output = fixed.decoders[name](z[None]).reconstruction
    generated = 255 * torch.sigmoid(output) if name == "image" else output
    q = posterior_of(fixed, Rows({name: generated}), 0, [name])
    return log_prob_of(fixed, rows, row, "label", q.mean)


def naive_bound(
    model: MVAE,
    objective: str,
    rows: Rows,
    row: int,
    inside: list[str],
    has: list[str],
    noise: Tensor,
    joint_noise: Tensor,
) -> Tensor:
    q, joint = posterior_of(model, rows, row, inside), posterior_of(model, rows, row, has)
    z, joint_z = q.mean + q.stddev * noise, joint.mean + joint.stddev * joint_noise
    categories = [name for name in has if name == "label"]
    reconstructed = {"paper": inside, "cross": has}.get(objective, sorted({*inside, *categories}))
    bound = torch.stack([log_prob_of(model, rows, row, name, z) for name in reconstructed]).sum()
    bound = bound - BETA * kl_divergence(q, Normal(0.0, 1.0)).sum()
    if objective in ("matched", "coherent"):
        fixed = Normal(joint.mean.detach(), joint.stddev.detach())
        bound = bound - BETA * kl_divergence(fixed, q).sum()
    if objective == "conditional":
        for name in set(has) - set(inside):
            bound = bound + log_prob_of(model, rows, row, name, joint_z)
        bound = bound - BETA * kl_divergence(joint, q).sum()
    return bound


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "incomplete"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_pass_equals_the_formula_row_by_row(objective: str, complete: bool) -> None:
    model = small_model(objective=objective, k=2)
    rows = incomplete_rows(9, seed=1)
    rows = Rows(rows.data) if complete else rows
    family = subsets(3, 2, torch.Generator().manual_seed(3))
    noise = torch.randn(len(family), len(rows), model.latent_dim, generator=torch.Generator().manual_seed(4))
    fast = model(rows, epoch=EPOCH, family=family, noise=noise).loss
    slow = naive_loss(model, objective, rows, family, noise)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_equal_those_of_the_formula(objective: str) -> None:
    model = small_model(objective=objective)
    rows, family = incomplete_rows(5, seed=2), subsets(3, 0)
    noise = torch.randn(len(family), len(rows), model.latent_dim, generator=torch.Generator().manual_seed(5))
    parameters = list(model.parameters())
    fast = torch.autograd.grad(model(rows, epoch=EPOCH, family=family, noise=noise).loss, parameters)
    slow = torch.autograd.grad(naive_loss(model, objective, rows, family, noise), parameters)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_rows(objective: str) -> None:
    """No row weighs more for what it or its neighbours lack."""
    model = small_model(objective=objective)
    rows, family = incomplete_rows(8, seed=6), subsets(3, 0)
    noise = torch.randn(len(family), len(rows), model.latent_dim)
    together = model(rows, family=family, noise=noise).loss
    has = torch.stack([rows.masks[name] for name in NAMES]).any(dim=0)
    alone = [
        model(rows.take(slice(i, i + 1)), family=family, noise=noise[:, i : i + 1]).loss
        for i in range(len(rows))
        if has[i]
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-5, atol=1e-5)


def test_a_row_that_lacks_all_but_one_modality_counts_as_often_as_a_complete_one() -> None:
    model = small_model(objective="paper")
    rows, family = Rows(incomplete_rows(1, seed=7).data), subsets(3, 0)
    noise = torch.zeros(len(family), 1, model.latent_dim)
    only_label = Rows(rows.data, {name: torch.tensor([name == "label"]) for name in NAMES})
    label = naive_bound(model, "paper", rows, 0, ["label"], ["label"], noise[0, 0], noise[0, 0])
    loss = model(only_label, epoch=EPOCH, family=family, noise=noise).loss
    torch.testing.assert_close(loss, -len(family) * label, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nan_under_a_mask_and_a_row_of_nothing_leave_loss_and_gradients_finite(objective: str) -> None:
    model = small_model(objective=objective)
    rows = incomplete_rows(6, seed=8)
    rows.data["vector"][~rows.masks["vector"]] = torch.nan
    for name in NAMES:
        rows.masks[name][0] = False
    model(rows).loss.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def test_what_stands_under_a_mask_does_not_matter() -> None:
    model, family = small_model(), subsets(3, 0)
    rows, other = incomplete_rows(6, seed=9), incomplete_rows(6, seed=9)
    other.data["vector"][~other.masks["vector"]] = 1e30
    other.data["label"][~other.masks["label"]] = 2
    noise = torch.randn(len(family), 6, model.latent_dim)
    assert model(rows, family=family, noise=noise).loss == model(other, family=family, noise=noise).loss


def test_random_subsets_are_uniform_and_neither_single_nor_all() -> None:
    family = subsets(4, 6000, torch.Generator().manual_seed(0))
    drawn = family[5:]
    assert family[0].all()
    assert bool((family[1:5] == torch.eye(4, dtype=torch.bool)).all())
    kinds, counts = drawn.unique(dim=0, return_counts=True)
    assert sorted(kinds.sum(dim=1).tolist()) == [2] * 6 + [3] * 4
    assert counts.min() > 500  # of 600 expected
    assert counts.max() < 700


def test_twenty_modalities_do_not_enumerate_their_subsets() -> None:
    assert subsets(20, 5).shape == (26, 20)


@pytest.mark.parametrize(("n", "k", "expected"), [(1, 3, 1), (2, 3, 3), (3, 0, 4), (3, 2, 6)])
def test_the_family_has_the_joint_each_alone_and_k_more_where_there_are_any(
    n: int, k: int, expected: int
) -> None:
    assert subsets(n, k).shape == (expected, n)


class Uninformative:
    """Networks whose outputs do not depend on z: every modality has the log-likelihood 0."""

    def log_prob(self, modality: int, z: Tensor, *, fixed: bool = False) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(z[..., 0])

    def log_probs(self, modality: int, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_prob(modality, z), self.log_prob(modality, z)

    def reencode(self, modality: int, z: Tensor) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(z)


def loss_of_uninformative(objective: str, experts: Gaussian) -> Tensor:
    """The loss of experts (M, B, 1) that depend on no x, under decoders that ignore z."""
    n, rows = experts.mu.shape[:2]
    family, one_run = subsets(n, 0), [torch.tensor([0])] * n
    present = torch.ones(n, rows, dtype=torch.bool)
    batch = Batch(
        experts,
        present=present,
        visible=(experts, present),
        family=family,
        category=torch.zeros(n, dtype=torch.bool),
        noise=experts.mu.new_zeros(len(family), rows, 1),
        weights=experts.mu.new_ones(n),
        beta=experts.mu.new_ones(()),
    )
    return evaluate(OBJECTIVES[objective], batch, Runs(one_run, one_run, []), Uninformative()).loss


def pull_to_prior(objective: str, n_modalities: int) -> Tensor:
    """The gradient of the loss for an expert's mean of 1, at precisions from 0.001 to 1,000: (601,)."""
    log_var = torch.linspace(-7, 7, 601, dtype=torch.float64)[None, :, None].repeat(n_modalities, 1, 1)
    mu = torch.ones_like(log_var, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of_uninformative(objective, Gaussian(mu, log_var)), mu)
    return gradient[0, :, 0]


@pytest.mark.parametrize("n_modalities", [2, 4, 7, 9, 18, 64])
@pytest.mark.parametrize("objective", ["conditional", "matched", "coherent"])
def test_every_objective_pulls_uninformative_experts_to_the_prior(objective: str, n_modalities: int) -> None:
    assert bool((pull_to_prior(objective, n_modalities) > 0).all())


@pytest.mark.parametrize(
    ("objective", "n_modalities"),
    [*(("conditional", number) for number in (2, 4, 9, 18, 64)), ("matched", 18), ("coherent", 18)],
)
def test_uninformative_experts_return_to_the_prior(objective: str, n_modalities: int) -> None:
    """Means and variances are both learned, from a start where the joint posterior is far from the prior."""
    mu = torch.full((n_modalities, 1, 1), 0.5, requires_grad=True)
    log_var = torch.full((n_modalities, 1, 1), 1.0, requires_grad=True)
    adam = torch.optim.Adam([mu, log_var], lr=0.1, fused=True)
    before = float(product(Gaussian(mu.detach(), log_var.detach())).kl_from_prior())
    for _ in range(100):
        adam.zero_grad()
        loss_of_uninformative(objective, Gaussian(mu, log_var)).backward()
        adam.step()
    after = float(product(Gaussian(mu.detach(), log_var.detach())).kl_from_prior())
    assert before > 0.05
    assert after < 0.01


@pytest.mark.parametrize(
    ("weight", "diverges"), [(training.objective.STRONGEST_MATCHING, False), (9.0, True)]
)
def test_nine_uninformative_experts_diverge_unless_their_matching_is_weighed(
    weight: float, diverges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means and variances are both learned; a weight of 9 stands for the full matching of nine modalities."""
    monkeypatch.setattr(training.objective, "STRONGEST_MATCHING", weight)
    assert bool((pull_to_prior("matched", 9) < 0).any()) is diverges
    mu = torch.full((9, 1, 1), 0.1, requires_grad=True)
    log_var = torch.full((9, 1, 1), 2.3, requires_grad=True)
    adam = torch.optim.Adam([mu, log_var], lr=0.02, fused=True)
    for _ in range(500):
        adam.zero_grad()
        loss_of_uninformative("matched", Gaussian(mu, log_var)).backward()
        adam.step()
    joint = product(Gaussian(mu.detach(), log_var.detach())).mu.abs().item()
    assert joint > 5 if diverges else joint < 0.02
