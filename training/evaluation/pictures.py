"""The pictures of a model card: reconstructions, generated rows, latent map, losses, reliability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from models_store.arrays import Array
from models_store.latent import Latent
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.drawing import DPI, Strip, figure_of, png
from training.evaluation.evaluated import EvaluatedModel, having_all, observed_all
from training.evaluation.judging import generate
from training.evaluation.metrics import Calibration

ACROSS = 10
"""Columns of a figure."""
MOST_MODALITIES = 8
"""Limit of modalities that are shown."""
MOST_LINES = 13


def pictures(
    evaluated: EvaluatedModel, latent: Latent | None, metrics: Mapping[str, Any]
) -> dict[str, bytes]:
    """Returns PNG files by name; without real rows if the experiment does not publish examples."""
    shown = evaluated.manifest.modalities[:MOST_MODALITIES]
    drawn: dict[str, bytes | None] = {}
    if evaluated.examples and len(evaluated.test):
        drawn["reconstructions.png"] = reconstructions(evaluated, shown)
    for source in shown:
        others = [m for m in shown if m.name != source.name]
        drawn[f"from_{source.name}.png"] = _from(evaluated, source, others)
    if latent is not None and len(latent.map.points):
        drawn["latent_map.png"] = latent_map(latent, shown)
    history = evaluated.manifest.trained.get("history", {})
    if len(history.get("train_loss", ())) > 1:
        drawn["losses.png"] = losses(history)
    if any(_some(metrics["calibration"])):
        drawn["reliability.png"] = reliability(metrics["calibration"])
    return {name: content for name, content in drawn.items() if content is not None}


def reconstructions(evaluated: EvaluatedModel, shown: Sequence[Modality]) -> bytes | None:
    """Draws held-out rows, and below their reconstruction from themselves and from all modalities."""
    strips = []
    for modality in shown:
        rows = _examples(evaluated, [modality.name])
        if modality.labels is not None or not len(rows):
            continue
        strips.append(Strip(modality.name, modality, rows.data[modality.name].numpy()))
        for title, given in (("… from itself", [modality.name]), ("… from all", evaluated.manifest.names)):
            mean = evaluated.means(modality.name, evaluated.posterior(rows, given).mu)
            strips.append(Strip(title, modality, mean))
    return figure_of(strips) if strips else None


def _from(evaluated: EvaluatedModel, source: Modality, targets: Sequence[Modality]) -> bytes | None:
    """Draws examples of the source, and below each target generated from them, with a new z in each line."""
    if source.labels is not None:
        strip = _labels_of(source)
        rows = Rows({source.name: torch.from_numpy(strip.rows)})
    else:
        rows = _examples(evaluated, [source.name]) if evaluated.examples else evaluated.test.head(0)
        if not len(rows) or not targets:
            return None
        strip = Strip(source.name, source, rows.data[source.name].numpy())
    drawable = [target for target in targets if target.labels is None or source.labels is None]
    lines = max(1, min(4, (MOST_LINES - 1) // max(len(drawable), 1)))
    strips = [strip]
    for target in drawable:
        if target.labels is not None:
            probabilities = evaluated.means(target.name, evaluated.posterior(rows, [source.name]).mu)
            strips.append(Strip(f"{target.name}, most probable", target, probabilities.argmax(axis=1)))
            continue
        repeated = rows.take(torch.arange(len(rows)).repeat(lines))
        drawn = generate(evaluated, [source.name], target.name, repeated)
        drawn = drawn.reshape(lines, len(rows), *drawn.shape[1:])
        strips += [Strip(target.name if i == 0 else "", target, line) for i, line in enumerate(drawn)]
    return figure_of(strips) if len(strips) > 1 else None


def _labels_of(category: Modality) -> Strip:
    count = min(ACROSS, len(category.labels or ()))
    return Strip(category.name, category, np.arange(count, dtype=category.numpy_dtype))


def _examples(evaluated: EvaluatedModel, names: Sequence[str]) -> Rows:
    """Returns held-out rows with these modalities: one per label if there are labels, else the first ones."""
    rows = having_all(evaluated.test, names)
    category = next((m for m in evaluated.manifest.modalities if m.labels is not None), None)
    if category is None or not len(rows):
        return rows.head(ACROSS)
    labels = np.where(observed_all(rows, [category.name]), rows.data[category.name].numpy(), -1)
    first = [np.flatnonzero(labels == label)[:1] for label in range(len(category.labels or ()))]
    index = np.concatenate(first)[:ACROSS]
    return rows.take(torch.from_numpy(index)) if len(index) else rows.head(ACROSS)


def latent_map(latent: Latent, shown: Sequence[Modality]) -> bytes:
    """Draws the latent map like the page of the service, coloured by the first category."""
    figure = Figure(figsize=(5.5, 4.5), dpi=DPI)
    axes = figure.subplots()
    points = latent.map.points
    category = next((m for m in shown if m.name in latent.map.labels), None)
    if category is None:
        axes.plot(points[:, 0], points[:, 1], ".", markersize=3)
    else:
        index: Array = latent.map.labels[category.name]
        for label in np.unique(index[index >= 0]):
            selected = points[index == label]
            name, colour = (category.labels or ())[label], colormaps["tab20"](label % 20)
            axes.plot(selected[:, 0], selected[:, 1], ".", markersize=4, color=colour, label=name)
        if len(np.unique(index)) <= 20:
            axes.legend(title=category.name, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_aspect("equal", adjustable="datalim")
    figure.tight_layout()
    return png(figure)


def losses(history: Mapping[str, Sequence[float | None]]) -> bytes:
    """Draws the loss of every epoch, in nats per row."""
    figure = Figure(figsize=(5.5, 3), dpi=DPI)
    axes = figure.subplots()
    for key, title in (("train_loss", "training"), ("validation_loss", "validation")):
        values = [(epoch, loss) for epoch, loss in enumerate(history.get(key, ()), 1) if loss is not None]
        if values:
            axes.plot(*zip(*values, strict=True), label=title, linewidth=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss, nats per row")
    axes.legend(fontsize=8)
    figure.tight_layout()
    return png(figure)


def reliability(calibration: Mapping[str, Calibration]) -> bytes:
    """Draws the accuracy of the most probable label by its predicted probability."""
    figure = Figure(figsize=(4.5, 4), dpi=DPI)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="lightgray", linewidth=1)
    for conditional, how in _some(calibration):
        predicted, was, _ = zip(*how["bins"], strict=True)
        axes.plot(predicted, was, ".-", linewidth=0.8, label=conditional)
    axes.set_xlabel("probability that the model states")
    axes.set_ylabel("share of rows in which it is right")
    axes.legend(fontsize=7)
    figure.tight_layout()
    return png(figure)


def _some(calibration: Mapping[str, Calibration]) -> Iterator[tuple[str, Calibration]]:
    """Yields the conditionals on one modality; more lines could not be distinguished.

    A manifest without room for all metrics has no bins.
    """
    alone = [(name, how) for name, how in calibration.items() if "," not in name and how["bins"]]
    yield from alone[:MOST_MODALITIES]
