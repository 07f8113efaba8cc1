"""Posteriors of concurrent requests, and draws from them: the cycle *submit, batch, run, deliver, fuse*.

1. Submit: a request submits the rows of each modality to that modality's encoder (:meth:`Posteriors.of`).
2. Batch: each encoder's queue collects the rows of concurrent requests (``batching``).
3. Run: the encoder's graph runs, in a thread or on the event loop.
4. Deliver: each :class:`PendingExpert` takes its rows' outputs, without a future or task of its own.
5. Fuse: requests that have all their experts are fused in one product per event-loop iteration.

A task, a future and a wake-up per expert would take longer than the product. A numpy call takes microseconds
however small its arrays, so requests of different subsets are fused together. The result of a row does not
depend on the other rows.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

from models_store.arrays import Array
from models_store.fusion import Gaussian, disagreement, product, product_with_shares
from models_store.linear import NATURAL, LinearModels, Posterior
from service.engine.batching import SINGLE_CALLER_BATCHES, Outputs, Runner
from service.engine.draws import draw_z
from service.engine.fusing import Expert, Explanation, FusionRequest, FusionResult
from service.engine.observations import Column
from service.engine.phases import CURRENT
from service.engine.workers import FEW

Request = TypeVar("Request")
Result = TypeVar("Result")

INVERSION = 4
"""Numbers that are computed in the time that each number of an inverted covariance takes."""
SINGLE = ((1.0, slice(None)),)
"""Weight and dimensions of z of the models of a bundle that has one."""
NUMBERS_AT_ONCE = 2**14
"""Numbers of the posterior computed at a time: they stay in the cache, and need no new memory."""


def fuse(
    names: Sequence[str],
    dimension: int,
    requests: Sequence[FusionRequest],
    linear: LinearModels | None = None,
    models: Sequence[tuple[float, slice]] = SINGLE,
) -> list[FusionResult]:
    """Computes the posteriors of several requests in one product.

    Arguments:
        names: Names of the modalities of the model.
        dimension: Latent dimension D.
        requests: Requests, with all their experts.
        linear: Place of linear models in z; None where there are none.
        models: Weight and dimensions of z of each model of an ensemble.
    """
    # Experts that no request has are left out: their share is 0, but stacking them takes time.
    sent = set[str]().union(*[one.experts for one in requests])
    present = [m for m, name in enumerate(names) if name in sent] or [0]
    spans = _spans(requests)
    experts = _stacked([names[m] for m in present], dimension, requests, spans)
    independent = _posteriors(experts)
    posterior = Posterior(*independent)
    if linear is not None:
        experts_of_rows = [
            (span, expert.present, expert.natural)
            for one, span in zip(requests, spans, strict=True)
            for expert in map(one.experts.get, names)  # in one order, on which the last digit depends
            if expert is not None and expert.natural is not None
        ]
        posterior = linear.posterior(independent, linear.summed(spans[-1].stop, experts_of_rows))
    drawn = draw_z(posterior, requests)
    mu, log_var, factor, block = posterior.mu, posterior.log_var, posterior.factor, posterior.block
    results = [
        FusionResult(mu[span], log_var[span], z, None, None if factor is None else factor[span], block)
        for span, z in zip(spans, drawn, strict=True)
    ]
    if not any(one.explained for one in requests):
        return results
    explanation = _explanation(experts, posterior, models, present, len(names))
    return [
        result._replace(explanation=_of_rows(explanation, span)) if one.explained else result
        for one, result, span in zip(requests, results, spans, strict=True)
    ]


def _of_rows(explanation: Explanation, rows: slice) -> Explanation:
    contributions, information, disagreement = explanation
    return Explanation(contributions[:, rows], information[rows], disagreement[rows])


def _spans(requests: Sequence[FusionRequest]) -> list[slice]:
    """Returns the rows of each request among those of all."""
    stops = accumulate(one.n for one in requests)
    return [slice(stop - one.n, stop) for one, stop in zip(requests, stops, strict=True)]


def _pieces(experts: Gaussian, numbers: int) -> Iterator[Gaussian]:
    """Yields the experts of some rows at a time."""
    _, rows, dimension = experts.mu.shape
    step = max(1, numbers // dimension)
    for start in range(0, max(rows, 1), step):
        piece = slice(start, start + step)
        yield Gaussian(experts.mu[:, piece], experts.log_var[:, piece])


def _posteriors(experts: Gaussian) -> Gaussian:
    """Computes posteriors in single precision: precisions are added relative to the largest."""
    parts = [product(few) for few in _pieces(experts, NUMBERS_AT_ONCE)]
    return parts[0] if len(parts) == 1 else Gaussian(*map(np.concatenate, zip(*parts, strict=True)))


def _explanation(
    experts: Gaussian,
    posterior: Posterior,
    models: Sequence[tuple[float, slice]],
    present: Sequence[int],
    modalities: int,
) -> Explanation:
    """Explains posteriors, in double precision: the disagreement is a difference of large numbers.

    Arguments:
        experts: Experts of some modalities, (M', rows, D).
        posterior: Their posterior.
        models: Weight and dimensions of z of each model.
        present: Positions of these modalities among all.
        modalities: Number M of all modalities; the others have a share of 0.
    """
    of_each = [_of_model(experts, posterior, dimensions) for _, dimensions in models]
    weights = [weight for weight, _ in models]
    explanation = Explanation(
        *(sum(map(operator.mul, weights, values)) for values in zip(*of_each, strict=True))
    )
    if len(present) == modalities:
        return explanation
    contributions = np.zeros((modalities + 1, len(explanation.information)))
    contributions[[0, *(1 + m for m in present)]] = explanation.contributions
    return Explanation(contributions, explanation.information, explanation.disagreement)


def _of_model(experts: Gaussian, posterior: Posterior, dimensions: slice) -> Explanation:
    """Explains the posteriors of one model, by its dimensions of z."""
    of_model = Gaussian(experts.mu[..., dimensions], experts.log_var[..., dimensions])
    parts = [_explained(few) for few in _pieces(of_model, NUMBERS_AT_ONCE // 4)]
    explanation = parts[0]
    if len(parts) > 1:
        explanation = Explanation(*(np.concatenate(values, axis=-1) for values in zip(*parts, strict=True)))
    if posterior.factor is None:
        return explanation
    return explanation._replace(information=posterior.within(dimensions).kl_from_prior())


def _explained(experts: Gaussian) -> Explanation:
    wide = Gaussian(experts.mu.astype(np.float64), experts.log_var.astype(np.float64))
    posterior, contributions = product_with_shares(wide)
    return Explanation(contributions, posterior.kl_from_prior(), _disagreement(wide))


def _stacked(
    names: Sequence[str], dimension: int, requests: Sequence[FusionRequest], spans: Sequence[slice]
) -> Gaussian:
    """Stacks the experts of all rows, (M, rows, D), float32; missing ones have infinite variance."""
    if len(requests) == len(names) == len(requests[0].experts) == 1:
        only = requests[0].experts[names[0]]
        if only.present is None:
            return Gaussian(*(part[None].astype(np.float32, copy=False) for part in (only.mu, only.log_var)))
    shape = (len(names), spans[-1].stop, dimension)
    mu, log_var = np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32)
    for m, name in enumerate(names):
        experts = [one.experts.get(name) for one in requests]
        whole = [expert for expert in experts if expert is not None and expert.present is None]
        if len(whole) == len(requests):  # as most are: one copy instead of one per request
            np.concatenate([expert.mu for expert in whole], out=mu[m])
            np.concatenate([expert.log_var for expert in whole], out=log_var[m])
            continue
        for expert, span in zip(experts, spans, strict=True):
            if expert is not None:
                rows = ... if expert.present is None else expert.present
                mu[m, span][rows], log_var[m, span][rows] = expert.mu, expert.log_var
    return Gaussian(mu, log_var)


def _disagreement(experts: Gaussian) -> Array:
    """Disagreement per row; 0 where fewer than two experts are informative."""
    if len(experts.mu) == 1:
        return np.zeros(experts.mu.shape[1])
    present = experts.log_var.min(axis=-1) != np.inf
    per_row = np.zeros(present.shape[1])
    several = present.sum(axis=0) > 1
    if several.any():
        among = Gaussian(experts.mu[:, several], experts.log_var[:, several])
        per_row[several] = disagreement(among, present[:, several])
    return per_row


class Posteriors:
    """Computes posteriors of one model for concurrent requests.

    Arguments:
        encoders: Encoders of all modalities, by name.
        dimension: Latent dimension D.
        linear: Place of linear models in z; None where there are none.
        models: Weight and dimensions of z of each model of an ensemble.
    """

    def __init__(
        self,
        encoders: Mapping[str, Runner],
        dimension: int,
        linear: LinearModels | None = None,
        models: Sequence[tuple[float, slice]] = SINGLE,
    ) -> None:
        self._encoders = encoders
        self._dimension = dimension
        self._linear = linear
        self._fuse = partial(fuse, tuple(encoders), dimension, linear=linear, models=models)
        self._batcher: IterationBatcher[FusionRequest, FusionResult] = IterationBatcher(self._fuse)

    async def of(self, columns: Mapping[str, Column], request: FusionRequest) -> FusionResult:
        """Computes the posterior of every row given its columns; drops the rows if the caller is cancelled.

        Arguments:
            columns: Rows by modality of the condition.
            request: Draws to make; its experts are filled in here.
        """
        future: asyncio.Future[FusionResult] = asyncio.get_running_loop().create_future()
        seen = [name for name, column in columns.items() if column.mask is None or column.mask.any()]
        pending = PendingPosterior(self, request, len(seen), future)
        expected = [PendingExpert(pending, name, columns[name]) for name in seen]
        for one in expected:
            self._encoders[one.name].submit(one.rows, one)
        if not expected:
            self.fuse(request, future)
        try:
            fused = await future
        except BaseException:
            for one in expected:
                self._encoders[one.name].cancel(one)
            raise
        CURRENT.get().record("fuse")
        return fused

    async def again(self, request: FusionRequest) -> FusionResult:
        """Computes the posterior from experts that are there already."""
        future: asyncio.Future[FusionResult] = asyncio.get_running_loop().create_future()
        self.fuse(request, future)
        return await future

    def fuse(self, request: FusionRequest, future: asyncio.Future[FusionResult]) -> None:
        """Fuses a request that has all its experts: a small one with others, a large one in a thread."""
        numbers = request.n * (request.draws + len(request.experts)) * self._dimension
        if self._linear is not None:
            numbers += request.n * INVERSION * self._linear.count * self._linear.dimension**2
        if numbers < (FEW if request.explained else 2 * FEW):
            self._batcher.submit(request, future)
            return
        running = asyncio.get_running_loop().run_in_executor(None, self._fuse, [request])
        running.add_done_callback(partial(_hand_on, future))
        future.add_done_callback(lambda _: running.cancel())  # no thread starts on a cancelled request


class PendingPosterior:
    """A request whose experts are being computed.

    Arguments:
        posteriors: Posteriors that fuse it once all experts are there.
        request: Request, whose experts are filled in.
        missing: Number of missing experts.
        future: Future of the result.
    """

    __slots__ = ("_fusing", "_missing", "_phases", "_posteriors", "future")

    def __init__(
        self,
        posteriors: Posteriors,
        request: FusionRequest,
        missing: int,
        future: asyncio.Future[FusionResult],
    ) -> None:
        self._posteriors = posteriors
        self._fusing = request
        self._missing = missing
        self._phases = CURRENT.get()
        self.future = future

    def take(self, name: str, expert: Expert) -> None:
        self._fusing.experts[name] = expert
        self._missing -= 1
        if not self._missing:
            self._phases.record("encode")
            self._posteriors.fuse(self._fusing, self.future)


class PendingExpert:
    """An expert that an encoder computes; receives the outputs without a future of its own.

    Arguments:
        pending: Request that needs it.
        name: Name of its modality.
        column: Rows of that modality.
    """

    __slots__ = ("_pending", "_present", "done", "name", "rows")

    def __init__(self, pending: PendingPosterior, name: str, column: Column) -> None:
        self._pending = pending
        self._present = column.mask
        self.done = pending.future.done
        self.name = name
        self.rows = column.values if self._present is None else column.values[self._present]

    def set_result(self, outputs: Outputs) -> None:
        natural = outputs.get(NATURAL)
        self._pending.take(self.name, Expert(outputs["mu"], outputs["log_var"], self._present, natural))

    def set_exception(self, error: BaseException) -> None:
        self._pending.future.set_exception(error)


def _hand_on(future: asyncio.Future[FusionResult], done: asyncio.Future[Sequence[FusionResult]]) -> None:
    """Copies the result of a thread to the future of its request, unless that was cancelled."""
    if done.cancelled():
        return
    error = done.exception()
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result()[0])


class IterationBatcher(Generic[Request, Result]):
    """Calls a function once for all requests of an event-loop iteration.

    Arguments:
        function: Function from requests to their results, in the same order.
    """

    def __init__(self, function: Callable[[Sequence[Request]], Sequence[Result]]) -> None:
        self._function = function
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._ends = False  # whether the end of this iteration is awaited
        self._alone = 0  # iterations of at most one request in a row

    def submit(self, request: Request, future: asyncio.Future[Result]) -> None:
        """Submits a request; its result, or error, is set on the future.

        That happens at the end of the iteration; at once where requests have come alone for some time.
        """
        self._waiting.append((request, future))
        if self._ends:
            self._alone = -1
            return
        self._ends = True
        asyncio.get_running_loop().call_soon(self._end)
        if self._alone >= SINGLE_CALLER_BATCHES:
            self._call()

    def _end(self) -> None:
        self._ends = False
        self._alone += 1
        self._call()

    def _call(self) -> None:
        submitted, self._waiting = self._waiting, []
        if pairs := [(request, future) for request, future in submitted if not future.done()]:
            self._settle(pairs)

    def _settle(self, pairs: Sequence[tuple[Request, asyncio.Future[Result]]]) -> None:
        try:
            results = self._function([request for request, _ in pairs])
        except Exception as error:
            if len(pairs) > 1:  # only requests that fail alone fail
                for pair in pairs:
                    self._settle([pair])
            else:
                pairs[0][1].set_exception(error)
            return
        for (_, future), result in zip(pairs, results, strict=True):
            future.set_result(result)
