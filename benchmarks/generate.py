"""Measures the time of ``/generate`` by phase: ``python -m benchmarks.generate``.

One caller asks the shipped model of four modalities for all of them, given a picture; times are those of the
answers' own ``Server-Timing``, in milliseconds.
"""

from __future__ import annotations

import argparse
import http.client
import statistics

import numpy as np

from benchmarks.servers import anyview

PHASES = ("total", "encode", "fuse", "decode", "summarise", "reply")
CASES = ((1, 100), (1, 1000), (16, 100), (16, 1000))
"""Rows, and draws behind the summaries of each."""


def main(times: int) -> None:
    print("| rows | K | " + " | ".join(f"{phase}, ms" for phase in PHASES) + " | memory, MB |")
    print("| ---: " * (3 + len(PHASES)) + "|")
    for rows, draws in CASES:
        with anyview(None, "--default-model", "digits") as server:
            runs = [_phases(server.port, rows, draws) for _ in range(times + 2)][2:]
            medians = [statistics.median(one[phase] for one in runs) for phase in PHASES]
            cells = " | ".join(f"{median:.1f}" for median in medians)
            print(f"| {rows} | {draws} | {cells} | {server.resident_megabytes:.0f} |", flush=True)


def _phases(port: int, rows: int, draws: int) -> dict[str, float]:
    pictures = np.random.default_rng(0).integers(0, 256, (rows, 28, 28))
    body = f'{{"inputs": {{"image": {pictures.tolist()}}}}}'
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", f"/generate?K={draws}", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(response.read().decode())
    parts = (part.partition(";dur=") for part in response.headers["Server-Timing"].split(", "))
    response.read()
    connection.close()
    return {name: float(value) for name, _, value in parts}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=30, help="how often each is asked")
    main(parser.parse_args().times)
