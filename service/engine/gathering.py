"""Questions on their way to a posterior: each gathers its experts, and is fused once it has them all.

Nobody is woken in between: a task, a future and a turn of the event loop for every expert take longer than
the product of experts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from service.engine.batching import Outputs, Runner
from service.engine.observations import Column
from service.engine.phases import phase_recorder, record_phase
from service.engine.posteriors import Expert, Fused, Fusing, fuse
from service.engine.turns import Turns
from service.engine.workers import FEW


class Posteriors:
    """Those of one model.

    Arguments:
        encoders: By modality, all of the model.
        dimension: D.
    """

    def __init__(self, encoders: Mapping[str, Runner], dimension: int) -> None:
        self._encoders = encoders
        self._dimension = dimension
        self._fuse = partial(fuse, tuple(encoders), dimension)
        self._turns: Turns[Fusing, Fused] = Turns(self._fuse)

    async def of(self, columns: Mapping[str, Column], fusing: Fusing) -> Fused:
        """The posterior of every row given its columns; a caller that is cancelled costs nothing more.

        Arguments:
            columns: By modality of the condition, the rows.
            fusing: What is wanted, its experts still to come.
        """
        future: asyncio.Future[Fused] = asyncio.get_running_loop().create_future()
        seen = [name for name, column in columns.items() if column.complete or column.present.any()]
        gathering = _Gathering(self, fusing, len(seen), future)
        expected = [_Expected(gathering, name, columns[name]) for name in seen]
        for one in expected:
            self._encoders[one.name].ask(one.rows, one)
        if not expected:
            self.fuse(fusing, future)
        try:
            fused = await future
        except BaseException:
            for one in expected:
                self._encoders[one.name].forget(one)
            raise
        record_phase("fuse")
        return fused

    def fuse(self, fusing: Fusing, future: asyncio.Future[Fused]) -> None:
        """Has a question fused that has all its experts; little of it together with what others ask."""
        if fusing.n * (fusing.draws + len(self._encoders)) * self._dimension < FEW:
            self._turns.ask(fusing, future)
            return
        running = asyncio.get_running_loop().run_in_executor(None, self._fuse, [fusing])
        running.add_done_callback(partial(_hand_on, future))
        future.add_done_callback(lambda _: running.cancel())  # no thread begins what nobody awaits


class _Gathering:
    """A question that lacks experts.

    Arguments:
        posteriors: Where it is fused once it has them.
        fusing: The question, whose experts are put into it.
        lacking: How many it lacks.
        future: Of its answer.
    """

    __slots__ = ("_fusing", "_lacking", "_posteriors", "_record", "future")

    def __init__(
        self, posteriors: Posteriors, fusing: Fusing, lacking: int, future: asyncio.Future[Fused]
    ) -> None:
        self._posteriors = posteriors
        self._fusing = fusing
        self._lacking = lacking
        self._record = phase_recorder()
        self.future = future

    def take(self, name: str, expert: Expert) -> None:
        self._fusing.experts[name] = expert
        self._lacking -= 1
        if not self._lacking:
            self._record("encode")
            self._posteriors.fuse(self._fusing, self.future)


class _Expected:
    """An expert that an encoder computes, in place of a future that nobody awaits.

    Arguments:
        gathering: The question that lacks it.
        name: Of its modality.
        column: Its rows.
    """

    __slots__ = ("_gathering", "_present", "name", "rows")

    def __init__(self, gathering: _Gathering, name: str, column: Column) -> None:
        self._gathering = gathering
        self._present = None if column.complete else column.present
        self.name = name
        self.rows = column.values if self._present is None else column.values[self._present]

    def done(self) -> bool:
        return self._gathering.future.done()

    def set_result(self, outputs: Outputs) -> None:
        self._gathering.take(self.name, Expert(outputs["mu"], outputs["log_var"], self._present))

    def set_exception(self, error: BaseException) -> None:
        self._gathering.future.set_exception(error)


def _hand_on(future: asyncio.Future[Fused], done: asyncio.Future[Sequence[Fused]]) -> None:
    """What a thread computed, to whoever still waits for it."""
    if done.cancelled():
        return
    error = done.exception()
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result()[0])
