r"""Training objectives: evidence lower bounds (ELBOs) of several subsets of the modalities, in one pass.

Each encoder runs once; the subsets' posteriors are products of the encoders' outputs. For one row, :math:`A`
is the set of modalities that the row has, :math:`C \subseteq A` its categories, :math:`S` a subset (always
intersected with :math:`A`), :math:`M` the number of modalities of the model, :math:`\lambda_m` the weight of
a modality, :math:`\beta` the weight of every divergence, :math:`sg` a value whose gradient is stopped, and

.. math:: \mathcal L_S = \sum_{m \in S} \lambda_m \, E_{q(z \mid x_S)} \log p(x_m \mid z)
    - \beta \, KL(q(z \mid x_S) \,\|\, p(z)),
    \qquad R_S = \sum_{c \in C \setminus S} \lambda_c \, E_{q(z \mid x_S)} \log p(x_c \mid z)

Expectations are estimated by one draw of z for each subset and row. A row's bounds are averaged over the
subsets of which it has a modality, then multiplied by the number of subsets. On complete data this is their
sum, and a row with missing modalities weighs as much as a complete one.

Example:
    >>> from training.subsets import subsets
    >>> OBJECTIVES["matched"].reconstructs(subsets(2, k=0), torch.tensor([False, True])).int().tolist()
    [[1, 1], [1, 1], [0, 1]]

References:
    | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018), eq. 5
    | https://arxiv.org/abs/1802.05335
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models_store.fusion import Gaussian

STRONGEST_MATCHING = 4.0
r"""Greatest weight, as a multiple of :math:`\beta`, of the matching summed over all single modalities."""


class Networks(Protocol):
    """The model's networks on one batch, as objectives call them; S subsets, B rows, D dimensions of z."""

    def log_prob(self, modality: int, z: Tensor, *, fixed: bool = False) -> Tensor:
        r""":math:`\log p(x_m \mid z)`: (S, B) for z of shape (S, B, D).

        ``fixed`` gives gradients to z and none to the decoder's weights. Rows without the modality may
        have any finite value.
        """

    def log_probs(self, modality: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`log_prob` of all cells, and of those that are not hidden."""

    def reencode(self, modality: int, z: Tensor) -> Tensor:
        r""":math:`z' = E \, q(z \mid \hat x_m)` with :math:`\hat x_m = E \, p(x_m \mid z)`.

        z and z' have the shape (S, B, D).
        Gradients reach z and none of the networks' weights.
        """


@dataclass(frozen=True)
class Batch:
    r"""Inputs of an objective; S subsets, M modalities, B rows, D dimensions of z.

    Cells of a row may be hidden (Ivanov, Figurnov & Vetrov 2019, arXiv:1806.02382). The joint subset, which
    is the first, has all cells. Every other subset has the cells that are not hidden; hidden cells count
    among what is outside of it.

    Arguments:
        experts: The encoders' outputs, with shape (M, B, D).
        present: Whether a row has a modality: boolean (M, B).
        visible: The same two without the hidden cells; where none is hidden, the same objects.
        family: Membership of modalities in subsets, the joint subset first: boolean (S, M).
        category: Whether a modality is a category: boolean (M,).
        noise: Standard normal draws: (S, B, D).
        weights: :math:`\lambda_m`: (M,).
        beta: The weight of every divergence: ().
    """

    experts: Gaussian
    present: Tensor
    visible: tuple[Gaussian, Tensor]
    family: Tensor
    category: Tensor
    noise: Tensor
    weights: Tensor
    beta: Tensor


@dataclass(frozen=True)
class Runs:
    """Subsets for which each modality's networks run: at least those whose bound needs them.

    They are passed beside the family, as indices, because sizes of computed tensors depend on them, and
    reading those sizes from a tensor on a GPU would wait for the GPU.

    Arguments:
        reconstructed: For each modality, indices of subsets whose z is decoded to it, the joint one first.
        reencoded: For each modality, indices of subsets whose z is decoded to it and encoded again.
        categories: Indices of the modalities that are categories.
    """

    reconstructed: Sequence[Tensor]
    reencoded: Sequence[Tensor]
    categories: Sequence[int]


@dataclass(frozen=True)
class Terms:
    r"""Terms that an objective combines; S subsets, M modalities, B rows.

    Arguments:
        posterior: :math:`q(z | x_S)`, with shape (S, B, D); the first subset is the joint one.
        kl: :math:`KL(q(z | x_S) \| p(z))`: (S, B).
        log_likelihood: The sum of :math:`\lambda_m \log p(x_m | z_S)` over the modalities that a row has and
            ``Objective.reconstructs`` selects: (S, B).
        at_joint: :math:`\lambda_m \log p(x_m | z_A)` of each modality, at z of the joint posterior: (M, B).
        visible_at_joint: The same of the cells that are not hidden: (M, B).
        recognition: :func:`recognition` of the modalities that ``Objective.reencodes`` selects: (S, B).
        family: Membership of modalities in subsets: (S, M).
        beta: The weight of every divergence.
    """

    posterior: Gaussian
    kl: Tensor
    log_likelihood: Tensor
    at_joint: Tensor
    visible_at_joint: Tensor
    recognition: Tensor
    family: Tensor
    beta: Tensor

    @property
    def joint(self) -> Gaussian:
        """The posterior given all that a row has, with shape (1, B, D)."""
        return Gaussian(self.posterior.mu[:1], self.posterior.log_var[:1])

    def elbo(self) -> Tensor:
        """Each subset's log-likelihood less its divergence from the prior: (S, B)."""
        return self.log_likelihood - self.beta * self.kl

    def rest_from_joint(self) -> Tensor:
        """The log-likelihood, at z of the joint posterior, of what is outside each subset: (S, B)."""
        outside = (~self.family).to(self.at_joint) @ self.at_joint
        hidden = self.family.to(self.at_joint) @ (self.at_joint - self.visible_at_joint)
        return torch.cat([outside[:1], (outside + hidden)[1:]])


def paper(terms: Terms) -> Tensor:
    r""":math:`\sum_S \mathcal L_S`: each subset reconstructs its members (Wu & Goodman 2018, eq. 5).

    Nothing ties one subset's posterior to a modality outside the subset. ``cross`` has the same bound with
    the sum over :math:`m \in A` in place of :math:`m \in S`: its labels are right, its posteriors too narrow.
    """
    return terms.elbo()


def conditional(terms: Terms) -> Tensor:
    r"""`paper`, and each proper subset bounds :math:`\log p(x_{A \setminus S} \mid x_S)`.

    .. math:: \sum_S \mathcal L_S + \sum_{S \subset A} \Big[ R_S
        + E_{q(z \mid x_A)} \sum_{m \in A \setminus S} \lambda_m \log p(x_m \mid z)
        - \beta \, KL(q(z \mid x_A) \,\|\, q(z \mid x_S)) \Big]

    References:
        | Learning Structured Output Representation using Deep Conditional Generative Models
          (Sohn, Lee & Yan, 2015)
        | Neural Processes (Garnelo et al., 2018), https://arxiv.org/abs/1807.01622
    """
    return terms.elbo() + terms.rest_from_joint() - terms.beta * terms.joint.kl(terms.posterior)


def matched(terms: Terms) -> Tensor:
    r"""`paper`, and each proper subset's posterior is drawn to the joint one, whose gradient is stopped.

    .. math:: \sum_S \mathcal L_S + \sum_{S \subset A} \big[ R_S
        - \beta w \, KL(sg[q(z \mid x_A)] \,\|\, q(z \mid x_S)) \big], \qquad w = \min(1, 4 / M)

    The weight :math:`w` keeps training bounded. The joint posterior is a product of the experts that are
    drawn to it, so an expert that moves towards it moves it further away. Take M experts
    :math:`N(m, 1 / \tau)` that depend on no x. A single posterior has the mean
    :math:`a = \tau m / (1 + \tau)`, the joint one :math:`J = M \tau m / (1 + M \tau)`, and the gradient of m
    is :math:`\tau` times :math:`J / (1 + M \tau) + a / (1 + \tau) - w (J - a)`.
    With :math:`w = 1` this is negative for some :math:`\tau` from M = 6 on, and with learned variances
    the means grow without bound for M > 7. With :math:`w = \min(1, 4 / M)` it is positive for every
    :math:`\tau`: uninformative experts return to the prior.

    References:
        | Posterior Matching for Arbitrary Conditioning (Strauss & Oliva, 2022), https://arxiv.org/abs/2201.12414
        | Joint Multimodal Learning with Deep Generative Models (JMVAE-kl; Suzuki, Nakayama & Matsuo, 2016),
          https://arxiv.org/abs/1611.01891
    """
    joint = Gaussian(terms.joint.mu.detach(), terms.joint.log_var.detach())
    weight = min(1.0, STRONGEST_MATCHING / terms.family.shape[1])
    return terms.elbo() - weight * terms.beta * joint.kl(terms.posterior)


def coherent(terms: Terms) -> Tensor:
    r"""`matched`, and the categories must be recognised in what a proper subset generates.

    .. math:: \text{matched} + \beta \sum_S E_{q(z \mid x_S)} \sum_{m \notin S \cup C}
        \sum_{c \in C} \lambda_c \log p(x_c \mid z'),
        \qquad z' = E \, q(z \mid \hat x_m), \quad \hat x_m = E \, p(x_m \mid z)

    with the networks held fixed (see :func:`recognition`). A subset's posterior is one Gaussian and covers
    regions of z that no complete row's posterior covers. This term draws it away from regions where the
    decoders generate modalities of another category. Its weight is :math:`\beta` because :math:`\beta` warms
    up: an untrained decoder's output is of no category.
    """
    return matched(terms) + terms.beta * terms.recognition


def recognition(batch: Batch, runs: Runs, selected: Tensor, z: Tensor, networks: Networks) -> Tensor:
    r"""The term of :func:`coherent`, without :math:`\beta`: (S, B) for z of shape (S, B, D).

    The networks are held fixed: they learn from real rows alone, so that no decoder learns to draw what only
    the encoder can read. Gradients reach z, and so the posteriors that z is drawn from.

    Arguments:
        batch: The batch; its ``present`` says which categories a row has.
        runs: Subsets for which the networks run.
        selected: The modalities to encode again, by subset: boolean (S, M).
        z: One draw from each subset's posterior.
        networks: Networks of the model.
    """
    total = z.new_zeros(z.shape[:2])
    for m, rows in enumerate(runs.reencoded):
        if len(rows):
            reencoded = networks.reencode(m, z.index_select(0, rows))
            log_prob = total.new_zeros(reencoded.shape[:2])
            for c in runs.categories:
                recognised = networks.log_prob(c, reencoded, fixed=True)
                log_prob = log_prob + batch.weights[c] * torch.where(batch.present[c], recognised, 0.0)
            counted = torch.where(selected[:, m, None].index_select(0, rows), log_prob, 0.0)
            total = total.index_add(0, rows, counted)
    return total


def _members(family: Tensor, _category: Tensor) -> Tensor:
    return family


def _members_and_categories(family: Tensor, category: Tensor) -> Tensor:
    return family | category


def _everything(family: Tensor, _category: Tensor) -> Tensor:
    return torch.ones_like(family)


def _nothing(family: Tensor, _category: Tensor) -> Tensor:
    return torch.zeros_like(family)


def _missing_views(family: Tensor, category: Tensor) -> Tensor:
    return ~family & ~category


@dataclass(frozen=True)
class Objective:
    """A bound to maximise, and the cells (subset, modality) whose networks it needs.

    Arguments:
        reconstructs: Maps (family (S, M), category (M,)) to the modalities that each subset's z is decoded to
            for their log-likelihood: boolean (S, M).
        bound: Maps the terms to the bound of each subset and row: (S, B).
        reencodes: Maps the same two to the modalities that each subset's z is decoded to and encoded again.
    """

    reconstructs: Callable[[Tensor, Tensor], Tensor]
    bound: Callable[[Terms], Tensor]
    reencodes: Callable[[Tensor, Tensor], Tensor] = _nothing


OBJECTIVES: Mapping[str, Objective] = {
    "paper": Objective(_members, paper),
    "cross": Objective(_everything, paper),
    "conditional": Objective(_members_and_categories, conditional),
    "matched": Objective(_members_and_categories, matched),
    "coherent": Objective(_members_and_categories, coherent, _missing_views),
}


@dataclass(frozen=True)
class Loss:
    """The number to minimise and its parts, averaged over the rows that have any modality.

    Arguments:
        loss: Minus the weighted bounds, in nats per row: ().
        elbo: The ELBO of the joint subset, with the weights and beta of training: ().
        kl: The divergence of the joint posterior from the prior: ().
        reconstruction: The weighted log-likelihood of each modality at z of the joint posterior, per row
            that has it: (M,).
    """

    loss: Tensor
    elbo: Tensor
    kl: Tensor
    reconstruction: Tensor


def evaluate(objective: Objective, batch: Batch, runs: Runs, networks: Networks) -> Loss:
    """The objective on one batch; each decoder runs once for the log-likelihoods of all subsets.

    Arguments:
        objective: A value of ``OBJECTIVES``.
        batch: Encoders' outputs, observed modalities, subsets, noise and weights.
        runs: Subsets for which the networks run.
        networks: Networks of the model.
    """
    seen, posterior = _posteriors(batch)
    z = posterior.sample(batch.noise)
    # A product of log-probabilities, which are finite, and weights, which may be 0, is faster than a choice.
    at, visible_at = (batch.weights[:, None] * present for present in (batch.present, batch.visible[1]))
    selected = objective.reconstructs(batch.family, batch.category)[..., None]
    weights = selected * torch.cat([at[None], visible_at.expand(len(selected) - 1, *at.shape)])
    log_likelihood, at_joint, visible_at_joint = z.new_zeros(z.shape[:2]), [], []
    for m, rows in enumerate(runs.reconstructed):
        decoded, visible = networks.log_probs(m, z.index_select(0, rows))
        log_probs = visible if visible is decoded else torch.cat([decoded[:1], visible[1:]])
        counted = weights[:, m].index_select(0, rows) * log_probs
        log_likelihood = log_likelihood.index_add(0, rows, counted)
        at_joint.append(at[m] * decoded[0])
        visible_at_joint.append(visible_at[m] * visible[0])
    terms = Terms(
        posterior=posterior,
        kl=posterior.kl_from_prior(),
        log_likelihood=log_likelihood,
        at_joint=torch.stack(at_joint),
        visible_at_joint=torch.stack(visible_at_joint),
        recognition=recognition(batch, runs, objective.reencodes(batch.family, batch.category), z, networks),
        family=batch.family,
        beta=batch.beta,
    )
    return _averaged(terms, objective.bound(terms), seen.any(dim=1), batch.present)


def _posteriors(batch: Batch) -> tuple[Tensor, Gaussian]:
    """The modalities that each subset has of each row, (S, M, B), and its posterior, (S, B, D)."""
    if batch.visible[0] is batch.experts:
        return batch.family[:, :, None] & batch.present, _products(batch.experts, batch.present, batch.family)
    seen, parts = [], []
    for (experts, present), family in (
        ((batch.experts, batch.present), batch.family[:1]),
        (batch.visible, batch.family[1:]),
    ):
        seen.append(family[:, :, None] & present)
        parts.append(_products(experts, present, family))
    mu, log_var = (torch.cat(values) for values in zip(*((q.mu, q.log_var) for q in parts), strict=True))
    return torch.cat(seen), Gaussian(mu, log_var)


def _products(experts: Gaussian, present: Tensor, family: Tensor) -> Gaussian:
    """The product of prior and experts of each subset, as ``models_store.fusion.product``: (S, B, D).

    Sums over the modalities of all subsets are one matrix product. Precisions are relative to the largest of
    the row, in any subset: float32 holds their ratios, since log-variances lie within ``LOG_VAR_LIMIT``.
    """
    mu = torch.where(present[..., None], experts.mu, 0.0)
    log_var = torch.where(present[..., None], experts.log_var, math.inf)
    smallest = log_var.amin(dim=0).clamp(max=0.0).detach()  # the prior's is 0
    precisions = torch.exp(smallest - log_var)
    with torch.autocast(mu.device.type, enabled=False):
        sums = family.to(mu.dtype) @ torch.cat([precisions, precisions * mu], dim=-1).flatten(1)
    of_all, weighted = sums.view(len(family), mu.shape[1], 2 * mu.shape[2]).chunk(2, dim=-1)
    total = of_all + torch.exp(smallest)
    return Gaussian(weighted / total, smallest - torch.log(total))


def _averaged(terms: Terms, bound: Tensor, nonempty: Tensor, present: Tensor) -> Loss:
    """The loss of the bounds (S, B); ``nonempty`` (S, B): the row has a modality of the subset."""
    per_row = torch.where(nonempty, bound, 0.0).sum(dim=0) / nonempty.sum(dim=0).clamp(min=1)
    rows = nonempty[0].sum().clamp(min=1)
    with torch.no_grad():
        elbo, kl = terms.elbo()[0].sum() / rows, terms.kl[0].sum() / rows
        reconstruction = terms.at_joint.sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return Loss(-len(bound) * per_row.sum() / rows, elbo, kl, reconstruction)
