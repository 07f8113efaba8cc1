"""A linear model of few rows in closed form: a factor analysis as encoders and decoders.

Networks of a few hundred rows learn less from what a view says linearly about others than a regression
does. A factor analysis of all views together is at the level of ridge regression without a gradient step,
and answers from any views. Its errors are not those of networks, so the mixture of both is better than each.

References:
    | EM algorithms for ML factor analysis (Rubin & Thayer, 1982)
    | https://doi.org/10.1007/BF02293851
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from models_store.arrays import Array
from training.coders import module_key
from training.config import LINEAR_MEMBERS, Experiment, Network
from training.data import Prepared
from training.data.rows import Rows, joined
from training.errors import ExperimentError
from training.factor_choice import Choice, best_choice
from training.factors import LEAST_VARIANCE, FactorModel, fit_factors, perturbed
from training.features import Features, features_of, inputs_of
from training.fit import build
from training.model import MVAE
from training.networks.linear import LinearEncoder
from training.networks.mixed import ColumnFeatures, ColumnParameters
from training.networks.mlp import MLPDecoder
from training.networks.units import InUnits

STEPS = 50
"""Iterations of EM."""
MOST_WIDTH = 4096
"""Most parameters of a row that decoders give: memory and time grow with the square."""
UNCERTAIN_ROWS, UNCERTAIN_DIMENSION = 2_000, 16
"""Most rows that leave parameters so uncertain that several models carry it, and the largest dimension of z
with which they do: memory and time of a row grow with its square, and so with the number of models."""
FITTED_ROWS = 10_000
"""Most rows to fit: more change little, and rows with gaps take a covariance of the factors each."""
DRAWS, DRAWS_OF_ALL = 10, 50_000
"""Draws of z of each row for decoders without a closed form, and of all rows if these are fewer."""
VARIANCES, FEWEST = (1.0, 10.0, 100.0), 20
"""Variances of the weights of labels to try, and the least number of rows to choose by."""
ITERATIONS = 100
"""Most iterations of L-BFGS for such a decoder."""


class Fitted(NamedTuple):
    """A linear model of some rows.

    Arguments:
        model: The model.
        features: Features of the rows.
        factors: Factor analysis of the features.
        variances: Variance of the prior of the weights of labels, by category.
    """

    model: MVAE
    features: Features
    factors: FactorModel
    variances: Mapping[str, float]


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

    @cached_property
    def whole(self) -> Fitted:
        """The linear model of all rows that are not for testing; of very many, of a part."""
        return self._fitted(_training_rows(self.prepared), {})

    def of_rows(self, rows: Rows) -> MVAE:
        """The linear model of other rows, with the variances that all rows chose."""
        return self._fitted(rows, self.whole.variances).model

    def models(self) -> list[MVAE]:
        """Linear models of all rows that are not for testing, as different as parameters are uncertain.

        Their mean is the fitted model: parameters lie in pairs on either side of its own. Labels and counts,
        and what many rows leave no doubt about, have the fitted parameters alone.
        """
        model, features, factors, _ = self.whole
        if len(features.x) > UNCERTAIN_ROWS or model.latent_dim > UNCERTAIN_DIMENSION:
            return [model]
        rng = np.random.default_rng(self.experiment.seed)
        drawn = perturbed(features.x, factors, self._shrinkage(features), LINEAR_MEMBERS // 2, rng)
        return [self._set(copy.deepcopy(model), features, one) for one in drawn]

    def _fitted(self, rows: Rows, given_variances: Mapping[str, float]) -> Fitted:
        model, rows = _inputs(self.experiment, self.prepared, rows)
        features, seed = features_of(model, rows), self.experiment.seed
        factors = _turned(fit_factors(features.x, self.choice.factors, STEPS, self._shrinkage(features)))
        for decoder in model.decoders.values():  # a view that no row has keeps zeros
            for parameter in cast(MLPDecoder, decoder).head.parameters():
                nn.init.zeros_(parameter)
        self._set(model, features, factors)
        whole, variances = _completed(factors, self.experiment.model.latent_dim), dict(given_variances)
        for name, view in zip(model.modalities, features.views, strict=True):
            variance = _fit_others(model, name, rows, features, whole, view, seed, given_variances.get(name))
            if variance is not None:
                variances[name] = variance
        return Fitted(model.eval(), features, factors, variances)

    def _shrinkage(self, features: Features) -> float:
        return self.choice.of(len(features.x))

    def _set(self, model: MVAE, features: Features, factors: FactorModel) -> MVAE:
        """Gives a model the encoders of a factor analysis, and its decoders of numbers."""
        whole = _completed(factors, self.experiment.model.latent_dim)
        for name, view, flags in zip(model.modalities, features.views, features.flags, strict=True):
            _set_numbers(model, name, features, whole, view)
            _set_encoder(model, name, features, whole, view, flags)
        return model


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


# --- networks ----------------------------------------------------------------------------------------


def _drawn(factors: FactorModel, x: Array, seed: int) -> Tensor:
    """Draws of z given the features of each row that are not NaN, (K, n, k)."""
    mean, covariance = factors.posterior(x)
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
    encoder = LinearEncoder(inputs_of(model, name), flags, *map(torch.tensor, constants))  # copies
    model.encoders[module_key(name)] = encoder


def _set_numbers(model: MVAE, name: str, features: Features, factors: FactorModel, view: slice) -> None:
    """Gives loadings to the decoder's outputs for numbers."""
    decoder = cast(MLPDecoder, model.decoders[module_key(name)])
    inputs, outputs = _numbers(model, name)
    constants = (features.center, features.scale, factors.mean, factors.loadings, factors.variance)
    center, scale, mean, loadings, variance = (torch.from_numpy(one[view][inputs]) for one in constants)
    with torch.no_grad():
        decoder.head.weight[outputs] = (scale[:, None] * loadings).float()
        decoder.head.bias[outputs] = (center + scale * mean).float()
    deviations = (scale * variance.sqrt()).float()
    if isinstance(decoder.outputs, InUnits):
        decoder.outputs.set_deviations(deviations, str((model.config.decoders_dist or {})[name]))
    elif isinstance(decoder.outputs, ColumnParameters):
        decoder.outputs.set_deviations(deviations)


