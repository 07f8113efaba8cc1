"""Random numbers come from their generator, on its device."""

from __future__ import annotations

import pytest
import torch

from training.draws import draw_normal, draw_seed, draw_uniform, on_device

ELSEWHERE = torch.device("meta")
"""A device that holds shapes alone, to stand in for a GPU."""


@pytest.mark.parametrize("draw", [draw_normal, draw_uniform])
def test_draws_are_those_of_the_generator(draw: object) -> None:
    expected = {draw_normal: torch.randn, draw_uniform: torch.rand}[draw]  # type: ignore[index]
    drawn = draw((3, 2), torch.Generator().manual_seed(5))  # type: ignore[operator]
    assert torch.equal(drawn, expected(3, 2, generator=torch.Generator().manual_seed(5)))


def test_a_seed_is_that_of_the_generator() -> None:
    seeds = [draw_seed(torch.Generator().manual_seed(5)) for _ in range(2)]
    assert seeds[0] == seeds[1] != draw_seed(torch.Generator().manual_seed(6))


def test_the_cpu_keeps_its_generator() -> None:
    generator = torch.Generator()
    assert on_device(generator, torch.device("cpu")) is generator
