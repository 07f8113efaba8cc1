"""Fills a CSV table as a user of onnxruntime writes it by hand: the rival of :mod:`benchmarks.impute_table`.

``python -m benchmarks.impute_loop FOLDER TABLE OUTPUT``: the folder of a bundle that has a vector ``mor`` and
a category ``label``. Pieces of 1,000 rows; encoders on the rows that are observed; the product of experts;
K draws; decoders; mean and 5th and 95th percentile of the draws.
"""

from __future__ import annotations

import csv
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime

DRAWS = 100
ROWS = 1000
VIEW = [f"mor{number}" for number in range(1, 7)]
LABELS = [str(digit) for digit in range(10)]


def main() -> None:
    folder, table, output = map(Path, sys.argv[1:4])
    sessions = {
        name: onnxruntime.InferenceSession(folder / f"{name}.onnx")
        for name in ("mor.encoder", "label.encoder", "mor.decoder", "label.decoder")
    }
    rng = np.random.default_rng(1)
    with table.open(newline="") as source, output.open("w", newline="") as target:
        reader, writer = csv.DictReader(source), csv.writer(target)
        headers = list(reader.fieldnames or [])
        added = [f"{name}.{part}" for name in VIEW for part in ("q05", "q95")]
        writer.writerow([*headers, *added, "label.probability"])
        while rows := list(islice(reader, ROWS)):
            fill(rows, sessions, rng)
            writer.writerows([list(row.values()) for row in rows])


def fill(
    rows: list[dict[str, str]],
    sessions: dict[str, onnxruntime.InferenceSession],
    rng: np.random.Generator,
) -> None:
    """Fills the empty cells of some rows, and adds percentiles and the probability of the label."""
    cells = np.array([[row[name] or "nan" for name in VIEW] for row in rows], np.float32)
    labels = np.array([LABELS.index(row["label"]) if row["label"] else -1 for row in rows])
    precision, weighted = np.ones((len(rows), 32), np.float32), np.zeros((len(rows), 32), np.float32)
    for name, values, present in (
        ("mor", cells, ~np.isnan(cells).any(axis=1)),
        ("label", labels, labels >= 0),
    ):
        mu, log_var = sessions[f"{name}.encoder"].run(None, {"x": values[present]})
        precision[present] += np.exp(-log_var)
        weighted[present] += mu * np.exp(-log_var)
    noise = rng.standard_normal((DRAWS, len(rows), 32), np.float32)
    draws = (weighted / precision + noise / np.sqrt(precision)).reshape(-1, 32)
    loc, log_scale = sessions["mor.decoder"].run(None, {"z": draws})
    means = loc.reshape(DRAWS, -1, 6)
    samples = means + np.exp(log_scale).reshape(means.shape) * rng.standard_normal(means.shape, np.float32)
    samples.sort(axis=0)
    logits = sessions["label.decoder"].run(None, {"z": draws})[0].reshape(DRAWS, -1, 10)
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))
    probability = (shares / shares.sum(axis=2, keepdims=True)).mean(axis=0)
    by_row = zip(rows, means.mean(axis=0), samples[4], samples[94], probability, strict=True)
    for row, mean, low, high, share in by_row:
        for at, name in enumerate(VIEW):
            bounds = ("", "") if row[name] else (f"{low[at]:.6g}", f"{high[at]:.6g}")
            row[f"{name}.q05"], row[f"{name}.q95"] = bounds
            row[name] = row[name] or f"{mean[at]:.6g}"
        row["label.probability"] = "" if row["label"] else f"{share.max():.4f}"
        row["label"] = row["label"] or LABELS[share.argmax()]


if __name__ == "__main__":
    main()
