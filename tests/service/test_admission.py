"""Long computations: refused by their own speed, and by what others have left, before their deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.engine.admission import Admission, Computation
from service.engine.scoring import LEAST_AT_ONCE, POINTS_AT_ONCE, portions
from service.errors import TooBusy, WrongInput
from service.settings import Settings


def admission(seconds_by_step: float, deadline: float) -> Admission:
    """Admission whose clock says that each step takes so many seconds."""
    ticks: Iterator[float] = (number // 2 * 1000 + number % 2 * seconds_by_step for number in count())
    return Admission(None, deadline, lambda: next(ticks))


async def steps(computation: Computation, number: int) -> None:
    for _ in range(number):
        await computation.run(int)
        computation.advance(1)


def test_what_takes_longer_than_one_request_may_is_refused_by_its_own_speed() -> None:
    async def check() -> None:
        many = admission(1.0, 60)
        with many.computation("score", 49, "K") as computation:
            await steps(computation, 2)
            with pytest.raises(
                WrongInput, match=r"about 49 s of processor time, more than the 48 s .* less: K"
            ):
                await steps(computation, 1)
        with many.computation("score", 48, "K") as computation:
            await steps(computation, 48)
        assert not many.current

    asyncio.run(check())


def test_graphs_count_towards_the_time_of_a_computation() -> None:
    with Admission(None, 60).computation("score", 10, "K") as computation:
        computation.add(5)
        with pytest.raises(WrongInput, match="about 50 s"):
            computation.advance(1)


def test_what_others_would_keep_waiting_past_its_deadline_is_asked_to_come_back() -> None:
    async def check() -> None:
        shared = admission(1.0, 60)
        with shared.computation("score", 26, "K") as first:
            await steps(first, 1)  # 25 s are left
            with shared.computation("score", 5, "K") as second:
                await steps(second, 5)
            with (
                pytest.raises(TooBusy, match="other requests need about 25 s") as refused,
                shared.computation("score", 6, "K"),
            ):
                pass
            assert refused.value.seconds == 25
            with pytest.raises(TooBusy), shared.computation("generate", 7, "K") as unknown:
                await steps(unknown, 1)  # its speed is known after one step
            assert shared.current == {first}
        with shared.computation("score", 40, "K") as alone:
            await steps(alone, 40)

    asyncio.run(check())


def test_where_other_work_shares_the_processor_a_request_is_asked_to_come_back_before_its_deadline() -> None:
    async def check() -> None:
        now = iter([0.0, 53.0, 55.0])
        slow = Admission(None, 60, now=lambda: next(now))
        with slow.computation("score", 4, "K") as computation:
            await steps(computation, 1)
            with pytest.raises(TooBusy, match=r"25% of the request were done in 55 s"):
                await steps(computation, 1)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("at_once", "draws", "cells", "expected"),
    [
        (1, 1000, 10, (LEAST_AT_ONCE, POINTS_AT_ONCE // LEAST_AT_ONCE)),
        (10_000, 10_000, 10, (POINTS_AT_ONCE, 1)),
        (500, 1000, 784, (500, POINTS_AT_ONCE // 500)),
        (1, 7, 10, (7, POINTS_AT_ONCE // 7)),
        (100, 1000, 2**20, (4, 1)),
        (100, 1000, 2**30, (1, 1)),
    ],
)
def test_portions_are_neither_slow_nor_large(
    at_once: int, draws: int, cells: int, expected: tuple[int, int]
) -> None:
    assert portions(at_once, draws, cells, 2**22) == expected


def test_scores_and_summaries_do_not_depend_on_what_is_computed_together(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"inputs": {"label": [1, 2, 3, 4, 5]}}
    questions = ("/score?K=300&seed=1&batch_size_K=", "/generate?K=300&seed=1&gen_mod=image&N=")
    with TestClient(create_app(Settings(store=str(bundle_folder.parents[1])))) as client:
        whole, small = (client.post(f"{questions[0]}{size}", json=labels).json() for size in (300, 1))
        assert small["log_prob"] == pytest.approx(whole["log_prob"], abs=1e-5)
        answer = client.post(f"{questions[1]}1", json=labels).json()
        monkeypatch.setattr("service.engine.model.CELLS_AT_ONCE", 1)  # a row at a time
        pieces = client.post(f"{questions[1]}1", json=labels).json()
        assert pieces == answer
