r"""The MVAE: a posterior for any subset of the modalities, and a decoder for each of them.

Names, defaults and shapes follow the documentation of MultiVae; `z` is always (n_data, N, latent_dim).

References:
    | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018)
    | https://arxiv.org/abs/1802.05335
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models_store.evidence import Evidence
from models_store.fusion import Gaussian
from training.coders import CodersOnBatch
from training.conditionals import Draws, score, scored_and_given
from training.draws import draw_normal, draw_uniform
from training.mvae_config import MVAEConfig, objective_of, select
from training.networks import ModelOutput
from training.objective import Batch, Loss, Runs, evaluate
from training.observations import Observations, observe
from training.saving import SavedCoders
from training.subsets import possible, subsets

__all__ = ["MVAE", "MVAEConfig"]

RUNS = ("reconstructed", "reencoded")
"""Fields of ``Runs`` that hold indices of subsets."""


class MVAE(SavedCoders):
    """The multimodal VAE.

    Arguments:
        model_config: Modalities, likelihoods, weights and objective.
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
        super().__init__(model_config, encoders, decoders)
        self.objective = objective_of(model_config)
        is_category = torch.tensor([m in self.categories for m in range(len(self.modalities))])
        self._is_category_on_device: Tensor
        self.register_buffer("_is_category_on_device", is_category, persistent=False)
        sizes = len(self.modalities), len(self.draw_subsets(torch.Generator()))
        for run, choose in self._choices().items():
            selected = possible(*sizes, choose, partial=bool(self.config.hidden_cells))
            for m, rows in enumerate(_indices(selected, self.weights.device)):
                self.register_buffer(f"_{run}_{m}", rows, persistent=False)
        self._compiled: Callable[[Observations, Tensor, Tensor, Tensor, Runs | None], Loss] | None = None

    # --- the API of MultiVae ---------------------------------------------------------------------

    def update(self) -> None:
        """Does nothing; MultiVae's trainer calls it after each epoch."""

    def forward(
        self,
        inputs: Any,
        *,
        epoch: int = 1,
        batch_ratio: float = 0.0,
        family: Tensor | None = None,
        noise: Tensor | None = None,
        hidden: Mapping[str, Tensor] | None = None,
        encoded: Mapping[str, Tensor] | None = None,
        dataset_size: int | None = None,  # noqa: ARG002 - MultiVae's trainer passes it
        uses_ddp: bool = False,  # noqa: ARG002 - likewise
    ) -> ModelOutput:
        """The loss of a batch and its parts.

        Arguments:
            inputs: A dict of arrays or tensors by modality, or anything with ``.data`` and optional
                ``.masks`` (boolean per row, True where observed). A modality left out is missing.
            epoch: Number of the epoch, from 1: with ``batch_ratio``, the progress of the warm-up.
            batch_ratio: Finished share of the epoch.
            family: Subsets to use, boolean (S, M), the joint one first; drawn if not given.
            noise: Standard normal (S, n_data, latent_dim); drawn if not given.
            hidden: Masks of the cells to hide from all subsets but the first, by modality; see
                :meth:`draw_hidden_cells`; drawn if not given.
            encoded: Values by modality that encoders get instead of the inputs, such as augmented ones; the
                loss is that of reconstructing the inputs.
            dataset_size: Rows of the data set; not used.
            uses_ddp: Whether several processes train; not used.

        Returns:
            ``loss`` (scalar), ``loss_sum`` (its product with n_data) and ``metrics`` (elbo, kl, and each
            modality's log-likelihood, in nats per row).
        """
        observations = self._observe(inputs)
        if family is None:
            family = self.draw_subsets()
        if hidden is None:
            shapes = {name: x.shape[1:] for name, x in observations.values.items()}
            hidden = self.draw_hidden_cells(observations.present.shape[1], shapes)
        observations = observations.encoding(encoded or {}, self.modalities).hiding(hidden, self.modalities)
        if noise is None:
            shape = (len(family), observations.present.shape[1], self.latent_dim)
            noise = torch.randn(shape, device=self.weights.device)
        beta = noise.new_full((), self.beta_at(epoch, batch_ratio))
        members = family.to(self.weights.device, non_blocking=True)
        if self._compiled and torch.is_grad_enabled():
            loss = self._compiled(observations, members, noise, beta, None)
        else:
            loss = self._evaluate(observations, members, noise, beta, self._runs(family))
        named = {f"log_prob_{m}": v for m, v in zip(self.modalities, loss.reconstruction, strict=True)}
        metrics = {"elbo": loss.elbo, "kl": loss.kl, **named}
        n_data = observations.present.shape[1]
        return ModelOutput(loss=loss.loss, loss_sum=loss.loss * n_data, metrics=metrics)

    def encode(
        self,
        inputs: Any,
        cond_mod: str | Iterable[str] = "all",
        N: int = 1,  # noqa: N803 - the name in MultiVae
        return_mean: bool = False,
        *,
        flatten: bool = False,
        ignore_incomplete: bool = False,  # noqa: ARG002 - rows are always encoded by what they have
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """Draws z from the posterior given the selected modalities.

        Arguments:
            inputs: As for :meth:`forward`.
            cond_mod: ``all`` (each row's observed modalities), or names of modalities.
            N: Number of draws per row.
            return_mean: Return the mean of the posterior N times instead of draws.
            flatten: Join the first two axes of z row by row.
            ignore_incomplete: Not used: a row that lacks a modality is always encoded by the others.
            generator: Source of the draws.

        Returns:
            ``z`` (n_data, N, latent_dim), ``mu`` and ``log_var`` (n_data, latent_dim),
            ``one_latent_space`` = True.
        """
        posterior = self.posterior(self._observe(inputs), select(self.modalities, cond_mod))
        shape = (len(posterior.mu), N, self.latent_dim)
        noise = torch.zeros(shape) if return_mean else draw_normal(shape, generator)
        wide = Gaussian(posterior.mu[:, None], posterior.log_var[:, None])
        z = wide.sample(noise.to(posterior.mu))
        z = z.flatten(0, 1) if flatten else z
        return ModelOutput(z=z, one_latent_space=True, mu=posterior.mu, log_var=posterior.log_var)

    @torch.no_grad()
    def decode(
        self, embedding: Any, modalities: str | Iterable[str] = "all", *, logits: bool = False
    ) -> ModelOutput:
        """The mean of p(x | z) of each selected modality, with the leading axes of z.

        Computed in evaluation mode and without gradients; :meth:`parameters_of` keeps both.

        Arguments:
            embedding: z of shape (*, latent_dim), or the output of :meth:`encode`.
            modalities: ``all`` or names.
            logits: Return the output of each decoder, as MultiVae does, instead of the mean: logits of a
                Bernoulli or a categorical distribution, the logarithm of a rate.
        """
        z = embedding if isinstance(embedding, Tensor) else embedding.z
        decoded = ModelOutput()
        with self.evaluation_mode():
            for name in select(self.modalities, modalities):
                parameters = self.parameters_of(name, z)
                first = self.likelihoods[name].parameters[0]
                decoded[name] = parameters[first] if logits else self.likelihoods[name].mean(parameters)
        return decoded

    @torch.no_grad()
    def predict(
        self,
        inputs: Any,
        cond_mod: str | Iterable[str] = "all",
        gen_mod: str | Iterable[str] = "all",
        N: int = 1,  # noqa: N803
        flatten: bool = False,
        *,
        return_mean: bool = False,
        logits: bool = False,
        ignore_incomplete: bool = False,  # noqa: ARG002 - as for encode
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """The mean of p(x | z) of every target at N draws of z: (n_data, N, *shape) each.

        Computed in evaluation mode and without gradients. The arguments are those of :meth:`encode` and
        :meth:`decode`.
        """
        with self.evaluation_mode():
            drawn = self.encode(inputs, cond_mod, N, return_mean, flatten=flatten, generator=generator)
        return self.decode(drawn, gen_mod, logits=logits)

    def generate_from_prior(
        self,
        n_samples: int,
        *,
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """Draws ``z`` (n_samples, 1, latent_dim) from the prior, ready for :meth:`decode`."""
        z = draw_normal((n_samples, 1, self.latent_dim), generator).to(self.weights.device)
        return ModelOutput(z=z, one_latent_space=True)

    def compute_mu_log_var_subset(self, inputs: Any, subset: Iterable[str]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (n_data, latent_dim) each, of the posterior given ``subset``."""
        posterior = self.posterior(self._observe(inputs), select(self.modalities, subset))
        return posterior.mu, posterior.log_var

    @torch.no_grad()
    def compute_joint_nll(
        self,
        inputs: Any,
        K: int = 1000,  # noqa: N803
        batch_size_K: int = 100,  # noqa: N803
    ) -> Tensor:
        """Minus log p(x_A), summed over the rows of the batch, A being the modalities of each row.

        As in MultiVae, all draws come from q(z | x_A).
        """
        draws = Draws(K, batch_size_K, as_multivae=True)
        total: Tensor = -score(self, self._observe(inputs), self.modalities, [], draws).log_prob.sum()
        return total.to(self.weights.dtype)

    def compute_cond_nll(
        self, inputs: Any, subset: str | Iterable[str], pred_mods: str | Iterable[str], k_iwae: int = 1000
    ) -> dict[str, Tensor]:
        """Minus log p(x_m | x_S) of each predicted modality m, the mean over the rows that have it.

        Arguments:
            inputs: As for :meth:`forward`.
            subset: S: names of modalities.
            pred_mods: Names of the predicted modalities.
            k_iwae: Number of draws.

        Raises:
            ValueError: A modality is unknown, or both given and predicted.
        """
        observations = self._observe(inputs)
        losses = {}
        for name in select(self.modalities, pred_mods):
            log_prob = self.compute_log_prob(inputs, name, subset, K=k_iwae).log_prob
            losses[name] = -log_prob[observations.present[self.modalities.index(name)]].mean()
        return losses

    # --- beyond the API of MultiVae -----------------------------------------------------------------

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
        r"""log p(x_T | x_S) per row, T and S each intersected with the modalities that a row has.

        .. math:: \log p(x_T \mid x_S) := \log \int q(z \mid x_S) \, p(x_T \mid z) \, dz

        by importance sampling, with the prior :math:`N(z; 0, I)` in place of :math:`q` where nothing of S is
        given: the density that :meth:`predict` draws from. The chain rule does not hold, see
        ``models_store/evidence``. A row with no modality of T scores exactly 0.

        Arguments:
            inputs: As for :meth:`forward`.
            subset: T: ``all`` (all modalities that are not in S), or names.
            given: S: names; nothing by default.
            K: Number of draws.
            batch_size_K: Number of draws that are decoded at a time.
            generator: Source of the draws.

        Returns:
            ``log_prob``, ``std_error``, ``ess``, ``k_hat`` and ``reliable``, each (n_data,).

        Raises:
            ValueError: A modality is unknown, or both scored and given.
        """
        target, condition = scored_and_given(self.modalities, subset, given)
        return score(self, self._observe(inputs), target, condition, Draws(K, batch_size_K, generator))

    def draw_subsets(self, generator: torch.Generator | None = None) -> Tensor:
        """The subsets of one batch, by the configuration: boolean (S, M), the joint one first."""
        family = subsets(len(self.modalities), self.config.k, generator, bool(self.config.hidden_cells))
        return family if self.config.use_subsampling else family[:1]

    def draw_hidden_cells(
        self, n_data: int, shapes: Mapping[str, Sequence[int]], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Masks of the cells to hide in a batch, by modality of ``hidden_cells``: (n_data, *shape).

        Each row hides a share of its own, uniform between 0 and twice the configured mean.

        Arguments:
            n_data: Rows of the batch.
            shapes: Shape of a row by modality of the batch.
            generator: Source of the draws.
        """
        masks = {}
        for name, mean in (self.config.hidden_cells or {}).items():
            if name in shapes:
                share = 2 * mean * draw_uniform((n_data, *(1 for _ in shapes[name])), generator)
                masks[name] = draw_uniform((n_data, *shapes[name]), generator) < share
        return masks

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

    # --- internals -----------------------------------------------------------------------------------

    def _evaluate(
        self, observations: Observations, family: Tensor, noise: Tensor, beta: Tensor, runs: Runs | None
    ) -> Loss:
        """The loss; all tensors are on the device of the model. ``runs``: None for all that may be needed."""
        experts, present = self.experts(observations, self.modalities), observations.visible_present
        batch = Batch(
            experts=experts,
            present=observations.present,
            visible=(
                self.visible_experts(observations, experts),
                observations.present if present is None else present,
            ),
            family=family,
            category=self._is_category_on_device,
            noise=noise,
            weights=self.weights,
            beta=beta,
        )
        return evaluate(self.objective, batch, runs or self._all_runs(), CodersOnBatch(self, observations))

    def _runs(self, family: Tensor) -> Runs:
        """Subsets of a family for which each network runs; a family on the CPU waits for no GPU."""
        family, device = family.cpu(), self.weights.device
        reconstructed, reencoded = (_indices(choose(family), device) for choose in self._choices().values())
        return Runs(reconstructed, reencoded, self.categories)

    def _all_runs(self) -> Runs:
        """Subsets that any family could need: a compiled loss is compiled once."""
        modalities = range(len(self.modalities))
        reconstructed, reencoded = ([self.get_buffer(f"_{run}_{m}") for m in modalities] for run in RUNS)
        return Runs(reconstructed, reencoded, self.categories)

    def _choices(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """By field of ``Runs``, the function from a family (S, M) to the cells that need a network."""
        category = torch.tensor([m in self.categories for m in range(len(self.modalities))])

        def of_family(choose: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda family: choose(family, category)

        chooses = self.objective.reconstructs, self.objective.reencodes
        return dict(zip(RUNS, map(of_family, chooses), strict=True))

    def _observe(self, inputs: Any) -> Observations:
        categories = [self.modalities[m] for m in self.categories]
        return observe(inputs, self.modalities, self.weights.device, categories)


def _indices(selected: Tensor, device: torch.device) -> list[Tensor]:
    """Per modality the indices of the subsets that select it, from (S, M) on the CPU."""
    return [column.nonzero()[:, 0].to(device, non_blocking=True) for column in selected.T]
