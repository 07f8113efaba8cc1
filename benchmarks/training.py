"""Measures training relative to MultiVae: our samples/s ÷ its samples/s.

Objective `paper`, MultiVae's networks (784-512-512-20 and 20-512-784 for a picture),
the same rows, batch 100, Adam. `step` is forward, backward and optimizer on batches that are in memory;
`epoch` also takes them from the whole data in a new order, as each library's own loop does. The other lines
are steps with what an experiment file may ask for and MultiVae has no setting for.

On a CPU the time is that of the process, which others who use the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.reference import reference
from training.data.rows import Rows
from training.device import compile_loss
from training.epoch import adam
from training.model import MVAE, MVAEConfig
from training.networks import OneHot
from training.networks.reference import ReferenceDecoder, ReferenceEncoder

BATCH = 100
ROWS = 2000
LATENT = 20


@dataclass(frozen=True)
class Case:
    """What is trained."""

    name: str
    dims: dict[str, tuple[int, ...]]
    dists: dict[str, str]
    k: int


CASES = (
    Case(
        "two modalities, k = 0",
        {"image": (28, 28), "label": (10,)},
        {"image": "bernoulli", "label": "categorical"},
        k=0,
    ),
    Case(
        "five modalities, k = 5",
        {"image": (28, 28), "fac": (216,), "fou": (76,), "kar": (64,), "pix": (240,)},
        {"image": "bernoulli", "fac": "normal", "fou": "normal", "kar": "normal", "pix": "laplace"},
        k=5,
    ),
)


def rows_of(case: Case, device: torch.device) -> dict[str, Tensor]:
    """Made-up rows, categories as indices: what stands in them makes no difference to the speed."""
    torch.manual_seed(0)

    def values(name: str) -> Tensor:
        if case.dists[name] == "categorical":
            return torch.randint(0, case.dims[name][0], (ROWS,))
        x = torch.rand(ROWS, *case.dims[name])
        return (x > 0.8).float() if case.dists[name] == "bernoulli" else x

    return {name: values(name).to(device) for name in case.dims}


def config(case: Case) -> dict[str, Any]:
    return {
        "n_modalities": len(case.dims),
        "latent_dim": LATENT,
        "input_dims": case.dims,
        "decoders_dist": dict(case.dists),
        "k": case.k,
        "warmup": 0,
    }


@dataclass(frozen=True)
class Settings:
    """What of `[fit]` may make a step faster."""

    name: str
    compiled: bool = False
    half: bool = False


PLAIN = Settings("step")
FASTER = (
    Settings("step, compile = true", compiled=True),
    Settings("step, precision = bf16", half=True),
    Settings("step, both", compiled=True, half=True),
)

Step = Callable[[Any], None]


def theirs(
    case: Case, device: torch.device
) -> tuple[Step, Callable[[], Iterator[Any]], Callable[[], Iterator[Any]]]:
    library = reference()
    torch.manual_seed(0)
    model = library.MVAE(library.MVAEConfig(**config(case))).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    rows = rows_of(case, device)
    categories = [name for name in rows if case.dists[name] == "categorical"]
    one_hot = {name: nn.functional.one_hot(rows[name], *case.dims[name]).float() for name in categories}
    data = library.Complete({**rows, **one_hot})
    batches = [
        library.Complete({m: x[i : i + BATCH] for m, x in data.data.items()}) for i in range(0, ROWS, BATCH)
    ]

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        model(batch, epoch=2).loss.backward()
        optimizer.step()

    return step, lambda: cycle(batches), lambda: iter(DataLoader(data, BATCH, shuffle=True))


def ours(
    case: Case, device: torch.device, settings: Settings
) -> tuple[Step, Callable[[], Iterator[Any]], Callable[[], Iterator[Any]]]:
    library = reference()
    torch.manual_seed(0)
    twin = library.MVAE(library.MVAEConfig(**config(case)))
    encoders: dict[str, nn.Module] = {m: ReferenceEncoder(shape, LATENT) for m, shape in case.dims.items()}
    decoders: dict[str, nn.Module] = {m: ReferenceDecoder(shape, LATENT) for m, shape in case.dims.items()}
    for name in case.dims:  # the weights have the same names
        encoders[name].load_state_dict(twin.encoders[name].state_dict())
        decoders[name].load_state_dict(twin.decoders[name].state_dict())
        if case.dists[name] == "categorical":
            encoders[name] = nn.Sequential(OneHot(*case.dims[name]), encoders[name])
    model = MVAE(MVAEConfig(**config(case)), encoders, decoders).to(device)
    if settings.compiled:
        compile_loss(model, device)
    optimizer = adam(model, 1e-4)
    rows = Rows(rows_of(case, device))
    batches = [rows.take(slice(i, i + BATCH)) for i in range(0, ROWS, BATCH)]

    def step(batch: Rows) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.half):
            loss = model(batch, epoch=2).loss
        loss.backward()
        optimizer.step()

    def epoch() -> Iterator[Rows]:
        return (rows.take(index) for index in torch.split(torch.randperm(ROWS, device=device), BATCH))

    return step, lambda: cycle(batches), epoch


def seconds(step: Step, batches: Callable[[], Iterator[Any]], steps: int, device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    for _, batch in zip(range(steps), batches(), strict=False):
        step(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(
    case: Case, device: torch.device, rounds: int, faster: Sequence[Settings]
) -> Iterator[tuple[str, float, float, float]]:
    """Alternates between the two, so that other load of the machine affects both equally."""
    other, other_batches, other_epoch = theirs(case, device)
    mine, my_batches, my_epoch = ours(case, device, PLAIN)
    kinds = [
        (PLAIN.name, mine, my_batches, other_batches),
        ("epoch", mine, my_epoch, other_epoch),
        *((settings.name, *ours(case, device, settings)[:2], other_batches) for settings in faster),
    ]
    steps = ROWS // BATCH // 4
    for kind, my_step, mine_of_kind, their in kinds:
        seconds(my_step, mine_of_kind, 5, device), seconds(other, their, 5, device)
        pairs = [
            (seconds(my_step, mine_of_kind, steps, device), seconds(other, their, steps, device))
            for _ in range(rounds)
        ]
        fast, slow = (steps * BATCH / statistics.median(column) for column in zip(*pairs, strict=True))
        yield kind, fast, slow, statistics.median(slow / fast for fast, slow in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--plain", action="store_true", help="without what has to be compiled, or is in bf16")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    print(f"torch {torch.__version__}, {platform.machine()}, one thread; batch {BATCH}")
    print("| device | what | | ours, samples/s | reference, samples/s | ratio |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for device in devices:
        where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        for case in CASES:
            for kind, fast, slow, ratio in compare(
                case, device, arguments.rounds, () if arguments.plain else FASTER
            ):
                print(
                    f"| {where} | {case.name} | {kind} | {fast:,.0f} | {slow:,.0f} | {ratio:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
