r"""Accuracy of the label where a view is corrupted: given that view alone, and beside a clean second one.

The corruptions are those of MNIST-C that follow from a formula, at one strength each. A classifier that was
trained on the same rows, see :mod:`training.evaluation.judging`, is measured on the same corrupted rows.

References:
    | MNIST-C: A Robustness Benchmark for Computer Vision (Mu & Gilmer, 2019), https://arxiv.org/abs/1906.02337
    | Benchmarking Neural Network Robustness to Common Corruptions and Perturbations
      (Hendrycks & Dietterich, 2019), https://arxiv.org/abs/1903.12261
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from models_store.arrays import Array
from models_store.calibration import expert_weights
from models_store.linear import Posterior
from models_store.manifest import Modality
from training.data.rows import Rows
from training.evaluation.answers import probabilities_at
from training.evaluation.calibrating import own_log_probs
from training.evaluation.evaluated import EvaluatedModel, having_all
from training.evaluation.judging import Judge, Judges
from training.evaluation.metrics import Corrupted

CLEAN = "none"
"""Name of the row without a corruption."""
Corruption = Callable[[Array, np.random.Generator], Array]
"""Maps rows with values from 0 to 1, (n, *shape), to corrupted ones; values beyond are clipped later."""


def _affine(x: Array, rng: np.random.Generator, degrees: float = 0, scale: float = 1) -> Array:
    """Pictures turned to a random side, or drawn at another size, about the centre."""
    turned = np.empty_like(x)
    centre = (np.array(x.shape[1:3]) - 1) / 2
    for row, angle in enumerate(np.deg2rad(degrees) * rng.choice([-1, 1], len(x))):
        inverse = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        for channel in np.ndindex(x.shape[3:]):
            place = (row, ..., *channel)
            turned[place] = ndimage.affine_transform(
                x[place], inverse, centre - inverse @ centre, order=1, mode="nearest"
            )
    return turned


def _shifted(x: Array, rng: np.random.Generator, share: float, axes: tuple[int, ...]) -> Array:
    """Rows moved by a share of one of the axes, to a random side; the border is repeated."""
    moved = np.empty_like(x)
    axis, side = rng.choice(axes, len(x)), rng.choice([-1, 1], len(x))
    for row in range(len(x)):
        length = x.shape[axis[row]]
        source = np.arange(length) - side[row] * round(share * length)
        moved[row] = x[row].take(source.clip(0, length - 1), axis=axis[row] - 1)
    return moved


def _late(x: Array, rng: np.random.Generator, share: float) -> Array:
    """Spectrograms that begin or end earlier by a share of the frames, with silence in their place."""
    moved = np.zeros_like(x)
    frames = round(share * x.shape[2])
    late = rng.random(len(x)) < 0.5
    moved[late, :, frames:] = x[late, :, :-frames]
    moved[~late, :, :-frames] = x[~late, :, frames:]
    return moved


def _noisy(x: Array, rng: np.random.Generator, deviation: float) -> Array:
    return x + deviation * rng.standard_normal(x.shape)


def _blurred(x: Array, _rng: np.random.Generator, share: float) -> Array:
    sigma = [0.0, *(share * side for side in x.shape[1:3]), *(0.0 for _ in x.shape[3:])]
    blurred: Array = ndimage.gaussian_filter(x, sigma, mode="nearest")
    return blurred


def _occluded(x: Array, rng: np.random.Generator, share: float) -> Array:
    """Rows with a grey square at a random place."""
    occluded, sides = x.copy(), np.array(x.shape[1:3])
    size = round(share * sides.min())
    for row, (top, left) in enumerate(rng.integers(0, sides - size + 1, (len(x), 2))):
        occluded[row, top : top + size, left : left + size] = 0.5
    return occluded


def _less_contrast(x: Array, _rng: np.random.Generator, factor: float) -> Array:
    """Rows whose values move towards the mean of the row."""
    mean = x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
    return mean + factor * (x - mean)


def _turned_points(x: Array, rng: np.random.Generator, degrees: float = 0, scale: float = 1) -> Array:
    angle = np.deg2rad(degrees) * rng.choice([-1, 1], len(x))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned: Array = 0.5 + np.einsum("ijn,npj->npi", turn, x - 0.5)
    return turned


def _shifted_points(x: Array, rng: np.random.Generator, share: float) -> Array:
    moves = share * np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
    shifted: Array = x + moves[rng.integers(0, 4, len(x))][:, None]
    return shifted


CORRUPTIONS: Mapping[str, Mapping[str, Corruption]] = {
    "image": {
        "shift by 1/7 of a side": partial(_shifted, share=1 / 7, axes=(1, 2)),
        "rotate by 30°": partial(_affine, degrees=30),
        "rotate by 45°": partial(_affine, degrees=45),
        "scale by 0.7": partial(_affine, scale=0.7),
        "noise of 0.2": partial(_noisy, deviation=0.2),
        "blur of 1/18 of a side": partial(_blurred, share=1 / 18),
        "grey square of 2/7 of a side": partial(_occluded, share=2 / 7),
        "inversion": lambda x, _rng: 1 - x,
        "contrast of 0.3": partial(_less_contrast, factor=0.3),
    },
    "audio": {
        "shift by 1/8 of the frames": partial(_late, share=1 / 8),
        "noise of 0.1": partial(_noisy, deviation=0.1),
        "blur of 1/18 of a side": partial(_blurred, share=1 / 18),
        "grey square of 2/7 of a side": partial(_occluded, share=2 / 7),
        "contrast of 0.3": partial(_less_contrast, factor=0.3),
    },
    "points": {
        "shift by 1/7 of the range": partial(_shifted_points, share=1 / 7),
        "rotate by 30°": partial(_turned_points, degrees=30),
        "rotate by 45°": partial(_turned_points, degrees=45),
        "scale by 0.7": partial(_turned_points, scale=0.7),
        "noise of 0.05": partial(_noisy, deviation=0.05),
    },
}
"""Corruptions by kind and name. Strengths are shares of the range of values, of sides, or of frames."""


def corrupted(modality: Modality, x: Array, corruption: Corruption, seed: int) -> Array:
    """Corrupts rows of a modality within its range; the same for the same seed.

    Arguments:
        modality: The modality, with a range.
        x: Rows, (n, *shape).
        corruption: One of ``CORRUPTIONS[modality.kind]``.
        seed: Seed of directions, places and noise.

    Returns:
        Rows of the shape and dtype of ``x``.
    """
    low, high = modality.range or (0.0, 255.0)
    shares = (x.astype(np.float64) - low) / (high - low)
    values = low + (high - low) * corruption(shares, np.random.default_rng(seed)).clip(0, 1)
    return (values.round() if x.dtype.kind in "iu" else values).astype(x.dtype)


def corruption_metrics(evaluated: EvaluatedModel, judges: Judges) -> dict[str, dict[str, Corrupted]]:
    """Measures the accuracy of the first category of a model, by corrupted view and corruption.

    Arguments:
        evaluated: The model.
        judges: Classifiers of single views, trained on the training rows.
    """
    category = next((m.name for m in evaluated.manifest.modalities if m.labels is not None), None)
    if category is None:
        return {}
    views = [m for m in evaluated.manifest.modalities if m.labels is None]
    return {
        view.name: dict(_of_view(evaluated, category, view, judges.get((category, view.name))))
        for view in views
        if view.kind in CORRUPTIONS and len(having_all(evaluated.test, [category, view.name]))
    }


def _of_view(
    evaluated: EvaluatedModel, category: str, view: Modality, judge: Judge | None
) -> Iterator[tuple[str, Corrupted]]:
    """Yields the accuracies with each corruption of a view, first those of clean rows."""
    second = next(
        (m.name for m in evaluated.manifest.modalities if m.labels is None and m.name != view.name), None
    )
    names = [category, view.name] if second is None else [category, view.name, second]
    rows = having_all(evaluated.test, names).head(evaluated.settings.rows)
    for name, corruption in {CLEAN: None, **CORRUPTIONS[view.kind]}.items():
        x = rows.data[view.name].numpy()
        changed = x if corruption is None else corrupted(view, x, corruption, evaluated.seed)
        some = Rows({**rows.data, view.name: torch.from_numpy(changed)})
        yield name, _accuracies(evaluated, some, category, view.name, second, judge)


def _accuracies(
    evaluated: EvaluatedModel, rows: Rows, category: str, view: str, second: str | None, judge: Judge | None
) -> Corrupted:
    true_labels = rows.data[category].numpy()

    def accuracy(given: list[str], robust: bool) -> float:
        posterior = robust_posterior(evaluated, rows, given) if robust else evaluated.posterior(rows, given)
        probabilities = probabilities_at(evaluated, category, posterior)
        return round(float((probabilities.argmax(axis=1) == true_labels).mean()), 4)

    measured: Corrupted = {"rows": len(rows), "alone": accuracy([view], robust=False)}
    if judge is not None:
        measured["classifier"] = round(
            float((judge.predict(rows.data[view].numpy()) == true_labels).mean()), 4
        )
    if second is not None:
        measured["second"] = second
        measured["beside"] = accuracy([view, second], robust=False)
        if evaluated.calibration is not None:
            measured["beside_robust"] = accuracy([view, second], robust=True)
    return measured


def robust_posterior(evaluated: EvaluatedModel, rows: Rows, given: list[str]) -> Posterior:
    """Returns q(z | x_S) as ``robust=true`` answers it: views unlike held-out rows lose weight."""
    experts = evaluated.experts(rows, given)
    typical = evaluated.calibration.typical if evaluated.calibration is not None else {}
    scores = np.zeros(experts.present.shape)
    for at, name in enumerate(given):
        if name in typical:
            scores[at] = typical[name].score(own_log_probs(evaluated, name, rows))
    return experts.product(powers=expert_weights(scores, experts.present))
