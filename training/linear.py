"""A linear model of few rows in closed form: a factor analysis as encoders and decoders.

Networks of a few hundred rows learn less from what a view says linearly about others than a regression
does. A factor analysis of all views together is at the level of ridge regression without a gradient step,
and answers from any views. Its errors are not those of networks, so the mixture of both is better than each.

References:
    | EM algorithms for ML factor analysis (Rubin & Thayer, 1982)
    | https://doi.org/10.1007/BF02293851
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from models_store.arrays import Array
from training.coders import module_key
from training.config import Experiment, Network
from training.data import Prepared
from training.data.rows import Rows, joined
from training.errors import ExperimentError
from training.factors import LEAST_VARIANCE, FactorModel, Patterns, fit_factors
from training.features import Features, features_of, inputs_of
from training.fit import build
from training.model import MVAE
from training.networks.linear import LinearEncoder
from training.networks.mixed import ColumnFeatures, ColumnParameters
from training.networks.mlp import MLPDecoder
from training.networks.units import InUnits

RANKS = (4, 9, 18)
"""Numbers of factors to try, beside as many as z has dimensions."""
SHRINKAGES = (0.02, 0.1, 0.3, 0.6, 0.8)
"""Shrinkages to try."""
FOLDS, CHOOSING_ROWS = 5, 500
"""Folds for the choice, and the most rows of all of them."""
ROUNDS = 3
"""Times that number and shrinkage are chosen in turn; they rarely change after the second."""
CHOOSING_STEPS, STEPS = 10, 50
"""Iterations of EM for each trial, and for the choice."""
HIDDEN = 0.3
"""Share of the cells of a single view that are predicted from the others of the row."""
MOST_WIDTH = 4096
"""Most parameters of a row that decoders give: memory and time grow with the square."""
FITTED_ROWS = 10_000
"""Most rows to fit: more change little, and rows with gaps take a covariance of the factors each."""
DRAWS, DRAWS_OF_ALL = 10, 50_000
"""Draws of z of each row for decoders without a closed form, and of all rows if these are fewer."""
VARIANCES, FEWEST = (1.0, 10.0, 100.0), 20
"""Variances of the weights of labels to try, and the least number of rows to choose by."""
ITERATIONS = 100
"""Most iterations of L-BFGS for such a decoder."""


@dataclass(frozen=True)
class Choice:
    """How a factor analysis is fitted.

    Arguments:
        factors: Number of factors.
        shrinkage: Shrinkage of the correlations, α.
        rows: Rows for which it was chosen.
    """

    factors: int
    shrinkage: float
    rows: int

    def of(self, rows: int) -> float:
        """Shrinkage of other rows: as many rows of independent cells are added, n α / (1 - α)."""
        added = self.rows * self.shrinkage / (1 - self.shrinkage)
        return added / (added + rows)


@dataclass(frozen=True)
class LinearFit:
    """Fits linear models of one experiment to rows.

    Arguments:
        experiment: The experiment; the hidden layers of its networks do not count.
        prepared: Its rows.
        choice: Number of factors and shrinkage.
    """

    experiment: Experiment
    prepared: Prepared
    choice: Choice

    @classmethod
    def of(cls, experiment: Experiment, prepared: Prepared) -> LinearFit:
        """Chooses by the rows that are not for testing."""
        features = features_of(*_inputs(experiment, prepared, _training_rows(prepared)))
        return cls(experiment, prepared, best_choice(features, experiment.model.latent_dim, experiment.seed))

    def model(self, rows: Rows | None = None) -> MVAE:
        """The linear model of some rows, or of all that are not for testing; of very many, of a part."""
        rows = _training_rows(self.prepared) if rows is None else rows
        model, rows = _inputs(self.experiment, self.prepared, rows)
        features, seed = features_of(model, rows), self.experiment.seed
        factors = fit_factors(features.x, self.choice.factors, STEPS, self.choice.of(len(features.x)))
        factors = _completed(_turned(factors), self.experiment.model.latent_dim)
        for name, view, flags in zip(model.modalities, features.views, features.flags, strict=True):
            fixed = _set_numbers(model, name, features, factors, view)
            if fixed is not None:
                _fit_others(model, name, fixed, rows, features, factors, view, seed)
            _set_encoder(model, name, features, factors, view, flags)
        return model.eval()


def _training_rows(prepared: Prepared) -> Rows:
    return joined(prepared.validation, prepared.train)


def _inputs(experiment: Experiment, prepared: Prepared, rows: Rows) -> tuple[MVAE, Rows]:
    """A model without hidden layers, and the rows to fit it to."""
    order = np.random.default_rng(experiment.seed).permutation(len(rows))
    some = rows.take(torch.from_numpy(np.sort(order[:FITTED_ROWS])))
    return build(_without_layers(experiment), prepared), some


def _without_layers(experiment: Experiment) -> Experiment:
    linear = Network(type="mlp", hidden=())
    return experiment.model_copy(
        update={
            "modalities": {
                name: modality.model_copy(update={"network": linear})
                for name, modality in experiment.modalities.items()
            }
        }
    )


def check_linear(prepared: Prepared) -> None:
    """Refuses rows to which no linear model can be fitted.

    Raises:
        ExperimentError: They are not held together, or too wide.
    """
    if prepared.stream is not None:
        trouble = "the rows of a data set are not held together"
    elif len(prepared.train) + len(prepared.validation) < 2:
        trouble = "there is one row to fit it to"
    elif (width := sum(math.prod(one.parameter_shape()) for one in prepared.modalities)) > MOST_WIDTH:
        trouble = f"a row has {width} numbers for the decoders to give, and may have {MOST_WIDTH}"
    else:
        return
    raise ExperimentError(f"model.linear is true, but {trouble}; set model.linear = false")


# --- the choice --------------------------------------------------------------------------------------


def best_choice(features: Features, latent_dim: int, seed: int) -> Choice:
    """The number of factors and the shrinkage that predict views and cells best, in some folds.

    One is chosen with the other held fixed, in turn.

    Arguments:
        features: Features of the training rows.
        latent_dim: Largest number of factors.
        seed: Seed of the folds.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(features.x))[:CHOOSING_ROWS]
    features = replace(features, x=features.x[some])
    fold = np.arange(len(some)) % FOLDS
    hidden = np.less(rng.random((len(some), features.columns.max() + 1)), HIDDEN)[:, features.columns]
    most = min(latent_dim, features.x.shape[1])
    ranks = [*(rank for rank in RANKS if rank < most), most]

    @cache
    def error(choice: Choice) -> float:
        return math.fsum(_error(features, fold == k, hidden, choice) for k in range(FOLDS))

    best = Choice(most, SHRINKAGES[1], len(some) - len(some) // FOLDS)
    for _ in range(ROUNDS):
        best = min((replace(best, factors=rank) for rank in ranks), key=error)
        best = min((replace(best, shrinkage=shrinkage) for shrinkage in SHRINKAGES), key=error)
    return best


def _error(features: Features, held: Array, hidden: Array, choice: Choice) -> float:
    """Squared error of numbers of held-out rows, averaged over views.

    Each view is predicted from all others, and some of its cells from all others of the row. Labels count
    where there are no numbers. Their decoders are fitted by themselves (:func:`_fit_decoder`),
    and fewer factors than numbers need are enough for them.
    """
    model = fit_factors(features.x[~held], choice.factors, CHOOSING_STEPS, choice.shrinkage)
    measured = np.ones_like(features.labels) if features.labels.all() else ~features.labels
    errors = []
    for view in features.views:
        of_view = np.zeros_like(hidden[held])
        of_view[:, view] = True
        some = of_view & hidden[held]
        for without in (some, of_view) if len(features.views) > 1 else (some,):
            z, _ = _posterior(model, np.where(without, np.nan, features.x[held]))
            left = features.x[held] - model.mean - z @ model.loadings.T
            left = left[without & ~np.isnan(left) & measured]
            if left.size:
                errors.append((left**2).mean())
    return float(np.mean(errors)) if errors else 0.0


def _turned(model: FactorModel) -> FactorModel:
    """The same distribution, with factors that are independent given all cells.

    What is said of single dimensions of z, as the contributions of views, then loses least.
    """
    scaled = model.loadings / np.sqrt(model.variance)[:, None]
    axes = np.linalg.svd(scaled, full_matrices=False)[2]
    return FactorModel(model.mean, model.loadings @ axes.T, model.variance)


def _completed(model: FactorModel, latent_dim: int) -> FactorModel:
    """With as many factors as z has dimensions, and variance 1 of features that do not vary."""
    more = latent_dim - model.loadings.shape[1]
    variance = np.where(model.variance > 2 * LEAST_VARIANCE, model.variance, 1.0)
    return FactorModel(model.mean, np.pad(model.loadings, ((0, 0), (0, more))), variance)


def _posterior(model: FactorModel, x: Array) -> tuple[Array, Array]:
    """Mean, (n, k), and covariance, (n, k, k), of z given the features of rows that are not NaN."""
    seen = ~np.isnan(x)
    patterns = Patterns.of(seen)
    covariance = np.linalg.inv(patterns.precision(model))[patterns.index]
    score = np.where(seen, x - model.mean, 0.0) / model.variance @ model.loadings
    return (covariance @ score[..., None])[..., 0], covariance


# --- networks ----------------------------------------------------------------------------------------


def _drawn(factors: FactorModel, x: Array, seed: int) -> Tensor:
    """Draws of z given the features of each row that are not NaN, (K, n, k)."""
    mean, covariance = _posterior(factors, x)
    draws = int(np.clip(DRAWS_OF_ALL // len(mean), 1, DRAWS))
    noise = np.random.default_rng(seed).standard_normal((draws, *mean.shape))
    correlated = np.linalg.cholesky(covariance) @ noise[..., None]
    return torch.from_numpy(mean + correlated[..., 0]).float()


def _set_encoder(
    model: MVAE,
    name: str,
    features: Features,
    factors: FactorModel,
    view: slice,
    flags: Sequence[int] | None,
) -> None:
    center = features.center[view] + features.scale[view] * factors.mean[view]
    constants = (center, features.scale[view], factors.loadings[view], factors.variance[view])
    encoder = LinearEncoder(inputs_of(model, name), flags, *map(torch.from_numpy, constants))
    model.encoders[module_key(name)] = encoder


def _set_numbers(
    model: MVAE, name: str, features: Features, factors: FactorModel, view: slice
) -> list[int] | None:
    """Gives loadings to the decoder's outputs for numbers, and returns these; None if there are no others."""
    decoder = cast(MLPDecoder, model.decoders[module_key(name)])
    inputs, outputs = _numbers(inputs_of(model, name), decoder.outputs)
    constants = (features.center, features.scale, factors.mean, factors.loadings, factors.variance)
    center, scale, mean, loadings, variance = (torch.from_numpy(one[view][inputs]) for one in constants)
    with torch.no_grad():
        nn.init.zeros_(decoder.head.weight)
        nn.init.zeros_(decoder.head.bias)
        decoder.head.weight[outputs] = (scale[:, None] * loadings).float()
        decoder.head.bias[outputs] = (center + scale * mean).float()
    deviations = (scale * variance.sqrt()).float()
    if isinstance(decoder.outputs, InUnits):
        decoder.outputs.set_deviations(deviations, str((model.config.decoders_dist or {})[name]))
    elif isinstance(decoder.outputs, ColumnParameters):
        decoder.outputs.set_deviations(deviations)
    return outputs if len(outputs) < len(decoder.head.bias) else None


def _numbers(inputs: nn.Module, outputs: nn.Module | None) -> tuple[list[int], list[int]]:
    """Features that are numbers, and which output of the network is the location of each."""
    if isinstance(outputs, InUnits):
        every = [*range(outputs.log_scale.numel())]
        return every, every
    if isinstance(outputs, ColumnParameters) and isinstance(inputs, ColumnFeatures):
        features = {column: k for k, column in enumerate(inputs.numbers.tolist())}
        return [features[column] for column in outputs.numbers], [*outputs.numbers.values()]
    return [], []


def _fit_others(
    model: MVAE,
    name: str,
    fixed: list[int],
    rows: Rows,
    features: Features,
    factors: FactorModel,
    view: slice,
    seed: int,
) -> None:
    """Fits what a decoder gives for labels and counts; ``fixed`` outputs keep their weights."""
    present = rows.masks.get(name, torch.ones(len(rows), dtype=torch.bool))
    x = rows.data[name][present]
    if not len(x):
        return
    given = features.x
    is_category = len(features.views) > 1 and bool(features.labels[view].all())
    if is_category:
        given = given.copy()
        given[:, view] = np.nan
    z = _drawn(factors, given, seed)[:, present]
    if is_category:
        _fit_labels(model, name, x, z, seed)
    else:
        _fit_decoder(model, name, fixed, partial(_expected_log_prob, model, name, x, z), len(x))


def _expected_log_prob(model: MVAE, name: str, x: Tensor, z: Tensor) -> Tensor:
    """Log-likelihood of rows, the mean over draws of z that know them."""
    return model.log_prob(name, x, z).mean(dim=0).sum()


def _fit_labels(model: MVAE, name: str, x: Tensor, z: Tensor, seed: int) -> None:
    """Fits the decoder of a category to draws of z that know nothing of it, (K, n, k).

    The mean of its probabilities over them is what is answered, so the logarithm of that mean is maximised.
    Weights have the prior N(0, v I); each half of the rows scores the v of the other.
    """
    half = torch.from_numpy(np.random.default_rng(seed).permutation(len(x)) % 2)

    def log_prob(rows: Tensor) -> Tensor:
        return (model.log_prob(name, x[rows], z[:, rows]).logsumexp(dim=0) - math.log(len(z))).sum()

    def fit(rows: Tensor, variance: float) -> None:
        _fit_decoder(model, name, [], partial(log_prob, rows), int(rows.sum()), variance)

    def held_out(variance: float) -> float:
        total = 0.0
        for k in (0, 1):
            fit(half == k, variance)
            with torch.no_grad():
                total += float(log_prob(half != k))
        return total

    variance = max(VARIANCES, key=held_out) if len(x) >= FEWEST else VARIANCES[0]
    fit(half >= 0, variance)


def _fit_decoder(
    model: MVAE, name: str, fixed: list[int], log_prob: Callable[[], Tensor], rows: int, variance: float = 1.0
) -> None:
    """Maximises the likelihood of some rows from zero weights, each of which has the prior N(0, variance).

    Arguments:
        model: Its decoder of the view has the loadings of numbers.
        name: Name of the view.
        fixed: Outputs that keep their weights.
        log_prob: Log-likelihood of the rows.
        rows: Their number.
        variance: Variance of the prior.
    """
    decoder = cast(MLPDecoder, model.decoders[module_key(name)])
    head, outputs = decoder.head, decoder.outputs
    learned = torch.ones_like(head.bias, dtype=torch.bool)
    learned[fixed] = False
    with torch.no_grad():
        head.weight[learned], head.bias[learned] = 0.0, 0.0
    others = outputs.others if isinstance(outputs, ColumnParameters) else _parameters(outputs)
    parameters = [head.weight, head.bias, *others]
    optimizer = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = (head.weight[learned].square().sum() / (2 * variance) - log_prob()) / rows
        value.backward()  # type: ignore[no-untyped-call]
        for parameter in (head.weight, head.bias):
            if parameter.grad is not None:
                parameter.grad[fixed] = 0
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]


def _parameters(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else [*module.parameters()]