def _numbers(model: MVAE, name: str) -> tuple[list[int], list[int]]:
    """Features that are numbers, and which output of the decoder is the location of each."""
    inputs, outputs = inputs_of(model, name), cast(MLPDecoder, model.decoders[module_key(name)]).outputs
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
    rows: Rows,
    features: Features,
    factors: FactorModel,
    view: slice,
    seed: int,
    variance: float | None,
) -> float | None:
    """Fits what a decoder gives for labels and counts; outputs for numbers keep their weights.

    Returns:
        The variance of the weights of a category: the given one, or one that the rows choose.
    """
    fixed, head = _numbers(model, name)[1], cast(MLPDecoder, model.decoders[module_key(name)]).head
    if len(fixed) == len(head.bias):
        return None
    present = rows.masks.get(name, torch.ones(len(rows), dtype=torch.bool))
    x = rows.data[name][present]
    if not len(x):
        return None
    given = features.x
    is_category = len(features.views) > 1 and bool(features.labels[view].all())
    if is_category:
        given = given.copy()
        given[:, view] = np.nan
    z = _drawn(factors, given, seed)[:, present]
    if is_category:
        return _fit_labels(model, name, x, z, seed, variance)
    _fit_decoder(model, name, fixed, partial(_expected_log_prob, model, name, x, z), len(x))
    return None


def _expected_log_prob(model: MVAE, name: str, x: Tensor, z: Tensor) -> Tensor:
    """Log-likelihood of rows, the mean over draws of z that know them."""
    return model.log_prob(name, x, z).mean(dim=0).sum()


def _fit_labels(model: MVAE, name: str, x: Tensor, z: Tensor, seed: int, variance: float | None) -> float:
    """Fits the decoder of a category to draws of z that know nothing of it, (K, n, k).

    The mean of its probabilities over them is what is answered, so the logarithm of that mean is maximised.
    Weights have the prior N(0, v I), whose v is returned; if none is given, each half of the rows scores the
    v of the other.
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

    if variance is None:
        variance = max(VARIANCES, key=held_out) if len(x) >= FEWEST else VARIANCES[0]
    fit(half >= 0, variance)
    return variance


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
