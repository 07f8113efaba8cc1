"""A loaded model: encodes, generates and scores arrays."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

from models_store.arrays import Array
from models_store.calibration import Calibration
from models_store.errors import listed
from models_store.latent import Latent
from models_store.manifest import Manifest, Modality, decoder_file, encoder_file
from models_store.residuals import Residuals
from service.engine.admission import Admission, Computation
from service.engine.batching import Runner
from service.engine.budget import BYTES_OF_CHARACTER, BYTES_OF_NUMBER, SMALL, Budget
from service.engine.calibrating import corrections
from service.engine.draws import draw_mixture
from service.engine.fusing import Explanation, FusionRequest, FusionResult
from service.engine.importance import CELLS_AT_ONCE, Sampling, Scorer
from service.engine.observations import Column, Observations
from service.engine.posteriors import Posteriors
from service.engine.residuals import RowFactors, factors_of_rows
from service.engine.robust import mean_of, tempered
from service.engine.rules import Limits, Rules
from service.engine.scoring import Scored, p_values, questions_of
from service.engine.summaries import (
    FIELDS,
    Summary,
    SummaryOptions,
    characters,
    numbers_by_row,
    numbers_in,
)
from service.engine.targets import Draws, decode, size_of
from service.engine.workers import aside

BYTES_OF_CELL = 24
"""Memory of one number that is decoded and summarised, with its copies, in bytes."""
BYTES_OF_Z = 8
"""Memory of one number of z behind an answer, in bytes."""


class Encoded(NamedTuple):
    """q(z | x_S) of every row, draws from it, and where it comes from.

    Arguments:
        mu: Mean of the product of the experts, (n, D).
        log_var: Logarithm of its variance, same shape.
        z: Draws from it, (n, N, D).
        explanation: Contributions of the prior and of every modality, information and disagreement; None
            unless requested.
        condition: The names in S.
        numbers: How many numbers they hold.
    """

    mu: Array
    log_var: Array
    z: Array
    explanation: Explanation | None
    condition: tuple[str, ...]
    numbers: int


class Generated(NamedTuple):
    """By target, its summaries and samples."""

    targets: Mapping[str, Summary]
    n: int
    condition: tuple[str, ...]

    @property
    def numbers(self) -> int:
        """How many numbers and labels they hold."""
        return sum(map(numbers_in, self.targets.values()))


class Model:
    """One version of one model.

    Arguments:
        manifest: Description of the model.
        graphs: Runner of each graph, by file name.
        limits: Largest sizes of one request.
        latent: Mixture and statistics of its latent space; older bundles have none.
        calibration: Corrections of intervals and probabilities; older bundles have none.
        budget: Memory that requests may take; None: no limit.
        admission: Long computations of the process; None: without limits.
        residuals: Correlation between numbers beyond z; None where they are independent given z.
    """

    def __init__(
        self,
        manifest: Manifest,
        graphs: Mapping[str, Runner],
        limits: Limits,
        latent: Latent | None = None,
        calibration: Calibration | None = None,
        budget: Budget | None = None,
        admission: Admission | None = None,
        residuals: Residuals | None = None,
    ) -> None:
        self.manifest = manifest
        self.budget = budget or Budget()
        """Memory that requests may take."""
        self.admission = admission or Admission()
        self.latent = latent
        self.calibration = calibration
        self.residuals = residuals
        self.rules = Rules(manifest, limits, mixture=latent is not None)
        self._graphs = graphs
        encoders = {name: graphs[encoder_file(name)] for name in manifest.names}
        self._posteriors = Posteriors(encoders, manifest.latent_dim, manifest.linear, manifest.mixture.parts)

    async def encode(
        self,
        observations: Observations,
        condition: Sequence[str],
        *,
        draws: int,
        seed: int,
        return_mean: bool = False,
        explained: bool = True,
        robust: bool = True,
    ) -> Encoded:
        """The posterior of every row given the condition, and draws of z.

        Arguments:
            observations: Rows of the request.
            condition: Modalities, or ``all`` (what was sent), or ``none`` (the prior).
            draws: Number N of draws per row.
            seed: Seed of the draws.
            return_mean: Whether to return N copies of the mean instead of draws.
            explained: Whether to compute the explanation.
            robust: Whether views that held-out rows do not resemble lose weight, if the bundle says which.

        Raises:
            WrongInput: The condition was not sent, a row has nothing of it, or z would be too large.
            TooLarge: More rows or draws than allowed.
        """
        names = self.rules.encoding(observations, condition, draws)
        by_row = (draws + 2) * self.manifest.latent_dim + (len(self.manifest.names) + 3 if explained else 0)
        numbers = observations.n * by_row
        await self.reserve((numbers + self._natural(observations.n, names)) * BYTES_OF_NUMBER)
        fused = await self._fused(
            observations, names, draws, seed, return_mean=return_mean, explained=explained, robust=robust
        )
        return Encoded(fused.mu, fused.log_var, fused.z, fused.explanation, names, numbers)

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
        prior: str = "standard",
        calibrated: bool = True,
        robust: bool = True,
        in_tables: bool = False,
    ) -> Generated:
        """Every target given the condition: summaries of its predictive distribution, and samples.

        Arguments:
            observations: Rows of the request.
            condition: As for :meth:`encode`.
            targets: Modalities, or ``all``.
            fields: Requested names of ``FIELDS``.
            draws: N, the number of samples.
            summary_draws: K, the draws of z behind the summaries.
            seed: Seed of all draws.
            return_mean: Whether z is the mean of the posterior; K is then 1.
            noise: Whether samples are draws of x instead of means of p(x | z).
            prior: For the condition ``none``: ``standard``, or the ``mixture`` fitted to the training rows.
            calibrated: Whether quantiles and probabilities are corrected, if the bundle says how.
            robust: As for :meth:`encode`.
            in_tables: Whether the n-th draws of all rows are of one model of an ensemble: completed tables
                then differ by what is not known about weights, as Rubin's rules need it.

        Raises:
            WrongInput: As for :meth:`encode`, a target is unknown, there is no mixture to draw from, or the
                answer would be too large.
            TooLarge: More rows or draws than allowed.
        """
        names, target_names = self.rules.condition(observations, condition), self.rules.targets(targets)
        self.rules.check_prior(prior, names, return_mean)
        summary_draws = 1 if return_mean else summary_draws
        self.rules.check_size(observations.n, max(draws, summary_draws))
        options = SummaryOptions(fields, draws, summary_draws, seed, noise)
        natural = self._natural(observations.n, names) * BYTES_OF_NUMBER
        await self.reserve(self._bytes_of(options, observations.n, target_names) + natural)
        most = options.draws_of_z
        fused = await self._fused(observations, names, most, seed, return_mean=return_mean, robust=robust)
        z = await self._drawn(fused.z, prior, seed, in_tables=in_tables)
        factors = await self._factors(observations, names, target_names, z, seed, exact=return_mean)
        calibration = self.calibration if calibrated else None
        answers = {}
        modalities = [self.rules.modality(name) for name in target_names]
        with self._summarising(modalities, z) as computation:
            drawn = Draws(self._graphs, observations, z, options, factors, computation)
            for modality in modalities:
                correction = corrections(calibration, modality, names, observations)
                answers[modality.name] = await drawn.summary(modality, correction)
        return Generated(answers, observations.n, names)

    async def score(
        self,
        observations: Observations,
        condition: Sequence[str],
        targets: Sequence[str],
        *,
        draws: int = 1000,
        at_once: int = 100,
        seed: int,
        robust: bool = True,
    ) -> Scored:
        r"""log p(x_T | x_S) of every row, S and T intersected with what the row has.

        .. math:: \log \int q(z \mid x_S) \, p(x_T \mid z) \, dz

        with the prior N(0, I) in place of q where nothing is given: the density that :meth:`generate` draws
        from. The chain rule does not hold, see ``models_store/evidence``.

        Arguments:
            observations: Rows of the request.
            condition: The modalities S, or ``none``.
            targets: The modalities T, or ``all``: everything else that was sent.
            draws: Number K of importance samples.
            at_once: Number decoded at a time, within bounds; the result does not depend on it.
            seed: Seed of all draws.
            robust: As for :meth:`encode`; of the condition.

        Raises:
            WrongInput: A modality was not sent, is on both sides, a row has nothing on one of them, there
                would be too many importance weights, or they would take longer than a request may.
            TooLarge: More rows or draws than allowed.
            TooBusy: Others would keep it waiting past its deadline.
        """
        given, scored = self.rules.question(observations, condition, targets)
        self.rules.check_size(observations.n, draws)
        self.rules.check_numbers(observations.n, draws, "of importance weights", "K")
        together = tuple(name for name in self.rules.names if name in given + scored)
        modalities = [self.rules.modality(name) for name in scored]
        decoders = {name: self._graphs[decoder_file(name)] for name in scored}
        scorer = Scorer(decoders, modalities, together, observations, self.admission, self.manifest.mixture)
        cells = min(observations.n * draws * scorer.cells, CELLS_AT_ONCE)
        natural = 2 * self._natural(observations.n, together)
        await self.reserve((observations.n * draws + natural) * BYTES_OF_NUMBER + cells * BYTES_OF_CELL)
        conditional, posterior = [
            (await self._fused(observations, names, 0, seed, return_mean=True, robust=robust)).posterior
            for names in (given, together)
        ]
        estimate = await scorer.evidence(conditional, posterior, Sampling(draws, at_once, seed))
        present = {name: observations.columns[name].present for name in together}
        questions = questions_of(scored, given, present)
        likely = p_values(questions, estimate.log_prob, draws, self.manifest.reference)
        return Scored(given, scored, questions, estimate, likely)

    # --- the steps ------------------------------------------------------------------------------------

    async def reserve(self, size: int) -> None:
        """Takes memory for the current request; small requests are not counted."""
        if size > SMALL:
            await self.budget.take(size)

    def _natural(self, rows: int, names: Sequence[str]) -> int:
        """Numbers behind posteriors of linear models: natural parameters, also tempered, and correlations."""
        if (linear := self.manifest.linear) is None:
            return 0
        return rows * ((2 * len(names) + 2) * linear.natural_size + 2 * linear.count * linear.dimension**2)

    def _bytes_of(self, options: SummaryOptions, rows: int, targets: Sequence[str]) -> int:
        """Returns the memory that an answer of :meth:`generate` takes.

        Raises:
            WrongInput: The answer, or z, would be too large.
        """
        modalities = [self.rules.modality(name) for name in targets]
        answered = sum(numbers_by_row(one, options.fields, options.samples) for one in modalities)
        self.rules.check_numbers(rows, answered, f"of {listed(targets)}", "N, gen_mod or fields")
        of_z = options.draws_of_z * self.manifest.latent_dim
        self.rules.check_drawn(rows, of_z)
        cells = options.draws_of_z * max(math.prod(one.parameter_shape()) for one in modalities)
        in_memory = min(rows * cells, CELLS_AT_ONCE)
        texts = sum(characters(one, options.fields, rows, options.samples) for one in modalities)
        numbers = rows * (answered * BYTES_OF_NUMBER + of_z * BYTES_OF_Z)
        return numbers + in_memory * BYTES_OF_CELL + texts * BYTES_OF_CHARACTER

    def _fused(
        self,
        observations: Observations,
        names: Sequence[str],
        draws: int,
        seed: int,
        *,
        return_mean: bool,
        explained: bool = False,
        robust: bool = True,
    ) -> Awaitable[FusionResult]:
        """The posterior of every row and draws from it."""
        request = FusionRequest(
            {}, observations.n, draws, seed, observations.first_row, return_mean, explained
        )
        columns = {name: observations.columns[name] for name in names}
        if robust and self.calibration is not None and len(names) > 1:
            views = [name for name in names if name in self.calibration.typical]
            if views:
                return self._tempered(columns, views, request)
        return self._posteriors.of(columns, request)

    async def _tempered(
        self, columns: Mapping[str, Column], views: Sequence[str], request: FusionRequest
    ) -> FusionResult:
        """The posterior with less weight for views that are not reconstructed as held-out rows are."""
        whole = await self._posteriors.of(columns, request._replace(draws=0, return_mean=True))
        calibration, experts, log_probs = self.calibration, request.experts, {}
        for name in [view for view in views if view in experts]:
            outputs = await self._graphs[decoder_file(name)].run(mean_of(experts[name]))
            column, family = columns[name], self.rules.modality(name).distribution
            x = column.values[column.present]
            log_probs[name] = await aside(x.size, family.row_log_prob, x, outputs)
        if calibration is not None:
            experts = tempered(experts, log_probs, calibration.typical, columns)
        fused = await self._posteriors.again(request._replace(experts=experts))
        if fused.explanation is None or whole.explanation is None:
            return fused
        # contributions are those of the tempered experts; the disagreement is that of what was sent
        explanation = fused.explanation._replace(disagreement=whole.explanation.disagreement)
        return fused._replace(explanation=explanation)

    async def _drawn(self, z: Array, prior: str, seed: int, *, in_tables: bool) -> Array:
        """The draws of z, (n, K, D), that :meth:`generate` decodes; for the arguments see there."""
        n, draws, _ = z.shape
        if prior == "mixture" and self.latent is not None:
            z = await aside(size_of(*z.shape), draw_mixture, self.latent.mixture, n, draws, seed)
        return self.manifest.mixture.one_a_draw(z) if in_tables else z

    def _summarising(
        self, modalities: Sequence[Modality], z: Array
    ) -> AbstractContextManager[Computation | None]:
        """Context of the summaries: a long computation where one of them takes several pieces."""
        cells = [z.shape[0] * z.shape[1] * math.prod(one.parameter_shape()) for one in modalities]
        if max(cells) <= CELLS_AT_ONCE:
            return nullcontext()
        return self.admission.computation("generate", sum(cells), "K, N, gen_mod or fields")

    async def _factors(
        self,
        observations: Observations,
        names: Sequence[str],
        targets: Sequence[str],
        z: Array,
        seed: int,
        *,
        exact: bool,
    ) -> RowFactors | None:
        """Factors of the residuals of every row; None where no target depends on them."""
        if self.residuals is None or self.residuals.cells.keys().isdisjoint(targets):
            return None
        await self.reserve(2 * z.shape[0] * z.shape[1] * self.residuals.rank * BYTES_OF_Z)
        given, run = [self.rules.modality(name) for name in names], partial(decode, self._graphs)
        return await factors_of_rows(
            self.residuals, given, run, observations, z, seed=seed, at_once=CELLS_AT_ONCE, exact=exact
        )
