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
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models_store.evidence import Evidence, plain
from models_store.fusion import Gaussian, product
from models_store.likelihoods import Categorical, Parameters
from training.mvae_config import (
    MVAEConfig,
    chosen,
    likelihood_of,
    log_constant_of,
    names_of,
    objective_of,
    shape_of,
    weights_of,
)
from training.networks import ModelOutput
from training.networks.default import default_decoder, default_encoder
from training.objective import Asked, Loss, evaluate, possible, subsets
from training.observations import Observations, observe
from training.questions import Draws, Question, scored_and_given

__all__ = ["MVAE", "MVAEConfig"]

Run = Callable[[nn.Module, Tensor], Any]
"""How a network is called: as it is, or held fixed."""
LOG_VAR_LIMIT = 30.0
"""What a network says beyond it is cut: e^-15, as a deviation, is below what float32 resolves of z."""


CHOICES = ("reconstructed", "generated")
"""What subsets may ask of the networks: the fields of ``Asked``."""

ACROSS_ROWS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
"""What makes the answer to a row depend on which others are asked for."""


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
        self.modalities = names_of(model_config, encoders, decoders)
        self.likelihoods = {name: likelihood_of(model_config, name) for name in self.modalities}
        self.objective = objective_of(model_config)
        self.latent_dim = model_config.latent_dim
        given = {**(encoders or {})}, {**(decoders or {})}
        model_config.custom_architectures = sorted(given[0].keys() | given[1].keys())
        self.encoders = nn.ModuleDict(
            {m: given[0].get(m) or self._default_encoder(m) for m in self.modalities}
        )
        self.decoders = nn.ModuleDict(
            {m: given[1].get(m) or self._default_decoder(m) for m in self.modalities}
        )
        self._classes = {m: n for m in self.modalities if (n := self._classes_of(m))}
        weights = torch.tensor(weights_of(model_config, self.modalities), dtype=torch.float32)
        self.weights: Tensor
        self.register_buffer("weights", weights, persistent=False)
        self._category: Tensor
        self._categories = [isinstance(of, Categorical) for of in self.likelihoods.values()]
        self.register_buffer("_category", torch.tensor(self._categories), persistent=False)
        sizes = len(self.modalities), len(self.draw_subsets(torch.Generator()))
        for choice, choose in self._choices().items():
            for m, rows in enumerate(_numbers(possible(*sizes, choose), weights.device)):
                self.register_buffer(f"_{choice}_{m}", rows, persistent=False)
        self._compiled: Callable[[Observations, Tensor, Tensor, Tensor], Loss] | None = None

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
        observations = self._observe(inputs)
        if family is None:
            family = self.draw_subsets()
        if noise is None:
            shape = (len(family), observations.present.shape[1], self.latent_dim)
            noise = torch.randn(shape, device=self.weights.device)
        beta = torch.tensor(self.beta_at(epoch, batch_ratio)).to(noise, non_blocking=True)
        compute = self._compiled if self._compiled and torch.is_grad_enabled() else self._evaluate
        loss = compute(observations, family, noise, beta)
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
        posterior = self._posterior(self._observe(inputs), chosen(self.modalities, cond_mod))
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
        means = {
            m: self.likelihoods[m].mean(self.parameters_of(m, z)) for m in chosen(self.modalities, modalities)
        }
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
        posterior = self._posterior(self._observe(inputs), chosen(self.modalities, subset))
        return posterior.mu, posterior.log_var

    @torch.no_grad()
    def compute_joint_nll(
        self,
        inputs: Any,
        K: int = 1000,  # noqa: N803
        batch_size_K: int = 100,  # noqa: N803
    ) -> Tensor:
        """Minus log p(x_A), summed over the rows of the batch, A being what each row has.

        As in the reference, all draws come from q(z | x_A).
        """
        question = self._question(self._observe(inputs), self.modalities, [])
        return -question.evidence(Draws(K, batch_size_K, propose=plain)).log_prob.sum()

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

        by importance sampling, see ``models_store/evidence.py``.
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
        target, condition = scored_and_given(self.modalities, subset, given)
        question = self._question(self._observe(inputs), target, condition)
        return question.evidence(Draws(K, batch_size_K, generator))

    def expert(self, name: str, x: Tensor, run: Run = nn.Module.__call__) -> Gaussian:
        """q_m(z | x) of one modality, (n_data, latent_dim), its log-variance within ±LOG_VAR_LIMIT."""
        output = run(self.encoders[name], x)
        mu, log_var = (value.to(self.weights.dtype) for value in (output.embedding, output.log_covariance))
        return Gaussian(mu, log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))

    def parameters_of(self, name: str, z: Tensor) -> Parameters:
        """All parameters of p(x | z), constants included: each (*, *shape) for z of shape (*, latent_dim)."""
        first, *rest = self._broadcastable_parameters(name, z).items()
        return dict([first, *((key, value.expand_as(first[1])) for key, value in rest)])

    def _broadcastable_parameters(
        self, name: str, z: Tensor, run: Run = nn.Module.__call__
    ) -> dict[str, Tensor]:
        """The same, constants with one cell only: what is the same for all need not be computed for each."""
        output = run(self.decoders[name], z.reshape(-1, self.latent_dim))
        first, *rest = self.likelihoods[name].parameters
        flat = {first: output.reconstruction.to(self.weights.dtype)}  # networks may run in half precision
        constants = {}
        for parameter in rest:
            value = getattr(output, parameter, None)
            if value is None:
                constant = self.likelihoods[name].constants[parameter]
                value = log_constant_of(self.config, name, constant)
                constants[parameter] = flat[first].new_full((1,) * flat[first].ndim, value)
            else:
                flat[parameter] = value
        leading = z.shape[:-1]
        varying = {key: value.reshape(*leading, *value.shape[1:]) for key, value in flat.items()}
        return {key: {**varying, **constants}[key] for key in (first, *rest)}

    def draw_subsets(self, generator: torch.Generator | None = None) -> Tensor:
        """The subsets of one batch, as the configuration asks for: boolean (S, M), the joint one first."""
        family = subsets(len(self.modalities), self.config.k, generator)
        return family if self.config.use_subsampling else family[:1]

    def compile_loss(self, mode: str) -> None:
        """Computes losses that need gradients as one graph from now on, compiled for each size of a batch.

        Arguments:
            mode: As for ``torch.compile``.
        """
        self._compiled = torch.compile(self._evaluate, dynamic=False, mode=mode)

    def beta_at(self, epoch: int, batch_ratio: float) -> float:
        """The weight of the divergence, rising linearly from 0 over the first ``warmup`` epochs."""
        if self.config.warmup <= 0:
            return self.config.beta
        return self.config.beta * min(1.0, (epoch - 1 + batch_ratio) / self.config.warmup)

    # --- inside --------------------------------------------------------------------------------------

    def _evaluate(self, observations: Observations, family: Tensor, noise: Tensor, beta: Tensor) -> Loss:
        return evaluate(
            self.objective,
            experts=self._experts(observations, self.modalities),
            present=observations.present,
            family=family.to(self.weights.device, non_blocking=True),
            category=self._category,
            asked=self._asked(family),
            noise=noise,
            weights=self.weights,
            beta=beta,
            reconstruct=lambda m, z: self._log_prob(
                self.modalities[m], observations.values.get(self.modalities[m]), z
            ),
            recognise=lambda m, z: self._recognised(self.modalities[m], observations, z),
        )

    def _recognised(self, name: str, observations: Observations, z: Tensor) -> Tensor:
        r"""What z generates of one modality, seen again: (S, n_data) for z of shape (S, n_data, latent_dim).

        .. math:: \sum_c \lambda_c \log p(x_c \mid z'), \quad z' = E[q(z \mid \hat x)],
            \quad \hat x = E[p(x \mid z)]

        over the categories c that a row has. The networks are held fixed here and learn from real rows alone,
        so that none learns to draw what only another of them can read; what moves is where z is drawn.
        """
        parameters = self._broadcastable_parameters(name, z.flatten(0, 1), _held_fixed)
        seen = self.expert(name, self.likelihoods[name].mean(parameters), _held_fixed)
        alone = torch.ones_like(seen.mu[None, :, 0], dtype=torch.bool)
        mu = product(Gaussian(seen.mu[None], seen.log_var[None]), alone).mu.view_as(z)
        total = z.new_zeros(z.shape[:-1])
        for c, category in enumerate(self.modalities):
            if self._categories[c] and category in observations.values:
                said = self._broadcastable_parameters(category, mu, _held_fixed)
                log_prob = self.likelihoods[category].row_log_prob(observations.values[category], said)
                total = total + self.weights[c] * torch.where(observations.present[c], log_prob, 0.0)
        return total

    def _asked(self, family: Tensor) -> Asked:
        """The subsets that each network runs for.

        While a graph is compiled it is all that may ask in any batch, so that one graph serves all of them.
        """
        modalities = range(len(self.modalities))
        if torch.compiler.is_compiling():
            return Asked(*([self.get_buffer(f"_{choice}_{m}") for m in modalities] for choice in CHOICES))
        family, device = family.cpu(), self.weights.device
        return Asked(*(_numbers(choose(family), device) for choose in self._choices().values()))

    def _choices(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """From a family to what each subset asks for, (S, M) each, by the name of the choice."""
        category = torch.tensor(self._categories)

        def of_family(choose: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda family: choose(family, category)

        chooses = self.objective.reconstructs, self.objective.generates
        return dict(zip(CHOICES, map(of_family, chooses), strict=True))

    def _experts(self, observations: Observations, names: Sequence[str]) -> Gaussian:
        """The experts of ``names``, (M, n_data, latent_dim) each; what was not given is the prior."""
        mus, log_vars = [], []
        nothing = torch.zeros(observations.present.shape[1], self.latent_dim, device=self.weights.device)
        for name in names:
            if name in observations.values:
                expert = self._expert_of_rows(name, observations.values[name])
                mus.append(expert.mu)
                log_vars.append(expert.log_var)
            else:
                mus.append(nothing)
                log_vars.append(nothing)
        return Gaussian(torch.stack(mus), torch.stack(log_vars))

    def _expert_of_rows(self, name: str, x: Tensor) -> Gaussian:
        """:meth:`expert`; of a category with fewer classes than rows, each class is encoded once."""
        classes = self._classes.get(name, 0)
        if not 0 < classes < len(x) or x.ndim > 1:
            return self.expert(name, x)
        each = self.expert(name, torch.arange(classes, device=x.device))
        index = x.to(torch.int64)
        return Gaussian(each.mu.index_select(0, index), each.log_var.index_select(0, index))

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

    def _question(
        self, observations: Observations, target: Sequence[str], condition: Sequence[str]
    ) -> Question:
        names = [*target, *condition]
        return Question(
            posteriors=[self._posterior(observations, known) for known in (names, condition) if known],
            present=observations.present[[self.modalities.index(name) for name in names]],
            asked=len(target),
            log_probs=lambda z: [self._log_prob(m, observations.values.get(m), z) for m in names],
        )

    def _observe(self, inputs: Any) -> Observations:
        return observe(inputs, self.modalities, self.weights.device)

    def _classes_of(self, name: str) -> int:
        """The number of classes of a category whose encoder looks at one row at a time; else 0."""
        dims = (self.config.input_dims or {}).get(name)
        alone = not any(isinstance(module, ACROSS_ROWS) for module in self.encoders[name].modules())
        return math.prod(dims) if dims and alone and isinstance(self.likelihoods[name], Categorical) else 0

    def _default_encoder(self, name: str) -> nn.Module:
        shape = shape_of(self.config, name)
        return default_encoder(self.likelihoods[name], shape, self.latent_dim)

    def _default_decoder(self, name: str) -> nn.Module:
        return default_decoder(shape_of(self.config, name), self.latent_dim)


def _numbers(wanted: Tensor, device: torch.device) -> list[Tensor]:
    """Per modality the numbers of the subsets that want it, of (S, M) on the CPU."""
    return [column.nonzero()[:, 0].to(device, non_blocking=True) for column in wanted.T]


def _held_fixed(module: nn.Module, x: Tensor) -> Any:
    """The module's output, with gradients for x and none for its parameters."""
    return functional_call(module, {name: value.detach() for name, value in module.named_parameters()}, (x,))
