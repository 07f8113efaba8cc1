"""A loaded model: answers questions on arrays. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models_store.fusion import Gaussian, product
from models_store.manifest import Manifest, Modality, decoder_file, encoder_file
from service.batching import Outputs, Runner
from service.errors import TooLarge, WrongInput
from service.predictive import Summary, draw_z, samples, summarise

Array = np.ndarray[Any, np.dtype[Any]]

CELLS_AT_ONCE = 2**22
"""Numbers decoded at a time for one target: 16 MiB of float32."""
SUMMARIES = ("mean", "std", "quantiles", "probabilities")
FIELDS = (*SUMMARIES, "samples")


@dataclass(frozen=True)
class Column:
    """One modality of a request.

    Arguments:
        values: (n, *shape) in the modality's dtype; anything where missing.
        present: Boolean (n,).
    """

    values: Array
    present: Array


@dataclass(frozen=True)
class Observations:
    """What was sent: one column per modality sent, all with n rows."""

    columns: Mapping[str, Column]
    n: int


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for."""

    rows: int
    draws: int


@dataclass(frozen=True)
class Encoded:
    """q(z | x_S) of every row, (n, D), and draws from it, (n, N, D)."""

    posterior: Gaussian
    z: Array
    condition: tuple[str, ...]


@dataclass(frozen=True)
class Generated:
    """By target, its summaries and samples."""

    targets: Mapping[str, Summary]
    n: int
    condition: tuple[str, ...]


def listed(names: Collection[str]) -> str:
    """'a', 'b' and 'c'."""
    quoted = [f"'{name}'" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]])) if quoted else "none"


