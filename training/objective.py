r"""The objectives: evidence lower bounds of several subsets of the modalities, in one pass.

Each encoder has run once; what is fused here is its output, for all subsets at once. For a row with
observed set :math:`A` and a subset :math:`S` (always intersected with :math:`A`), the ELBO of `paper` is

.. math:: \mathcal L_S = \sum_{m \in S} \lambda_m \, E_{q(z \mid x_S)} \log p(x_m \mid z)
    - \beta \, KL(q(z \mid x_S) \,\|\, p(z))

and a row's bounds are averaged over the subsets that it has something of, then multiplied by the number
of subsets: on complete data this is the sum of the paper, and no row weighs more for what it lacks.

References:
    | Multimodal Generative Models for Scalable Weakly-Supervised Learning (Wu & Goodman, 2018), eq. 5
    | https://arxiv.org/abs/1802.05335
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models_store.fusion import Gaussian, product

Reconstruct = Callable[[int, Tensor], Tensor]
"""(modality, z of shape (S, B, D)) to the log-likelihood of that modality's x, of shape (S, B)."""

Recognise = Callable[[int, Tensor], Tensor]
"""(modality, z of shape (S, B, D)) to the weighted log-likelihood of the row's categories given that
modality as z generates it, of shape (S, B)."""


def possible(n_modalities: int, n_subsets: int, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """What ``choose`` may give for any family of :func:`subsets` of that size: boolean (S, M).

    Arguments:
        n_modalities: M.
        n_subsets: S.
        choose: Cell by cell from a family (S, M) to what some subset asks for, (S, M).
    """
    fixed = subsets(n_modalities, 0)[:n_subsets]
    drawn = (n_subsets - len(fixed), n_modalities)
    full, empty = (torch.cat([fixed, torch.full(drawn, value)]) for value in (True, False))
    return choose(full) | choose(empty)


def subsets(n_modalities: int, k: int, generator: torch.Generator | None = None) -> Tensor:
    """The family of subsets of the paper: the joint one first, then each modality alone, then k random ones.

    A random subset is uniform among those with at least two modalities that are not all of them (there are
    none below three modalities); nothing enumerates the :math:`2^M`.

    Returns:
        Which modality is in which subset, boolean, with shape :math:`(S, M)`.
    """
    joint = torch.ones(1, n_modalities, dtype=torch.bool)
    if n_modalities == 1:
        return joint
    family = [joint, torch.eye(n_modalities, dtype=torch.bool)]
    sizes = torch.arange(2, n_modalities, dtype=torch.float64)
    if len(sizes) and k:
        n = torch.tensor(float(n_modalities), dtype=torch.float64)
        log_ways = torch.lgamma(n + 1) - torch.lgamma(sizes + 1) - torch.lgamma(n - sizes + 1)
        ways = torch.softmax(log_ways, dim=0)
        drawn = 2 + torch.multinomial(ways, k, replacement=True, generator=generator)
        ranks = torch.rand(k, n_modalities, generator=generator).argsort(dim=1).argsort(dim=1)
        family.append(ranks < drawn[:, None])
    return torch.cat(family)


@dataclass(frozen=True)
class Terms:
    r"""What an objective may combine; S subsets, M modalities, B rows.

    Arguments:
        posterior: :math:`q(z | x_S)`, with shape (S, B, D); the first subset is the joint one.
        kl: Its divergence from the prior: (S, B).
        log_likelihood: The sum over what is asked for and observed of
            :math:`\lambda_m \log p(x_m | z_S)`: (S, B).
        at_joint: The same of each modality alone, at z of the joint posterior: (M, B).
        recognised: The weighted log-likelihood of the row's categories given what z of a subset generates,
            summed over the modalities that it generates so; 0 where nothing is asked for: (S, B).
        family: Which modality is in which subset: (S, M).
        beta: The weight of every divergence.
    """

    posterior: Gaussian
    kl: Tensor
    log_likelihood: Tensor
    at_joint: Tensor
    recognised: Tensor
    family: Tensor
    beta: Tensor

    @property
    def joint(self) -> Gaussian:
        """The posterior given all that a row has, with shape (1, B, D)."""
        return Gaussian(self.posterior.mu[:1], self.posterior.log_var[:1])

    def elbo(self) -> Tensor:
        """What each subset reconstructs, less its divergence from the prior: (S, B)."""
        return self.log_likelihood - self.beta * self.kl

    def rest_from_joint(self) -> Tensor:
        """The log-likelihood, at z of the joint posterior, of what each subset lacks: (S, B)."""
        return (~self.family).to(self.at_joint) @ self.at_joint


def _paper(terms: Terms) -> Tensor:
    return terms.elbo()


def _matched(terms: Terms) -> Tensor:
    joint = Gaussian(terms.joint.mu.detach(), terms.joint.log_var.detach())
    return terms.elbo() - terms.beta * joint.kl(terms.posterior)


def _coherent(terms: Terms) -> Tensor:
    # beta, which warms up: what an untrained network generates is no picture of anything yet.
    return _matched(terms) + terms.beta * terms.recognised


def _conditional(terms: Terms) -> Tensor:
    return terms.elbo() + terms.rest_from_joint() - terms.beta * terms.joint.kl(terms.posterior)


def _own(family: Tensor, _category: Tensor) -> Tensor:
    return family


def _own_and_categories(family: Tensor, category: Tensor) -> Tensor:
    return family | category


def _everything(family: Tensor, _category: Tensor) -> Tensor:
    return torch.ones_like(family)


def _nothing(family: Tensor, _category: Tensor) -> Tensor:
    return torch.zeros_like(family)


def _lacking_views(family: Tensor, category: Tensor) -> Tensor:
    return ~family & ~category


@dataclass(frozen=True)
class Objective:
    """One way to weigh subsets against each other.

    Arguments:
        reconstructs: (family (S, M), is a category (M,)) to which subset reconstructs which modality, (S, M).
        bound: What is maximised, per subset and row, with shape (S, B).
        generates: Likewise, which subset generates which modality to have its category recognised.
    """

    reconstructs: Callable[[Tensor, Tensor], Tensor]
    bound: Callable[[Terms], Tensor]
    generates: Callable[[Tensor, Tensor], Tensor] = _nothing


OBJECTIVES: Mapping[str, Objective] = {
    # Each subset reconstructs itself. Nothing ties what one posterior says of another modality.
    "paper": Objective(_own, _paper),
    # Each subset reconstructs all that the row has: right labels, but posteriors that are too narrow.
    "cross": Objective(_everything, _paper),
    # `paper`, and each proper subset bounds log p(x_rest | x_S) with z drawn from the joint posterior.
    "conditional": Objective(_own_and_categories, _conditional),
    # `paper`, and each proper subset's posterior is drawn towards the (fixed) joint one: posterior matching.
    "matched": Objective(_own_and_categories, _matched),
    # `matched`, and what a proper subset generates of the other modalities must be recognised: encoded
    # again, it tells the row's categories. A posterior that is one Gaussian covers places where no row ever
    # was; this draws it away from those where the decoders (held fixed) generate something else.
    "coherent": Objective(_own_and_categories, _coherent, _lacking_views),
}


@dataclass(frozen=True)
class Asked:
    """Per modality the numbers of the subsets for which its networks run, at least of those that want it.

    They stand beside the family because the size of what is computed depends on them, and a look at a tensor
    on a GPU would wait for it.

    Arguments:
        reconstructed: For their log-likelihood, the joint one first.
        generated: To have what comes of it recognised.
    """

    reconstructed: Sequence[Tensor]
    generated: Sequence[Tensor]


@dataclass(frozen=True)
class Loss:
    """The number to minimise and what it is made of, averaged over the rows that have anything.

    Arguments:
        loss: Minus the weighted bounds, in nats per row.
        elbo: The ELBO of the joint subset, with the weights and beta of training.
        kl: The divergence of the joint posterior from the prior.
        reconstruction: The weighted log-likelihood of each modality at z of the joint posterior, per row
            that has it: (M,).
    """

    loss: Tensor
    elbo: Tensor
    kl: Tensor
    reconstruction: Tensor


def evaluate(
    objective: Objective,
    experts: Gaussian,
    present: Tensor,
    family: Tensor,
    category: Tensor,
    asked: Asked,
    noise: Tensor,
    weights: Tensor,
    beta: Tensor,
    reconstruct: Reconstruct,
    recognise: Recognise,
) -> Loss:
    r"""The objective on one batch; every decoder runs once, over the z of all subsets that may ask for it.

    Arguments:
        objective: One of ``OBJECTIVES``.
        experts: The encoders' outputs, with shape (M, B, D).
        present: Which modality is observed in which row: (M, B).
        family: The subsets, the joint one first: (S, M).
        category: Which modality is a category: (M,).
        asked: What is computed for which subset.
        noise: Standard normal draws: (S, B, D).
        weights: :math:`\lambda_m`: (M,).
        beta: The weight of the divergences: ().
        reconstruct: The decoders.
        recognise: The decoders, then the same networks once more to see what came of it.
    """
    seen = family[:, :, None] & present  # (S, M, B)
    posterior = product(Gaussian(experts.mu[:, None], experts.log_var[:, None]), seen.movedim(1, 0))
    z = posterior.sample(noise)
    wanted = objective.reconstructs(family, category)
    log_likelihood, at_joint = z.new_zeros(z.shape[:2]), []
    for m, rows in enumerate(asked.reconstructed):
        counted = wanted[:, m, None].index_select(0, rows) & present[m]
        log_prob = weights[m] * torch.where(counted, reconstruct(m, z.index_select(0, rows)), 0.0)
        log_likelihood = log_likelihood.index_add(0, rows, log_prob)
        at_joint.append(log_prob[0])
    recognised = _recognised(objective.generates(family, category), asked.generated, z, recognise)
    kl = posterior.kl_from_prior()
    terms = Terms(posterior, kl, log_likelihood, torch.stack(at_joint), recognised, family, beta)
    return _summarise(terms, objective.bound(terms), seen.any(dim=1), present)


def _recognised(wanted: Tensor, asked: Sequence[Tensor], z: Tensor, recognise: Recognise) -> Tensor:
    """The sum over the modalities that each subset generates: (S, B)."""
    total = z.new_zeros(z.shape[:2])
    for m, rows in enumerate(asked):
        if len(rows):
            counted = wanted[:, m, None].index_select(0, rows)
            log_prob = torch.where(counted, recognise(m, z.index_select(0, rows)), 0.0)
            total = total.index_add(0, rows, log_prob)
    return total


def _summarise(terms: Terms, bound: Tensor, nonempty: Tensor, present: Tensor) -> Loss:
    per_row = torch.where(nonempty, bound, 0.0).sum(dim=0) / nonempty.sum(dim=0).clamp(min=1)
    rows = nonempty[0].sum().clamp(min=1)
    with torch.no_grad():
        elbo, kl = terms.elbo()[0].sum() / rows, terms.kl[0].sum() / rows
        reconstruction = terms.at_joint.sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return Loss(-len(bound) * per_row.sum() / rows, elbo, kl, reconstruction)
