"""Number of threads that compute small models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from training.coders import Coders

ONE_THREAD = 5e7
"""Products of weights and rows in a step up to which one thread computes it.

On an AMD EPYC such a step (hidden layers of 256 and 256 rows, or 1,024 and 16) takes one core 3 to 6 ms, as
long as threads need to hand over a few hundred operations. Where other processes use the cores too, threads
wait for each other: with hidden layers of 64 to 256 and 64 to 512 rows, two took 3 to 40 times as long as
one on a loaded machine, and twice to a hundred times its processor time.
"""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables of the environment by which a user sets the threads of torch."""
THREADS = torch.get_num_threads()
"""Threads of torch at the start; another number has been set since."""


@contextmanager
def threads_for(model: Coders, rows: int) -> Iterator[None]:
    """Computes on one thread where a step is small: see :data:`ONE_THREAD`; what a user has set stays.

    Arguments:
        model: The model that is trained or evaluated.
        rows: Rows of a batch.
    """
    threads = torch.get_num_threads()
    if _threads_are_set(threads) or not _is_small(model, rows):
        yield
        return
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # the libraries of numpy and scipy
            yield
    finally:
        torch.set_num_threads(threads)


def _threads_are_set(threads: int) -> bool:
    """Whether a user has chosen this number: torch itself takes all cores, or one thread of each."""
    cores = os.cpu_count() or 1
    return (
        any(name in os.environ for name in THREAD_VARIABLES)
        or threads != THREADS
        or threads not in (cores, cores // 2)
    )


def _is_small(model: Coders, rows: int) -> bool:
    """Whether a step has few products; a convolution applies each weight many times to a row."""
    weights = list(model.parameters())
    return max(w.ndim for w in weights) <= 2 and rows * sum(w.numel() for w in weights) <= ONE_THREAD
