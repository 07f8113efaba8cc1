"""Compares the Python client with raw httpx and npz: ``python -m benchmarks.client``.

Both send 256 pictures of 28 × 28 pixels to the model ``mnist`` and read every array of the answer, in turn in
each round, over one connection each. A ratio is the raw time ÷ the client's time, so 1 is equal speed.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import numpy as np
from anyview_client import Client

from benchmarks.servers import anyview

GOAL = 0.8
PICTURES = np.random.default_rng(0).integers(0, 256, (256, 28, 28), np.uint8)
MEDIA = "application/x-npz"


@contextmanager
def raw(address: str) -> Iterator[Callable[[str], None]]:
    """What a user would write without the client."""
    with httpx.Client(base_url=address, timeout=60) as http:

        def request(path: str) -> None:
            stream = io.BytesIO()
            np.savez(stream, image=PICTURES)
            headers = {"content-type": MEDIA, "accept": MEDIA}
            query = {} if path == "encode" else {"gen_mod": "label"}
            response = http.post(
                f"/models/mnist/{path}", content=stream.getvalue(), headers=headers, params=query
            )
            response.raise_for_status()
            with np.load(io.BytesIO(response.content)) as archive:
                arrays = dict(archive)
            assert len(arrays["n_data"].shape) == 0

        yield request


@contextmanager
def ours(address: str) -> Iterator[Callable[[str], None]]:
    """The same with the client."""
    with Client(address, model="mnist") as client:

        def request(path: str) -> None:
            answer = (
                client.encode({"image": PICTURES})
                if path == "encode"
                else client.generate({"image": PICTURES}, gen_mod="label")
            )
            assert answer.n_data == len(PICTURES)

        yield request


def seconds(request: Callable[[str], None], path: str, repetitions: int) -> float:
    """Mean time of a request."""
    began = time.perf_counter()
    for _ in range(repetitions):
        request(path)
    return (time.perf_counter() - began) / repetitions


def main(rounds: int, repetitions: int) -> None:
    print("| path | median | range | goal | client, ms |\n| --- | ---: | --- | --- | ---: |")
    with anyview(None) as server:
        address = f"http://127.0.0.1:{server.port}"
        for path in ("encode", "generate"):
            with raw(address) as theirs, ours(address) as client:
                for request in (theirs, client):
                    request(path)
                pairs = [
                    (seconds(theirs, path, repetitions), seconds(client, path, repetitions))
                    for _ in range(rounds)
                ]
            ratios = [before / after for before, after in pairs]
            median, milliseconds = statistics.median(ratios), 1e3 * statistics.median(t for _, t in pairs)
            low, high = min(ratios), max(ratios)
            print(
                f"| /{path} | {median:.2f} | {low:.2f}–{high:.2f} | ≥ {GOAL} | {milliseconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repetitions", type=int, default=20)
    main(**vars(parser.parse_args()))
