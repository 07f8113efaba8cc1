"""A model's encoders, decoders and likelihoods, and the ways in which the model calls them."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models_store.fusion import Gaussian, product
from models_store.likelihoods import Categorical, Likelihood, Mixed, Parameters
from models_store.linear import NATURAL
from models_store.members import Members
from training.mvae_config import MVAEConfig, likelihood_of, log_constant_of, names_of, shape_of, weights_of
from training.networks.default import default_decoder, default_encoder
from training.observations import Observations

Run = Callable[[nn.Module, Tensor], Any]
"""A way to call a network: with gradients for its weights, or without them (:func:`call_fixed`)."""

LOG_VAR_LIMIT = 30.0
"""Experts' log-variances are clipped to ±30: float32 does not resolve a deviation of e^-15 in z."""

ACROSS_ROWS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
"""Layers by which a row's output depends on the other rows of its batch."""


_RESERVED = frozenset([*dir(nn.ModuleDict()), *keyword.kwlist])


def module_key(name: str) -> str:
    """Key of a modality's encoder and decoder.

    PyTorch refuses modules with names of methods, such as ``type``, and exports none with those of keywords.
    """
    return f"{name} modality" if name in _RESERVED else name


class Coders(nn.Module):
    """The encoder, decoder and likelihood of each modality.

    Arguments:
        config: Configuration of the model; ``custom_architectures`` is filled here.
        encoders: Encoders by modality; a default one for each modality that is left out.
        decoders: Decoders by modality; likewise.

    Raises:
        ValueError: The configuration names what does not exist or contradicts itself.
    """

    linear_members = 0
    """Number of the models in z that are linear, whose encoders give natural parameters; the last ones."""

    weights: Tensor
    """The weight of each modality's log-likelihood: (M,)."""

    def __init__(
        self,
        config: MVAEConfig,
        encoders: Mapping[str, nn.Module] | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.modalities = names_of(config, encoders, decoders)
        self.likelihoods = {name: likelihood_of(config, name) for name in self.modalities}
        self.above_zero = {name for name, family in self.likelihoods.items() if _is_above_zero(family)}
        self.latent_dim = config.latent_dim
        self.mixture = Members(config.latent_dim)
        custom = {**(encoders or {})}, {**(decoders or {})}
        config.custom_architectures = sorted(custom[0].keys() | custom[1].keys())
        self.encoders = nn.ModuleDict(
            {module_key(m): custom[0].get(m) or self._default_encoder(m) for m in self.modalities}
        )
        self.decoders = nn.ModuleDict(
            {module_key(m): custom[1].get(m) or self._default_decoder(m) for m in self.modalities}
        )
        self.categories = [m for m, name in enumerate(self.modalities) if self._is_category(name)]
        self._classes = {name: n for name in self.modalities if (n := self._classes_of(name))}
        weights = torch.tensor(weights_of(config, self.modalities), dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)

    def expert(self, name: str, x: Tensor, run: Run = nn.Module.__call__) -> Gaussian:
        """q_m(z | x) of one modality, (n_data, latent_dim), its log-variance within ±LOG_VAR_LIMIT."""
        return self.encoded(name, x, run)[0]

    def encoded(self, name: str, x: Tensor, run: Run = nn.Module.__call__) -> tuple[Gaussian, Tensor | None]:
        """:meth:`expert`, and the natural parameters of a linear one (``models_store/linear.py``)."""
        output = run(self.encoders[module_key(name)], x)
        mu, log_var = (value.to(self.weights.dtype) for value in (output.embedding, output.log_covariance))
        return Gaussian(mu, log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT)), output.get(NATURAL)

    def parameters_of(self, name: str, z: Tensor) -> Parameters:
        """All parameters of p(x | z), constants included: each (*, *shape) for z of shape (*, latent_dim)."""
        first, *rest = self.broadcastable_parameters(name, z).items()
        return dict([first, *((key, value.expand_as(first[1])) for key, value in rest)])

    def broadcastable_parameters(
        self, name: str, z: Tensor, run: Run = nn.Module.__call__
    ) -> dict[str, Tensor]:
        """:meth:`parameters_of` with constants of one cell, so that nothing is computed per cell for them."""
        output = run(self.decoders[module_key(name)], z.reshape(-1, self.latent_dim))
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

    def visible_experts(self, observations: Observations, experts: Gaussian) -> Gaussian:
        """The experts of all modalities, given no hidden cell; ``experts`` where none is hidden."""
        if not observations.visible:
            return experts
        mus, log_vars = list(experts.mu), list(experts.log_var)
        for m, name in enumerate(self.modalities):
            if name in observations.visible:
                mus[m], log_vars[m] = self.expert(name, observations.visible[name])
        return Gaussian(torch.stack(mus), torch.stack(log_vars))

    def experts(self, observations: Observations, names: Sequence[str]) -> Gaussian:
        """The experts of ``names``, (M, n_data, latent_dim) each; the prior for a modality without values."""
        mus, log_vars = [], []
        zeros = torch.zeros(observations.present.shape[1], self.latent_dim, device=self.weights.device)
        for name in names:
            if name in observations.values:
                x = observations.encoded.get(name, observations.values[name])
                expert = self._expert_of_rows(name, x)
                mus.append(expert.mu)
                log_vars.append(expert.log_var)
            else:
                mus.append(zeros)
                log_vars.append(zeros)
        return Gaussian(torch.stack(mus), torch.stack(log_vars))

    def posterior(self, observations: Observations, names: Sequence[str]) -> Gaussian:
        """q(z | x_S) of each row, S being those of ``names`` that the row has: (n_data, latent_dim).

        Raises:
            ValueError: ``names`` is empty.
        """
        if not names:
            raise ValueError("no modality to condition on; generate_from_prior draws from the prior")
        rows = [self.modalities.index(name) for name in names]
        return product(self.experts(observations, names), observations.present[rows])

    def log_prob(self, name: str, x: Tensor | None, z: Tensor, run: Run = nn.Module.__call__) -> Tensor:
        """log p(x | z) summed over the cells: (*, n_data) for z of shape (*, n_data, latent_dim).

        0 where ``x`` is None: no row has the modality.
        """
        if x is None:
            return z.new_zeros(z.shape[:-1])
        return self.likelihoods[name].row_log_prob(x, self.broadcastable_parameters(name, z, run))

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Puts all modules into evaluation mode, and afterwards each back into its own."""
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _expert_of_rows(self, name: str, x: Tensor) -> Gaussian:
        """:meth:`expert`; each class of a category with fewer classes than rows is encoded once."""
        classes = self._classes.get(name, 0)
        if not 0 < classes < len(x) or x.ndim > 1:
            return self.expert(name, x)
        each = self.expert(name, torch.arange(classes, device=x.device))
        index = x.to(torch.int64)
        # Not index_select: on a GPU its gradient adds the rows of a class in no fixed order.
        return Gaussian(*(nn.functional.embedding(index, value) for value in (each.mu, each.log_var)))

    def _is_category(self, name: str) -> bool:
        return isinstance(self.likelihoods[name], Categorical)

    def _classes_of(self, name: str) -> int:
        """The number of classes of a category whose encoder treats each row alone; else 0."""
        dims = (self.config.input_dims or {}).get(name)
        by_row = not any(
            isinstance(module, ACROSS_ROWS) for module in self.encoders[module_key(name)].modules()
        )
        return math.prod(dims) if dims and by_row and self._is_category(name) else 0

    def _default_encoder(self, name: str) -> nn.Module:
        return default_encoder(self.likelihoods[name], shape_of(self.config, name), self.latent_dim)

    def _default_decoder(self, name: str) -> nn.Module:
        return default_decoder(shape_of(self.config, name), self.latent_dim)


def _is_above_zero(family: Likelihood) -> bool:
    """Whether some cells must be above 0."""
    return family.above_zero or (
        isinstance(family, Mixed) and any(part.family.above_zero for part in family.parts)
    )


@dataclass(frozen=True)
class CodersOnBatch:
    """Coders applied to one batch, as :class:`training.objective.Networks`.

    Arguments:
        coders: Encoders and decoders.
        observations: The batch.
    """

    coders: Coders
    observations: Observations

    def log_prob(self, modality: int, z: Tensor, *, fixed: bool = False) -> Tensor:
        name = self.coders.modalities[modality]
        run = call_fixed if fixed else nn.Module.__call__
        return self.coders.log_prob(name, self.observations.values.get(name), z, run)

    def log_probs(self, modality: int, z: Tensor) -> tuple[Tensor, Tensor]:
        name = self.coders.modalities[modality]
        x, visible = (values.get(name) for values in (self.observations.values, self.observations.visible))
        if x is None or visible is None:
            log_prob = self._finite(modality, self.coders.log_prob(name, x, z))
            return log_prob, log_prob
        parameters = self.coders.broadcastable_parameters(name, z)
        family = self.coders.likelihoods[name]
        both = (family.row_log_prob(values, parameters) for values in (x, visible))
        whole, seen = (self._finite(modality, log_prob) for log_prob in both)
        return whole, seen

    def _finite(self, modality: int, log_prob: Tensor) -> Tensor:
        """Log-densities with 0 for rows that lack the modality: they hold 0, whose density may be 0."""
        if self.coders.modalities[modality] not in self.coders.above_zero:
            return log_prob
        return torch.where(self.observations.present[modality], log_prob, 0.0)

    def reencode(self, modality: int, z: Tensor) -> Tensor:
        name = self.coders.modalities[modality]
        parameters = self.coders.broadcastable_parameters(name, z.flatten(0, 1), call_fixed)
        expert = self.coders.expert(name, self.coders.likelihoods[name].mean(parameters), call_fixed)
        present = torch.ones_like(expert.mu[None, :, 0], dtype=torch.bool)
        return product(Gaussian(expert.mu[None], expert.log_var[None]), present).mu.view_as(z)


def call_fixed(module: nn.Module, x: Tensor) -> Any:
    """The module's output, with gradients for x and none for the module's parameters."""
    return functional_call(module, {name: value.detach() for name, value in module.named_parameters()}, (x,))
