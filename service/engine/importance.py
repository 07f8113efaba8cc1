"""Importance sampling of scores, step by step: graphs decode points, and threads weigh them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from models_store.evidence import Decoded, Evidence, Request, estimating, joined
from models_store.linear import Posterior
from models_store.manifest import Modality
from models_store.members import Members
from service.engine.admission import Admission, Computation
from service.engine.batching import Runner
from service.engine.observations import Observations
from service.engine.phases import CURRENT
from service.engine.scoring import advance, noise, portions, question

NUMBERS_PER_DIMENSION = 6
"""Numbers of a target that are scored in the time that a latent dimension of a draw takes."""
CELLS_AT_ONCE = 2**22
"""Numbers decoded at a time for all targets: 16 MiB of float32."""


@dataclass(frozen=True)
class Sampling:
    """Numbers of a request for scores.

    Arguments:
        draws: Number K of draws of a row.
        at_once: Number of a row that are decoded together.
        seed: Seed of all draws.
    """

    draws: int
    at_once: int
    seed: int


@dataclass(frozen=True)
class Scorer:
    """Scores rows of one request.

    Arguments:
        decoders: Runner of each target's decoder, by name.
        targets: Scored modalities.
        names: Scored and given modalities, in the model's order.
        observations: Rows of the request.
        admission: Long computations of the process.
        members: Models of an ensemble.
    """

    decoders: Mapping[str, Runner]
    targets: Sequence[Modality]
    names: Sequence[str]
    observations: Observations
    admission: Admission
    members: Members

    @property
    def cells(self) -> int:
        """Decoded numbers of a point."""
        return sum(math.prod(target.parameter_shape()) for target in self.targets)

    async def evidence(self, given: Posterior, posterior: Posterior, sampling: Sampling) -> Evidence:
        """log p(x_T | x_S) of every row, as ``models_store/evidence`` estimates it.

        Arguments:
            given: q(z | x_S), (n, D) each.
            posterior: q(z | x_S, x_T), (n, D) each.
            sampling: Numbers of the request.

        Raises:
            WrongInput: It would take longer than a request may.
            TooBusy: Others would keep it waiting past its deadline.
        """
        n, dimension = len(given), self.members.dimension
        by_row = sampling.draws * (NUMBERS_PER_DIMENSION * dimension + self.cells)
        points, step = portions(sampling.at_once, sampling.draws, self.cells, CELLS_AT_ONCE)
        parts = []
        with self.admission.computation("score", n * by_row, "K, gen_mod") as computation:
            for start in range(0, n, step):
                rows = slice(start, min(start + step, n))
                piece = question(given, posterior, self.targets, self.observations, rows, self.members)
                drawn = noise(sampling.seed, self.observations, rows, self.names, dimension)
                estimates = estimating(piece, drawn, sampling.draws, points)
                parts.append(await self._estimated(estimates, computation))
                computation.advance((rows.stop - rows.start) * by_row)
        return joined(parts)

    async def _estimated(
        self, estimates: Generator[Request, Decoded, Evidence], computation: Computation
    ) -> Evidence:
        """Runs a generator of estimates: decodes the points that it yields, and sends the outputs back."""
        step = await computation.run(advance, estimates, None)
        while not isinstance(step, Evidence):
            CURRENT.get().record("fuse")
            graphs = [self.decoders[name].run(z) for name, z in step.items()]
            outputs = await asyncio.gather(*graphs)
            computation.add(sum(self.decoders[name].seconds(len(z)) for name, z in step.items()))
            CURRENT.get().record("decode")
            step = await computation.run(advance, estimates, dict(zip(step, outputs, strict=True)))
            CURRENT.get().record("summarise")
        return step
