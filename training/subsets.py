"""Families of subsets of the modalities, whose bounds an objective sums.

Example:
    >>> subsets(3, k=0).int().tolist()
    [[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def possible(
    n_modalities: int, n_subsets: int, choose: Callable[[Tensor], Tensor], partial: bool = False
) -> Tensor:
    """Cells that ``choose`` may select in any family of :func:`subsets` of that size: boolean (S, M).

    Arguments:
        n_modalities: M.
        n_subsets: S.
        choose: Maps a family (S, M), cell by cell, to a selection (S, M).
        partial: As for :func:`subsets`.
    """
    fixed = subsets(n_modalities, 0, partial=partial)[:n_subsets]
    drawn = (n_subsets - len(fixed), n_modalities)
    full, empty = (torch.cat([fixed, torch.full(drawn, value)]) for value in (True, False))
    return choose(full) | choose(empty)


def subsets(
    n_modalities: int, k: int, generator: torch.Generator | None = None, partial: bool = False
) -> Tensor:
    """The paper's family of subsets: the joint one first, then each modality alone, then k random ones.

    With ``partial`` a second subset of all modalities follows the joint one, for the cells that are not
    hidden: see :class:`training.objective.Batch`.

    A random subset is uniform among those with at least two modalities that are not all of them (there are
    none below three modalities); nothing enumerates the :math:`2^M`.

    Returns:
        Membership of each modality in each subset, boolean, with shape :math:`(S, M)`.
    """
    joint = torch.ones(1 + partial, n_modalities, dtype=torch.bool)
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
