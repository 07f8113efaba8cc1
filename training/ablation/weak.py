"""The curve of weak supervision: label accuracy by the share of training rows whose label is seen."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from training.ablation.records import HERE, Record, mean_of, read, table
from training.evaluation.card import Study
from training.evaluation.drawing import DPI, png

FILE = "weak.jsonl"
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
RECALLED = (0.284, 0.625, 0.859, 0.884, 0.939, 0.958, 0.971, 0.968, 0.968)
"""Accuracies of the MVAE on MNIST at these shares in Wu & Goodman (2018); quoted from memory."""
EPOCHS = 4
SETTINGS = (
    'modalities.image.network={type="conv", channels=[16, 32], hidden=[128]}',
    "modalities.label.weight=500.0",
    "data.paired_share=0.8",
    'model.objective="matched"',
    "model.warmup=1",
    "fit.average=0.99",
)
"""Settings with the best accuracy at few labels: labelled rows are repeated and weighted, and the image's
networks are convolutional. Other contents of the image matter less than in the shipped model."""
SOURCE = "Wu & Goodman (2018), recalled: " + ", ".join(
    f"{100 * share:g} %: {value:.3f}" for share, value in zip(SHARES, RECALLED, strict=True)
)


def curve(experiment: str, folder: Path = HERE) -> list[Record]:
    """Reads the recorded runs of an experiment on all its rows."""
    return [
        record
        for record in read(folder / FILE)
        if record.case["experiment"] == experiment and record.case["rows"] is None
    ]


def studies(experiment: str, folder: Path = HERE) -> list[Study]:
    """Returns the studies for the card of an experiment; empty if the curve was not recorded."""
    runs = curve(experiment, folder)
    if not runs:
        return []
    caption = "The curve of the table above."
    return [Study("Weak supervision", _section(runs), "weak_supervision.png", picture(runs), caption)]


def _section(records: list[Record]) -> list[str]:
    """Returns the lines of the table and of its reference."""
    return [
        "How often labels are right by the share of training rows whose label was seen: mean ± standard "
        "deviation over the seeds, by `python -m training.ablation weak`, of models trained for this curve "
        "alone.",
        "",
        *table(records, ("paired", "variant", "epochs")).splitlines(),
        "",
        f"{SOURCE}.",
    ]


def picture(records: list[Record]) -> bytes:
    """Draws accuracy by share, one line per variant, and the values of Wu & Goodman."""
    figure = Figure(figsize=(5.5, 3.5), dpi=DPI)
    axes = figure.subplots()
    question = next(iter(records[0].results))
    for variant in dict.fromkeys(record.case["variant"] for record in records):
        selected = [record for record in records if record.case["variant"] == variant]
        shares = sorted({record.case["paired"] for record in selected})
        means = [mean_of([r for r in selected if r.case["paired"] == share], question) for share in shares]
        axes.plot(shares, means, ".-", label=variant)
    axes.plot(SHARES, RECALLED, "--", color="gray", label="Wu & Goodman (2018), recalled")
    axes.set_xscale("log")
    axes.set_xlabel("share of training rows whose label is seen")
    axes.set_ylabel(question)
    axes.legend(fontsize=8)
    figure.tight_layout()
    return png(figure)
