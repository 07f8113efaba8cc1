r"""The MVAE: a posterior for any subset of the modalities, and a decoder for each of them.

The names, defaults and shapes are those of the reference documentation; `z` is always
(n_data, N, latent_dim).

References:
    | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018)
    | https://arxiv.org/abs/1802.05335
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor, nn

from models_store.evidence import Evidence, difference, evidence, log_weights
from models_store.fusion import Gaussian, product
from models_store.likelihoods import FAMILIES, Bernoulli, Categorical, Likelihood, Parameters, likelihood
from training.networks import FillMissing, MLPDecoder, MLPEncoder, ModelOutput, OneHot, Standardise
from training.objective import OBJECTIVES, Loss, evaluate, subsets

LogDensity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(reconstruction, x), both (batch, *shape), to the log-density of each cell."""


@dataclass
class MVAEConfig:
    """What an MVAE is made of.

    Arguments:
        n_modalities: The number of modalities.
        latent_dim: The dimension of z.
        input_dims: Per modality, the shape of one row; for ``categorical``, (classes,). Needed for default
            networks and for default rescaling.
        uses_likelihood_rescaling: Multiply each log-likelihood by its factor.
        rescale_factors: The factors; if None, largest number of cells ÷ the modality's own.
        decoders_dist: Per modality a likelihood: normal (default), laplace, bernoulli, categorical,
            poisson, negative_binomial; or a function of (reconstruction, x), both (batch, *shape), that
            gives the log-density of each cell.
        decoder_dist_params: Per modality what its likelihood needs: ``scale`` (normal and laplace, 1),
            ``range`` (bernoulli, (0, 1)), ``total_count`` (negative_binomial, 1).
        custom_architectures: Names of the modalities whose networks were passed in; filled by MVAE.
        use_subsampling: Add the ELBOs of each modality alone and of k random subsets.
        k: The number of random subsets per batch.
        warmup: Epochs over which the weight of the divergence rises linearly to ``beta``.
        beta: That weight.
        objective: ``paper``, ``cross``, ``conditional`` or ``matched``: see ``training/objective.py``.
    """

    n_modalities: int
    latent_dim: int = 10
    input_dims: Mapping[str, Sequence[int]] | None = None
    uses_likelihood_rescaling: bool = False
    rescale_factors: Mapping[str, float] | None = None
    decoders_dist: Mapping[str, str | LogDensity] | None = None
    decoder_dist_params: Mapping[str, Mapping[str, Any]] | None = None
    custom_architectures: list[str] = field(default_factory=list)
    use_subsampling: bool = True
    k: int = 0
    warmup: int = 10
    beta: float = 1.0
    objective: str = "paper"


@dataclass(frozen=True)
class Observations:
    """One batch as tensors: values and presence of every modality, in the order of the model.

    Arguments:
        values: Per modality, (n_data, *shape); absent where no row has it.
        present: Which modality is observed in which row: (M, n_data).
    """

    values: Mapping[str, Tensor]
    present: Tensor


HIDDEN = (512, 512)
"""Widths of the hidden layers of default networks."""

LOG_VAR_LIMIT = 30.0
"""What a network says beyond it is cut: e^-15, as a deviation, is below what float32 resolves of z."""

DENSITIES_ALONE = (
    "a function in decoders_dist gives densities, but neither variances nor draws; "
    f"name a likelihood for those: {', '.join(FAMILIES)}"
)


@final
@dataclass(frozen=True)
class FromFunction(Likelihood):
    """A density that was passed in as a function; it can be trained on, but not be stored in a bundle.

    Arguments:
        log_density: As ``decoders_dist`` of :class:`MVAEConfig` wants it.
    """

    parameters = ("reconstruction",)
    log_density: LogDensity

    def mean(self, parameters: Parameters) -> Tensor:
        return parameters["reconstruction"]

    def variance(self, parameters: Parameters) -> Tensor:  # noqa: ARG002 - what every likelihood takes
        raise ValueError(DENSITIES_ALONE)

    def sample(self, parameters: Parameters, rng: np.random.Generator) -> Any:  # noqa: ARG002 - likewise
        raise ValueError(DENSITIES_ALONE)

    def _log_prob(self, x: Tensor, parameters: Parameters) -> Tensor:
        reconstruction = parameters["reconstruction"]
        wide = x.expand(reconstruction.shape)
        row = x.shape[1:]
        cells = self.log_density(reconstruction.reshape(-1, *row), wide.reshape(-1, *row))
        if cells.numel() != reconstruction.numel():
            raise ValueError(
                f"a function in decoders_dist must give one log-density per cell, (batch, *{tuple(row)}); "
                f"it gave {tuple(cells.shape)}"
            )
        return cells.reshape(reconstruction.shape)


