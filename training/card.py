"""The model card: what a stored model is, what it was measured to do, and the command that measures it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models_store.codecs import image
from models_store.manifest import Manifest
from training.evaluate import Examinee, generate

CARD = "report/card.md"
SHOWN = 10
"""Samples per label in a picture."""


def report(examinee: Examinee, manifest: Manifest) -> dict[str, bytes]:
    """The files of the folder ``report/``: the card, and a picture per image that a category can generate."""
    pictures = _pictures(examinee)
    return {CARD: _card(manifest, list(pictures)).encode(), **pictures}


def _pictures(examinee: Examinee) -> dict[str, bytes]:
    pictures = {}
    for category in examinee.manifest.modalities:
        for target in examinee.manifest.modalities:
            if category.kind == "category" and target.kind == "image":
                labels = np.arange(len(category.labels or ()))
                generated = generate(examinee, category.name, target.name, labels)[:, :SHOWN]
                name = f"report/{target.name}_from_{category.name}.png"
                pictures[name] = image.write_png_grid(target, generated)
    return pictures


def _card(manifest: Manifest, pictures: list[str]) -> str:
    lines = [f"# {manifest.name} {manifest.version}", "", manifest.description, ""]
    if manifest.licence:
        lines += [f"Licence: {manifest.licence}", ""]
    lines += ["## Modalities", "", "| name | kind | shape | dtype | likelihood |", "|---|---|---|---|---|"]
    for m in manifest.modalities:
        shape = " × ".join(map(str, m.shape)) or f"{len(m.labels or ())} labels"
        lines.append(f"| {m.name} | {m.kind} | {shape} | {m.dtype} | {m.likelihood} |")
    lines += ["", "## Measured", "", *_measured(manifest)]
    for path in pictures:
        name = path.removeprefix("report/")
        lines += [
            "",
            f"![{name}]({name})",
            "",
            "One row per label, z sampled from the posterior given the label.",
        ]
    lines += ["", "## Trained", "", *_trained(manifest.trained)]
    return "\n".join(lines) + "\n"


def _measured(manifest: Manifest) -> list[str]:
    """A table of the metrics, under the command that computes them again."""
    metrics = manifest.metrics
    lines = [
        f"On held-out rows, by `anyview-train evaluate {manifest.name}`, which computes every number again.",
        "`a|b` is read: a, given b alone.",
        "",
        "| what | question | value |",
        "|---|---|---|",
    ]
    for question, value in metrics["log_prob"].items():
        how = f"{value['rows']} rows, {value['K']} importance samples"
        number = f"{value['mean']:.2f} ± {value['std_error']:.2f}"
        lines.append(f"| log-likelihood, nats per row ({how}) | `log p({question})` | {number} |")
    for question, value in metrics["accuracy"].items():
        lines.append(f"| accuracy | `{_cell(question)}` | {value:.4f} |")
    for question, value in metrics.get("intervals", {}).items():
        shown = f"`{_cell(question)}`"
        lines.append(
            f"| R², averaged over the columns ({value['rows']} rows) | {shown} | {value['r2']:.3f} |"
        )
        both = f"{value['coverage_50']:.3f}, {value['coverage_90']:.3f}"
        lines.append(f"| share of cells within their 50 % and 90 % intervals | {shown} | {both} |")
    for question, value in metrics["coherence"].items():
        judge = metrics["judge_accuracy"][question]
        how = f"a classifier of real rows, itself right on {judge:.4f} of the test rows, names the label"
        lines.append(f"| coherence: {how} | `{_cell(question)}` | {value:.4f} |")
    for question, value in metrics["variety"].items():
        number = f"{value['mean']:.2f} (lowest label {value['lowest']:.2f})"
        how = "variance within a label ÷ that of real rows"
        lines.append(f"| variety: {how} | `{_cell(question)}` | {number} |")
    return lines


def _trained(trained: Mapping[str, Any]) -> list[str]:
    data, versions = trained["data"], trained["versions"]
    return [
        f"- experiment `{trained['experiment']}`, seed {trained['seed']}; its file is `experiment.toml`",
        f"- data: {data['source']}, {data['train_rows']} training rows, {data['validation_rows']} validation "
        f"rows, {data['test_rows']} test rows",
        "- " + ", ".join(f"{name} {number}" for name, number in versions.items()),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
