"""Random numbers on the device of their generator, as a generator draws on no other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def draw_normal(shape: Sequence[int], generator: Generator | None = None) -> Tensor:
    """Standard normal numbers, float32, on the device of the generator; on the CPU without one."""
    return torch.randn(tuple(shape), generator=generator, device=_device(generator))


def draw_uniform(shape: Sequence[int], generator: Generator | None = None) -> Tensor:
    """Numbers in [0, 1), float32, on the device of the generator; on the CPU without one."""
    return torch.rand(tuple(shape), generator=generator, device=_device(generator))


def draw_seed(generator: Generator | None = None) -> int:
    """A whole number in [0, 2^62)."""
    return int(torch.randint(2**62, (1,), generator=generator, device=_device(generator)))


def on_device(generator: Generator, device: torch.device) -> Generator:
    """A generator for draws on a device: on a CPU the given one, on a GPU a new one with its seed."""
    if device.type == "cpu":
        return generator
    return Generator(device).manual_seed(generator.initial_seed())


def _device(generator: Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device
