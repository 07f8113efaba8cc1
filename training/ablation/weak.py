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
"""Wu & Goodman (2018), the MVAE on MNIST, at these shares: recalled, not measured by us."""
EPOCHS = 4
SETTINGS = (
    'modalities.image.network={type="conv", channels=[16, 32], hidden=[128]}',
    "modalities.label.weight=500.0",
    "data.paired_share=0.8",
    'model.objective="matched"',
    "model.warmup=1",
    "fit.average=0.99",
)
"""What was found to make most of few labels: they come often and weigh much, and the image's networks are
convolutional. What an image says beside its label matters less here than in the model that is shipped."""
SOURCE = "Wu & Goodman (2018), recalled: " + ", ".join(
    f"{100 * share:g} %: {value:.3f}" for share, value in zip(SHARES, RECALLED, strict=True)
)


def curve(experiment: str, folder: Path = HERE) -> list[Record]:
    """The runs of that experiment on all its rows; none if nobody has run them."""
    return [
        record
        for record in read(folder / FILE)
        if record.case["experiment"] == experiment and record.case["rows"] is None
    ]


def studies(experiment: str, folder: Path = HERE) -> list[Study]:
    """For the card of that experiment; none if nobody has run the curve."""
    runs = curve(experiment, folder)
    if not runs:
        return []
    caption = "The curve of the table above."
    return [Study("Weak supervision", _section(runs), "weak_supervision.png", picture(runs), caption)]


def _section(records: list[Record]) -> list[str]:
    """The table, and what it is compared with."""
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
    """Accuracy by share, one line per variant, and the recalled values."""
    figure = Figure(figsize=(5.5, 3.5), dpi=DPI)
    axes = figure.subplots()
    question = next(iter(records[0].found))
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
