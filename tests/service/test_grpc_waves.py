"""Calls over gRPC that arrive close together continue together, and so share a batch."""

from __future__ import annotations

import asyncio

import pytest

from service.grpc.waves import QUIET_ITERATIONS, SINGLE_WAVES, Waves


async def iterations(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Clock:
    """Counts the event-loop iterations."""

    def __init__(self) -> None:
        self.now = 0

    async def run(self) -> None:
        while True:
            self.now += 1
            await asyncio.sleep(0)


async def released(waves: Waves, clock: Clock, arrivals: list[int]) -> list[int]:
    """The iterations in which calls continue that arrive after so many iterations."""

    async def call(after: int) -> int:
        await iterations(after)
        with waves:
            await waves.join()
            return clock.now

    ticking = asyncio.create_task(clock.run())
    times = await asyncio.gather(*map(call, arrivals))
    ticking.cancel()
    return times


def test_neighbours_continue_in_one_iteration() -> None:
    """Each arrival begins the wait anew, so that a wave may last for as long as calls arrive."""
    step = QUIET_ITERATIONS - 2
    times = asyncio.run(released(Waves(), Clock(), [n * step for n in range(5)]))
    assert len({*times}) == 1
    assert times[0] >= 4 * step


def test_calls_far_apart_do_not_wait_for_each_other() -> None:
    first, second = asyncio.run(released(Waves(), Clock(), [0, 5 * QUIET_ITERATIONS]))
    assert first < 2 * QUIET_ITERATIONS < 5 * QUIET_ITERATIONS <= second


def test_a_client_that_is_alone_waits_for_a_few_calls_only() -> None:
    async def alone(calls: int) -> list[int]:
        waves, clock, waited = Waves(), Clock(), []
        for _ in range(calls):
            before = clock.now
            (after,) = await released(waves, clock, [0])
            waited.append(after - before)
        return waited

    waited = asyncio.run(alone(SINGLE_WAVES + 3))
    assert min(waited[:SINGLE_WAVES]) >= QUIET_ITERATIONS
    assert max(waited[SINGLE_WAVES:]) <= 2


def test_a_call_that_is_cancelled_while_it_waits_leaves_the_others() -> None:
    async def run() -> bool:
        waves = Waves()

        async def call() -> bool:
            with waves:
                await waves.join()
            return True

        leaving, staying = asyncio.create_task(call()), asyncio.create_task(call())
        await iterations(2)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    assert asyncio.run(run())
