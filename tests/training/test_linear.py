"""Linear models in closed form, beside the networks of an ensemble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from models_store.manifest import Modality
from tests.models_store.examples import array, category, mixed_table
from tests.training.factors import COLUMNS, VIEWS, drawn, known_factors
from training import config, linear
from training.config import Experiment, Model
from training.data import Prepared
from training.data.rows import Rows
from training.ensemble import Ensemble
from training.errors import ExperimentError
from training.export import OnnxGraphs, TorchGraphs, export
from training.factors import FactorModel
from training.fit import build
from training.linear import LinearFit
from training.model import MVAE
from training.networks.linear import LinearEncoder
from training.networks.mlp import MLPDecoder
from training.networks.units import FillMissing, Standardise

NAN = math.nan
NAMES = ("loadings", "weighted")


# --- factor analysis -----------------------------------------------------------------------------


def test_few_rows_have_several_linear_models_around_the_fitted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(known_factors(), 80)[0]
    rows = Rows({**rows_of(x).data, "label": torch.from_numpy(x[:, 0] > 0).long()})
    modalities = (*vectors(), category("no", "yes").model_copy(update={"name": "label"}))
    prepared = prepared_of(modalities, rows, rows)
    fit = LinearFit.of(experiment_of(modalities), prepared)
    one, several = fit.whole.model, fit.models()
    assert len(several) == config.LINEAR_MEMBERS
    for name in one.modalities:
        heads = [cast(MLPDecoder, model.decoders[name]).head.weight for model in (one, *several)]
        torch.testing.assert_close(torch.stack(heads[1:]).mean(dim=0), heads[0], atol=1e-5, rtol=1e-4)
        assert torch.equal(heads[0], heads[1]) == (name == "label")
    monkeypatch.setattr(linear, "UNCERTAIN_ROWS", 79)
    assert len(fit.models()) == 1


def test_columns_that_do_not_vary_or_are_not_observed_say_nothing() -> None:
    factors = known_factors()
    x, _ = drawn(factors, 60)
    x[:, 1], x[:, 5] = 2.0, NAN
    x[:, 9] = np.where(np.arange(60) == 7, x[:, 9], NAN)  # one cell
    train = rows_of(x)
    test = rows_of(drawn(factors, 10)[0])
    model = fitted(experiment_of(vectors()), prepared_of(vectors(), train, test))
    before = posterior_mean(model, test, model.modalities)
    assert np.isfinite(before).all()
    changed = {name: values.clone() for name, values in test.data.items()}
    for column in (1, 5, 9):
        changed[f"view{column // COLUMNS}"][:, column % COLUMNS] += 100
    np.testing.assert_allclose(posterior_mean(model, Rows(changed), model.modalities), before, atol=1e-5)
    for column in (1, 5, 9):
        parameters = answered(model, test, ["view0"], f"view{column // COLUMNS}")
        assert np.isfinite(parameters["loc"]).all()
        assert (np.exp(parameters["log_scale"][:, column % COLUMNS]) > 0.5).all()


def test_few_rows_and_absent_views_are_fitted() -> None:
    modalities = (*vectors(), category("no", "yes").model_copy(update={"name": "label"}))
    rows = rows_of(drawn(known_factors(), 7)[0])
    absent = Rows(
        {**rows.data, "label": torch.zeros(7, dtype=torch.int64)}, {"label": torch.zeros(7, dtype=torch.bool)}
    )
    model = fitted(experiment_of(modalities, latent_dim=1), prepared_of(modalities, absent, absent))
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    ("likelihood", "ratio"), [("normal", 1), ("laplace", 2**0.5), ("student_t", (5 / 3) ** 0.5)]
)
def test_the_scale_is_that_of_the_family(likelihood: str, ratio: float) -> None:
    rows = rows_of(drawn(known_factors(), 80)[0])
    modalities = tuple(one.model_copy(update={"likelihood": likelihood}) for one in vectors())
    normal = fitted(experiment_of(vectors()), prepared_of(vectors(), rows, rows))
    other = fitted(experiment_of(modalities), prepared_of(modalities, rows, rows))
    scales = [
        np.exp(TorchGraphs(model).decode("view1", np.zeros((1, 6), np.float32))["log_scale"])
        for model in (normal, other)
    ]
    np.testing.assert_allclose(scales[0], ratio * scales[1], rtol=1e-4)


# --- the encoder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 4])
def test_an_expert_with_the_prior_is_the_posterior_of_the_factors(k: int) -> None:
    """Rows with and without gaps, against a linear solver."""
    torch.manual_seed(k)
    p = 9
    loadings, variance = torch.randn(p, k).double(), torch.rand(p).double() * 0.5 + 0.05
    center, scale = torch.randn(p).double(), torch.rand(p).double() + 0.5
    loadings[:, k // 2] = 0  # a factor that the view says nothing of
    encoder = LinearEncoder(FillMissing(Standardise()), range(p, 2 * p), center, scale, loadings, variance)
    x = torch.randn(40, p) * 2
    x[10:][torch.rand(30, p) < 0.4] = NAN
    x[10], x[11, 1:] = NAN, NAN
    expert = encoder(x)
    precision = torch.exp(-expert.log_covariance)
    mean = expert.embedding * precision / (1 + precision)
    triangle = torch.tril_indices(k, k)
    for row in range(len(x)):
        seen = ~torch.isnan(x[row])
        weighted = loadings[seen] / variance[seen, None]
        exact = torch.linalg.inv(torch.eye(k).double() + weighted.T @ loadings[seen])
        cells = ((x[row].double() - center) / scale)[seen]
        natural = [weighted.T @ cells, (weighted.T @ loadings[seen])[*triangle]]
        torch.testing.assert_close(expert.natural[row], torch.cat(natural), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mean[row], exact @ weighted.T @ cells, atol=1e-5, rtol=1e-5)
        if seen.all():
            torch.testing.assert_close(1 / (1 + precision[row]), exact.diagonal(), atol=1e-4, rtol=1e-4)
    assert (precision[10] <= 2e-4).all()
    assert (precision[11] <= precision[0] + 1e-9).all()


@pytest.mark.parametrize(("missing", "error"), [(0.3, 0.02), (0.9, 0.1)])
def test_with_many_factors_the_mean_is_near_what_a_solver_gives(missing: float, error: float) -> None:
    torch.manual_seed(0)
    p, k, n = 200, 32, 20
    loadings, variance = torch.randn(p, k).double() / k**0.5, torch.full((p,), 0.5).double()
    flags, one = range(p, 2 * p), torch.ones(p).double()
    encoder = LinearEncoder(FillMissing(Standardise()), flags, 0 * one, one, loadings, variance)
    x = (torch.randn(n, k).double() @ loadings.T + torch.randn(n, p) * 0.5**0.5).float()
    x[torch.rand(n, p) < missing] = NAN
    expert = encoder(x)
    precision = torch.exp(-expert.log_covariance)
    mean = expert.embedding * precision / (1 + precision)
    triangle = torch.tril_indices(k, k)
    for row in range(n):
        seen = ~torch.isnan(x[row])
        weighted = loadings[seen] / variance[seen, None]
        score, information = weighted.T @ x[row][seen].double(), weighted.T @ loadings[seen]
        exact = torch.linalg.solve(torch.eye(k).double() + information, score)
        assert (mean[row] - exact).norm() < error * exact.norm()
        torch.testing.assert_close(
            expert.natural[row], torch.cat([score, information[*triangle]]), atol=1e-5, rtol=1e-5
        )


# --- the model -----------------------------------------------------------------------------------


def experiment_of(modalities: tuple[Modality, ...], **model: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "small",
            "data": {"source": "none"},
            "modalities": {one.name: {"network": {"hidden": [8]}} for one in modalities},
            "model": {"latent_dim": 6, **model},
        }
    )


def fitted(experiment: Experiment, prepared: Prepared) -> MVAE:
    """The linear model of all rows that are not for testing."""
    return LinearFit.of(experiment, prepared).whole.model


def vectors() -> tuple[Modality, ...]:
    return tuple(array("vector", COLUMNS).model_copy(update={"name": f"view{k}"}) for k in range(VIEWS))


def rows_of(x: np.ndarray) -> Rows:
    """Cells in other units, so that standardisation counts."""
    cells = torch.from_numpy(5 + 3 * x).float()
    return Rows({f"view{k}": cells[:, k * COLUMNS : (k + 1) * COLUMNS] for k in range(VIEWS)})


def prepared_of(modalities: tuple[Modality, ...], train: Rows, test: Rows) -> Prepared:
    return Prepared(modalities, train, train.head(0), test)


def test_views_are_answered_as_well_as_by_the_model_that_made_them() -> None:
    """R² of one view given the two others, by the exact conditional mean and by the fitted model."""
    factors = known_factors()
    (x, _), (test, _) = drawn(factors, 400, 3), drawn(factors, 2000, 4)
    model = fitted(experiment_of(vectors()), prepared_of(vectors(), rows_of(x), rows_of(test)))
    target = slice(COLUMNS, 2 * COLUMNS)
    given = np.ones(VIEWS * COLUMNS, bool)
    given[target] = False
    covariance = factors.loadings @ factors.loadings.T + np.diag(factors.variance)
    weights = np.linalg.solve(covariance[np.ix_(given, given)], covariance[given][:, target])
    exact = 5 + 3 * (test[:, given] @ weights)
    ours = answered(model, rows_of(test), ["view0", "view2"], "view1")["loc"]
    truth = 5 + 3 * test[:, target]
    spread = ((truth - truth.mean(axis=0)) ** 2).sum()
    losses = [((truth - mean) ** 2).sum() / spread for mean in (exact, ours)]
    assert losses[1] <= losses[0] + 0.02


def answered(model: MVAE, rows: Rows, given: Sequence[str], target: str) -> dict[str, Any]:
    """Parameters of the target at the mean of z given some views."""
    mean = posterior_mean(model, rows, given).astype(np.float32)
    return dict(TorchGraphs(model).decode(target, mean))


def posterior_mean(model: MVAE, rows: Rows, given: Sequence[str]) -> Any:
    return posterior(model, rows, given)[0]


def posterior(model: MVAE, rows: Rows, given: Sequence[str]) -> tuple[Any, Any]:
    """Mean and covariance of z given some views."""
    graphs, k = TorchGraphs(model), model.latent_dim
    experts = [graphs.encode(name, rows.data[name].numpy()) for name in given]
    natural: Any = sum(np.asarray(one.natural, float) for one in experts)
    precision = np.zeros((len(rows), k, k))
    precision[:, *np.tril_indices(k)] = natural[:, k:]
    precision += np.tril(precision, -1).swapaxes(1, 2) + np.eye(k)
    return np.linalg.solve(precision, natural[:, :k, None])[..., 0], np.linalg.inv(precision)


def log_loss(model: MVAE, rows: Rows) -> float:
    """Log-loss of the mean probabilities of ``label`` over draws of z given ``numbers``."""
    mean, covariance = posterior(model, rows, ["numbers"])
    noise = np.random.default_rng(0).standard_normal((500, *mean.shape, 1))
    z = mean + (np.linalg.cholesky(covariance) @ noise)[..., 0]
    logits = TorchGraphs(model).decode("label", z.reshape(-1, mean.shape[1]).astype(np.float32))["logits"]
    shares = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    of_rows = shares.reshape(len(z), len(rows), -1).mean(axis=0)
    return float(-np.log(of_rows[np.arange(len(rows)), rows.data["label"]]).mean())


def test_the_encoders_give_the_posterior_that_chose_the_fit() -> None:
    """Product of the experts of the networks against the arrays of numpy."""
    x, _ = drawn(known_factors(), 200)
    model = fitted(experiment_of(vectors()), prepared_of(vectors(), rows_of(x), rows_of(x)))
    encoders = [one for one in model.encoders.values() if isinstance(one, LinearEncoder)]
    loadings, weighted = (torch.cat([getattr(one, name) for one in encoders]).numpy() for name in NAMES)
    used = np.abs(loadings).max(axis=0) > 0
    variance = (loadings[:, used] / weighted[:, used]).mean(axis=1)
    rows, cells = rows_of(x), []
    for name, one in zip(model.modalities, encoders, strict=True):
        cells.append((one.inputs(rows.data[name])[:, 0] - one.center) / one.scale)
    factors = FactorModel(np.zeros(len(loadings)), loadings, variance)
    mean, _ = factors.posterior(torch.cat(cells, dim=1).numpy())
    np.testing.assert_allclose(posterior_mean(model, rows, model.modalities), mean, atol=1e-5)


def test_labels_are_answered_as_well_as_by_logistic_regression() -> None:
    """Of a table of its own and of a column in one, given a vector that decides them in part."""
    rng = np.random.default_rng(5)
    n = 600
    x = rng.standard_normal((n, 3))
    label = (x[:, 0] + 0.5 * x[:, 1] + 0.5 * rng.standard_normal(n) > 0).astype(int)
    kind = category("no", "yes").model_copy(update={"name": "label"})
    modalities = (array("vector", 3).model_copy(update={"name": "numbers"}), kind)
    rows = Rows({"numbers": torch.from_numpy(x).float(), "label": torch.from_numpy(label)})
    train, test = rows.take(slice(0, 300)), rows.take(slice(300, n))
    model = fitted(experiment_of(modalities), prepared_of(modalities, train, test))
    logistic = LogisticRegression().fit(x[:300], label[:300]).predict_proba(x[300:])
    assert log_loss(model, test) <= -np.log(logistic[np.arange(300), label[300:]]).mean() + 0.06


def test_columns_of_a_table_and_gaps_are_exported() -> None:
    """Mixed columns beside a category and counts, of which some are missing: graphs as torch."""
    rng, n = np.random.default_rng(6), 60
    size = rng.standard_normal(n)
    columns = [
        70 + 10 * size,
        rng.poisson(2, n),
        np.exp(0.3 * size),
        size > 0,
        1.0 * (size > -0.5),
        rng.integers(0, 3, n),
    ]
    cells = np.stack(columns, axis=1).astype(np.float32)
    cells[rng.random(cells.shape) < 0.2] = NAN
    table = mixed_table()
    counts = array("counts", 2).model_copy(update={"name": "reads", "likelihood": "negative_binomial"})
    modalities = (table, counts)
    reads = torch.from_numpy(rng.poisson(np.exp(1 + 0.3 * size)[:, None], (n, 2)).astype(np.float32))
    rows = Rows({table.name: torch.from_numpy(cells), "reads": reads}, {"reads": torch.arange(n) % 4 > 0})
    experiment = experiment_of(modalities)
    prepared = prepared_of(modalities, rows, rows)
    one = fitted(experiment, prepared)
    for parameter in one.parameters():
        assert parameter.isfinite().all()
    weights = (0.25, 0.25, 0.5)
    all_models = Ensemble([*(build(experiment, prepared) for _ in range(2)), one], weights)
    manifest, _ = export(all_models.eval(), experiment, "", prepared, 1)  # compares with torch
    assert manifest.mixture.weights == weights
    assert manifest.linear is not None


def test_two_labels_of_which_one_is_as_frequent_as_the_other_are_exported() -> None:
    """Their mean is their deviation, which the exporter makes one constant, and those of others differ."""
    labels = {"side": torch.arange(40) % 2, "sex": (torch.arange(40) % 3 > 0).long()}
    modalities = tuple(category("no", "yes").model_copy(update={"name": name}) for name in labels)
    prepared = prepared_of(modalities, Rows(labels), Rows(labels))
    experiment = experiment_of(modalities)
    both = Ensemble([build(experiment, prepared), fitted(experiment, prepared)])
    manifest, files = export(both.eval(), experiment, "", prepared, 1)
    ours, theirs = TorchGraphs(both), OnnxGraphs(manifest, files)
    x = np.array([0, 1])
    for name in labels:
        one, other = (np.asarray(graphs.encode(name, x).natural, float) for graphs in (ours, theirs))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_rows_of_which_no_linear_model_is_fitted_are_refused() -> None:
    prepared = prepared_of(vectors(), *2 * [rows_of(drawn(known_factors(), 20)[0])])
    wide = (array("vector", 5000),)
    with pytest.raises(ExperimentError, match=r"a row has 5000 numbers .* may have 4096; set model\.linear"):
        linear.check_linear(replace(prepared, modalities=wide))
    streamed: Any = object()
    with pytest.raises(ExperimentError, match=r"not held together; set model\.linear = false"):
        linear.check_linear(replace(prepared, stream=streamed))


def test_members_with_linear_models_are_as_many_as_fit_into_a_bundle() -> None:
    Model(members=12, linear=True)
    with pytest.raises(ValidationError, match="with linear = true, members is at most 12, not 13"):
        Model(members=13, linear=True)


def test_held_out_halves_choose_the_prior_of_weights_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide one for labels that numbers determine, a narrow one for labels of noise."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((400, 3))
    kind = category("no", "yes").model_copy(update={"name": "label"})
    modalities = (array("vector", 3).model_copy(update={"name": "numbers"}), kind)
    numbers = torch.from_numpy(x).float()
    losses = {}
    for title, label in (("certain", x[:, 0] > 0), ("noise", rng.random(400) > 0.5)):
        rows = Rows({"numbers": numbers, "label": torch.from_numpy(label.astype(int))})
        prepared = prepared_of(modalities, rows.take(slice(0, 200)), rows.take(slice(200, 400)))
        for variances in ((1.0, 10.0, 100.0), (1.0,), (100.0,)):
            monkeypatch.setattr(linear, "VARIANCES", variances)
            losses[title, variances] = log_loss(fitted(experiment_of(modalities), prepared), prepared.test)
    of_choice = {title: losses[title, (1.0, 10.0, 100.0)] for title in ("certain", "noise")}
    assert of_choice["certain"] == losses["certain", (100.0,)] < losses["certain", (1.0,)] - 0.01
    assert of_choice["noise"] == losses["noise", (1.0,)] < math.log(2) + 0.01
