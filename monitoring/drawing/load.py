"""A varied load: several models, every operation, both protocols, and some requests that are refused."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

CALLERS = 8
PERIOD = 30  # seconds between two rushes
SEVEN = (Path(__file__).parents[2] / "tests" / "data" / "seven.png").read_bytes()
BLANK = [[0] * 28] * 28
INFER = b"""{"inputs": [{"name": "label", "shape": [2], "datatype": "INT64", "data": [3, 7]}]}"""

# How often, where to, and what.
REQUESTS: list[tuple[int, str, Mapping[str, Any]]] = [
    (30, "/encode", {"files": {"image": SEVEN}}),
    (
        20,
        "/generate?K=20&gen_mod=label,image",
        {"json": {"inputs": {"label": [4, None], "image": [None, BLANK]}}},
    ),
    (10, "/generate?K=50", {"files": {"image": SEVEN, "label": b"7"}}),
    (10, "/models/mnist/score?K=50&cond_mod=image", {"files": {"image": SEVEN, "label": b"7"}}),
    (10, "/models/mfeat/encode", {"json": {"inputs": {"label": [1, 2, 3]}}}),
    (10, "/models/fashion_mnist/generate?K=20&gen_mod=label", {"files": {"image": SEVEN}}),
    (10, "/v2/models/mnist/infer", {"content": INFER}),
    (2, "/generate?K=300", {"json": {"inputs": {"label": [5] * 20}}}),
    (4, "/encode", {"json": {"inputs": {"label": ["no such label"]}}}),
    (2, "/models/unknown/encode", {"files": {"image": SEVEN}}),
]


async def ask(address: str, seconds: float) -> None:
    """Some callers ask at random, now more often, now less."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    chance = random.Random(0)  # noqa: S311 - no secret
    weights = [often for often, _, _ in REQUESTS]

    async def call() -> None:
        while (passed := loop.time() - start) < seconds:
            (_, path, body), *_ = chance.choices(REQUESTS, weights)
            await client.post(path, **body)
            await asyncio.sleep(chance.random() * (1.2 + math.sin(2 * math.pi * passed / PERIOD)))

    async with httpx2.AsyncClient(base_url=address, timeout=60) as client, asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(call())