class Model:
    """One version of one model.

    Arguments:
        manifest: What it is.
        graphs: What runs each of its graphs, by file name.
        limits: The most that one request may ask for.
    """

    def __init__(self, manifest: Manifest, graphs: Mapping[str, Runner], limits: Limits) -> None:
        self.manifest = manifest
        self._graphs = graphs
        self._limits = limits

    def modality(self, name: str) -> Modality:
        """The modality of that name.

        Raises:
            WrongInput: There is none; the text says which there are.
        """
        if name not in self.manifest.names:
            raise WrongInput(f"unknown modality '{name}'; this model knows {listed(self.manifest.names)}")
        return self.manifest.modality(name)

    async def encode(
        self,
        observations: Observations,
        condition: Sequence[str],
        *,
        draws: int,
        seed: int,
        return_mean: bool = False,
    ) -> Encoded:
        """The posterior of every row given the condition, and draws of z.

        Arguments:
            observations: What was sent.
            condition: Modalities, or ``all`` (what was sent), or ``none`` (the prior).
            draws: N.
            seed: Of the draws.
            return_mean: N times the mean instead of draws.

        Raises:
            WrongInput: The condition was not sent, or a row has nothing of it.
            TooLarge: More rows or draws than allowed.
        """
        names = self._condition(observations, condition)
        self._check_size(observations.n, draws)
        posterior = await self._posterior(observations, names)
        if return_mean:
            z = np.repeat(posterior.mu[:, None], draws, axis=1)
        else:
            z = await asyncio.to_thread(draw_z, posterior, seed, draws)
        return Encoded(posterior, z, names)

    async def generate(
        self,
        observations: Observations,
        condition: Sequence[str],
        targets: Sequence[str],
        *,
        fields: Collection[str] = FIELDS,
        draws: int = 1,
        summary_draws: int = 100,
        seed: int,
        return_mean: bool = False,
        noise: bool = False,
    ) -> Generated:
        """Every target given the condition: summaries of its predictive distribution, and samples.

        Arguments:
            observations: What was sent.
            condition: As for :meth:`encode`.
            targets: Modalities, or ``all``.
            fields: Of ``FIELDS``, what is wanted.
            draws: N, the number of samples.
            summary_draws: K, the draws of z behind the summaries.
            seed: Of all draws.
            return_mean: z is the mean of the posterior; K is then 1.
            noise: Samples are draws of x instead of means of p(x | z).

        Raises:
            WrongInput: As for :meth:`encode`, or a target is unknown.
            TooLarge: More rows or draws than allowed.
        """
        wanted = self._targets(targets)
        summary_draws = 1 if return_mean else summary_draws
        self._check_size(observations.n, max(draws, summary_draws))
        needs = (summary_draws if set(fields) & set(SUMMARIES) else 0, draws if "samples" in fields else 0)
        encoded = await self.encode(
            observations, condition, draws=max(*needs, 1), seed=seed, return_mean=return_mean
        )
        answers = {}
        for name in wanted:
            modality = self.manifest.modality(name)
            pieces = [
                await self._target(modality, encoded.z[rows], fields, needs, seed, rows.start, noise)
                for rows in _pieces(observations.n, encoded.z.shape[1], modality)
            ]
            answers[name] = _joined(pieces)
        return Generated(answers, observations.n, encoded.condition)

    # --- the steps ------------------------------------------------------------------------------------

    async def _posterior(self, observations: Observations, names: Sequence[str]) -> Gaussian:
        if not names:
            zeros = np.zeros((observations.n, self.manifest.latent_dim), np.float32)
            return Gaussian(zeros, zeros)
        columns = [observations.columns[name] for name in names]
        experts = await asyncio.gather(
            *(self._expert(name, column) for name, column in zip(names, columns, strict=True))
        )
        stacked = Gaussian(np.stack([e.mu for e in experts]), np.stack([e.log_var for e in experts]))
        return product(stacked, np.stack([column.present for column in columns]))

    async def _expert(self, name: str, column: Column) -> Gaussian:
        """q(z | x) of every row that has the modality; the others are left at the prior."""
        graph = self._graphs[encoder_file(name)]
        if column.present.all():
            outputs = await graph.run(column.values)
            return Gaussian(outputs["mu"], outputs["log_var"])
        mu = np.zeros((len(column.values), self.manifest.latent_dim), np.float32)
        log_var = np.zeros_like(mu)
        if column.present.any():
            outputs = await graph.run(column.values[column.present])
            mu[column.present], log_var[column.present] = outputs["mu"], outputs["log_var"]
        return Gaussian(mu, log_var)

    async def _decode(self, modality: Modality, z: Array) -> Outputs:
        """The parameters of p(x | z): (n, K, *shape) for z of shape (n, K, D)."""
        flat = np.ascontiguousarray(z.reshape(-1, z.shape[-1]), np.float32)
        outputs = await self._graphs[decoder_file(modality.name)].run(flat)
        return {name: value.reshape(*z.shape[:2], *value.shape[1:]) for name, value in outputs.items()}

    async def _target(
        self,
        modality: Modality,
        z: Array,
        fields: Collection[str],
        needs: tuple[int, int],
        seed: int,
        first_row: int,
        noise: bool,
    ) -> Summary:
        parameters = await self._decode(modality, z)
        summary_draws, sample_draws = needs

        def compute() -> Summary:
            summary: Summary = {}
            if summary_draws:
                behind = {key: value[:, :summary_draws] for key, value in parameters.items()}
                summary = summarise(modality, behind, fields, seed, first_row)
            if sample_draws:
                shown = {key: value[:, :sample_draws] for key, value in parameters.items()}
                summary["samples"] = samples(modality, shown, noise, seed, first_row)
            return summary

        return await asyncio.to_thread(compute)

    # --- what may be asked ------------------------------------------------------------------------------

    def _condition(self, observations: Observations, condition: Sequence[str]) -> tuple[str, ...]:
        """The names of the modalities that the posterior is given."""
        if list(condition) == ["none"]:
            if observations.columns:
                raise WrongInput(
                    f"cond_mod=none asks for the prior, but {listed(observations.columns)} was sent"
                )
            return ()
        sent = tuple(name for name in self.manifest.names if name in observations.columns)
        if not sent:
            raise WrongInput(
                f"nothing was sent: send at least one of {listed(self.manifest.names)}, "
                "or ask for the prior with cond_mod=none"
            )
        if list(condition) == ["all"]:
            names = sent
        else:
            for name in condition:
                if name in ("all", "none"):
                    raise WrongInput(f"cond_mod is '{name}' or names of modalities, not both")
                if self.modality(name).name not in sent:
                    raise WrongInput(f"cond_mod names '{name}', but only {listed(sent)} was sent")
            names = tuple(name for name in sent if name in condition)
        observed = np.stack([observations.columns[name].present for name in names]).any(axis=0)
        if not observed.all():
            row = int(np.argmin(observed))
            raise WrongInput(f"row {row} (counted from 0) has nothing observed of {listed(names)}")
        return names

    def _targets(self, targets: Sequence[str]) -> tuple[str, ...]:
        if list(targets) == ["all"]:
            return self.manifest.names
        for name in targets:
            if name == "all":
                raise WrongInput("gen_mod is 'all' or names of modalities, not both")
            self.modality(name)
        return tuple(name for name in self.manifest.names if name in targets)

    def _check_size(self, n: int, draws: int) -> None:
        if n > self._limits.rows:
            raise TooLarge(f"{n} rows are more than the {self._limits.rows} that one request may have")
        if draws > self._limits.draws:
            raise TooLarge(
                f"{draws} draws are more than the {self._limits.draws} that one request may ask for"
            )


def _pieces(n: int, draws: int, modality: Modality) -> Iterator[slice]:
    """Ranges of rows whose decoded draws fit into memory together."""
    cells = draws * int(np.prod(modality.parameter_shape()))
    step = max(1, CELLS_AT_ONCE // cells)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _joined(pieces: Sequence[Summary]) -> Summary:
    if len(pieces) == 1:
        return pieces[0]
    return {
        key: np.concatenate([piece[key] for piece in pieces]) if isinstance(value, np.ndarray) else value
        for key, value in pieces[0].items()
    }