class MVAE(nn.Module):
    """The multimodal VAE.

    Arguments:
        model_config: What it is made of.
        encoders: Per modality, a module that returns something with ``.embedding`` and
            ``.log_covariance``, both (batch, latent_dim). Default: fully connected, from ``input_dims``.
        decoders: Per modality, a module that returns something with ``.reconstruction``, the first
            parameter of its likelihood, (batch, *shape). Further parameters (``.log_scale``) are used
            where it returns them, else constants from ``decoder_dist_params``.

    Raises:
        ValueError: The configuration names what does not exist or contradicts itself.
    """

    def __init__(
        self,
        model_config: MVAEConfig,
        encoders: Mapping[str, nn.Module] | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.config = model_config
        self.modalities = _names(model_config, encoders, decoders)
        self.likelihoods = {name: _likelihood(model_config, name) for name in self.modalities}
        self.objective = _objective(model_config)
        self.latent_dim = model_config.latent_dim
        given_encoders, given_decoders = dict(encoders or {}), dict(decoders or {})
        model_config.custom_architectures = sorted(given_encoders.keys() | given_decoders.keys())
        self.encoders = nn.ModuleDict(
            {name: given_encoders.get(name) or self._default_encoder(name) for name in self.modalities}
        )
        self.decoders = nn.ModuleDict(
            {name: given_decoders.get(name) or self._default_decoder(name) for name in self.modalities}
        )
        weights = torch.tensor(_rescale_factors(model_config, self.modalities), dtype=torch.float32)
        self.weights: Tensor
        self.register_buffer("weights", weights, persistent=False)

    # --- what the reference documents -------------------------------------------------------------

    def forward(
        self,
        inputs: Any,
        *,
        epoch: int = 1,
        batch_ratio: float = 0.0,
        family: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> ModelOutput:
        """The loss of a batch, and what it is made of.

        Arguments:
            inputs: A dict of arrays or tensors by modality, or anything with ``.data`` and optional
                ``.masks`` (boolean per row, True where observed). A modality left out is missing.
            epoch: From 1; with ``batch_ratio``, how far the warm-up has come.
            batch_ratio: The share of the epoch that is done.
            family: The subsets to use, boolean (S, M), the joint one first; drawn if not given.
            noise: Standard normal (S, n_data, latent_dim); drawn if not given.

        Returns:
            ``loss`` (scalar) and ``metrics`` (elbo, kl, and each modality's log-likelihood, in nats per row).
        """
        observations = self.observations(inputs)
        if family is None:
            family = self.draw_subsets()
        if noise is None:
            shape = (len(family), observations.present.shape[1], self.latent_dim)
            noise = torch.randn(shape, device=self.weights.device)
        loss = self._evaluate(observations, family, noise, self.beta_at(epoch, batch_ratio))
        named = {f"log_prob_{m}": v for m, v in zip(self.modalities, loss.reconstruction, strict=True)}
        return ModelOutput(loss=loss.loss, metrics={"elbo": loss.elbo, "kl": loss.kl, **named})

    def encode(
        self,
        inputs: Any,
        cond_mod: str | Iterable[str] = "all",
        N: int = 1,  # noqa: N803 - the reference's name
        return_mean: bool = False,
        *,
        flatten: bool = False,
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """Draws z from the posterior given the chosen modalities.

        Arguments:
            inputs: As for :meth:`forward`.
            cond_mod: ``all`` (what is observed), or names of modalities.
            N: The number of draws per row.
            return_mean: Return the mean of the posterior N times instead of draws.
            flatten: Join the first two axes of z row by row.
            generator: Where the draws come from.

        Returns:
            ``z`` (n_data, N, latent_dim), ``mu`` and ``log_var`` (n_data, latent_dim),
            ``one_latent_space`` = True.
        """
        posterior = self._posterior(self.observations(inputs), self._subset(cond_mod))
        shape = (len(posterior.mu), N, self.latent_dim)
        noise = torch.zeros(shape) if return_mean else torch.randn(shape, generator=generator)
        wide = Gaussian(posterior.mu[:, None], posterior.log_var[:, None])
        z = wide.sample(noise.to(posterior.mu))
        z = z.flatten(0, 1) if flatten else z
        return ModelOutput(z=z, one_latent_space=True, mu=posterior.mu, log_var=posterior.log_var)

    def decode(self, embedding: Any, modalities: str | Iterable[str] = "all") -> ModelOutput:
        """The mean of p(x | z) of each chosen modality, with the leading axes of z.

        Arguments:
            embedding: z of shape (*, latent_dim), or the output of :meth:`encode`.
            modalities: ``all`` or names.
        """
        z = embedding if isinstance(embedding, Tensor) else embedding.z
        means = {m: self.likelihoods[m].mean(self.parameters_of(m, z)) for m in self._subset(modalities)}
        return ModelOutput(means)

    def predict(
        self,
        inputs: Any,
        cond_mod: str | Iterable[str] = "all",
        gen_mod: str | Iterable[str] = "all",
        N: int = 1,  # noqa: N803
        flatten: bool = False,
        *,
        return_mean: bool = False,
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """The mean of p(x | z) of every target at N draws of z: (n_data, N, *shape) each."""
        drawn = self.encode(inputs, cond_mod, N, return_mean, flatten=flatten, generator=generator)
        return self.decode(drawn, gen_mod)

    def generate_from_prior(
        self,
        n_samples: int,
        *,
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """Draws ``z`` (n_samples, 1, latent_dim) from the prior, ready for :meth:`decode`."""
        z = torch.randn(n_samples, 1, self.latent_dim, generator=generator).to(self.weights.device)
        return ModelOutput(z=z, one_latent_space=True)

    def compute_mu_log_var_subset(self, inputs: Any, subset: Iterable[str]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (n_data, latent_dim) each, of the posterior given ``subset``."""
        posterior = self._posterior(self.observations(inputs), self._subset(subset))
        return posterior.mu, posterior.log_var

    @torch.no_grad()
    def compute_joint_nll(
        self,
        inputs: Any,
        K: int = 1000,  # noqa: N803
        batch_size_K: int = 100,  # noqa: N803
    ) -> Tensor:
        """Minus log p(x_A), summed over the rows of the batch, A being what each row has."""
        return -self.compute_log_prob(inputs, K=K, batch_size_K=batch_size_K).log_prob.sum()

    # --- what the reference does not have -----------------------------------------------------------

    @torch.no_grad()
    def compute_log_prob(
        self,
        inputs: Any,
        subset: str | Iterable[str] = "all",
        given: str | Iterable[str] = (),
        *,
        K: int = 1000,  # noqa: N803
        batch_size_K: int = 100,  # noqa: N803
        generator: torch.Generator | None = None,
    ) -> Evidence:
        r"""log p(x_T | x_S) per row, T and S each intersected with what a row has.

        .. math:: \log p(x_T \mid x_S) = \log p(x_T, x_S) - \log p(x_S)

        by importance sampling from q(z | x_{T ∪ S}) and, with draws of their own, from q(z | x_S).
        A row that has nothing of T scores 0, exactly.

        Arguments:
            inputs: As for :meth:`forward`.
            subset: T: ``all`` (what is not given), or names.
            given: S: names; nothing by default.
            K: The number of draws.
            batch_size_K: How many of them are decoded at a time.
            generator: Where the draws come from.

        Returns:
            ``log_prob``, ``std_error``, ``ess``, each (n_data,).

        Raises:
            ValueError: A modality is unknown, or both scored and given.
        """
        condition = self._subset(given)
        target = (
            [m for m in self.modalities if m not in condition] if subset == "all" else self._subset(subset)
        )
        both = [name for name in target if name in condition]
        if both:
            raise ValueError(f"'{both[0]}' is both scored and given")
        if not target:
            raise ValueError("no modality is left to score")
        if K < 1 or batch_size_K < 1:
            raise ValueError(f"K and batch_size_K must be at least 1, got {K} and {batch_size_K}")
        observations = self.observations(inputs)
        whole = self._evidence(observations, [*target, *condition], K, batch_size_K, generator)
        if not condition:
            return whole
        part = self._evidence(observations, condition, K, batch_size_K, generator)
        score = difference(whole, part)
        asked = observations.present[[self.modalities.index(name) for name in target]].any(dim=0)
        return Evidence(
            log_prob=torch.where(asked, score.log_prob, 0.0),
            std_error=torch.where(asked, score.std_error, 0.0),
            ess=torch.where(asked, score.ess, float(K)),
        )

    def _evidence(
        self,
        observations: Observations,
        names: Sequence[str],
        draws: int,
        at_once: int,
        generator: torch.Generator | None,
    ) -> Evidence:
        posterior = self._posterior(observations, names)
        present = [observations.present[self.modalities.index(name)] for name in names]
        weights = []
        for start in range(0, draws, at_once):
            shape = (min(at_once, draws - start), *posterior.mu.shape)
            z = posterior.sample(torch.randn(shape, generator=generator).to(posterior.mu))
            likelihoods = [self._log_prob(name, observations.values.get(name), z) for name in names]
            weights.append(log_weights(z, posterior, zip(likelihoods, present, strict=True)))
        return evidence(torch.cat(weights))

    def observations(self, inputs: Any) -> Observations:
        """Tensors on the model's device, and who is present.

        Raises:
            ValueError: A modality is unknown, or numbers of rows differ.
        """
        data = inputs.data if hasattr(inputs, "data") else inputs
        masks = getattr(inputs, "masks", None) or {}
        self._known(data)
        self._known(masks)
        device = self.weights.device
        values = {name: torch.as_tensor(x).to(device) for name, x in data.items()}
        rows = {name: len(x) for name, x in [*values.items(), *masks.items()]}
        if len(set(rows.values())) != 1:
            raise ValueError(f"modalities must have the same number of rows, got {rows}")
        (n,) = set(rows.values())
        present = torch.zeros(len(self.modalities), n, dtype=torch.bool, device=device)
        for m, name in enumerate(self.modalities):
            if name in masks and name in values:
                present[m] = torch.as_tensor(masks[name]).to(device, torch.bool)
                # A NaN under a mask would reach the gradients of the encoder's weights as 0 * NaN.
                values[name] = values[name].clone()
                values[name][~present[m]] = 0
            else:
                present[m] = name in values
        return Observations(values, present)

    def expert(self, name: str, x: Tensor) -> Gaussian:
        """q_m(z | x) of one modality, (n_data, latent_dim), its log-variance within ±LOG_VAR_LIMIT."""
        output = self.encoders[name](x)
        return Gaussian(output.embedding, output.log_covariance.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))

    def parameters_of(self, name: str, z: Tensor) -> Parameters:
        """All parameters of p(x | z), constants included: each (*, *shape) for z of shape (*, latent_dim)."""
        first, *rest = self._broadcastable_parameters(name, z).items()
        return dict([first, *((key, value.expand_as(first[1])) for key, value in rest)])

    def _broadcastable_parameters(self, name: str, z: Tensor) -> dict[str, Tensor]:
        """The same, constants with one cell only: what is the same for all need not be computed for each."""
        output = self.decoders[name](z.reshape(-1, self.latent_dim))
        first, *rest = self.likelihoods[name].parameters
        flat = {first: output.reconstruction}
        constant = flat[first].new_full((1,) * flat[first].ndim, self._constant(name))
        for parameter in rest:
            value = getattr(output, parameter, None)
            flat[parameter] = constant if value is None else value
        leading = z.shape[:-1]
        return {
            key: value if value is constant else value.reshape(*leading, *value.shape[1:])
            for key, value in flat.items()
        }

    def draw_subsets(self, generator: torch.Generator | None = None) -> Tensor:
        """The subsets of one batch, as the configuration asks for: boolean (S, M), the joint one first."""
        family = subsets(len(self.modalities), self.config.k, generator)
        family = family if self.config.use_subsampling else family[:1]
        return family.to(self.weights.device)

    def beta_at(self, epoch: int, batch_ratio: float) -> float:
        """The weight of the divergence, rising linearly from 0 over the first ``warmup`` epochs."""
        if self.config.warmup <= 0:
            return self.config.beta
        return self.config.beta * min(1.0, (epoch - 1 + batch_ratio) / self.config.warmup)

    # --- inside --------------------------------------------------------------------------------------

    def _evaluate(self, observations: Observations, family: Tensor, noise: Tensor, beta: float) -> Loss:
        category = [isinstance(self.likelihoods[name], Categorical) for name in self.modalities]
        return evaluate(
            self.objective,
            experts=self._experts(observations, self.modalities),
            present=observations.present,
            family=family,
            category=torch.tensor(category, device=family.device),
            noise=noise,
            weights=self.weights,
            beta=beta,
            reconstruct=lambda m, z: self._log_prob(
                self.modalities[m], observations.values.get(self.modalities[m]), z
            ),
        )

    def _experts(self, observations: Observations, names: Sequence[str]) -> Gaussian:
        """The experts of ``names``, (M, n_data, latent_dim) each; what was not given is the prior."""
        mus, log_vars = [], []
        nothing = torch.zeros(observations.present.shape[1], self.latent_dim, device=self.weights.device)
        for name in names:
            if name in observations.values:
                expert = self.expert(name, observations.values[name])
                mus.append(expert.mu)
                log_vars.append(expert.log_var)
            else:
                mus.append(nothing)
                log_vars.append(nothing)
        return Gaussian(torch.stack(mus), torch.stack(log_vars))

    def _posterior(self, observations: Observations, names: Sequence[str]) -> Gaussian:
        if not names:
            raise ValueError("no modality to condition on; generate_from_prior draws from the prior")
        rows = [self.modalities.index(name) for name in names]
        return product(self._experts(observations, names), observations.present[rows])

    def _log_prob(self, name: str, x: Tensor | None, z: Tensor) -> Tensor:
        """log p(x | z) summed over the cells: (*, n_data) for z of shape (*, n_data, latent_dim)."""
        if x is None:
            return z.new_zeros(z.shape[:-1])
        return self.likelihoods[name].row_log_prob(x, self._broadcastable_parameters(name, z))

    def _constant(self, name: str) -> float:
        """The logarithm of the likelihood's second parameter, where the decoder does not give it."""
        given = (self.config.decoder_dist_params or {}).get(name, {})
        return math.log(given.get("scale", given.get("total_count", 1.0)))

    def _known(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.modalities:
                raise ValueError(f"unknown modality '{name}'; this model knows {_listed(self.modalities)}")

    def _subset(self, chosen: str | Iterable[str]) -> list[str]:
        if chosen == "all":
            return list(self.modalities)
        names = [chosen] if isinstance(chosen, str) else list(chosen)
        self._known(names)
        return [name for name in self.modalities if name in names]

    def _default_encoder(self, name: str) -> nn.Module:
        shape = self._input_dims(name)
        features = math.prod(shape)
        inputs: nn.Module
        match self.likelihoods[name]:
            case Categorical():
                inputs = OneHot(features)
            case Bernoulli(low, high):
                inputs = Standardise(low, high - low)
            case _:
                inputs, features = FillMissing(Standardise()), 2 * features
        return MLPEncoder(inputs, features, HIDDEN, self.latent_dim)

    def _default_decoder(self, name: str) -> nn.Module:
        return MLPDecoder(self.latent_dim, HIDDEN, self._input_dims(name))

    def _input_dims(self, name: str) -> Sequence[int]:
        dims = self.config.input_dims or {}
        if name not in dims:
            raise ValueError(f"modality '{name}' has neither networks of its own nor an entry in input_dims")
        return dims[name]


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def _names(
    config: MVAEConfig,
    encoders: Mapping[str, nn.Module] | None,
    decoders: Mapping[str, nn.Module] | None,
) -> list[str]:
    """The modalities, in the order of input_dims, else of the encoders."""
    names = list(config.input_dims or encoders or {})
    if len(names) != config.n_modalities:
        raise ValueError(
            f"n_modalities is {config.n_modalities}, but input_dims or encoders name {len(names)}: {names}"
        )
    per_modality = ("rescale_factors", "decoders_dist", "decoder_dist_params")
    given = {key: getattr(config, key) or {} for key in per_modality}
    for where, keys in {**given, "encoders": encoders or {}, "decoders": decoders or {}}.items():
        unknown = [key for key in keys if key not in names]
        if unknown:
            raise ValueError(f"{where} names the unknown modality '{unknown[0]}'; known are {_listed(names)}")
    return names


def _likelihood(config: MVAEConfig, name: str) -> Likelihood:
    dist = (config.decoders_dist or {}).get(name, "normal")
    if callable(dist):
        return FromFunction(dist)
    if dist not in FAMILIES:
        raise ValueError(f"decoders_dist of '{name}' is '{dist}'; known are {_listed(FAMILIES)}")
    params = (config.decoder_dist_params or {}).get(name, {})
    unknown = params.keys() - {"scale", "range", "total_count"}
    if unknown:
        raise ValueError(
            f"decoder_dist_params of '{name}' has '{min(unknown)}'; known are scale, range, total_count"
        )
    return likelihood(dist, params.get("range"))


def _objective(config: MVAEConfig) -> Any:
    if config.objective not in OBJECTIVES:
        raise ValueError(f"objective is '{config.objective}'; known are {_listed(OBJECTIVES)}")
    return OBJECTIVES[config.objective]


def _rescale_factors(config: MVAEConfig, names: Sequence[str]) -> list[float]:
    if not config.uses_likelihood_rescaling:
        return [1.0] * len(names)
    if config.rescale_factors is not None:
        return [float(config.rescale_factors.get(name, 1.0)) for name in names]
    if config.input_dims is None:
        raise ValueError("uses_likelihood_rescaling needs rescale_factors or input_dims")
    sizes = [int(np.prod(config.input_dims[name])) for name in names]
    return [max(sizes) / size for size in sizes]
