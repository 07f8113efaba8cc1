"""Duration of a fit, before it: from the steps, the views and the size of the networks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from training.tables.draft import Draft, Guess

START = 12.0
"""Seconds to start, export, check and measure, ..."""
START_PER_VIEW = 2.0
"""... and for each view."""
SECONDS_PER_STEP = 2.5e-3
"""Work of a step that does not depend on the size of the networks, ..."""
SECONDS_PER_VIEW = 1.6e-3
"""... and for each view: encoding it alone, its decoder, its likelihood."""
PASSES = 6
"""Forward passes that a step costs for each row and network: forward and backward, over the subsets."""
MULTIPLIED = 256
"""Side of the matrices that are multiplied to time this machine."""
USUAL_RATE = 9e10
"""Multiplications and additions a second of the machine of these figures."""


def seconds_of(draft: Draft) -> float:
    """Seconds that a fit of an experiment takes on one core."""
    rate = _rate()
    slower = USUAL_RATE / rate
    work = sum(2 * _weights(guess, draft.network(guess), draft.latent_dim) for guess in draft.guesses)
    views = len(draft.guesses)
    step = SECONDS_PER_STEP + SECONDS_PER_VIEW * views
    networks = draft.steps * draft.schedule.batch * work * PASSES / rate
    return slower * (START + START_PER_VIEW * views + draft.steps * step) + networks


def _rate() -> float:
    """Multiplications and additions a second, by the fastest of a few products."""
    matrix = np.ones((MULTIPLIED, MULTIPLIED), np.float32)
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        spent.append(time.perf_counter() - start)
    return 2 * MULTIPLIED**3 / max(min(spent), 1e-6)


def _weights(guess: Guess, network: Mapping[str, Any], latent_dim: int) -> int:
    """Multiplications of the encoder and decoder for one row."""
    widths: Sequence[int] = [max(2, guess.cells), *network["hidden"], 2 * latent_dim]
    dense = 2 * sum(a * b for a, b in pairwise(widths))
    if "channels" not in network:
        return dense
    pixels, channels, total = guess.cells, [1, *network["channels"]], 0
    for before, after in pairwise(channels):
        pixels = max(1, pixels // 4)
        total += 9 * pixels * before * after
    return 2 * (total + pixels * channels[-1] * network["hidden"][0])
