"""Scores of the Python API, against a linear-Gaussian model in which they have a closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from tests.training.examples import LINEAR_DIMS, NOISE, incomplete_rows, linear_gaussian, small_model
from training.data.rows import Rows
from training.model import MVAE

QUESTIONS = [
    (list(target), list(given))
    for size in (1, 2, 3)
    for target in itertools.combinations(LINEAR_DIMS, size)
    for rest in range(4 - size)
    for given in itertools.combinations([name for name in LINEAR_DIMS if name not in target], rest)
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(model: MVAE, n: int) -> dict[str, Tensor]:
    """Rows that the model itself might have made."""
    z = torch.randn(n, 2, generator=seeded(1))
    noise = {
        m: torch.randn(n, size, generator=seeded(2 + i)) for i, (m, size) in enumerate(LINEAR_DIMS.items())
    }
    return {m: z @ weight_of(model, m).T + NOISE * noise[m] for m in LINEAR_DIMS}


def weight_of(model: MVAE, name: str) -> Tensor:
    return model.decoders[name].get_parameter("weight").detach()


def closed_form(model: MVAE, x: dict[str, Tensor]) -> Tensor:
    """log p of all of x: normal, with covariance W W^T + 0.25 I."""
    weight = torch.cat([weight_of(model, name) for name in x])
    covariance = weight @ weight.T + NOISE**2 * torch.eye(len(weight))
    return MultivariateNormal(torch.zeros(len(weight)), covariance).log_prob(torch.cat(list(x.values()), 1))


def conditional(model: MVAE, x: dict[str, Tensor], target: list[str], given: list[str]) -> Tensor:
    """The density that the model draws from: normal, around the decoded mean of q(z | x_S)."""
    if not given:
        return closed_form(model, {name: x[name] for name in target})
    mu, log_var = (tensor.detach() for tensor in model.compute_mu_log_var_subset(x, given))
    weight = torch.cat([weight_of(model, name) for name in target])
    covariance = (weight * log_var.exp()[:, None]) @ weight.T + NOISE**2 * torch.eye(len(weight))
    return MultivariateNormal(mu @ weight.T, covariance).log_prob(torch.cat([x[name] for name in target], 1))


@pytest.mark.parametrize(("target", "given"), QUESTIONS, ids=lambda names: "".join(names) or "nothing")
def test_any_subset_given_any_other_within_three_standard_errors(target: list[str], given: list[str]) -> None:
    model = linear_gaussian()
    x = rows_of(model, 12)
    estimate = model.compute_log_prob(x, target, given, K=20_000, batch_size_K=5000, generator=seeded(9))
    error = (estimate.log_prob - conditional(model, x, target, given)).abs()
    assert bool((error < 3 * estimate.std_error + 1e-4).all())
    assert bool(((estimate.ess > 1) & (estimate.ess <= 20_000)).all())


@pytest.mark.parametrize(("target", "given"), [(["a"], []), (["a", "b"], ["c"])], ids=["a", "ab given c"])
def test_the_reported_standard_error_covers_the_truth_as_often_as_it_should(
    target: list[str], given: list[str]
) -> None:
    """Of 200 repeats by 10 rows, 95 % lie within 1.96 standard errors, and 68 % within one."""
    model = linear_gaussian()
    x = rows_of(model, 10)
    repeated = {name: value.repeat(200, 1) for name, value in x.items()}
    estimate = model.compute_log_prob(repeated, target, given, K=400, generator=seeded(10))
    truth = conditional(model, x, target, given).repeat(200)
    deviations = ((estimate.log_prob - truth) / estimate.std_error).abs()
    for width, share in ((1.0, 0.683), (1.96, 0.95)):
        assert float((deviations < width).float().mean()) == pytest.approx(share, abs=0.025)


def test_each_row_is_scored_by_what_it_has() -> None:
    model = linear_gaussian()
    x = rows_of(model, 6)
    masks = {"b": torch.tensor([True, True, False, True, False, True])}
    estimate = model.compute_log_prob(Rows(x, masks), "a", "b", K=20_000, generator=seeded(3))
    alone, together = conditional(model, x, ["a"], []), conditional(model, x, ["a"], ["b"])
    truth = torch.where(masks["b"], together, alone)
    assert bool(((estimate.log_prob - truth).abs() < 3 * estimate.std_error + 1e-4).all())


def test_a_row_without_the_target_scores_exactly_0() -> None:
    model = linear_gaussian()
    masks = {"a": torch.tensor([True, False, True])}
    estimate = model.compute_log_prob(Rows(rows_of(model, 3), masks), "a", ["b", "c"], K=50)
    assert estimate.log_prob[1] == 0
    assert estimate.std_error[1] == 0
    assert bool((estimate.log_prob[::2] != 0).all())


def test_what_stands_under_a_mask_is_never_scored() -> None:
    model, rows = linear_gaussian(), rows_of(linear_gaussian(), 4)
    masks = {"c": torch.tensor([True, False, False, True])}
    spoilt = {**rows, "c": torch.where(masks["c"][:, None], rows["c"], torch.nan)}
    first = model.compute_log_prob(Rows(rows, masks), K=100, generator=seeded(4))
    second = model.compute_log_prob(Rows(spoilt, masks), K=100, generator=seeded(4))
    assert torch.equal(first.log_prob, second.log_prob)


def test_joint_nll_sums_over_the_rows_and_takes_incomplete_data() -> None:
    model = linear_gaussian()
    x = rows_of(model, 6)
    masks = {"b": torch.tensor([True, True, False, True, False, True])}
    torch.manual_seed(3)
    nll = model.compute_joint_nll(Rows(x, masks), K=20_000, batch_size_K=5000)
    complete, partial = conditional(model, x, list(LINEAR_DIMS), []), conditional(model, x, ["a", "c"], [])
    assert float(nll) == pytest.approx(-float(torch.where(masks["b"], complete, partial).sum()), abs=0.3)


@pytest.mark.parametrize("at_once", [7, 64, 5000])
def test_the_size_of_the_pieces_is_what_is_decoded_at_once_and_nothing_else(at_once: int) -> None:
    model, rows = small_model(), incomplete_rows(5, 1)
    decoded: list[int] = []
    model.decoders["image"].register_forward_pre_hook(lambda _, z: decoded.append(len(z[0])))
    pieces = model.compute_log_prob(rows, K=3000, batch_size_K=at_once, generator=seeded(5))
    assert max(decoded) == int(rows.masks["image"].sum()) * min(at_once, 3000)
    whole = model.compute_log_prob(rows, K=3000, batch_size_K=3000, generator=seeded(6))
    apart = (whole.log_prob - pieces.log_prob).abs()
    assert bool((apart < 4 * (whole.std_error**2 + pieces.std_error**2).sqrt() + 1e-6).all())


def test_one_draw_is_enough_for_an_estimate() -> None:
    estimate = small_model().compute_log_prob(incomplete_rows(5, 1), K=1)
    assert bool(estimate.log_prob.isfinite().all())
    assert estimate.ess.tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subset": "sound"}, "unknown modality 'sound'; this model knows 'a', 'b' and 'c'"),
        ({"subset": ["a"], "given": ["a", "b"]}, "'a' is both scored and given"),
        ({"given": "all"}, "no modality is left to score"),
        ({"K": 0}, "K and batch_size_K must be at least 1, got 0 and 100"),
    ],
)
def test_questions_that_cannot_be_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_gaussian().compute_log_prob(rows_of(linear_gaussian(), 2), **arguments)  # type: ignore[arg-type]


def test_a_coin_that_knows_nothing_scores_the_logarithm_of_a_half() -> None:
    model = small_model()
    for parameter in model.decoders["image"].parameters():
        parameter.data.zero_()
    image = {"image": incomplete_rows(3, 2).data["image"]}
    estimate = model.compute_log_prob(image, K=5000, generator=seeded(6))
    assert estimate.log_prob.tolist() == pytest.approx([12 * math.log(0.5)] * 3, abs=0.3)
